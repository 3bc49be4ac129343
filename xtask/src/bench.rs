//! `cargo xtask bench`: how fast the data plane and the control plane are.
//!
//! The measuring is done by a program of its own (`bench/`): it uses the controller's library, and
//! xtask is what builds that. The arguments are defined here, so that their help needs no build.

use std::convert::Infallible;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use crate::progress;
use crate::setup::{Scope, packages};
use crate::workspace::bench_program;

/// Arguments of `cargo xtask bench`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// Rounds; every case runs once in each (the control plane has 20 at most)
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(3..))]
    pub rounds: u32,
    /// Packets a case gets in a round
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1000..))]
    pub packets: u32,
    /// Only cases whose name contains this (and the references); may be given more than once
    #[arg(long = "case", value_name = "TEXT")]
    pub cases: Vec<String>,
    /// A pinned XDP program, ready for the packets described below, that takes part in every round;
    /// may be given more than once
    #[arg(long = "peer", value_name = "NAME=PINNED_PROGRAM")]
    pub peers: Vec<Peer>,
    /// The CPU to measure on; default: the last one
    #[arg(long, value_name = "NUMBER")]
    pub cpu: Option<usize>,
    /// Measure end to end in a lab instead: packets, requests, connections and bulk through us, a router,
    /// HAProxy and nginx; in so many rounds
    #[arg(
        long,
        value_name = "ROUNDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "5",
        conflicts_with_all = ["rounds", "packets", "peers", "cpu"],
        value_parser = clap::value_parser!(u32).range(1..=50),
    )]
    pub end_to_end: Option<u32>,
    /// Print the figures as one JSON object in the last line
    #[arg(long)]
    pub json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  cargo xtask bench
  cargo xtask bench --json | tail -n 1
  cargo xtask bench --case v4 --rounds 30
  cargo xtask bench --case table- --case change- --case scrape- --case memory --case health-     (the control plane)
  cargo xtask bench --peer katran=/sys/fs/bpf/katran
  cargo xtask bench --end-to-end
  cargo xtask bench --end-to-end=3 --case udp

A peer gets TCP to 203.0.113.1:443 and [2001:db8:ffff::1]:443, from 100.64.0.0,
2001:db8:c:: and the addresses that follow them. What it does not transmit is
left out, which is said. Nothing is sent anywhere; with --end-to-end, nothing
beyond network namespaces that are removed at the end.

Names of cases: those of the packets, and of the control plane table-BACKENDS,
change-VIPSxBACKENDS-KIND, memory and health-BACKENDS-TYPE. --json gives the latter
beside \"cases\", as \"control\" (milliseconds), \"memory\" (bytes) and \"health\"
(percent of a core).

The table and the plot are written to target/bench/; docs/PERFORMANCE.md says
how it is measured.";

/// A program that is measured beside ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What its cases are called by.
    pub name: String,
    /// Where it is pinned.
    pub path: PathBuf,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("`{text}` is not NAME=PINNED_PROGRAM, for example katran=/sys/fs/bpf/katran");
        let (name, path) = text.split_once('=').ok_or_else(form)?;
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || path.is_empty() || !name.chars().all(is_word) {
            return Err(form());
        }
        Ok(Peer { name: name.to_owned(), path: path.into() })
    }
}

/// Makes sure that everything is built, and becomes the program that measures.
///
/// # Errors
///
/// Without root, or when `prepare` or the start of the program fails.
pub fn main(arguments: &Arguments, prepare: impl FnOnce(Scope) -> Result<()>) -> Result<ExitCode> {
    if !nix::unistd::geteuid().is_root() {
        bail!("measuring needs root: it loads BPF programs");
    }
    let end_to_end = arguments.end_to_end.is_some();
    prepare(if end_to_end { Scope::Lab } else { Scope::Build })?;
    if end_to_end {
        packages::install(&packages::missing_proxies(packages::is_met))?;
    }
    progress::headline("bench of anycast-lb");
    match become_program()? {}
}

fn become_program() -> Result<Infallible> {
    // The same words again: `cargo xtask bench` is how it was called, the rest are its arguments.
    const OWN_WORDS: usize = 2;
    let mut command = Command::new(bench_program());
    command.args(std::env::args_os().skip(OWN_WORDS));
    Err(command.exec()).with_context(|| format!("cannot run {}", bench_program().display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_a_name_and_a_path() {
        let peer: Peer = "katran=/sys/fs/bpf/a=b".parse().unwrap();
        assert_eq!(peer, Peer { name: "katran".into(), path: "/sys/fs/bpf/a=b".into() });
        for wrong in ["katran", "=x", "katran=", "a b=/x", "a\"b=/x"] {
            assert!(wrong.parse::<Peer>().is_err(), "{wrong}");
        }
    }
}
