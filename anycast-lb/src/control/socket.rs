//! The API's Unix socket: who may have it, and who may use it.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};
use nix::unistd::Group;
use tokio::net::UnixListener;

/// Root and the group read and write: connecting needs write permission.
const SOCKET_MODE: u32 = 0o660;
/// Everybody may look whether the socket is there.
const DIRECTORY_MODE: u32 = 0o755;

/// Why the socket could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Another daemon holds it.
    #[error("{}: another daemon answers here; stop it first, or give this instance its own control.socket", .0.display())]
    Live(PathBuf),
    /// Something else lies there.
    #[error("{}: is not a socket; move it away, or choose another control.socket", .0.display())]
    NotASocket(PathBuf),
    /// `control.group` does not exist.
    #[error(
        "control.group = \"{0}\": there is no such group; make it (groupadd --system {0}) or remove the key"
    )]
    NoGroup(String),
    /// The kernel refused.
    #[error("{}: {what}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Its answer.
        source: io::Error,
    },
}

/// The socket while this daemon has it; gone from the file system when dropped.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    /// The lock that says "live"; the kernel gives it up with the process, however that ends.
    _lock: File,
}

impl Socket {
    /// Takes the socket at `path` for root and `group`. Callers may connect at once and wait until
    /// they are served.
    ///
    /// A socket that a dead daemon left is replaced. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// Another daemon has it, something else lies there, or the kernel refused.
    pub fn claim(path: &Path, group: Option<&str>) -> Result<(Self, UnixListener), SocketError> {
        let gid = group.map(group_id).transpose()?;
        let failed = |what| move |source| SocketError::Io { path: path.to_owned(), what, source };
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(DIRECTORY_MODE)
                .create(parent)
                .map_err(failed("its directory cannot be made"))?;
        }
        let lock = lock(path)?;
        remove_stale(path)?;
        // The mask makes the socket appear with its final mode at most: never open to others.
        let mask = umask(Mode::from_bits_truncate(0o777 & !SOCKET_MODE));
        let bound = UnixListener::bind(path);
        umask(mask);
        let listener = bound.map_err(failed("cannot listen"))?;
        if gid.is_some() {
            chown(path, None, gid).map_err(failed("cannot be given to control.group"))?;
        }
        fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))
            .map_err(failed("its mode cannot be set"))?;
        Ok((Socket { path: path.to_owned(), _lock: lock }, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The lock is still held: nobody else's socket can lie here. If it is gone, all the better.
        let _ = fs::remove_file(&self.path);
    }
}

/// Two daemons that start at the same moment both see a stale socket: the lock decides.
fn lock(path: &Path) -> Result<File, SocketError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let failed = |source| SocketError::Io { path: lock_path.clone(), what: "cannot be locked", source };
    let file = File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(failed)?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SocketError::Live(path.to_owned())),
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let failed = |what| move |source| SocketError::Io { path: path.to_owned(), what, source };
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed("cannot be looked at")(e)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    // Not one of ours, or the lock would be taken; still somebody may answer.
    if UnixStream::connect(path).is_ok() {
        return Err(SocketError::Live(path.to_owned()));
    }
    fs::remove_file(path).map_err(failed("a stale socket cannot be removed"))
}

fn group_id(name: &str) -> Result<u32, SocketError> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        _ => Err(SocketError::NoGroup(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary directory")
    }

    #[tokio::test]
    async fn the_socket_is_for_its_owner_and_group_alone_and_goes_with_its_daemon() {
        let dir = directory();
        let path = dir.path().join("deep/er/control.sock");
        let (socket, _listener) = Socket::claim(&path, None).expect("claims");
        let mode = |p: &Path| fs::metadata(p).expect("exists").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o660);
        assert_eq!(mode(&dir.path().join("deep")), 0o755);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_live_socket_is_refused_and_a_stale_one_replaced() {
        let dir = directory();
        let path = dir.path().join("control.sock");
        // As after SIGKILL: nobody listens, the file is there.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("binds"));
        assert!(path.exists());
        let (first, _listener) = Socket::claim(&path, None).expect("replaces");
        assert!(matches!(Socket::claim(&path, None), Err(SocketError::Live(_))));
        assert!(path.exists());
        drop(first);
        assert!(Socket::claim(&path, None).is_ok());
    }

    #[tokio::test]
    async fn somebody_elses_socket_or_file_is_left_alone() {
        let dir = directory();
        let path = dir.path().join("control.sock");
        let foreign = std::os::unix::net::UnixListener::bind(&path).expect("binds");
        assert!(matches!(Socket::claim(&path, None), Err(SocketError::Live(_))));
        drop(foreign);
        let file = dir.path().join("file");
        fs::write(&file, "precious").expect("writes");
        assert!(matches!(Socket::claim(&file, None), Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&file).expect("reads"), "precious");
    }

    #[tokio::test]
    async fn an_unknown_group_is_named() {
        let dir = directory();
        let error = Socket::claim(&dir.path().join("s"), Some("no-such-group")).expect_err("refused");
        assert!(error.to_string().contains("groupadd --system no-such-group"), "{error}");
    }
}
