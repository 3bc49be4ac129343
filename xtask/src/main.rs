//! `cargo xtask`: one word for everything that is done to this repository.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::bpf::Talk;
use xtask::process;
use xtask::setup::toolchain::Wish;
use xtask::setup::{self, Scope};
use xtask::suite::{self, Phase};
use xtask::{bench, demo, lab};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, version)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Do all the set-up and build target/release/anycast-lb; what is there is skipped
    Setup(SetupArguments),
    /// Build only the eBPF objects, into target/bpf
    Bpf(BpfArguments),
    /// Do the set-up, then run the tests
    Test(TestArguments),
    /// Run real traffic through the balancer in a lab of network namespaces, and beside it without
    Demo(demo::Arguments),
    /// Do the set-up, then measure how long the data plane takes for a packet
    Bench(bench::Arguments),
    /// Leave a lab standing, remove it, or show what stands
    #[command(subcommand)]
    Lab(lab::Command),
    /// Runs inside a client's namespace
    #[command(hide = true)]
    TrafficClient(lab::traffic::Spec),
    /// Runs inside a backend's namespace
    #[command(hide = true)]
    UdpEcho(lab::services::UdpEcho),
}

#[derive(clap::Args)]
struct ToolchainArguments {
    /// Compiler of the eBPF objects; default: what is there, the distribution's first
    #[arg(long, value_enum, env = "ANYCAST_LB_BPF_TOOLCHAIN", value_name = "WHICH")]
    bpf_toolchain: Option<Wish>,
}

#[derive(clap::Args)]
struct BpfArguments {
    /// Have the programs log each verdict through aya-log, to debug them; the daemon that embeds the
    /// object shows it with ANYCAST_LB_LOG=debug
    #[arg(long)]
    log: bool,
    #[command(flatten)]
    toolchain: ToolchainArguments,
}

#[derive(clap::Args)]
struct SetupArguments {
    #[command(flatten)]
    toolchain: ToolchainArguments,
}

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask test\n  cargo xtask test --phase unit hash")]
struct TestArguments {
    /// Run only tests whose path contains this
    filter: Option<String>,
    /// Run only this phase; may be given more than once
    #[arg(long = "phase", value_enum, value_name = "PHASE")]
    phases: Vec<Phase>,
    /// Run also what takes minutes
    #[arg(long)]
    long: bool,
    #[command(flatten)]
    toolchain: ToolchainArguments,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Setup(arguments) => {
            process::handle_interrupts()?;
            setup::run(Scope::Build, arguments.toolchain.bpf_toolchain)?;
        }
        Task::Bpf(arguments) => {
            process::handle_interrupts()?;
            setup::run_bpf(
                arguments.toolchain.bpf_toolchain,
                if arguments.log { Talk::EveryVerdict } else { Talk::Silent },
            )?;
        }
        Task::Test(arguments) => {
            process::handle_interrupts()?;
            let options = suite::Options {
                filter: arguments.filter,
                phases: arguments.phases,
                long: arguments.long,
                wish: arguments.toolchain.bpf_toolchain,
            };
            if !suite::run(&options) {
                return Ok(ExitCode::FAILURE);
            }
        }
        Task::Demo(arguments) => return demo::main(&arguments, || setup::run(Scope::Lab, None)),
        Task::Bench(arguments) => return bench::main(&arguments, |scope| setup::run(scope, None)),
        Task::Lab(command) => return lab::main(&command, || setup::run(Scope::Lab, None)),
        Task::TrafficClient(spec) => return lab::traffic::client::main(&spec),
        Task::UdpEcho(arguments) => return lab::services::udp_echo(&arguments),
    }
    Ok(ExitCode::SUCCESS)
}
