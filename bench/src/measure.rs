//! Rounds: every case once in each, so that what the machine is up to meets all of them alike.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::cases::Case;

/// Packets that warm the caches up for a case, as a part of those that are measured.
const WARM_UP: u32 = 5;

/// Runs that tell what a run costs besides its packets.
const CALIBRATIONS: usize = 21;
/// Packets of such a run. One alone is run in another way, without the kernel's dispatcher.
const FEWEST: u32 = 2;

/// What was measured: the cases' names, and ns a packet, `figures[case][round]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Names and the wrappers' names.
    pub cases: Vec<(String, &'static str)>,
    /// ns a packet.
    pub ns: Vec<Vec<f64>>,
}

/// Keeps this thread on one CPU: `wanted`, or the last one it may run on. Gives its number.
///
/// # Errors
///
/// When there is no such CPU.
pub fn stay_on(wanted: Option<usize>) -> Result<usize> {
    let allowed = nix::sched::sched_getaffinity(Pid::from_raw(0))?;
    let last = (0..CpuSet::count()).rev().find(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    let cpu = wanted.or(last).context("no CPU to run on")?;
    let mut set = CpuSet::new();
    set.set(cpu).with_context(|| format!("no CPU {cpu}"))?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on CPU {cpu}"))?;
    Ok(cpu)
}

/// Runs `rounds` rounds; `tick` hears the number of each that is done.
///
/// # Errors
///
/// When the kernel refuses to run a program.
pub fn measure(cases: &[Case], rounds: u32, packets: u32, mut tick: impl FnMut(u32)) -> Result<Figures> {
    let overhead = overhead(cases)?;
    let names = cases.iter().map(|case| (case.name.clone(), case.wrapper)).collect();
    let mut figures = Figures { cases: names, ns: vec![Vec::new(); cases.len()] };
    for round in 0..rounds {
        // There and back again, so that no case always follows the same one.
        let forth = round % 2 == 0;
        for i in 0..cases.len() {
            let i = if forth { i } else { cases.len() - 1 - i };
            cases[i].run((packets / WARM_UP).max(1))?;
            let took = cases[i].run(packets)?.saturating_sub(overhead);
            figures.ns[i].push(took.as_nanos() as f64 / f64::from(packets));
        }
        tick(round + 1);
    }
    Ok(figures)
}

/// CPU time of a run without its packets: the kernel changes code before and after it, which takes
/// some 200 µs.
fn overhead(cases: &[Case]) -> Result<Duration> {
    let case = cases.first().context("no cases")?;
    let mut runs = (0..CALIBRATIONS).map(|_| case.run(FEWEST)).collect::<Result<Vec<_>>>()?;
    runs.sort();
    Ok(runs[CALIBRATIONS / 2])
}
