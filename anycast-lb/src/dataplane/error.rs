//! What can go wrong between the daemon and the kernel.

use std::io;
use std::path::{Path, PathBuf};

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;

use crate::plan::PlanError;

/// Lines of the verifier's log that are shown: the reason stands at its end.
const VERIFIER_LINES: usize = 12;
/// What loading and attaching takes.
const CAPABILITIES: &str = "needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON";

/// Why the data plane cannot do what was asked of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataplaneError {
    /// The kernel refused for lack of privilege.
    #[error("{what}: permission denied; this {CAPABILITIES}")]
    Permission {
        /// What was tried.
        what: String,
    },
    /// A bpffs is needed and cannot be had.
    #[error("{path}: no bpffs there, and mounting one failed: {source}; mount it: mount -t bpf bpf {path}")]
    Bpffs {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another daemon runs this instance.
    #[error(
        "another daemon runs this instance (pid {pid}); stop it, or give this one an `instance` of its own \
         (lock: {lock})"
    )]
    Locked {
        /// Its process id, or what stands in its place.
        pid: String,
        /// The lock file.
        lock: PathBuf,
    },
    /// A file or directory.
    #[error("{path}: cannot {action}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A pinned map is not what this release expects.
    #[error(
        "{path}: {what} is {found}, this release needs {expected}: pinned by another build; remove it with \
         `anycast-lb detach` (traffic to the VIPs stops until the next start) and start again"
    )]
    PinMismatch {
        /// The pin.
        path: PathBuf,
        /// Which property.
        what: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// There is no interface of this name.
    #[error("there is no interface \"{name}\"; there are: {existing}")]
    NoInterface {
        /// The name.
        name: String,
        /// Those that exist.
        existing: String,
    },
    /// Somebody else's program is on the interface.
    #[error(
        "{interface}: the XDP program \"{program}\" (id {id}) is attached already and is not ours; it is left \
         alone. Look at it with `bpftool net` and `bpftool prog show id {id}`, detach it where it was attached, \
         or choose another interface"
    )]
    ForeignProgram {
        /// The interface.
        interface: String,
        /// Id of the program.
        id: u32,
        /// Its name.
        program: String,
    },
    /// The instance is attached in another network namespace.
    #[error(
        "{pin}: this instance is attached to an interface (index {ifindex}) of another network namespace; \
         give this one an `instance` of its own, or take the other off with `anycast-lb detach`"
    )]
    OtherNamespace {
        /// The pinned link.
        pin: PathBuf,
        /// Index of that interface.
        ifindex: u32,
    },
    /// The program cannot be attached.
    #[error("{interface}: cannot attach in {mode} mode: {source}{hint}")]
    Attach {
        /// The interface.
        interface: String,
        /// native or generic.
        mode: super::Mode,
        /// Why not.
        source: io::Error,
        /// What to do, if there is something.
        hint: &'static str,
    },
    /// The kernel does not take the program.
    #[error("the kernel refuses the program \"{program}\": {reason}\n{log}\n{hint}")]
    Refused {
        /// ingress or backend.
        program: String,
        /// The error.
        reason: io::Error,
        /// End of the verifier's log.
        log: String,
        /// What to do.
        hint: String,
    },
    /// The kernel lacks something.
    #[error("this kernel lacks {feature}: {hint}")]
    Kernel {
        /// What.
        feature: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A BPF or netlink call failed.
    #[error("{what}: {source}")]
    Call {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// The object and the code do not fit together.
    #[error("the embedded eBPF object is not usable: {0}; build it again with `cargo xtask setup`")]
    Object(String),
    /// The configuration does not fit into the maps.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A flow cannot be asked about.
    #[error("cannot trace: {0}")]
    Trace(&'static str),
}

impl DataplaneError {
    /// A failed call; lack of privilege is told apart.
    pub(super) fn call(what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => DataplaneError::Permission { what },
            _ => DataplaneError::Call { what, source },
        }
    }

    /// A failed file operation; lack of privilege is told apart.
    pub(super) fn file(path: &Path, action: &'static str, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::PermissionDenied {
            return DataplaneError::Permission { what: format!("{}: cannot {action}", path.display()) };
        }
        DataplaneError::File { path: path.to_path_buf(), action, source }
    }

    pub(super) fn map(name: &str, error: MapError) -> Self {
        match error {
            MapError::SyscallError(e) => Self::call(format!("map {name}: {}", e.call), e.io_error),
            MapError::CreateError { io_error, .. } => Self::call(format!("creating map {name}"), io_error),
            MapError::IoError(e) => Self::call(format!("map {name}"), e),
            other => DataplaneError::Object(format!("map {name}: {}", chain(&other))),
        }
    }

    pub(super) fn load(error: EbpfError) -> Self {
        match error {
            EbpfError::MapError(MapError::CreateError { name, io_error }) => {
                Self::call(format!("creating map {name}"), io_error)
            }
            EbpfError::MapError(e) => Self::map("of the object", e),
            EbpfError::ProgramError(e) => Self::program("", e),
            other => DataplaneError::Object(chain(&other)),
        }
    }

    pub(super) fn program(name: &str, error: ProgramError) -> Self {
        match error {
            ProgramError::LoadError { io_error, verifier_log } => {
                let log = verifier_log.to_string();
                // The verifier says EACCES for a program it does not like; only then it has a log.
                if log.trim().is_empty() {
                    return Self::call(format!("loading the program \"{name}\""), io_error);
                }
                let hint = format!(
                    "this kernel is {}; the programs are tested on 6.1 and later{}",
                    kernel_release(),
                    if Path::new("/sys/kernel/btf/vmlinux").exists() {
                        ""
                    } else {
                        ", and on kernels with BTF (CONFIG_DEBUG_INFO_BTF), which this one is without"
                    }
                );
                DataplaneError::Refused {
                    program: name.to_owned(),
                    reason: io_error,
                    log: tail(&log, VERIFIER_LINES),
                    hint,
                }
            }
            ProgramError::SyscallError(e) => {
                Self::call(format!("program \"{name}\": {}", e.call), e.io_error)
            }
            other => DataplaneError::Object(format!("program \"{name}\": {}", chain(&other))),
        }
    }
}

/// An error with all that caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".into(), |s| s.trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_the_verifier_log_is_shown() {
        let log: String = (0..100).map(|n| format!("line {n}\n\n")).collect();
        assert_eq!(tail(&log, 2), "line 98\nline 99");
        assert_eq!(tail("one", 5), "one");
    }

    #[test]
    fn lack_of_privilege_says_what_is_needed() {
        let error = DataplaneError::call("creating map SLOTS", io::Error::from_raw_os_error(libc::EPERM));
        assert!(matches!(error, DataplaneError::Permission { .. }));
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    }
}
