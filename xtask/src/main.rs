//! `cargo xtask …`: see `cargo xtask help`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{demo, lab};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Set-up, build, lab, demo and tests of anycast-lb")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run real traffic through the balancer in a lab of network namespaces, and beside it without
    Demo(demo::Arguments),
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

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(arguments) => demo::main(&arguments, || lab::tools::Tools::locate().map(drop)),
        Command::Lab(command) => lab::main(&command),
        Command::TrafficClient(spec) => lab::traffic::client::main(&spec),
        Command::UdpEcho(arguments) => lab::services::udp_echo(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
