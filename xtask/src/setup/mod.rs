//! `cargo xtask setup`: from a bare clone to `target/release/anycast-lb`.
//!
//! It looks first, says what is missing, and then does only that.

pub mod linker;
pub mod packages;
pub mod toolchain;

use std::time::Instant;

use anyhow::{Context, Result};

use crate::bpf::Talk;
use crate::progress::{self, Background};
use crate::workspace::{HOST_PACKAGES, cargo, controller, find_program};
use crate::{bpf, process};
use linker::Linker;
use packages::Need;
use toolchain::{Choice, Route, Wish};

/// How much is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The binary. What the lab misses is only mentioned, unless we are root and can install it.
    Build,
    /// The binary and everything that the lab, the demo and the tests need.
    Lab,
}

/// What was found and what is to be done.
struct Plan {
    route: Route,
    /// The compiler is not there and among the packages.
    install: bool,
    linker: Option<Linker>,
    packages: Vec<Need>,
}

/// Does the set-up.
///
/// # Errors
///
/// When something is missing that cannot be had here; the message says what to do.
pub fn run(scope: Scope, wish: Option<Wish>) -> Result<()> {
    let began = Instant::now();
    let may_install = nix::unistd::geteuid().is_root() && find_program("apt-get").is_some();
    let lab = scope == Scope::Lab || may_install;
    let plan = look(lab, wish)?;
    show(&plan);
    packages::check_can_install(&plan.packages)?;

    let mut fetch = cargo();
    fetch.args(["fetch", "--locked"]);
    let fetch = Background::start("crates", "cargo fetch --locked", fetch);
    let installed = packages::install(&plan.packages);
    fetch.join().context("cannot fetch crates; is crates.io reachable?")?;
    installed?;
    build_objects(plan, wish, Talk::Silent)?;
    build_binary()?;

    let mentioned = if lab { Vec::new() } else { packages::missing(None, false, true, packages::is_met) };
    if !mentioned.is_empty() {
        let line = packages::install_line(&mentioned);
        progress::note(&format!("the lab, the demo and the tests need more packages:\n  sudo {line}"));
    }
    progress::done("set-up", &controller().display().to_string(), began.elapsed());
    Ok(())
}

/// Builds the eBPF objects alone, and gets what that needs.
///
/// # Errors
///
/// As [`run`].
pub fn run_bpf(wish: Option<Wish>, talk: Talk) -> Result<()> {
    let plan = look(false, wish)?;
    packages::install(&plan.packages)?;
    progress::plan("eBPF", &bpf::plan_text(plan.route));
    build_objects(plan, wish, talk)
}

fn look(lab: bool, wish: Option<Wish>) -> Result<Plan> {
    let (route, install) = match choose_toolchain(wish)? {
        Choice::Use(route) => (route, None),
        Choice::InstallDistro => (Route::Distro, Some(Route::Distro)),
    };
    let linker = linker::find();
    let build_linker = linker.is_none() && linker::Llvm::find().is_none();
    let packages = packages::missing(install, build_linker, lab, packages::is_met);
    Ok(Plan { route, install: install.is_some(), linker, packages })
}

fn choose_toolchain(wish: Option<Wish>) -> Result<Choice> {
    let facts = toolchain::look();
    match toolchain::choose(&facts, wish) {
        // The lists may be older than the packages in the archive, on a machine that was made from an image.
        Err(error) if facts.apt && wish != Some(Wish::Nightly) && nix::unistd::geteuid().is_root() => {
            packages::update().with_context(|| error.to_string())?;
            Ok(toolchain::choose(&toolchain::look(), wish)?)
        }
        choice => Ok(choice?),
    }
}

fn build_objects(plan: Plan, wish: Option<Wish>, talk: Talk) -> Result<()> {
    if plan.install {
        // What was promised must be true now.
        toolchain::choose(&toolchain::Facts { apt: false, ..toolchain::look() }, wish)?;
    }
    let linker = match plan.linker {
        Some(linker) => linker,
        None => linker::install()?,
    };
    bpf::build(plan.route, &linker, talk)
}

fn show(plan: &Plan) {
    progress::headline("set-up of anycast-lb");
    if plan.packages.is_empty() {
        progress::plan("packages", "nothing is missing");
    } else {
        for need in &plan.packages {
            progress::plan("packages", &format!("install {} ({})", need.package, need.purpose));
        }
    }
    progress::plan("crates", "fetch what is not here yet");
    let linker = plan.linker.as_ref();
    let linker =
        linker.map_or_else(linker::install_text, |l| format!("{} ({})", l.path.display(), l.version));
    progress::plan("bpf-linker", &linker);
    progress::plan("eBPF", &bpf::plan_text(plan.route));
    let cargo = process::query(cargo().arg("--version")).unwrap_or_else(|| "cargo".to_owned());
    progress::plan("binary", &format!("build target/release/anycast-lb with {cargo}"));
    println!();
}

fn build_binary() -> Result<()> {
    let mut command = cargo();
    command.args(["build", "--locked", "--release"]).args(HOST_PACKAGES);
    progress::step("binary", "cargo build --release", &mut command)
}
