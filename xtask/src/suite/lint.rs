//! Formatting, clippy and rustdoc, each as far as the toolchain has it.

use std::process::Command;

use super::libtest::Counts;
use crate::process::query;
use crate::progress;
use crate::setup::toolchain::Version;
use crate::workspace::{HOST_PACKAGES, cargo, root};

/// Runs all lints; each counts as one test.
pub fn run() -> Counts {
    let mut counts = Counts::default();
    let compiler = version(&mut rustc());

    if version(cargo().args(["fmt", "--version"])).is_some() {
        counts += count("cargo fmt --check", cargo().args(["fmt", "--all", "--check"]));
    } else {
        counts += skip("rustfmt", "not installed");
    }

    match version(cargo().args(["clippy", "--version"])) {
        None => counts += skip("clippy", "not installed"),
        // A clippy of another toolchain cannot read what this compiler wrote. It calls itself
        // 0.1.95 for compiler 1.95.
        Some(clippy) if clippy_minor().is_none_or(|minor| Some(minor) != compiler.map(|v| v.minor)) => {
            counts += skip("clippy", &format!("{clippy}… is not of the compiler's version"));
        }
        Some(_) => {
            let mut command = cargo();
            command.args(["clippy", "--locked", "--release", "--all-targets"]).args(HOST_PACKAGES);
            counts += count("cargo clippy -D warnings", command.args(["--", "-D", "warnings"]));
        }
    }

    let mut doc = cargo();
    doc.args(["doc", "--locked", "--release", "--no-deps"]).args(HOST_PACKAGES);
    // Who reads the documentation of a module here reads its code too: it may name its private parts.
    let flags = "-D warnings -A rustdoc::private_intra_doc_links";
    counts += count("cargo doc -D warnings", doc.env("RUSTDOCFLAGS", flags));
    counts
}

fn rustc() -> Command {
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.arg("--version").current_dir(root()).env_remove("LD_LIBRARY_PATH");
    command
}

fn version(command: &mut Command) -> Option<Version> {
    Version::find(&query(command.env("RUSTUP_AUTO_INSTALL", "0"))?)
}

/// The 95 of `clippy 0.1.95 (…)`.
fn clippy_minor() -> Option<u32> {
    let text = query(cargo().args(["clippy", "--version"]).env("RUSTUP_AUTO_INSTALL", "0"))?;
    text.split_whitespace().nth(1)?.split('.').nth(2)?.parse().ok()
}

fn count(text: &str, command: &mut Command) -> Counts {
    match progress::step("lint", text, command) {
        Ok(()) => Counts::ONE_PASSED,
        Err(error) => {
            eprintln!("error: {error:#}");
            Counts::ONE_FAILED
        }
    }
}

fn skip(name: &str, why: &str) -> Counts {
    progress::note(&format!("{name} is skipped: {why}"));
    Counts::ONE_SKIPPED
}
