//! The released object under the kernel's test run.

use std::mem::offset_of;
use std::path::Path;

use anycast_lb::dataplane::Counters;
use anycast_lb_common::abi::{
    AllTables, Event, MAX_MEMBERS, Member, Observed, Observer, Program, Question, Verdict,
};
use anycast_lb_common::host::TableSet;
use anyhow::Context as _;
use aya::maps::{Array, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use bytemuck::{bytes_of, cast_slice};

/// The backend's program, which has a second half.
const BACKEND: &str = "backend";
/// Bytes of a word.
const WORD: usize = size_of::<u64>();
/// Longest frame a test run gives back.
const MAX_FRAME: usize = 16 << 10;

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

/// One of the programs, loaded with its own maps.
pub struct Kernel {
    ebpf: Ebpf,
    name: &'static str,
    /// Emptied before each packet: nobody else reads it.
    questions: RingBuf<MapData>,
    flows: RingBuf<MapData>,
    packets: RingBuf<MapData>,
}

impl Kernel {
    /// Loads the object afresh.
    pub fn load(program: Program) -> anyhow::Result<Self> {
        Self::load_named(match program {
            Program::Ingress => "ingress",
            Program::Backend => BACKEND,
        })
    }

    /// Loads the program that reports packets.
    pub fn load_observed(program: Program) -> anyhow::Result<Self> {
        Self::load_named(match program {
            Program::Ingress => "ingress_observed",
            Program::Backend => "backend_observed",
        })
    }

    /// Loads the program of this name.
    pub fn load_named(name: &'static str) -> anyhow::Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/anycast-lb.o");
        let object = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let mut loader = EbpfLoader::new();
        Counters::put(&mut loader)?;
        let mut ebpf = loader.load(&object)?;
        xdp(&mut ebpf, name)?.load()?;
        if name == BACKEND {
            relay(&mut ebpf)?.load()?;
        }
        let mut ring = |name: &str| -> anyhow::Result<RingBuf<MapData>> {
            Ok(RingBuf::try_from(ebpf.take_map(name).with_context(|| format!("no map {name}"))?)?)
        };
        let (questions, flows, packets) = (ring("QUESTIONS")?, ring("FLOWS")?, ring("PACKETS")?);
        Ok(Kernel { ebpf, name, questions, flows, packets })
    }

    /// Has packets reported, if the program does that.
    pub fn observe(&mut self, observer: &Observer) -> anyhow::Result<()> {
        self.write_value::<{ size_of::<Observer>() / WORD }>("OBSERVER", &[(0, bytes_of(observer))])
    }

    /// The next record of the flow log.
    pub fn next_flow(&mut self) -> Option<Event> {
        Some(bytemuck::pod_read_unaligned(&self.flows.next()?))
    }

    /// The next packet that a filter wanted, and the bytes that follow it.
    pub fn next_packet(&mut self) -> Option<(Event, Vec<u8>)> {
        let record = self.packets.next()?;
        let (event, bytes) = record.split_at(size_of::<Event>());
        Some((bytemuck::pod_read_unaligned(event), bytes.to_vec()))
    }

    /// The next question for the node's name.
    pub fn next_question(&mut self) -> Option<Question> {
        Some(bytemuck::pod_read_unaligned(&self.questions.next()?))
    }

    /// Records written and not, over all CPUs.
    pub fn observed(&mut self) -> anyhow::Result<Observed> {
        let array: PerCpuArray<&mut MapData, [u64; size_of::<Observed>() / WORD]> =
            PerCpuArray::try_from(self.map("OBSERVED")?)?;
        let mut sum = [0; size_of::<Observed>() / WORD];
        for cpu in array.get(&0, 0)?.iter() {
            for (sum, value) in sum.iter_mut().zip(cpu) {
                *sum += value;
            }
        }
        Ok(bytemuck::cast(sum))
    }

    /// Writes `tables` into the maps; those that were written before should be written by a fresh
    /// [`Kernel`], since empty slots are left out.
    pub fn write(&mut self, tables: &TableSet) -> anyhow::Result<()> {
        self.write_value::<{ size_of::<AllTables>() / WORD }>(
            "TABLES",
            &[
                (offset_of!(AllTables, addresses), cast_slice(&tables.addresses)),
                (offset_of!(AllTables, services), cast_slice(&tables.services)),
                (offset_of!(AllTables, prefixes), cast_slice(&tables.prefixes)),
                (offset_of!(AllTables, vips), cast_slice(&tables.vips)),
                (offset_of!(AllTables, pools), cast_slice(&tables.pools)),
                (offset_of!(AllTables, control), bytes_of(&tables.control)),
            ],
        )?;
        let members = [(0, cast_slice(&tables.members))];
        self.write_value::<{ MAX_MEMBERS as usize * size_of::<Member>() / WORD }>("MEMBERS", &members)?;
        let mut slots: Array<&mut MapData, u64> = Array::try_from(self.map("SLOTS")?)?;
        for (i, slot) in tables.slots.iter().enumerate().filter(|(_, slot)| slot.0 != 0) {
            slots.set(u32::try_from(i)?, slot.0, 0).with_context(|| format!("SLOTS[{i}]"))?;
        }
        Ok(())
    }

    /// Writes the one element, of `WORDS` words, of a map: what is at which offset.
    fn write_value<const WORDS: usize>(
        &mut self,
        name: &str,
        parts: &[(usize, &[u8])],
    ) -> anyhow::Result<()> {
        let mut value = bytemuck::zeroed_box::<[u64; WORDS]>();
        let bytes = bytemuck::bytes_of_mut(&mut *value);
        for (offset, part) in parts {
            let place = bytes.get_mut(*offset..offset + part.len());
            place.with_context(|| format!("{name} has less room"))?.copy_from_slice(part);
        }
        let mut array: Array<&mut MapData, [u64; WORDS]> = Array::try_from(self.map(name)?)?;
        array.set(0, value, 0).with_context(|| name.to_owned())
    }

    fn map(&mut self, name: &str) -> anyhow::Result<&mut Map> {
        self.ebpf.map_mut(name).with_context(|| format!("no map {name}"))
    }

    /// Empties the fragment table.
    pub fn forget_fragments(&mut self) -> anyhow::Result<()> {
        let map = self.ebpf.map_mut("FRAGMENTS").context("no map FRAGMENTS")?;
        let mut array: Array<&mut MapData, [u64; 2]> = Array::try_from(map)?;
        (0..array.len()).try_for_each(|index| Ok(array.set(index, [0; 2], 0)?))
    }

    /// Instructions that the verifier looked at, and bytes of machine code.
    pub fn size(&mut self) -> anyhow::Result<(u32, u32)> {
        let info = xdp(&mut self.ebpf, self.name)?.info()?;
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
        let result = xdp(&mut self.ebpf, self.name)?.test_run(options)?;
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
        Ok(Counters::open(&self.ebpf)?.verdict(verdict).packets)
    }
}

fn relay(ebpf: &mut Ebpf) -> anyhow::Result<&mut SchedClassifier> {
    Ok(ebpf.program_mut("relay").context("no program relay")?.try_into()?)
}

fn xdp<'e>(ebpf: &'e mut Ebpf, name: &str) -> anyhow::Result<&'e mut Xdp> {
    Ok(ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
}
