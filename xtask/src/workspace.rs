//! Where things lie in this repository, and how cargo is called in it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package of the eBPF programs. It is built for its own target only: on the host its binaries
/// are empty, so host builds leave it out.
pub const EBPF_PACKAGE: &str = "anycast-lb-ebpf";

/// What every host build selects. Cargo unites features over the selected packages, so one
/// selection for all builds means that each dependency is compiled once.
pub const HOST_PACKAGES: [&str; 3] = ["--workspace", "--exclude", EBPF_PACKAGE];

/// The repository's root.
pub fn root() -> &'static Path {
    // The compile-time path is right: xtask is built in the tree it works on.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Cargo's target directory for the host.
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The released binary, with the eBPF object inside.
pub fn controller() -> PathBuf {
    target_dir().join("release/anycast-lb")
}

/// What measures: a program of its own, since it uses the controller's library.
pub fn bench_program() -> PathBuf {
    target_dir().join("release/anycast-lb-bench")
}

/// Where a benchmark leaves its table and its plot.
pub fn bench_dir() -> PathBuf {
    root().join("target/bench")
}

/// Where the finished eBPF objects are put; `anycast-lb/build.rs` takes them from here.
pub fn bpf_dir() -> PathBuf {
    root().join("target/bpf")
}

/// The eBPF object with the programs `ingress` and `backend`.
pub fn bpf_object() -> PathBuf {
    bpf_dir().join("anycast-lb.o")
}

/// The eBPF object with the program `pass`, which a veth wants on its peer.
pub fn pass_object() -> PathBuf {
    bpf_dir().join("xdp-pass.o")
}

/// The eBPF object with what the benchmark puts around and beside the programs.
pub fn bench_object() -> PathBuf {
    bpf_dir().join("bench.o")
}

/// What the eBPF objects were built with: one line. Their size depends on it.
pub fn built_with_file() -> PathBuf {
    bpf_dir().join("built-with")
}

/// The cargo that runs us.
pub fn cargo_path() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The cargo that runs us, as a command in the repository's root.
pub fn cargo() -> Command {
    let mut command = Command::new(cargo_path());
    command.current_dir(root());
    clean_environment(&mut command);
    command
}

/// Takes out of a command's environment what `cargo run` put in for us and what must not reach
/// another toolchain: its library path.
pub fn clean_environment(command: &mut Command) {
    command.env_remove("LD_LIBRARY_PATH");
    for (name, _) in env::vars_os() {
        let ours = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_BIN_") || name == "CARGO_MANIFEST_DIR"
        });
        if ours {
            command.env_remove(name);
        }
    }
}

/// The first executable of this name in `PATH` or in the directories for administrators, which the
/// `PATH` of an ordinary user does not have.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let administrators = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(administrators).map(|dir| dir.join(name)).find(|p| is_executable(p))
}

/// Whether `path` is a file that somebody may execute.
pub fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_workspace() {
        assert!(root().join("Cargo.lock").is_file());
        assert!(root().join(EBPF_PACKAGE).is_dir());
    }

    #[test]
    fn programs_are_found_and_unknown_ones_are_not() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-here").is_none());
    }
}
