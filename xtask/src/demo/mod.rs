//! `cargo xtask demo`: scenarios that show on one machine what the balancer is for.

mod churn;
mod console;
mod pops;
mod reroute;

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::lab::command::sweep_leftovers;
use crate::lab::interrupt;
use crate::lab::report::Summary;
use console::Console;

/// Arguments of `cargo xtask demo`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without --scenario, three PoPs (Frankfurt, Singapore, Sao Paulo) announce the same prefixes. \
    Hundreds of connections run while a backend joins, another drains, an ingress node withdraws and \
    returns, a daemon is killed and restarted, an ingress node dies, and all of Frankfurt is withdrawn and \
    returns. Then the same without hops (the owner of a flow alone is asked), and without a balancer.\n\n\
    Examples:\n  cargo xtask demo\n  cargo xtask demo --scenario reroute\n  cargo xtask demo --json | tail -n 1"
)]
pub struct Arguments {
    /// Which scenario
    #[arg(long, value_name = "NAME", default_value = DEFAULT)]
    scenario: String,
    /// Print the summary as one JSON object, and progress on standard error
    #[arg(long)]
    json: bool,
    /// List the scenarios
    #[arg(long)]
    list: bool,
}

const DEFAULT: &str = "pops";

/// Something to watch.
struct Scenario {
    name: &'static str,
    about: &'static str,
    run: fn(&Console) -> Result<Summary>,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: DEFAULT,
        about: "three PoPs: members and ingress nodes go and come, then all of Frankfurt; the same with the owner only, and without balancer",
        run: pops::all,
    },
    Scenario { name: "pops-balanced", about: "its first part alone", run: pops::balanced },
    Scenario {
        name: "reroute",
        about: "one site: an ingress node is withdrawn and returns, a daemon is killed, a node crashes; then the same without balancer",
        run: reroute::both,
    },
    Scenario { name: "reroute-balanced", about: "its first half alone", run: reroute::balanced },
    Scenario { name: "plain-ecmp", about: "its second half alone", run: reroute::plain },
    Scenario {
        name: "churn",
        about: "one site: an ingress node withdraws, a backend joins and another drains at once; then with the owner only, and without balancer",
        run: churn::all,
    },
];

/// Runs a scenario, after `prepare` has made sure that everything it needs is there; failure if a
/// flow on a healthy backend broke.
pub fn main(arguments: &Arguments, prepare: impl FnOnce() -> Result<()>) -> Result<ExitCode> {
    if arguments.list {
        for scenario in SCENARIOS {
            anstream::println!("{:<17} {}", scenario.name, scenario.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let scenario =
        SCENARIOS.iter().find(|scenario| scenario.name == arguments.scenario).with_context(|| {
            format!("no scenario {:?}; `cargo xtask demo --list` names them", arguments.scenario)
        })?;
    prepare()?;
    interrupt::install()?;
    sweep_leftovers();
    let console = Console::new(arguments.json);
    let summary = (scenario.run)(&console)?;
    if arguments.json {
        anstream::println!("{}", serde_json::to_string(&summary)?);
    } else {
        anstream::print!("\n{}", summary.table());
    }
    if summary.is_good() {
        return Ok(ExitCode::SUCCESS);
    }
    console.say("a flow broke though its backend was well");
    Ok(ExitCode::FAILURE)
}
