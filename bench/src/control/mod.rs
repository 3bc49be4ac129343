//! The control plane: how long a pool's table takes, how soon a command is in force in the data plane, how long
//! Prometheus waits for the metrics, and how much memory a node takes. Figures are milliseconds and bytes; those of the packets are nanoseconds.

mod changes;
mod daemon;
mod memory;
mod report;
mod scrape;
mod tables;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use xtask::bench::Arguments;
use xtask::progress;

use changes::NODES;
use daemon::Daemon;
use memory::Memory;
use tables::TABLES;

/// Rounds at most: what takes milliseconds says in a few what nanoseconds say in many.
const MOST_ROUNDS: u32 = 20;
/// What the figures of memory are asked for by.
const MEMORY: &str = "memory";

/// What was measured.
#[derive(Default)]
pub struct Control {
    rounds: u32,
    times: Vec<Times>,
    memory: Option<Memory>,
}

/// How long something took, in each round.
struct Times {
    name: String,
    rounds: Vec<Duration>,
}

/// Measures what is wanted of the control plane. To be called in [`crate::place`], before this thread
/// stays on one CPU, which a daemon would have to share.
///
/// # Errors
///
/// When a case does not do what its name says.
pub fn measure(arguments: &Arguments, directory: &Path) -> Result<Control> {
    let wants = |name: &str| arguments.cases.is_empty() || arguments.cases.iter().any(|w| name.contains(w));
    let began = Instant::now();
    let mut control = Control { rounds: arguments.rounds.min(MOST_ROUNDS), ..Control::default() };
    let wanted: Vec<_> = TABLES.into_iter().filter(|table| wants(&table.name())).collect();
    control.times.extend(tables::measure(&wanted, control.rounds)?);
    for node in NODES {
        let kinds: Vec<_> = node.kinds().filter(|kind| wants(&node.name(*kind))).collect();
        let weigh = node.is_largest() && wants(MEMORY);
        let look = node.is_largest() && wants(scrape::NAME);
        if kinds.is_empty() && !weigh && !look {
            continue;
        }
        let daemon = Daemon::start(directory, &node)?;
        control.times.extend(changes::measure(&daemon, &node, &kinds, control.rounds)?);
        if look {
            control.times.push(scrape::measure(&node, control.rounds)?);
        }
        if weigh {
            control.memory = Some(Memory::of(&daemon)?);
        }
    }
    if !control.is_empty() {
        progress::done("control plane", &format!("{} rounds", control.rounds), began.elapsed());
    }
    Ok(control)
}

impl Control {
    fn is_empty(&self) -> bool {
        self.times.is_empty() && self.memory.is_none()
    }
}
