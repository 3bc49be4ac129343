//! The released object under the kernel's test run.

use std::path::Path;

use anycast_lb_common::abi::{
    ADDRESS_SLOTS, Counter, MAX_MEMBERS, MAX_POOLS, MAX_PREFIXES, MAX_VIPS, Program, SERVICE_SLOTS, Verdict,
};
use anycast_lb_common::host::TableSet;
use anyhow::Context as _;
use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};

/// Longest frame a test run gives back.
const MAX_FRAME: usize = 4096;

/// What traffic control does after its programs: go on with the packet as it would have.
const TC_ACT_UNSPEC: u32 = u32::MAX;
/// Send it where the program said.
const TC_ACT_REDIRECT: u32 = 7;

/// What XDP programs return (`enum xdp_action`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the kernel's names")]
pub enum Action {
    Drop,
    Pass,
    Tx,
    Redirect,
}

/// One of the two programs, loaded with its own maps.
pub struct Kernel {
    ebpf: Ebpf,
    program: Program,
}

/// Shared bytes as aya wants to see them.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Shared<T>(T);

// SAFETY: `T` is `bytemuck::Pod`.
unsafe impl<T: bytemuck::Pod> Pod for Shared<T> {}

impl Kernel {
    /// Loads the object afresh.
    pub fn load(program: Program) -> anyhow::Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/anycast-lb.o");
        let object = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let mut ebpf = EbpfLoader::new().load(&object)?;
        xdp(&mut ebpf, program)?.load()?;
        if program == Program::Backend {
            relay(&mut ebpf)?.load()?;
        }
        Ok(Kernel { ebpf, program })
    }

    /// Writes `tables` into the maps; maps that were written before should be written by a fresh
    /// [`Kernel`], since empty entries are left out.
    pub fn write(&mut self, tables: &TableSet) -> anyhow::Result<()> {
        self.write_table::<_, { 2 * ADDRESS_SLOTS as usize }>("ADDRESSES", &tables.addresses)?;
        self.write_table::<_, { 2 * SERVICE_SLOTS as usize }>("SERVICES", &tables.services)?;
        self.write_table::<_, { 2 * MAX_PREFIXES as usize }>("PREFIXES", &tables.prefixes)?;
        self.write_table::<_, { MAX_VIPS as usize }>("VIPS", &tables.vips)?;
        self.write_table::<_, { MAX_POOLS as usize }>("POOLS", &tables.pools)?;
        self.write_array("SLOTS", &tables.slots)?;
        self.write_table::<_, { MAX_MEMBERS as usize }>("MEMBERS", &tables.members)?;
        self.write_array("CONTROL", &[tables.control])
    }

    fn write_array<T: bytemuck::Pod>(&mut self, name: &str, elements: &[T]) -> anyhow::Result<()> {
        let map = self.ebpf.map_mut(name).with_context(|| format!("no map {name}"))?;
        let mut array: Array<&mut MapData, Shared<T>> = Array::try_from(map)?;
        for (i, element) in elements.iter().enumerate() {
            if bytemuck::bytes_of(element).iter().any(|b| *b != 0) {
                array.set(u32::try_from(i)?, Shared(*element), 0).with_context(|| format!("{name}[{i}]"))?;
            }
        }
        Ok(())
    }

    /// For maps whose one value holds all elements.
    fn write_table<T: bytemuck::Pod, const N: usize>(
        &mut self,
        name: &str,
        elements: &[T],
    ) -> anyhow::Result<()> {
        let mut all = vec![Shared(T::zeroed()); N];
        for (place, element) in all.iter_mut().zip(elements) {
            *place = Shared(*element);
        }
        let all: Box<[Shared<T>; N]> =
            all.into_boxed_slice().try_into().ok().with_context(|| format!("{name} has {N} elements"))?;
        let map = self.ebpf.map_mut(name).with_context(|| format!("no map {name}"))?;
        let mut array: Array<&mut MapData, [Shared<T>; N]> = Array::try_from(map)?;
        array.set(0, all, 0).with_context(|| name.to_owned())
    }

    /// Empties the fragment table.
    pub fn forget_fragments(&mut self) -> anyhow::Result<()> {
        let map = self.ebpf.map_mut("FRAGMENTS").context("no map FRAGMENTS")?;
        let mut array: Array<&mut MapData, [u64; 2]> = Array::try_from(map)?;
        (0..array.len()).try_for_each(|index| Ok(array.set(index, [0; 2], 0)?))
    }

    /// Instructions that the verifier looked at, and bytes of machine code.
    pub fn size(&mut self) -> anyhow::Result<(u32, u32)> {
        let info = xdp(&mut self.ebpf, self.program)?.info()?;
        let verified =
            info.verified_instruction_count().context("the kernel does not count (before 5.16)")?;
        Ok((verified, info.size_jitted()))
    }

    /// Runs `input` through the program.
    pub fn run(&mut self, input: &[u8], metadata: usize) -> anyhow::Result<(Action, Vec<u8>)> {
        let mut output = vec![0; MAX_FRAME];
        // Metadata is part of the data that is handed in, marked off by the context:
        // struct xdp_md { data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex }.
        let with_metadata = [&vec![0; metadata][..], input].concat();
        let context: [u32; 6] = [u32::try_from(metadata)?, u32::try_from(with_metadata.len())?, 0, 0, 0, 0];
        let context = context.map(u32::to_ne_bytes).concat();
        let mut options = TestRunOptions::new();
        options.data_in = Some(&with_metadata);
        options.data_out = Some(&mut output);
        if metadata != 0 {
            options.ctx_in = Some(&context);
        }
        let result = xdp(&mut self.ebpf, self.program)?.test_run(options)?;
        output.truncate(result.data_size_out as usize);
        if metadata != 0 {
            output.drain(..metadata.min(output.len()));
        }
        let action = match result.return_value {
            1 => Action::Drop,
            2 => Action::Pass,
            3 => Action::Tx,
            4 => Action::Redirect,
            other => anyhow::bail!("the program returned {other}"),
        };
        Ok((action, output))
    }

    /// Whether the second half of the backend's program sends `frame`, which traffic control has
    /// received, on to another backend.
    pub fn relays(&mut self, frame: &[u8]) -> anyhow::Result<bool> {
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        match relay(&mut self.ebpf)?.test_run(options)?.return_value {
            TC_ACT_UNSPEC => Ok(false),
            TC_ACT_REDIRECT => Ok(true),
            other => anyhow::bail!("the relay returned {other}"),
        }
    }

    /// How often each of the given verdicts was given.
    pub fn packets(&self, verdict: Verdict) -> anyhow::Result<u64> {
        let map = self.ebpf.map("VERDICTS").context("no map VERDICTS")?;
        let counters: PerCpuArray<&MapData, Shared<Counter>> = PerCpuArray::try_from(map)?;
        Ok(counters.get(&(verdict as u32), 0)?.iter().map(|c| c.0.packets).sum())
    }
}

fn relay(ebpf: &mut Ebpf) -> anyhow::Result<&mut SchedClassifier> {
    Ok(ebpf.program_mut("relay").context("no program relay")?.try_into()?)
}

fn xdp(ebpf: &mut Ebpf, program: Program) -> anyhow::Result<&mut Xdp> {
    let name = match program {
        Program::Ingress => "ingress",
        Program::Backend => "backend",
    };
    Ok(ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
}
