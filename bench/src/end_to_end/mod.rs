//! End to end in a lab: what a packet, a request, a connection and 64 KiB cost the whole machine on their way
//! from a client to a backend, through us, through nothing but a router, and through proxies.
//! `docs/PERFORMANCE.md` explains the method.

mod batch;
mod config;
mod cpu;
mod datagrams;
mod exchanges;
mod plan;
mod report;
mod run;
mod stage;

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use xtask::bench::Arguments;
use xtask::lab::state::RunDir;
use xtask::lab::tools::Tools;
use xtask::lab::{interrupt, mount_bpffs, sweep_leftovers, write_seed};
use xtask::progress;
use xtask::workspace::bench_dir;

use cpu::{Used, Watch};
use plan::{Case, Path, cases};
use report::{Circumstances, Figures};
use run::{Bounds, Outcome};
use stage::Stage;

/// What is measured of a case in a round. `/proc/stat` counts in steps of 10 ms, each CPU for itself.
const MEASURED: Bounds = Bounds { time: Duration::from_millis(500), count: 1_000_000 };
/// The same for connections, each of which takes a port for a minute.
const CONNECTIONS: u64 = 6000;
/// What warms a path up before.
const WARM_UP: Bounds = Bounds { time: Duration::from_millis(60), count: 50_000 };
/// How long it takes to see whether the machine has other work.
const LISTEN: Duration = Duration::from_millis(100);
/// How often that is tried before a run begins all the same.
const TRIES: u32 = 5;
/// Other work that does not disturb: this much of one CPU.
const QUIET: f64 = 0.2;

/// Measures end to end, prints the table and writes it and the figures to `target/bench/`.
///
/// # Errors
///
/// When the lab does not stand, when a path does not do what it says, or when something is lost or damaged
/// that must not be.
pub fn main(arguments: &Arguments, rounds: u32) -> Result<()> {
    let cases = cases(&arguments.cases);
    if cases.is_empty() {
        bail!("no case of the end-to-end part has {} in its name", arguments.cases.join(" or "));
    }
    interrupt::install()?;
    sweep_leftovers();
    let began = Instant::now();
    let tools = Tools::locate()?;
    let run = Arc::new(RunDir::create()?);
    mount_bpffs(&run)?;
    write_seed(&run.path().join("seed"))?;
    let stages = Path::ALL.into_iter().filter(|path| cases.iter().any(|case| case.path == *path));
    let stages = stages.map(|path| Stage::build(&run, &tools, path)).collect::<Result<Vec<_>>>()?;
    let pairs = cases.iter().map(|&case| Ok((case, stage_of(&stages, case)?))).collect::<Result<Vec<_>>>()?;
    for &(case, stage) in &pairs {
        run::prove(stage, case).with_context(|| case.name())?;
    }
    progress::done("cases", &format!("{} made, each goes the way it says", cases.len()), began.elapsed());

    let began = Instant::now();
    let mut figures = Figures::new(&cases);
    for round in 0..rounds {
        measure(&pairs, round, &mut figures)?;
        let text = format!("round {} of {rounds}, {}", round + 1, progress::seconds(began.elapsed()));
        progress::plan("measuring", &text);
    }
    progress::done("measured", &format!("{rounds} rounds"), began.elapsed());
    publish(arguments, rounds, &figures)
}

fn stage_of(stages: &[Stage], case: Case) -> Result<&Stage> {
    stages
        .iter()
        .find(|stage| stage.path == case.path)
        .with_context(|| format!("no path for {}", case.name()))
}

fn measure(pairs: &[(Case, &Stage)], round: u32, figures: &mut Figures) -> Result<()> {
    // There and back again, so that no case always follows the same one.
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    for index in order {
        let (case, stage) = pairs[index];
        let count = if case.load == plan::Load::Connect { CONNECTIONS } else { MEASURED.count };
        let mut measured = || -> Result<Outcome> {
            run::run(stage, case.load, Bounds { count: WARM_UP.count.min(count / 10), ..WARM_UP })?;
            figures.disturbed += u32::from(!wait_for_quiet()?);
            run::run(stage, case.load, Bounds { count, ..MEASURED })
        };
        let outcome = measured().with_context(|| format!("{}, round {}", case.name(), round + 1))?;
        figures.push(index, &outcome);
    }
    Ok(())
}

/// Waits until the machine has nothing else to do; false if it has not stopped in time.
fn wait_for_quiet() -> Result<bool> {
    for _ in 0..TRIES {
        let watch = Watch::start(&[])?;
        thread::sleep(LISTEN);
        let Used { elapsed, busy, .. } = watch.stop()?;
        if busy.as_secs_f64() <= QUIET * elapsed.as_secs_f64() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn publish(arguments: &Arguments, rounds: u32, figures: &Figures) -> Result<()> {
    let machine = crate::circumstances(arguments, 0);
    let circumstances = Circumstances { machine, rounds, measured: MEASURED.time };
    let table = report::markdown(figures, &circumstances);
    let json = report::json(figures);
    println!("\n{table}");
    fs::create_dir_all(bench_dir()).with_context(|| bench_dir().display().to_string())?;
    for (name, text) in [("end-to-end.md", &table), ("end-to-end.json", &format!("{json}\n"))] {
        let path = bench_dir().join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        progress::plan("written", &path.display().to_string());
    }
    if arguments.json {
        println!("{json}");
    }
    Ok(())
}
