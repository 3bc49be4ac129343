//! Embeds the eBPF object: `ANYCAST_LB_BPF_OBJECT` if set, else `target/bpf/anycast-lb.o`.
//!
//! It is not built here: that takes another compiler and another target, and whatever builds it inside
//! a build script does so once more for every profile. `cargo xtask setup` builds it once.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

/// Names another object; relative paths start at the workspace's root.
const VARIABLE: &str = "ANYCAST_LB_BPF_OBJECT";
/// How an ELF file begins.
const ELF_MAGIC: &[u8] = b"\x7fELF";

fn main() -> ExitCode {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(lines) => {
            for line in lines {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<(), Vec<String>> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("..");
    let chosen = env::var_os(VARIABLE).filter(|value| !value.is_empty());
    let object = match &chosen {
        Some(path) => root.join(path),
        None => root.join("target/bpf/anycast-lb.o"),
    };
    println!("cargo::rerun-if-changed={}", object.display());
    let way_out = match chosen {
        Some(_) => {
            format!("it is named by {VARIABLE}; without that variable, the one of `cargo xtask bpf` is used")
        }
        None => "build it with: cargo xtask setup (installs what is missing) or cargo xtask bpf".to_owned(),
    };
    let bytes = fs::read(&object)
        .map_err(|e| vec![format!("no eBPF object to embed: {}: {e}", object.display()), way_out.clone()])?;
    if !bytes.starts_with(ELF_MAGIC) {
        return Err(vec![format!("{} is no eBPF object: not an ELF file", object.display()), way_out]);
    }
    let out = Path::new(&variable("OUT_DIR")?).join("anycast-lb.o");
    fs::write(&out, bytes).map_err(|e| vec![format!("{}: {e}", out.display())])
}

fn variable(name: &str) -> Result<std::ffi::OsString, Vec<String>> {
    env::var_os(name).ok_or_else(|| vec![format!("cargo did not set {name}")])
}
