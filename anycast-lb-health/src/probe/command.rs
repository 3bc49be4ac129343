//! A command says whether a backend is well.

use std::io;
use std::net::IpAddr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::Stdio;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, User};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, Interest};
use tokio::process::{Child, Command};

use super::{PrepareError, Target};
use crate::Reason;

/// Most bytes of a command's output that are kept; the rest is read and forgotten.
const LONGEST_OUTPUT: usize = 1024;

/// A command; it is well with the backend when it ends with status 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandCheck {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// As whom it runs; never root.
    pub user: String,
}

#[derive(Clone, Debug)]
pub(super) struct Driver {
    program: String,
    arguments: Vec<String>,
    uid: u32,
    gid: u32,
}

impl Driver {
    pub fn new(check: &CommandCheck) -> Result<Self, PrepareError> {
        let wrong =
            |problem: &str| PrepareError::User { name: check.user.clone(), problem: problem.to_owned() };
        let user = match User::from_name(&check.user) {
            Ok(Some(user)) => user,
            Ok(None) => return Err(wrong("does not exist")),
            Err(errno) => return Err(wrong(&format!("cannot be looked up ({errno})"))),
        };
        if user.uid.is_root() || user.gid.as_raw() == 0 {
            return Err(wrong("is root, or of root's group"));
        }
        let (program, arguments) = check.command.split_first().ok_or(PrepareError::EmptyCommand)?;
        Ok(Driver {
            program: program.clone(),
            arguments: arguments.to_vec(),
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        })
    }

    pub async fn run(&self, target: &Target) -> Result<(), Reason> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("ANYCAST_LB_BACKEND", target.backend.to_string())
            .env("ANYCAST_LB_VIP", target.vip.as_ref().map(IpAddr::to_string).unwrap_or_default())
            .env("ANYCAST_LB_PORT", target.address.port().to_string())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        // Who is root gives that up, with all groups; who runs as that user already has nothing to give up.
        if !(nix::unistd::geteuid().as_raw() == self.uid && nix::unistd::getegid().as_raw() == self.gid) {
            command.uid(self.uid).gid(self.gid);
        }
        let cannot =
            |e: io::Error| Reason::new(format_args!("the command {} cannot be run: {e}", self.program));
        let child = command.spawn().map_err(cannot)?;
        let mut group = Group { child };
        let mut output = Vec::new();
        let exited = pidfd(&group.child).map_err(cannot)?;
        {
            let (stdout, stderr) = (group.child.stdout.take(), group.child.stderr.take());
            let talk = async {
                let mut last = Vec::new();
                tokio::join!(keep(stdout, &mut output), keep(stderr, &mut last));
                if !last.is_empty() {
                    output = last;
                }
            };
            // Those it left behind may hold its output open: that it has ended is what counts. Its output is
            // read first if both are there.
            tokio::select! {
                biased;
                () = talk => {}
                ended = exited.ready(Interest::READABLE) => drop(ended.map_err(cannot)?),
            }
        }
        drop(exited.ready(Interest::READABLE).await.map_err(cannot)?);
        // Not reaped yet, so that the number is its own still: whoever is left of its group goes too.
        group.kill();
        let status = group.child.wait().await.map_err(cannot)?;
        if status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output);
        let said = said.trim();
        Err(match said {
            "" => Reason::new(format_args!("the command ended with {status}")),
            said => Reason::new(format_args!("the command ended with {status}: {said}")),
        })
    }
}

/// Reads all, keeps the beginning.
async fn keep(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let room = LONGEST_OUTPUT - kept.len();
        kept.extend_from_slice(&buffer[..length.min(room)]);
    }
}

/// A child that leads a process group. When it is dropped, at a timeout, the whole group is killed, and
/// tokio reaps the child.
struct Group {
    child: Child,
}

impl Group {
    fn kill(&self) {
        // None once it has been reaped: the number may be somebody else's then.
        if let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            // Nobody is left to kill: that is as well.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A descriptor that is readable once the child has ended, without reaping it.
fn pidfd(child: &Child) -> io::Result<AsyncFd<OwnedFd>> {
    let pid = child.id().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    // SAFETY: takes two numbers and gives a descriptor or an error.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, and nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the descriptor is owned by what it is given to, stays open with it, and is always the same.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(Into::into)
}
