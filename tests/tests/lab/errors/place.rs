//! A host of its own for the released binary: network, mounts, directories.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use xtask::lab::daemons::until;
use xtask::lab::tools::Tools;

/// Until a daemon serves; loading takes a second or two, more on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// After so many seconds a command hangs.
const COMMAND_DEADLINE: &str = "30";
/// `timeout` says so.
const TIMED_OUT: i32 = 124;

/// What a command did.
#[derive(Debug)]
pub(super) struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A host with `nic` (10.0.0.1/24), whose other end is `peer`, the released binary, and directories.
pub(super) struct Place {
    directory: tempfile::TempDir,
}

/// Runs `test` in network and mount namespaces of its own; whatever was mounted goes with them.
pub(super) fn isolated(test: impl FnOnce(&Place) -> Result<()> + Send + 'static) -> Result<()> {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("unshare (needs root)")?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("private mounts")?;
        let place = Place::new()?;
        let result = test(&place);
        place.unmount_all();
        result
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Place {
    fn new() -> Result<Self> {
        for words in [
            "link set lo up",
            "link add nic type veth peer name peer",
            "link set nic up",
            "link set peer up",
            "addr add 10.0.0.1/24 dev nic",
        ] {
            output(Command::new("ip").args(words.split(' ')))?;
        }
        let place = Place { directory: tempfile::tempdir()? };
        // Also those without privilege are to find their way in, and to the binary.
        fs::set_permissions(place.directory.path(), Permissions::from_mode(0o755))?;
        fs::copy(Tools::locate()?.balancer, place.binary())?;
        place.write_seed(0o600)?;
        place.write(&place.text())?;
        Ok(place)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("config.toml")
    }

    fn binary(&self) -> PathBuf {
        self.path("anycast-lb")
    }

    /// A configuration without a mistake.
    pub fn text(&self) -> String {
        format!(
            r#"role = "ingress"
node = "lb1"
hash_seed_file = "seed"
bpffs = "{0}/bpf"
state_dir = "{0}/state"

[control]
socket = "{0}/socket"

[[interface]]
name = "nic"

[[pool]]
name = "web"
[[pool.backend]]
address = "10.0.0.11"
[[pool.backend]]
address = "10.0.0.12"

[[pool]]
name = "plain"
encapsulation = "ipip"
[[pool.backend]]
address = "10.0.0.11"

[[vip]]
address = "203.0.113.1"
port = 443
protocol = "tcp"
pool = "web"
"#,
            self.directory.path().display()
        )
    }

    pub fn write(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.config(), text)?)
    }

    /// A seed that users with these permissions can read.
    pub fn write_seed(&self, mode: u32) -> Result<()> {
        let seed = self.path("seed");
        fs::write(&seed, "000102030405060708090a0b0c0d0e0f\n")?;
        Ok(fs::set_permissions(seed, Permissions::from_mode(mode))?)
    }

    /// Runs `before` (a wrapper, or nothing) and the binary.
    pub fn command(&self, before: &[&str], arguments: &[&str]) -> Result<Answer> {
        let mut command = Command::new("timeout");
        command.arg(COMMAND_DEADLINE).args(before).arg(self.binary()).args(arguments);
        command.env_remove("ANYCAST_LB_SOCKET").stdin(Stdio::null());
        let output = command.output().context("timeout")?;
        let code = output.status.code().context("killed")?;
        ensure!(code != TIMED_OUT, "{arguments:?} does not end");
        Ok(Answer {
            code,
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }

    /// Runs the binary on the configuration.
    pub fn with_config(&self, arguments: &[&str]) -> Result<Answer> {
        let config = self.config();
        let config = ["--config", config.to_str().context("path")?];
        self.command(&[], &[arguments, &config].concat())
    }

    /// Asks the daemon.
    pub fn ask(&self, words: &str) -> Result<Answer> {
        let socket = self.path("socket");
        let socket = ["--socket", socket.to_str().context("path")?];
        self.command(&[], &[&words.split(' ').collect::<Vec<_>>(), &socket[..]].concat())
    }

    /// No program on the interface, no pin, no socket.
    pub fn is_untouched(&self) -> Result<()> {
        let link = output(Command::new("ip").args(["-details", "link", "show", "nic"]))?;
        ensure!(!link.contains("xdp"), "something is attached: {link}");
        let pins = self.path("bpf/anycast-lb");
        ensure!(!pins.exists(), "something is pinned in {}", pins.display());
        let socket = self.path("socket");
        ensure!(!fs::symlink_metadata(&socket).is_ok_and(|m| !m.is_file()), "the socket is there");
        Ok(())
    }

    /// Starts the daemon and waits until it serves.
    pub fn start(&self) -> Result<Daemon> {
        let log = fs::File::create(self.path("log"))?;
        let child = Command::new(self.binary())
            .args(["run".as_ref(), "--config".as_ref(), self.config().as_os_str()])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()?;
        let mut daemon = Daemon(child);
        until(START_DEADLINE, "the daemon to serve", || {
            if let Some(status) = daemon.0.try_wait()? {
                bail!("it ended ({status}): {}", fs::read_to_string(self.path("log"))?);
            }
            Ok((self.path("socket").exists() && self.ask("status")?.code == 0).then_some(()))
        })?;
        Ok(daemon)
    }

    /// Mounts a file system at `name`, which is made.
    pub fn mount(&self, name: &str, kind: &str, flags: MsFlags, data: Option<&str>) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(&path)?;
        mount(Some(kind), &path, Some(kind), flags, data).with_context(|| format!("mounting {kind}"))?;
        Ok(path)
    }

    /// Else the directory could not be removed.
    fn unmount_all(&self) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mounts = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
        for path in mounts.filter(|path| path.starts_with(self.directory.path())) {
            // What is left goes with the namespace.
            let _ = umount2(path, MntFlags::MNT_DETACH);
        }
    }
}

/// A daemon, killed when dropped.
pub(super) struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a program prints that succeeds.
pub(super) fn output(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).map_err(io::Error::other).context("no text")
}
