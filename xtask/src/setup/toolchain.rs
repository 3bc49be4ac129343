//! Which compiler builds the eBPF objects: the distribution's with its prebuilt `core`, or rustup's
//! nightly with `rust-src`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::query;
use crate::workspace::{clean_environment, find_program};

/// The target of eBPF objects; little-endian, like every machine we run on.
pub const BPF_TARGET: &str = "bpfel-unknown-none";
/// The distribution's compiler.
pub const DISTRO_RUSTC: &str = "/usr/bin/rustc";
/// The oldest compiler we build with; `rust-version` in `Cargo.toml` says the same.
pub const OLDEST: Version = Version { major: 1, minor: 95 };

/// A compiler's version, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
}

impl Version {
    /// The first version number in `text`: `rustc 1.96.0 (…)`, `bpf-linker 0.13.0`, `1.96.0+dfsg1-1`.
    pub fn find(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(|word| {
            let mut numbers = word.split(|c: char| !c.is_ascii_digit());
            let major = numbers.next()?.parse().ok()?;
            let minor = numbers.next()?.parse().ok()?;
            Some(Version { major, minor })
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The user's wish, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Wish {
    /// `/usr/bin/rustc` with prebuilt `core`, as Debian packages it.
    Distro,
    /// rustup's nightly with `rust-src`.
    Nightly,
}

/// What was found on this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// Version of `/usr/bin/rustc`.
    pub distro: Option<Version>,
    /// Whether that compiler comes with `core` for [`BPF_TARGET`].
    pub distro_core: bool,
    /// Version of rustup's nightly.
    pub nightly: Option<Version>,
    /// Whether nightly has `rust-src`.
    pub nightly_source: bool,
    /// Whether rustup is there.
    pub rustup: bool,
    /// Whether packages can be installed with apt-get (Debian and its children).
    pub apt: bool,
    /// The version of `rustc-web` that apt-get would install, if package lists are there.
    pub candidate: Option<Version>,
    /// Whether package lists are there, so that a missing `candidate` means there is none.
    pub lists: bool,
}

/// How the eBPF objects are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The distribution's compiler and its prebuilt `core`.
    Distro,
    /// rustup's nightly, which compiles `core` from `rust-src`.
    Nightly,
}

/// The outcome of [`choose`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It is there.
    Use(Route),
    /// Debian's packages bring it.
    InstallDistro,
}

/// Neither is there, nor can it be had by packages.
#[derive(Debug, PartialEq, Eq)]
pub struct NoToolchain {
    reasons: Vec<String>,
    ways_out: Vec<&'static str>,
}

impl fmt::Display for NoToolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "no compiler for {BPF_TARGET}:")?;
        for reason in &self.reasons {
            writeln!(f, "  - {reason}")?;
        }
        write!(f, "one of these mends it:")?;
        for way in &self.ways_out {
            write!(f, "\n  {way}")?;
        }
        Ok(())
    }
}

impl std::error::Error for NoToolchain {}

/// Chooses the route. What is there goes before what must be installed, and the prebuilt `core`
/// before one that is compiled here: it is faster and always the same.
///
/// # Errors
///
/// When there is no compiler and no package that brings one.
pub fn choose(facts: &Facts, wish: Option<Wish>) -> Result<Choice, NoToolchain> {
    let new_enough = |version: Option<Version>| version.is_some_and(|v| v >= OLDEST);
    let distro = new_enough(facts.distro) && facts.distro_core;
    let nightly = new_enough(facts.nightly) && facts.nightly_source;
    let package = facts.apt && (new_enough(facts.candidate) || (facts.candidate.is_none() && !facts.lists));
    let (may_distro, may_nightly) = (wish != Some(Wish::Nightly), wish != Some(Wish::Distro));

    if may_distro && distro {
        return Ok(Choice::Use(Route::Distro));
    }
    if may_nightly && nightly {
        return Ok(Choice::Use(Route::Nightly));
    }
    if may_distro && package {
        return Ok(Choice::InstallDistro);
    }

    let mut reasons = Vec::new();
    let mut ways_out = Vec::new();
    if may_distro {
        reasons.push(match facts.distro {
            None => format!("{DISTRO_RUSTC} is not there"),
            Some(v) if v < OLDEST => format!("{DISTRO_RUSTC} is {v}, {OLDEST} or newer is needed"),
            Some(v) => format!("{DISTRO_RUSTC} {v} has no `core` for {BPF_TARGET}"),
        });
        if facts.apt {
            reasons.push(match facts.candidate {
                None => "apt-get knows no package rustc-web (it is in bookworm-security)".to_owned(),
                Some(v) => format!("the package rustc-web is {v}, {OLDEST} or newer is needed"),
            });
            ways_out.push("add Debian's security archive to the apt sources, and as root: apt-get update");
        }
    }
    if may_nightly {
        reasons.push(match facts.nightly {
            _ if !facts.rustup => "rustup is not there".to_owned(),
            None => "rustup has no nightly toolchain".to_owned(),
            Some(v) if v < OLDEST => format!("rustup's nightly is {v}, {OLDEST} or newer is needed"),
            Some(v) => format!("rustup's nightly {v} has no rust-src"),
        });
        if !facts.rustup {
            ways_out.push("install rustup (https://rustup.rs), then the next line");
        }
        ways_out.push("rustup toolchain install nightly --profile minimal --component rust-src");
    }
    Err(NoToolchain { reasons, ways_out })
}

/// Looks at this machine.
pub fn look() -> Facts {
    let nightly = nightly_query("--version");
    let apt = find_program("apt-get").is_some() && find_program("dpkg-query").is_some();
    let candidate = if apt { apt_candidate() } else { None };
    Facts {
        distro: distro_query("--version").as_deref().and_then(Version::find),
        distro_core: has_distro_core(),
        nightly: nightly.as_deref().and_then(Version::find),
        nightly_source: nightly_has_source(),
        rustup: find_program("rustup").is_some(),
        apt,
        candidate,
        lists: apt && super::packages::have_lists(),
    }
}

/// The cargo that fits [`DISTRO_RUSTC`]: its own if it is there.
pub fn distro_cargo() -> PathBuf {
    let own = Path::new("/usr/bin/cargo");
    if own.is_file() { own.to_owned() } else { crate::workspace::cargo_path().into() }
}

fn distro_query(argument: &str) -> Option<String> {
    let mut command = Command::new(DISTRO_RUSTC);
    clean_environment(&mut command);
    // Should /usr/bin/rustc be a proxy of rustup, then the toolchain of the moment is not meant.
    query(command.arg(argument).env_remove("RUSTUP_TOOLCHAIN"))
}

fn has_distro_core() -> bool {
    let Some(sysroot) = distro_query("--print=sysroot") else { return false };
    let dir = Path::new(&sysroot).join("lib/rustlib").join(BPF_TARGET).join("lib");
    std::fs::read_dir(dir).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    })
}

fn nightly_query(argument: &str) -> Option<String> {
    let mut command = Command::new(find_program("rustup")?);
    clean_environment(&mut command);
    // Asking must not make rustup download a toolchain.
    query(command.args(["run", "nightly", "rustc", argument]).env("RUSTUP_AUTO_INSTALL", "0"))
}

fn nightly_has_source() -> bool {
    nightly_query("--print=sysroot")
        .is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib/src/rust/library/core").is_dir())
}

fn apt_candidate() -> Option<Version> {
    let policy = query(Command::new("apt-cache").args(["policy", "rustc-web"]).env("LC_ALL", "C"))?;
    let line = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate:"))?;
    Version::find(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Option<Version> = Some(Version { major: 1, minor: 96 });
    const OLD: Option<Version> = Some(Version { major: 1, minor: 85 });

    fn both() -> Facts {
        Facts {
            distro: NEW,
            distro_core: true,
            nightly: NEW,
            nightly_source: true,
            rustup: true,
            ..Facts::default()
        }
    }

    #[test]
    fn versions_are_found_in_what_programs_print() {
        let found = |text| Version::find(text).map(|v| (v.major, v.minor));
        assert_eq!(found("rustc 1.96.0 (ac68faa20 2026-05-25)"), Some((1, 96)));
        assert_eq!(found("bpf-linker 0.13.0"), Some((0, 13)));
        assert_eq!(found(" 1.96.0+dfsg1-1~deb12u2"), Some((1, 96)));
        assert_eq!(found(" (none)"), None);
        assert!(Version { major: 1, minor: 100 } > OLDEST);
    }

    #[test]
    fn prebuilt_core_goes_first_and_a_wish_before_it() {
        assert_eq!(choose(&both(), None), Ok(Choice::Use(Route::Distro)));
        assert_eq!(choose(&both(), Some(Wish::Nightly)), Ok(Choice::Use(Route::Nightly)));
    }

    #[test]
    fn nightly_that_is_there_goes_before_packages_that_are_not() {
        let facts = Facts { distro: None, distro_core: false, apt: true, candidate: NEW, ..both() };
        assert_eq!(choose(&facts, None), Ok(Choice::Use(Route::Nightly)));
        assert_eq!(choose(&facts, Some(Wish::Distro)), Ok(Choice::InstallDistro));
    }

    #[test]
    fn nightly_without_source_does_not_count() {
        let facts = Facts {
            distro: None,
            distro_core: false,
            nightly_source: false,
            apt: true,
            lists: true,
            ..both()
        };
        assert_eq!(choose(&Facts { candidate: NEW, ..facts }, None), Ok(Choice::InstallDistro));
        let error = choose(&Facts { candidate: OLD, ..facts }, None).unwrap_err().to_string();
        assert!(error.contains("has no rust-src") && error.contains("rustc-web is 1.85"), "{error}");
    }

    #[test]
    fn an_old_distro_compiler_does_not_count() {
        let facts = Facts { distro: OLD, nightly: None, ..both() };
        let error = choose(&facts, None).unwrap_err().to_string();
        assert!(error.contains("1.85") && error.contains("rustup toolchain install nightly"), "{error}");
    }

    #[test]
    fn without_package_lists_apt_is_given_a_chance() {
        let facts = Facts { apt: true, ..Facts::default() };
        assert_eq!(choose(&facts, None), Ok(Choice::InstallDistro));
        assert!(choose(&Facts { lists: true, ..facts }, None).is_err());
        assert!(choose(&facts, Some(Wish::Nightly)).is_err());
    }
}
