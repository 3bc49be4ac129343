//! What must be installed besides Rust: Debian packages, or the same things on other systems.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::toolchain::Route;
use crate::process::query;
use crate::progress;
use crate::workspace::find_program;

/// How one sees that a need is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// This program is on the machine, whoever brought it.
    Program(&'static str),
    /// This file or directory exists.
    File(&'static str),
}

/// Something that must be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The Debian package that brings it.
    pub package: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    proof: Proof,
}

/// LLVM against which bpf-linker is built; it must be no older than the compiler's own.
pub const LLVM_DIR: &str = "/usr/lib/llvm-22";

const fn program(package: &'static str, name: &'static str, purpose: &'static str) -> Need {
    Need { package, purpose, proof: Proof::Program(name) }
}

const fn file(package: &'static str, path: &'static str, purpose: &'static str) -> Need {
    Need { package, purpose, proof: Proof::File(path) }
}

/// The distribution's compiler with `core` for eBPF.
const DISTRO_TOOLCHAIN: [Need; 3] = [
    file("rustc-web", "/usr/bin/rustc", "compiler for the eBPF programs"),
    file("cargo-web", "/usr/bin/cargo", "compiler for the eBPF programs"),
    file("libstd-rust-web-dev-bpf", "/usr/lib/rustlib/bpfel-unknown-none/lib", "`core` for eBPF"),
];

/// To build bpf-linker.
const LINKER: [Need; 2] = [
    file("llvm-22-dev", "/usr/lib/llvm-22/include/llvm-c/Core.h", "to build bpf-linker"),
    file("libpolly-22-dev", "/usr/lib/llvm-22/lib/libPolly.a", "to build bpf-linker"),
];

/// The lab, the demo and the tests.
const LAB: [Need; 19] = [
    program("iproute2", "ip", "network namespaces of the lab"),
    program("iputils-ping", "ping", "echo requests to VIPs"),
    program("traceroute", "traceroute", "the way to a VIP"),
    program("ethtool", "ethtool", "checksum offload of the lab's links"),
    program("bird2", "bird", "the lab's routers"),
    file("frr", "/usr/lib/frr/bgpd", "routers of another make: FRR"),
    program("gobgpd", "gobgpd", "routers of another make: GoBGP"),
    program("exabgp", "exabgp", "another speaker on a node"),
    program("nginx-light", "nginx", "the lab's web servers"),
    program("nftables", "nft", "packets that a test loses"),
    program("nsd", "nsd", "the lab's name servers"),
    program("bind9-dnsutils", "dig", "queries to the lab's name servers"),
    program("chrony", "chronyd", "the lab's time servers and their client"),
    program("stayrtr", "stayrtr", "the lab's RPKI validators"),
    program("prometheus", "prometheus", "metrics of the lab's nodes, and promtool"),
    program("chromium", "chromium", "a browser for the status page"),
    program("chromium-driver", "chromedriver", "a browser for the status page"),
    program("tmux", "tmux", "a terminal for `anycast-lb top`"),
    program("tshark", "tshark", "what others read in our packets"),
];

/// Where Debian's package puts nginx's module for TCP.
pub const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// The proxies that the end-to-end benchmark puts beside us. Nothing else needs them: they are installed when it
/// is asked for.
const PROXIES: [Need; 3] = [
    program("haproxy", "haproxy", "a TCP proxy to compare with"),
    program("nginx-light", "nginx", "a TCP proxy to compare with"),
    file("libnginx-mod-stream", NGINX_STREAM, "a TCP proxy to compare with"),
];

/// What the end-to-end benchmark misses besides what every lab needs.
pub fn missing_proxies(met: impl Fn(&Need) -> bool) -> Vec<Need> {
    PROXIES.into_iter().filter(|need| !met(need)).collect()
}

/// What is missing, given what to build and whether the lab is wanted. `met` says whether a need is
/// met; [`is_met`] asks this machine.
pub fn missing(install: Option<Route>, linker: bool, lab: bool, met: impl Fn(&Need) -> bool) -> Vec<Need> {
    // If the toolchain is to be installed, what is there does not do: it may be too old.
    let toolchain = DISTRO_TOOLCHAIN.iter().filter(|_| install == Some(Route::Distro));
    let linker = LINKER.iter().filter(|need| linker && !met(need));
    let lab = LAB.iter().filter(|need| lab && !met(need));
    toolchain.chain(linker).chain(lab).copied().collect()
}

/// Whether this machine has it.
pub fn is_met(need: &Need) -> bool {
    match need.proof {
        Proof::Program(name) => find_program(name).is_some(),
        Proof::File(path) => Path::new(path).exists(),
    }
}

/// Whether Debian's LLVM has all that bpf-linker's build needs (its polly is a package of its own).
pub fn llvm_is_complete() -> bool {
    LINKER.iter().all(is_met)
}

/// Names of the packages, each once.
pub fn names(needs: &[Need]) -> Vec<&'static str> {
    needs.iter().map(|need| need.package).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The command that installs them, for people.
pub fn install_line(needs: &[Need]) -> String {
    format!("apt-get install -y --no-install-recommends {}", names(needs).join(" "))
}

/// Whether apt has package lists at all (a container image often has none).
pub fn have_lists() -> bool {
    fs::read_dir("/var/lib/apt/lists").is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
    })
}

/// Installs them, or says how.
///
/// # Errors
///
/// When the system has no apt-get, we are not root, or apt-get fails: each with the way out.
pub fn install(needs: &[Need]) -> Result<()> {
    if needs.is_empty() {
        return Ok(());
    }
    check_can_install(needs)?;
    let text = format!("install {}", names(needs).join(" "));
    let mut updated = false;
    if !have_lists() {
        update()?;
        updated = true;
    }
    // Lists may be older than the packages in the archive; then a first try fails and a second,
    // with fresh lists, does not.
    if !updated && query(apt_get(&["--simulate", "install"]).args(names(needs))).is_none() {
        update()?;
        updated = true;
    }
    let mut command = install_command(needs);
    match progress::step("packages", &text, &mut command) {
        Err(_) if !updated => {
            update()?;
            progress::step("packages", &text, &mut install_command(needs))
        }
        result => result,
    }
    .with_context(|| {
        format!("cannot install packages; is the network there? by hand: {}", install_line(needs))
    })?;
    if let Some(need) = needs.iter().find(|need| !is_met(need)) {
        bail!("{} is installed, and yet what it brings is missing ({})", need.package, need.purpose);
    }
    Ok(())
}

/// The errors of [`install`] that can be known beforehand.
///
/// # Errors
///
/// When the system has no apt-get or we are not root.
pub fn check_can_install(needs: &[Need]) -> Result<()> {
    if needs.is_empty() {
        return Ok(());
    }
    if find_program("apt-get").is_none() {
        let list: Vec<_> = needs.iter().map(|n| format!("  {} ({})", n.package, n.purpose)).collect();
        bail!("not a Debian system; please install what these Debian packages bring:\n{}", list.join("\n"));
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("packages are missing and only root can install them; run:\n  sudo {}", install_line(needs));
    }
    Ok(())
}

/// Fetches the package lists anew.
///
/// # Errors
///
/// When apt-get fails, for want of a network or of root's rights.
pub fn update() -> Result<()> {
    progress::step("packages", "apt-get update", &mut apt_get(&["update"]))
        .context("cannot fetch package lists; is the network there?")
}

fn install_command(needs: &[Need]) -> Command {
    // --no-remove: where a package of the user's is in the way, that is for the user to decide.
    let mut command = apt_get(&["install", "-y", "--no-remove", "--no-install-recommends"]);
    command.args(names(needs));
    command
}

fn apt_get(arguments: &[&str]) -> Command {
    /// Another apt-get may be at work for a moment.
    const LOCK_TIMEOUT: &str = "DPkg::Lock::Timeout=120";
    let mut command = Command::new("apt-get");
    command.args(["-q", "-o", LOCK_TIMEOUT]).args(arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C.UTF-8").env_remove("LD_LIBRARY_PATH");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wanted_and_not_there_is_missing() {
        assert!(missing(None, true, true, |_| true).is_empty());
        assert_eq!(missing(Some(Route::Distro), true, true, |_| true), DISTRO_TOOLCHAIN);
        assert!(missing(None, false, false, |_| false).is_empty());
        let all = missing(Some(Route::Distro), true, true, |_| false);
        assert_eq!(all.len(), DISTRO_TOOLCHAIN.len() + LINKER.len() + LAB.len());
        assert_eq!(
            names(&missing(Some(Route::Nightly), true, false, |_| false)),
            ["libpolly-22-dev", "llvm-22-dev"]
        );
        let some = missing(None, false, true, |need| need.package != "bird2");
        assert_eq!(install_line(&some), "apt-get install -y --no-install-recommends bird2");
    }

    #[test]
    fn only_the_end_to_end_benchmark_wants_proxies() {
        let all = missing(Some(Route::Distro), true, true, |_| false);
        let proxies = missing_proxies(|need| need.package == "nginx-light");
        assert_eq!(names(&proxies), ["haproxy", "libnginx-mod-stream"]);
        assert!(proxies.iter().all(|need| !all.contains(need)));
    }

    #[test]
    fn a_program_counts_whoever_brought_it() {
        assert!(is_met(&program("no-such-package", "sh", "")));
        assert!(!is_met(&program("dash", "no-such-program-here", "")));
        assert!(is_met(&file("x", "/proc/self/status", "")));
        assert!(!is_met(&file("x", "/proc/self/no-such-file", "")));
    }
}
