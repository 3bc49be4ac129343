//! A place of its own for what is measured: network and mounts that vanish with this process, however
//! it ends. So there is nothing to clean up, not even after a SIGKILL.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use xtask::workspace::bench_dir;

/// Network interfaces that nothing is sent through; a program has to be attached to be pinned.
pub const INTERFACES: [&str; 5] = ["ingress0", "backend0", "flowlog0", "watch0", "capture0"];

/// Enters it. Call it before any thread is started.
///
/// # Errors
///
/// Without root.
pub fn enter() -> Result<PathBuf> {
    let directory = bench_dir().join("place");
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .context("cannot make namespaces: measuring needs root")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("private mounts")?;
    mount(Some("bench"), &directory, Some("tmpfs"), MsFlags::empty(), none)
        .with_context(|| format!("cannot mount a tmpfs at {}", directory.display()))?;
    ip("link set lo up")?;
    for name in INTERFACES {
        ip(&format!("link add {name} type veth peer name {name}-peer"))?;
    }
    Ok(directory)
}

/// Adds an interface with an address, whose packets go nowhere.
///
/// # Errors
///
/// When `ip` fails.
pub fn add_interface(name: &str, address: &str) -> Result<()> {
    ip(&format!("link add {name} type veth peer name {name}-peer"))?;
    for name in [name, &format!("{name}-peer")] {
        ip(&format!("link set {name} up"))?;
    }
    ip(&format!("address add {address} dev {name}"))
}

/// Runs many commands of `ip`, a line each.
///
/// # Errors
///
/// When one of them fails.
pub fn ip_batch(commands: &str) -> Result<()> {
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().context("ip")?;
    ip.stdin.take().context("no input")?.write_all(commands.as_bytes())?;
    ensure!(ip.wait()?.success(), "ip -batch failed");
    Ok(())
}

/// Gives the loopback interface an address.
///
/// # Errors
///
/// When `ip` fails.
pub fn add_address(address: &str) -> Result<()> {
    ip(&format!("address add {address} dev lo"))
}

fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().context("ip")?;
    ensure!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Where the program of an instance is pinned.
pub fn pinned_program(bpffs: &Path, instance: &str) -> PathBuf {
    let version = format!("v{}", anycast_lb_common::abi::VERSION);
    bpffs.join("anycast-lb").join(instance).join(version).join("prog")
}
