//! What is said about the figures: to people and to programs.

mod json;
mod markdown;
mod svg;

pub use json::json;
pub use markdown::{markdown, table};
pub use svg::svg;

/// What was measured, and where.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// Kernel release.
    pub kernel: String,
    /// Name of the processor.
    pub processor: String,
    /// The CPU that was measured on.
    pub cpu: usize,
    /// How many there are.
    pub cpus: usize,
    /// Rounds.
    pub rounds: u32,
    /// Packets of a case in a round.
    pub packets: u32,
}

impl std::fmt::Display for Circumstances {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Circumstances { kernel, processor, cpu, cpus, rounds, packets } = self;
        write!(f, "Linux {kernel}, {processor}, CPU {cpu} of {cpus}; {rounds} rounds of {packets} packets")
    }
}
