//! How long the data plane takes for a packet, beside the least it could take and beside others, and how
//! long the control plane takes for a change: what `cargo xtask bench` runs. `docs/PERFORMANCE.md` explains the method.

mod addresses;
mod cases;
mod control;
mod end_to_end;
mod frames;
mod health;
mod measure;
mod nodes;
mod place;
mod report;
mod sockets;
mod statistics;
mod targets;
mod wrapper;

use std::fs;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Parser;
use xtask::bench::Arguments;
use xtask::progress;
use xtask::workspace::{bench_dir, bench_object};

use cases::Builder;
use nodes::{Node, Observed};
use report::Circumstances;
use sockets::Sockets;

#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Cli {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> ExitCode {
    match run(&Cli::parse().arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if let Some(rounds) = arguments.end_to_end {
        return end_to_end::main(arguments, rounds);
    }
    let path = bench_object();
    let object = fs::read(&path).with_context(|| format!("{}: cargo xtask bpf builds it", path.display()))?;
    let directory = place::enter()?;
    let control = control::measure(arguments, &directory)?;
    let health = health::measure(arguments)?;
    let cpu = measure::stay_on(arguments.cpu)?;

    let began = Instant::now();
    let mut builder = Builder::new(&object, &arguments.cases);
    builder.references()?;
    builder.ingress(Node::ingress(&directory)?)?;
    let mut observed = Vec::new();
    for asked in Observed::ALL {
        let node = Node::observed(&directory, asked)?;
        builder.observed(asked.name(), &node)?;
        observed.push(node);
    }
    let _sockets = Sockets::open()?;
    builder.backend(Node::backend(&directory)?)?;
    for peer in &arguments.peers {
        for left_out in builder.peer(peer)? {
            progress::note(&format!("left out, since it does not transmit: {left_out}"));
        }
    }
    let cases = builder.finish();
    progress::done("cases", &format!("{} made, each does what it says", cases.len()), began.elapsed());

    let began = Instant::now();
    let figures = measure::measure(&cases, arguments.rounds, arguments.packets, |round| {
        tick(round, arguments.rounds, began);
    })?;
    progress::done("measured", &format!("{} rounds", arguments.rounds), began.elapsed());

    let summaries = statistics::summarise(&figures);
    let circumstances = circumstances(arguments, cpu);
    let table = report::markdown(&summaries, &circumstances) + &control.markdown() + &health.markdown();
    println!("\n{table}");
    for (name, text) in [("table.md", &table), ("plot.svg", &report::svg(&summaries, &circumstances))] {
        let path = bench_dir().join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        progress::plan("written", &path.display().to_string());
    }
    if arguments.json {
        let mut json = report::json(&summaries);
        control.add_to(&mut json);
        health.add_to(&mut json);
        println!("{json}");
    }
    Ok(())
}

/// Ten signs of life, whatever the number of rounds.
fn tick(round: u32, rounds: u32, began: Instant) {
    const SIGNS: u32 = 10;
    if round * SIGNS / rounds != (round - 1) * SIGNS / rounds {
        progress::plan(
            "measuring",
            &format!("round {round} of {rounds}, {}", progress::seconds(began.elapsed())),
        );
    }
}

fn circumstances(arguments: &Arguments, cpu: usize) -> Circumstances {
    let unknown = || "unknown".to_owned();
    let kernel =
        fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(|_| unknown(), |s| s.trim().to_owned());
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Circumstances {
        kernel,
        processor: processor.map_or_else(unknown, |(_, name)| name.to_owned()),
        cpu,
        cpus: aya::util::nr_cpus().unwrap_or(1),
        rounds: arguments.rounds,
        packets: arguments.packets,
    }
}
