//! `cargo xtask test`: every test there is, in phases.
//!
//! A number at the end is only worth something if nothing can fall through: a test program that
//! dies without a summary, a build that fails, a phase that finds nothing to run — each counts.

pub mod libtest;
mod lint;
mod program;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::progress;
use crate::setup::toolchain::Wish;
use crate::setup::{self, Scope};
use crate::workspace::{HOST_PACKAGES, cargo};
use libtest::Counts;
use program::TestProgram;

/// A part of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Phase {
    /// Tests beside the code, and those in the documentation. Needs no root.
    Unit,
    /// Programs and vectors through the kernel's test run. Needs root.
    Kernel,
    /// Real traffic in network namespaces. Needs root.
    Lab,
    /// Formatting, clippy, rustdoc.
    Lint,
}

impl Phase {
    /// All, in the order in which they run.
    pub const ALL: [Phase; 4] = [Phase::Unit, Phase::Kernel, Phase::Lab, Phase::Lint];

    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Unit => "unit",
            Phase::Kernel => "kernel",
            Phase::Lab => "lab",
            Phase::Lint => "lint",
        }
    }

    /// The module of the integration tests that is this phase.
    fn module(self) -> String {
        format!("{}::", self.name())
    }

    fn needs_root(self) -> bool {
        matches!(self, Phase::Kernel | Phase::Lab)
    }
}

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only tests whose path contains this.
    pub filter: Option<String>,
    /// Only these phases; empty = all.
    pub phases: Vec<Phase>,
    /// Also what takes minutes: tests see `ANYCAST_LB_LONG=1`.
    pub long: bool,
    /// Which compiler builds the eBPF objects.
    pub wish: Option<Wish>,
}

/// Runs the tests and prints the result; the last line is `N passed, N failed`. True if all is well.
pub fn run(options: &Options) -> bool {
    let began = Instant::now();
    let mut results = Results::default();
    match prepare(options) {
        Ok(programs) => {
            for phase in phases(options) {
                run_phase(phase, options, &programs, &mut results);
            }
        }
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            results.add("set-up", Counts::ONE_FAILED, began.elapsed());
        }
    }
    results.print(began.elapsed());
    results.good()
}

/// The phases that are asked for. A filter names tests, and lints are none.
fn phases(options: &Options) -> Vec<Phase> {
    let asked = |phase: &Phase| {
        if options.phases.is_empty() {
            *phase != Phase::Lint || options.filter.is_none()
        } else {
            options.phases.contains(phase)
        }
    };
    Phase::ALL.into_iter().filter(asked).collect()
}

fn prepare(options: &Options) -> Result<Vec<TestProgram>> {
    let phases = phases(options);
    let root = phases.iter().any(|phase| phase.needs_root());
    if root && !nix::unistd::geteuid().is_root() {
        bail!(
            "the phases kernel and lab need root (BPF, network namespaces)\n  \
             as root: cargo xtask test\n  without: cargo xtask test --phase unit --phase lint"
        );
    }
    setup::run(if root { Scope::Lab } else { Scope::Build }, options.wish)?;
    if phases == [Phase::Lint] {
        return Ok(Vec::new());
    }
    let mut build = vec!["test", "--locked", "--release", "--no-run", "--lib", "--bins"];
    build.extend(HOST_PACKAGES);
    if root {
        build.extend(["--test", program::INTEGRATION]);
    }
    progress::step("tests", "cargo test --release --no-run", cargo().args(&build))?;
    // Everything is built now; the second call only says where.
    let programs = program::find(cargo().args(&build))?;
    let modules = [Phase::Kernel, Phase::Lab].map(Phase::module);
    for program in programs.iter().filter(|program| program.integration) {
        let strays = program.strays(&modules, options)?;
        if !strays.is_empty() {
            bail!(
                "no phase would run these tests, move them into one of the modules {}:\n  {}",
                modules.join(" and "),
                strays.join("\n  ")
            );
        }
    }
    Ok(programs)
}

fn run_phase(phase: Phase, options: &Options, programs: &[TestProgram], results: &mut Results) {
    println!();
    progress::headline(&format!("phase {}", phase.name()));
    let began = Instant::now();
    let mut counts = match phase {
        Phase::Unit => {
            let mut counts = Counts::default();
            for program in programs.iter().filter(|program| !program.integration) {
                counts += program.run_unit(options);
            }
            counts += program::run_doc(options);
            counts
        }
        Phase::Kernel | Phase::Lab => {
            let mut counts = Counts::default();
            for program in programs.iter().filter(|program| program.integration) {
                counts += program.run_module(&phase.module(), options);
            }
            counts
        }
        Phase::Lint => lint::run(),
    };
    // A filter may leave a phase empty; nothing else may.
    if counts == Counts::default() && options.filter.is_none() {
        eprintln!("error: the phase {} has no tests", phase.name());
        counts = Counts::ONE_FAILED;
    }
    results.add(phase.name(), counts, began.elapsed());
}

/// What came of each phase.
#[derive(Default)]
struct Results {
    phases: Vec<(&'static str, Counts, Duration)>,
}

impl Results {
    fn add(&mut self, name: &'static str, counts: Counts, took: Duration) {
        progress::plan(name, &format!("{} in {}", totals(counts), progress::seconds(took)));
        self.phases.push((name, counts, took));
    }

    fn sum(&self) -> Counts {
        let mut sum = Counts::default();
        for (_, counts, _) in &self.phases {
            sum += *counts;
        }
        sum
    }

    /// Nothing failed, and something ran.
    fn good(&self) -> bool {
        let sum = self.sum();
        sum.failed == 0 && sum.passed > 0
    }

    fn print(&self, took: Duration) {
        println!();
        progress::headline("phase       passed  failed  skipped  time");
        for (name, counts, took) in &self.phases {
            let Counts { passed, failed, skipped } = counts;
            println!("{name:10} {passed:>7} {failed:>7} {skipped:>8}  {}", progress::seconds(*took));
        }
        println!("{:10} {:>25} {}", "all", "", progress::seconds(took));
        if self.sum() == Counts::default() {
            println!("no test matches");
        }
        println!("{}", totals(self.sum()));
    }
}

/// `3 passed, 0 failed`, and how many were skipped if any were.
fn totals(counts: Counts) -> String {
    let Counts { passed, failed, skipped } = counts;
    let skipped = if skipped == 0 { String::new() } else { format!(", {skipped} skipped") };
    format!("{passed} passed, {failed} failed{skipped}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_has_the_agreed_form() {
        assert_eq!(totals(Counts { passed: 3, failed: 0, skipped: 0 }), "3 passed, 0 failed");
        assert_eq!(totals(Counts { passed: 3, failed: 1, skipped: 2 }), "3 passed, 1 failed, 2 skipped");
    }

    #[test]
    fn nothing_run_is_not_good() {
        let mut results = Results::default();
        assert!(!results.good());
        results.add("unit", Counts { passed: 0, failed: 0, skipped: 4 }, Duration::ZERO);
        assert!(!results.good());
        results.add("kernel", Counts::ONE_PASSED, Duration::ZERO);
        assert!(results.good());
        results.add("lab", Counts::ONE_FAILED, Duration::ZERO);
        assert!(!results.good());
    }

    #[test]
    fn a_filter_leaves_out_the_lints_unless_they_are_asked_for() {
        let with = |filter: Option<&str>, asked: &[Phase]| {
            phases(&Options {
                filter: filter.map(str::to_owned),
                phases: asked.to_vec(),
                ..Options::default()
            })
        };
        assert_eq!(with(None, &[]), Phase::ALL);
        assert_eq!(with(Some("hash"), &[]), [Phase::Unit, Phase::Kernel, Phase::Lab]);
        assert_eq!(with(Some("hash"), &[Phase::Lint]), [Phase::Lint]);
        assert_eq!(with(None, &[Phase::Lab, Phase::Unit]), [Phase::Unit, Phase::Lab]);
    }
}
