//! bpf-linker: found, or built with `cargo install`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::packages::{self, LLVM_DIR};
use super::toolchain::Version;
use crate::process::query;
use crate::progress;
use crate::workspace::{cargo, clean_environment, find_program, is_executable, target_dir};

/// The version we install.
const VERSION: &str = "0.13.0";
/// The oldest that knows the options we pass.
const OLDEST: Version = Version { major: 0, minor: 13 };
/// LLVM versions against which [`VERSION`] can be built and which know our options.
const LLVM_VERSIONS: std::ops::RangeInclusive<u32> = 22..=23;

/// A bpf-linker that will do.
#[derive(Clone, Debug)]
pub struct Linker {
    /// The program.
    pub path: PathBuf,
    /// Its version, as it says it.
    pub version: String,
}

/// Looks where it may be: our own, in `PATH`, and where cargo installs (which a machine without
/// rustup does not have in its `PATH`).
pub fn find() -> Option<Linker> {
    places().into_iter().filter(|path| is_executable(path)).find_map(|path| {
        let text = query(Command::new(&path).arg("--version"))?;
        let version = text.split_whitespace().last()?.to_owned();
        (Version::find(&version)? >= OLDEST).then_some(Linker { path, version })
    })
}

fn places() -> Vec<PathBuf> {
    let installed = own_root().join("bin/bpf-linker");
    let global = cargo_home().map(|home| home.join("bin/bpf-linker"));
    [Some(installed), find_program("bpf-linker"), global].into_iter().flatten().collect()
}

/// Where a bpf-linker of ours goes if the user has another: we replace nobody's tools.
fn own_root() -> PathBuf {
    target_dir().join("tools")
}

fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")))
}

/// An LLVM to build it with.
pub struct Llvm {
    major: u32,
    prefix: PathBuf,
}

impl Llvm {
    /// Debian's, or the one that `llvm-config` speaks for.
    pub fn find() -> Option<Self> {
        let debian = packages::llvm_is_complete().then(|| Path::new(LLVM_DIR).join("bin/llvm-config"));
        let candidates = [debian, find_program("llvm-config")];
        candidates.into_iter().flatten().find_map(|config| {
            let major = Version::find(&query(Command::new(&config).arg("--version"))?)?.major;
            let prefix = PathBuf::from(query(Command::new(&config).arg("--prefix"))?);
            let headers = query(Command::new(&config).arg("--includedir"))?;
            let usable =
                LLVM_VERSIONS.contains(&major) && Path::new(&headers).join("llvm-c/Core.h").is_file();
            usable.then_some(Llvm { major, prefix })
        })
    }
}

/// What the plan says about it.
pub fn install_text() -> String {
    format!("bpf-linker {VERSION}: cargo install (a minute or two)")
}

/// Builds and installs it.
///
/// # Errors
///
/// When there is no LLVM to build it with, or cargo fails.
pub fn install() -> Result<Linker> {
    let Some(llvm) = Llvm::find() else {
        bail!(
            "bpf-linker {VERSION} is needed, and LLVM 22 with its headers to build it.\n  \
             Install LLVM 22, or a ready-made bpf-linker from https://github.com/aya-rs/bpf-linker/releases, \
             and try again."
        );
    };
    let mut command = cargo();
    clean_environment(&mut command);
    command.args(["install", "bpf-linker", "--version", VERSION, "--no-default-features", "--features"]);
    command.arg(format!("llvm-{}", llvm.major));
    let exists = places().iter().any(|path| is_executable(path));
    if exists {
        command.arg("--root").arg(own_root());
    }
    // llvm-sys 221 belongs to LLVM 22.1, 231 to 23.1, and so on.
    command.env(format!("LLVM_SYS_{}1_PREFIX", llvm.major), &llvm.prefix).env("LLVM_PREFIX", &llvm.prefix);
    // It is a tool for this machine: flags for our own build are none of its business.
    command.env_remove("CARGO_BUILD_TARGET").env_remove("CARGO_TARGET_DIR");
    progress::step("bpf-linker", &format!("cargo install bpf-linker {VERSION}"), &mut command)
        .context("cannot install bpf-linker; is crates.io reachable? the build also needs a C compiler")?;
    find().context(
        "bpf-linker was installed, but is not where cargo installs programs; is CARGO_INSTALL_ROOT set?",
    )
}
