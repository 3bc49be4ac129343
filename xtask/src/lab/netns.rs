//! Network namespaces: made, entered, configured.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

use super::state::RunDir;

/// A network namespace of a lab; the lab's run directory removes it.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes the namespace of `node`, with its loopback interface up.
    pub fn create(run: &Arc<RunDir>, node: &str) -> Result<Self> {
        let name = format!("alb-{}-{node}", run.id());
        run.make(
            |state| state.namespaces.push(name.clone()),
            || {
                check(
                    Command::new("ip").args(["netns", "add", &name]).output(),
                    "ip netns add (are you root?)",
                )
            },
        )?;
        let namespace = Self { name };
        // Before any link exists, so that links inherit it: addresses work at once, nothing is
        // learnt from router advertisements, and asymmetric paths (direct server return) pass.
        namespace.sysctl(&[
            ("net.ipv6.conf.all.accept_dad", "0"),
            ("net.ipv6.conf.default.accept_dad", "0"),
            ("net.ipv6.conf.default.accept_ra", "0"),
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.default.rp_filter", "0"),
        ])?;
        namespace.ip("link set lo up\n")?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` lists it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that holds it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Runs lines of `ip` commands in the namespace.
    pub fn ip(&self, batch: &str) -> Result<()> {
        let arguments = ["-n", &self.name, "-batch", "-"];
        ip_batch(&arguments, batch).with_context(|| format!("in namespace {}", self.name))
    }

    /// Runs one `ip -json` command in the namespace and returns what it printed, parsed.
    pub fn ip_json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let output = Command::new("ip").args(["-n", &self.name, "-json"]).args(arguments).output();
        let output = checked(output, &format!("ip {}", arguments.join(" ")))?;
        // iproute2 prints nothing at all where a list is empty.
        if output.stdout.trim_ascii().is_empty() {
            return Ok(serde_json::Value::Array(Vec::new()));
        }
        serde_json::from_slice(&output.stdout).context("ip did not print JSON")
    }

    /// A command that will run in the namespace. It sees the host's mounts: `ip netns exec` would
    /// hide the bpffs.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let file = self.open()?;
        let mut command = Command::new(program);
        // SAFETY: setns is a system call without allocation or locks, fit for the child of a fork.
        unsafe {
            command.pre_exec(move || setns(&file, CloneFlags::CLONE_NEWNET).map_err(std::io::Error::from));
        }
        Ok(command)
    }

    /// Runs a command in the namespace to its end; its output if it succeeds.
    pub fn run(&self, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Result<Output> {
        let what = format!("{} {}", program.as_ref().to_string_lossy(), arguments.join(" "));
        let output = self.command(program)?.args(arguments).stdin(Stdio::null()).output();
        checked(output, &what).with_context(|| format!("in namespace {}", self.name))
    }

    /// Calls `work` on a thread of its own inside the namespace. Sockets opened there stay there.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let file = self.open()?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(&file, CloneFlags::CLONE_NEWNET).map(|()| work()).context("cannot enter the namespace")
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Sets sysctls of the namespace, by dotted name.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.enter(|| {
            for (key, value) in settings {
                let path = PathBuf::from("/proc/sys").join(key.replace('.', "/"));
                std::fs::write(&path, value).with_context(|| format!("cannot set {key} = {value}"))?;
            }
            Ok(())
        })?
    }

    /// Switches checksum and segmentation offload of an interface off: what is captured behind it
    /// then carries whole checksums, and XDP sees packets as a wire would carry them.
    pub fn offloads_off(&self, interface: &str) -> Result<()> {
        self.run(
            "ethtool",
            &["-K", interface, "tx", "off", "rx", "off", "gso", "off", "tso", "off", "gro", "off"],
        )?;
        Ok(())
    }

    fn open(&self) -> Result<File> {
        let path = self.path();
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        debug_assert!(file.as_raw_fd() >= 0);
        Ok(file)
    }
}

/// Runs lines of `ip` commands in the host's own namespace, for links that are born elsewhere.
pub fn ip_host(batch: &str) -> Result<()> {
    ip_batch(&["-batch", "-"], batch)
}

fn ip_batch(arguments: &[&str], batch: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run ip (install iproute2)")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(batch.as_bytes()).context("ip ended early")?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("ip failed: {}\nin:\n{batch}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn check(output: std::io::Result<Output>, what: &str) -> Result<()> {
    checked(output, what).map(|_| ())
}

/// The output of a command that ran and succeeded.
pub fn checked(output: std::io::Result<Output>, what: &str) -> Result<Output> {
    let output = output.with_context(|| format!("cannot run {what}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{what}: {} ({})", text.trim(), output.status);
    }
    Ok(output)
}
