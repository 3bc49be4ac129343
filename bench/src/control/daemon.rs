//! A released daemon in the place of the bench, and the command line that talks to it.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::mem::offset_of;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anycast_lb_common::abi::{self, AllTables, PoolEntry};
use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::MapData;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use xtask::lab::daemons::spawn;
use xtask::workspace::controller;

use super::changes::Node;
use super::scrape;
use crate::place;

/// How long it may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const POLL: Duration = Duration::from_millis(50);

/// The daemon of a node; killed when dropped.
pub struct Daemon {
    child: Child,
    socket: PathBuf,
    tables: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Starts it, and waits until it serves and knows the way to every backend.
    pub fn start(directory: &Path, node: &Node) -> Result<Self> {
        let (name, directory) = (node.instance(), directory.join(node.instance()));
        fs::create_dir_all(directory.join("state"))?;
        let seed = directory.join("seed");
        fs::write(&seed, "07".repeat(16))?;
        fs::set_permissions(&seed, Permissions::from_mode(0o600))?;
        let [socket, bpffs, log] = ["socket", "bpf", "log"].map(|name| directory.join(name));
        let config = directory.join("config.toml");
        let head = format!(
            "role = \"ingress\"\nnode = \"bench\"\npop = \"fra1\"\ninstance = \"{name}\"\n\
             bpffs = {bpffs:?}\nstate_dir = {:?}\nhash_seed_file = {seed:?}\n\
             [control]\nsocket = {socket:?}\n[metrics]\nlisten = \"{}\"\n[[interface]]\nname = \"{name}\"\n",
            directory.join("state"),
            scrape::LISTEN
        );
        fs::write(&config, head + &node.entries())?;
        place::add_interface(&name, &node.address())?;
        let neighbours = (0..node.backends).map(|n| {
            let backend = node.backend(n);
            format!("neighbour replace {backend} lladdr 02:00:00:00:00:03 dev {name} nud permanent\n")
        });
        place::ip_batch(&neighbours.collect::<String>())?;

        let mut command = Command::new(controller());
        command.args([OsStr::new("run"), OsStr::new("--config"), config.as_os_str()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let child = spawn(command, false).with_context(|| controller().display().to_string())?;
        let version = format!("v{}", abi::VERSION);
        let tables = bpffs.join("anycast-lb").join(&name).join(version).join("maps/TABLES");
        let mut daemon = Daemon { child, socket, tables, log };
        daemon.wait_ready(node)?;
        Ok(daemon)
    }

    fn wait_ready(&mut self, node: &Node) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if self.child.try_wait()?.is_some() {
                break;
            }
            if let Ok(answer) = self.command(&["backend", "list"]) {
                let rows = answer["backends"].as_array().map_or(&[][..], Vec::as_slice);
                let resolved = rows.iter().filter(|row| row["next_hop"]["state"] == "resolved").count();
                if resolved == node.backends as usize {
                    return Ok(());
                }
            }
            std::thread::sleep(POLL);
        }
        bail!("the daemon is not ready: {}", fs::read_to_string(&self.log).unwrap_or_default())
    }

    /// Runs the command line against it; what that printed.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Value> {
        let mut command = Command::new(controller());
        command.arg("--socket").arg(&self.socket).arg("--json").args(arguments);
        let output = command.output()?;
        ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).with_context(|| format!("{command:?}"))
    }

    /// Which region of the arena packets take their backends from, as the pinned map has it.
    pub fn table_in_force(&self) -> Result<u64> {
        let map = MapData::from_pin(&self.tables).with_context(|| self.tables.display().to_string())?;
        let file = map.fd().as_fd().as_raw_fd();
        let length = size_of::<AllTables>();
        // SAFETY: a new mapping at an address the kernel chooses, only to be read.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, file, 0) };
        ensure!(start != libc::MAP_FAILED, "mapping TABLES: {}", std::io::Error::last_os_error());
        // SAFETY: inside the mapping, and aligned as the table is; the daemon may write it at any time.
        let table = unsafe {
            let pools = start.cast::<u8>().add(offset_of!(AllTables, pools));
            pools.add(offset_of!(PoolEntry, table)).cast::<u64>().read_volatile()
        };
        // SAFETY: the mapping made above, to which no reference exists.
        unsafe { libc::munmap(start, length) };
        Ok(table)
    }

    /// Its directory in `/proc`.
    pub fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let ended = i32::try_from(self.child.id()).map(|pid| kill(Pid::from_raw(pid), Signal::SIGTERM));
        if !matches!(ended, Ok(Ok(()))) {
            // Nobody hears what it says any more.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
