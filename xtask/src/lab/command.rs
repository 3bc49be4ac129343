//! `cargo xtask lab up | down | status`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use super::state::{Found, found};
use super::{Arms, Encapsulation, Families, Lab, Mode};

/// A lab that stands by itself.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build a lab, leave it standing and print how to enter it
    Up {
        /// How ingress nodes are connected
        #[arg(long, value_enum, default_value_t)]
        arms: Arms,
        /// How XDP is attached
        #[arg(long, value_enum, default_value_t)]
        mode: Mode,
        /// How packets are carried to the backends
        #[arg(long, value_enum, default_value_t)]
        encapsulation: Encapsulation,
        /// Address families of the VIPs
        #[arg(long, value_enum, default_value_t)]
        families: Families,
    },
    /// Remove every lab that no living process uses
    Down,
    /// List the labs on this machine
    Status,
}

/// Runs a subcommand; `prepare` makes sure that everything a lab needs is there.
pub fn main(command: &Command, prepare: impl FnOnce() -> Result<()>) -> Result<ExitCode> {
    match command {
        Command::Up { arms, mode, encapsulation, families } => {
            prepare()?;
            let builder =
                Lab::builder().arms(*arms).mode(*mode).encapsulation(*encapsulation).families(*families);
            let mut lab = builder.persistent().build()?;
            for line in lab.write_notes()? {
                anstream::println!("{line}");
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Down => Ok(down()),
        Command::Status => {
            status();
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Removes what dead processes left behind; labs that stand on purpose stay. What cannot be removed
/// is said.
pub fn sweep_leftovers() {
    for lab in found().iter().filter(|lab| lab.is_left_over()) {
        for problem in lab.remove() {
            anstream::eprintln!("warning: {problem}");
        }
    }
}

fn down() -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    let mut removed = 0;
    for lab in found() {
        if lab.is_in_use() {
            anstream::println!("{} is in use by process {}", lab.path.display(), owner(&lab));
            continue;
        }
        let problems = lab.remove();
        if problems.is_empty() {
            removed += 1;
        }
        for problem in problems {
            anstream::eprintln!("error: {problem}");
            code = ExitCode::FAILURE;
        }
    }
    anstream::println!("removed {removed} lab{}", if removed == 1 { "" } else { "s" });
    code
}

fn status() {
    let labs = found();
    if labs.is_empty() {
        anstream::println!("no lab stands; `cargo xtask lab up` builds one");
    }
    for lab in labs {
        let what = if lab.is_in_use() {
            format!("in use by process {}", owner(&lab))
        } else if lab.is_left_over() {
            "left over; `cargo xtask lab down` removes it".to_owned()
        } else {
            "stands".to_owned()
        };
        anstream::println!("{}  {what}", lab.path.display());
        for line in lab.state.iter().flat_map(|state| &state.notes) {
            anstream::println!("  {line}");
        }
    }
}

fn owner(lab: &Found) -> i32 {
    lab.state.as_ref().map_or(0, |state| state.owner.pid)
}

impl Lab {
    /// How to enter the nodes, for people; kept for `lab status`.
    pub fn write_notes(&mut self) -> Result<Vec<String>> {
        let mut notes = vec![format!("the lab's files: {}", self.directory().display())];
        let binary = self.tools.balancer.canonicalize().unwrap_or_else(|_| self.tools.balancer.clone());
        for node in self.ingresses.iter().chain(&self.backends) {
            notes.push(format!("{:<8} nsenter --net={}", node.name(), node.namespace().path().display()));
            notes.push(format!("{:<8} {} status --socket {}", "", binary.display(), node.socket().display()));
        }
        for (name, namespace) in [("router", &self.topology.router), ("fabric", &self.topology.fabric)] {
            notes.push(format!("{name:<8} nsenter --net={}", namespace.path().display()));
        }
        for (index, namespace) in self.topology.clients.iter().enumerate() {
            notes.push(format!(
                "client{index:<2} nsenter --net={} curl http://{}/?n=1",
                namespace.path().display(),
                super::topology::VIP_V4
            ));
        }
        let kept = notes.clone();
        self.run.make(|state| state.notes = kept, || Ok(()))?;
        Ok(notes)
    }
}
