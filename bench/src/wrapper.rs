//! The programs of `anycast-lb-ebpf/src/bench.rs`, and how they are run.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::maps::{Array, ProgramArray};
use aya::programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};

/// What a wrapper restores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Ethernet in front of IPv4.
    V4,
    /// Ethernet in front of IPv6.
    V6,
    /// All outer headers.
    Backend,
}

impl Shape {
    fn program(self) -> &'static str {
        match self {
            Shape::V4 => "wrapper_v4",
            Shape::V6 => "wrapper_v6",
            Shape::Backend => "wrapper_backend",
        }
    }

    /// The one that goes on to programs for frames of several buffers.
    fn frags_program(self) -> &'static str {
        match self {
            Shape::V4 => "wrapper_v4_frags",
            Shape::V6 => "wrapper_v6_frags",
            Shape::Backend => "wrapper_backend_frags",
        }
    }

    /// Where the last 32 bits of source and destination address lie.
    fn addresses(self) -> [usize; 2] {
        match self {
            Shape::V4 | Shape::Backend => [26, 30],
            Shape::V6 => [34, 50],
        }
    }
}

/// How many flows, and over how many destinations they are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variety {
    /// Source addresses.
    pub flows: u32,
    /// Destination addresses.
    pub destinations: u32,
}

impl Variety {
    /// Always the same packet.
    pub const ONE: Variety = Variety { flows: 1, destinations: 1 };
}

/// Words of `Run::head` in the eBPF program.
const HEAD_WORDS: usize = 8;
/// `Run`: length, flows, destinations, source, destination, two counters, head.
const RUN_WORDS: usize = 7 + HEAD_WORDS;

/// A wrapper of its own, its packet, and what it goes on to.
pub struct Wrapper {
    ebpf: Ebpf,
    shape: Shape,
    program: &'static str,
    frame: Vec<u8>,
}

/// What came of a run.
pub struct Ran {
    /// What the program returned for the last packet.
    pub action: u32,
    /// How long the last packet was then.
    pub length: usize,
    /// CPU time of all packets.
    pub took: Duration,
}

impl Wrapper {
    /// Loads the wrapper out of `object`.
    ///
    /// # Errors
    ///
    /// When the object does not fit, or the kernel refuses it.
    pub fn load(object: &[u8], shape: Shape, frame: Vec<u8>, variety: Variety) -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(object)?;
        let program = shape.program();
        load(&mut ebpf, program)?;
        let mut run: Array<_, [u64; RUN_WORDS]> =
            Array::try_from(ebpf.map_mut("RUN").context("no map RUN")?)?;
        run.set(0, words(shape, &frame, variety)?, 0)?;
        Ok(Wrapper { ebpf, shape, program, frame })
    }

    /// Makes it go on to one of the programs that lie beside it.
    ///
    /// # Errors
    ///
    /// As [`Self::go_on_to`].
    pub fn go_on_to_own(&mut self, name: &str) -> Result<()> {
        let fd = load(&mut self.ebpf, name)?;
        self.go_on_to(&fd)
    }

    /// Makes it go on to `program`.
    ///
    /// # Errors
    ///
    /// When the kernel refuses: it is no XDP program.
    pub fn go_on_to(&mut self, program: &ProgramFd) -> Result<()> {
        if self.set_next("NEXT", program).is_ok() {
            return Ok(());
        }
        // Not one of that kind: perhaps of the other.
        self.program = self.shape.frags_program();
        load(&mut self.ebpf, self.program)?;
        self.set_next("NEXT_FRAGS", program).context("the kernel does not allow a tail call to it")
    }

    fn set_next(&mut self, map: &str, program: &ProgramFd) -> Result<()> {
        let map = self.ebpf.map_mut(map).with_context(|| format!("no map {map}"))?;
        Ok(ProgramArray::try_from(map)?.set(0, program, 0)?)
    }

    /// Sends `packets` packets through.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to run it.
    pub fn run(&self, packets: u32) -> Result<Ran> {
        let program: &Xdp = self.ebpf.program(self.program).context("no wrapper")?.try_into()?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(&self.frame);
        options.repeat = packets;
        let began = cpu_time();
        let result = program.test_run(options)?;
        let took = cpu_time().saturating_sub(began);
        Ok(Ran { action: result.return_value, length: result.data_size_out as usize, took })
    }

    /// Bytes of a packet before the run.
    pub fn frame_len(&self) -> usize {
        self.frame.len()
    }
}

fn load(ebpf: &mut Ebpf, name: &str) -> Result<ProgramFd> {
    let program: &mut Xdp =
        ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?;
    program.load()?;
    Ok(program.fd()?.try_clone()?)
}

fn words(shape: Shape, frame: &[u8], variety: Variety) -> Result<[u64; RUN_WORDS]> {
    let [source, destination] = shape.addresses();
    let be32 = |at: usize| -> Result<u64> {
        let bytes = frame.get(at..at + 4).context("the frame is too short")?;
        Ok(u32::from_be_bytes(bytes.try_into()?).into())
    };
    let mut words = [0; RUN_WORDS];
    words[..5].copy_from_slice(&[
        frame.len() as u64,
        variety.flows.into(),
        variety.destinations.into(),
        be32(source)?,
        be32(destination)?,
    ]);
    for (word, bytes) in words[RUN_WORDS - HEAD_WORDS..].iter_mut().zip(frame.chunks_exact(size_of::<u64>()))
    {
        *word = u64::from_ne_bytes(bytes.try_into()?);
    }
    Ok(words)
}

/// CPU time of this thread: what others do on the same CPU meanwhile does not count. The kernel's own
/// figure (`TestRunResult::duration`) is wall-clock time, and whole nanoseconds a packet.
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists, and the pointer is valid for the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
