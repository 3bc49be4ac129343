//! Builds the eBPF objects into `target/bpf/`.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::{fs, io};

use anyhow::{Context, Result, bail};

use crate::elf;
use crate::process::query;
use crate::progress;
use crate::setup::linker::Linker;
use crate::setup::toolchain::{BPF_TARGET, DISTRO_RUSTC, Route, distro_cargo};
use crate::workspace::{
    EBPF_PACKAGE, bench_object, bpf_dir, bpf_object, built_with_file, clean_environment, pass_object, root,
};

/// Binaries of the eBPF package and the objects they become.
const BINARIES: [&str; 3] = ["anycast-lb-xdp", "xdp-pass", "xdp-bench"];

/// Crates that use unstable features. Naming them instead of opening the compiler for all keeps
/// everybody else on stable Rust, and lets the prebuilt `core` be used as it is.
const UNSTABLE_CRATES: &str = "aya_ebpf,aya_ebpf_bindings,anycast_lb_xdp,xdp_pass,xdp_bench";

/// A section where the compiler puts what it believes never runs: panics. The loader does not
/// know it and the verifier would refuse the endless loop in it.
const PANIC_SECTION: &str = ".text.unlikely";

/// Flags of the eBPF compiler.
const RUSTFLAGS: [&str; 4] = [
    // BTF is made from debug information.
    "-Cdebuginfo=2",
    "-Clink-arg=--btf",
    // 32-bit registers and jumps, understood since Linux 5.1.
    "-Ctarget-cpu=v3",
    // Without it, headers at odd offsets are loaded byte by byte.
    "-Clink-arg=--cpu-features=+allows-misaligned-mem-access",
];

/// Whether the programs log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    /// They only count: what is shipped.
    Silent,
    /// Each verdict goes to the daemon's log, at debug level.
    EveryVerdict,
}

/// Builds all objects; cargo finds out whether there is anything to do.
///
/// # Errors
///
/// When cargo fails, or an object could not be loaded.
pub fn build(route: Route, linker: &Linker, talk: Talk) -> Result<()> {
    let mut command = command(route, linker);
    if talk == Talk::EveryVerdict {
        command.args(["--features", "log"]);
    }
    progress::step("eBPF", "objects into target/bpf", &mut command).with_context(|| match route {
        Route::Distro => format!("the eBPF programs do not build with {DISTRO_RUSTC}"),
        Route::Nightly => {
            "the eBPF programs do not build with nightly; if the linker complains about bitcode, \
            bpf-linker was built with an older LLVM than the compiler's (rustc +nightly -vV)"
                .to_owned()
        }
    })?;
    let built = root().join("target/bpf-build").join(BPF_TARGET).join("bpf");
    fs::create_dir_all(bpf_dir()).with_context(|| bpf_dir().display().to_string())?;
    for (binary, object) in BINARIES.into_iter().zip([bpf_object(), pass_object(), bench_object()]) {
        let bytes = fs::read(built.join(binary)).with_context(|| built.join(binary).display().to_string())?;
        check(&bytes).with_context(|| format!("{} (built as {binary})", object.display()))?;
        replace(&object, &bytes).with_context(|| object.display().to_string())?;
    }
    let built_with = format!("{}; bpf-linker {}\n", compiler(route), linker.version);
    replace(&built_with_file(), built_with.as_bytes()).context("target/bpf/built-with")
}

/// The compiler of the objects, as it calls itself.
fn compiler(route: Route) -> String {
    let mut rustc = match route {
        Route::Distro => Command::new(DISTRO_RUSTC),
        Route::Nightly => {
            let mut rustup = Command::new("rustup");
            rustup.args(["run", "nightly", "rustc"]).env("RUSTUP_AUTO_INSTALL", "0");
            rustup
        }
    };
    rustc.env_remove("RUSTUP_TOOLCHAIN").env_remove("LD_LIBRARY_PATH").arg("--version");
    query(&mut rustc).unwrap_or_else(|| "unknown".to_owned())
}

/// What the plan says about it.
pub fn plan_text(route: Route) -> String {
    match route {
        Route::Distro => format!("build with {DISTRO_RUSTC} and its prebuilt core"),
        Route::Nightly => "build with rustup's nightly, core from rust-src".to_owned(),
    }
}

fn command(route: Route, linker: &Linker) -> Command {
    let mut command = match route {
        Route::Distro => {
            let mut command = Command::new(distro_cargo());
            command.env("RUSTC", DISTRO_RUSTC).env("RUSTC_BOOTSTRAP", UNSTABLE_CRATES);
            command.env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTDOC");
            command
        }
        Route::Nightly => {
            let mut command = Command::new("rustup");
            command.args(["run", "nightly", "cargo"]).env("RUSTUP_AUTO_INSTALL", "0");
            command.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
            command
        }
    };
    command.current_dir(root());
    clean_environment(&mut command);
    command.args([
        "build",
        "--locked",
        "--package",
        EBPF_PACKAGE,
        "--profile",
        "bpf",
        "--target",
        BPF_TARGET,
    ]);
    command.args(["--target-dir", "target/bpf-build"]);
    // One unit, whatever the user's configuration says: what the verifier sees must not depend on it.
    command.env("CARGO_INCREMENTAL", "0");
    if route == Route::Nightly {
        command.args(["-Z", "build-std=core"]);
    }
    let linker_flag = {
        let mut flag = OsString::from("-Clinker=");
        flag.push(&linker.path);
        flag
    };
    // The encoded form wins over every other source of flags, among them a RUSTFLAGS that the user
    // meant for the host, and it allows for spaces in paths.
    let mut encoded = RUSTFLAGS.join(SEPARATOR);
    encoded.push_str(SEPARATOR);
    let mut encoded = OsString::from(encoded);
    encoded.push(linker_flag);
    // A wrapper (sccache and the like) does not know this target.
    command.env("CARGO_ENCODED_RUSTFLAGS", encoded).env_remove("RUSTFLAGS").env_remove("RUSTC_WRAPPER");
    command
}

/// What separates the flags in `CARGO_ENCODED_RUSTFLAGS`.
const SEPARATOR: &str = "\u{1f}";

/// Refuses an object that could not be loaded.
fn check(object: &[u8]) -> Result<()> {
    let names = elf::section_names(object)?;
    if let Some(name) = names.iter().find(|name| name.starts_with(PANIC_SECTION)) {
        bail!(
            "the object has a section {name}: a panic can be reached, and the kernel would not load it.\n  \
             Look for a slice index, an unwrap, or a division by a variable in the packet path; \
             mask the index, or check it and use get()."
        );
    }
    if !names.iter().any(|name| name.starts_with("xdp")) {
        bail!("the object has no XDP program (sections: {})", names.join(", "));
    }
    Ok(())
}

/// Writes a file in one step, and only if that changes it: its time decides what is built anew.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    /// Readable for all: root may build, and another user may use what was built.
    const MODE: u32 = 0o644;
    let parent = path.parent().unwrap_or(Path::new("."));
    let mode = fs::Permissions::from_mode(MODE);
    let mut file = tempfile::Builder::new().permissions(mode).tempfile_in(parent)?;
    io::Write::write_all(&mut file, bytes)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::tests::object_with_sections;

    #[test]
    fn an_object_that_can_panic_is_refused() {
        assert!(check(&object_with_sections(&["xdp", "license"])).is_ok());
        let error = check(&object_with_sections(&["xdp", ".text.unlikely."])).unwrap_err();
        assert!(error.to_string().contains("a panic can be reached"), "{error}");
        assert!(check(&object_with_sections(&["license"])).is_err());
    }

    #[test]
    fn an_unchanged_file_keeps_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("object");
        replace(&path, b"one").unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        fs::File::open(&path).unwrap().set_modified(long_ago).unwrap();
        replace(&path, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), long_ago);
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_ne!(fs::metadata(&path).unwrap().modified().unwrap(), long_ago);
    }

    #[test]
    fn the_linker_is_named_by_its_full_path() {
        let linker = Linker { path: "/some where/bpf-linker".into(), version: String::new() };
        for route in [Route::Distro, Route::Nightly] {
            let command = command(route, &linker);
            let flags =
                command.get_envs().find(|(name, _)| *name == "CARGO_ENCODED_RUSTFLAGS").and_then(|(_, v)| v);
            let flags = flags.map(|v| v.to_string_lossy().into_owned()).unwrap_or_default();
            assert!(flags.split('\u{1f}').any(|flag| flag == "-Clinker=/some where/bpf-linker"), "{flags}");
            let build_std = command.get_args().any(|argument| argument == "build-std=core");
            assert_eq!(build_std, route == Route::Nightly);
        }
    }
}
