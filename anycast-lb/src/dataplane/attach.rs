//! Puts the program on interfaces, and finds it there again after a restart.
//!
//! A pinned link outlives the daemon: a restarted one replaces the program on it in one step. What
//! is not ours is never touched.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::programs::loaded_programs;
use serde::Serialize;

use super::error::DataplaneError;
use super::netlink::{self, XdpStatus};
use super::pin::{self, Layout};
use super::sys;
use crate::model::{Interface, XdpMode};

/// Where in the kernel the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the network stack, behind the allocation of a socket buffer.
    Generic,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Mode::Native => "native",
            Mode::Generic => "generic",
        })
    }
}

/// The program on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attachment {
    /// Name of the interface.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// Where the program runs; none if the interface is gone or the program was taken off.
    pub mode: Option<Mode>,
    /// Why it is not native, or not attached.
    pub reason: Option<String>,
    /// The program, as `bpftool prog show id` knows it.
    pub program_id: u32,
}

/// A link of ours.
#[derive(Debug)]
pub(super) struct Attached {
    link: OwnedFd,
    interface: String,
    ifindex: u32,
    mode: Mode,
    reason: Option<String>,
}

impl Attached {
    /// Puts `program` in the place of the one that runs, in one step.
    pub fn replace(&self, program: BorrowedFd<'_>) -> Result<(), DataplaneError> {
        match sys::update_link(self.link.as_fd(), program) {
            // The interface is gone.
            Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(()),
            result => result
                .map_err(|e| DataplaneError::call(format!("replacing the program on {}", self.interface), e)),
        }
    }

    /// How it is now.
    pub fn state(&self) -> Attachment {
        let info = sys::link_info(self.link.as_fd());
        let (mode, reason) = match &info {
            Ok(info) if info.ifindex == self.ifindex => (Some(self.mode), self.reason.clone()),
            Ok(_) => (None, Some("the interface is gone, or the program was taken off".to_owned())),
            Err(e) => (None, Some(format!("cannot read the link: {e}"))),
        };
        Attachment {
            interface: self.interface.clone(),
            ifindex: self.ifindex,
            mode,
            reason,
            program_id: info.map_or(0, |info| info.program_id),
        }
    }
}

/// What an interface needs.
enum Step {
    /// The link is ours: replace its program.
    Adopt(Found),
    /// Nothing is there: attach.
    Fresh,
}

/// A pinned link that is on the interface it is named after.
struct Found {
    link: OwnedFd,
    pin: PathBuf,
    mode: Mode,
}

/// Makes `program` run on exactly `interfaces`. Everything is looked at before anything is
/// changed, and what was newly attached is taken off again should one fail.
pub(super) fn attach(
    layout: &Layout,
    program: BorrowedFd<'_>,
    interfaces: &[Interface],
) -> Result<Vec<Attached>, DataplaneError> {
    let mut steps = Vec::with_capacity(interfaces.len());
    for interface in interfaces {
        let ifindex = netlink::index_of(&interface.name).ok_or_else(|| DataplaneError::NoInterface {
            name: interface.name.clone(),
            existing: netlink::existing(),
        })?;
        steps.push((interface, ifindex, look(layout, interface, ifindex)?));
    }

    let mut attached = Vec::with_capacity(steps.len());
    let mut fresh: Vec<PathBuf> = Vec::new();
    for (interface, ifindex, step) in steps {
        let result = match step {
            Step::Adopt(found) => adopt(layout, program, interface, ifindex, found),
            Step::Fresh => {
                fresh.push(layout.link(&interface.name));
                attach_fresh(layout, program, interface, ifindex)
            }
        };
        match result {
            Ok(link) => attached.push(link),
            Err(error) => {
                for path in &fresh {
                    pin::remove_if_there(path)?;
                }
                return Err(error);
            }
        }
    }
    drop_others(layout, interfaces)?;
    Ok(attached)
}

/// What there is on the interface. Errors if it is not ours to change.
fn look(layout: &Layout, interface: &Interface, ifindex: u32) -> Result<Step, DataplaneError> {
    let status = netlink::xdp_status(ifindex)
        .map_err(|e| DataplaneError::call(format!("asking for the XDP program of {}", interface.name), e))?;
    let ours = layout.link(&interface.name);
    let older =
        layout.other_versions().into_iter().map(|version| version.join(pin::link_name(&interface.name)));
    for path in std::iter::once(ours).chain(older) {
        match find(&path, ifindex, status)? {
            Some(found) if fits(interface.mode, found.mode) => return Ok(Step::Adopt(found)),
            Some(found) => {
                let cause = "the configured mode changed";
                tracing::info!(interface = interface.name, cause, "attaching anew: {cause}");
                drop_pin(&found.pin)?;
                return Ok(Step::Fresh);
            }
            None => {}
        }
    }
    match status {
        None => Ok(Step::Fresh),
        Some(XdpStatus { program_id, .. }) => Err(DataplaneError::ForeignProgram {
            interface: interface.name.clone(),
            id: program_id,
            program: program_name(program_id),
        }),
    }
}

fn fits(wanted: XdpMode, present: Mode) -> bool {
    match wanted {
        XdpMode::Auto => true,
        XdpMode::Native => present == Mode::Native,
        XdpMode::Generic => present == Mode::Generic,
    }
}

/// The link that is pinned at `path`, if it is on the interface `ifindex` of this namespace. One
/// whose interface was deleted, or that is on another interface of this namespace (ours was renamed),
/// is dropped.
fn find(path: &Path, ifindex: u32, status: Option<XdpStatus>) -> Result<Option<Found>, DataplaneError> {
    let link = match sys::open_pin(path) {
        Ok(link) => link,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(DataplaneError::call(format!("opening {}", path.display()), e)),
    };
    let info = sys::link_info(link.as_fd())
        .map_err(|e| DataplaneError::call(format!("reading {}", path.display()), e))?;
    // An index says nothing about the namespace it is from, but a program's id is unique: if it is on
    // that interface here, it is that interface.
    let here = |status: Option<XdpStatus>| status.filter(|s| s.program_id == info.program_id);
    if info.ifindex == ifindex
        && let Some(XdpStatus { mode, .. }) = here(status)
    {
        return Ok(Some(Found { link, pin: path.to_path_buf(), mode }));
    }
    let elsewhere = info.ifindex != 0 && here(netlink::xdp_status(info.ifindex).ok().flatten()).is_none();
    if elsewhere {
        return Err(DataplaneError::OtherNamespace { pin: path.to_path_buf(), ifindex: info.ifindex });
    }
    let cause = "the interface it was on is gone or renamed";
    tracing::info!(pin = %path.display(), cause, "{cause}: attaching anew");
    drop_pin(path)?;
    Ok(None)
}

fn adopt(
    layout: &Layout,
    program: BorrowedFd<'_>,
    interface: &Interface,
    ifindex: u32,
    found: Found,
) -> Result<Attached, DataplaneError> {
    let Found { link, pin, mode } = found;
    sys::update_link(link.as_fd(), program)
        .map_err(|e| DataplaneError::call(format!("replacing the program on {}", interface.name), e))?;
    let ours = layout.link(&interface.name);
    if pin != ours {
        // Of another ABI version: first our pin, then its own goes.
        pin_link(&link, &ours)?;
        pin::remove_if_there(&pin)?;
        tracing::info!(interface = interface.name, from = %pin.display(), "took over from another version");
    }
    let reason = match (mode, interface.mode) {
        (Mode::Native, _) => None,
        (Mode::Generic, XdpMode::Generic) => Some("configured".into()),
        (Mode::Generic, _) => Some("as it was attached before this daemon started".into()),
    };
    Ok(Attached { link, interface: interface.name.clone(), ifindex, mode, reason })
}

fn attach_fresh(
    layout: &Layout,
    program: BorrowedFd<'_>,
    interface: &Interface,
    ifindex: u32,
) -> Result<Attached, DataplaneError> {
    let create = |mode| sys::create_link(program, ifindex, mode);
    let (mode, result, reason) = match interface.mode {
        XdpMode::Native => (Mode::Native, create(Mode::Native), None),
        XdpMode::Generic => (Mode::Generic, create(Mode::Generic), Some("configured".to_owned())),
        XdpMode::Auto => match create(Mode::Native) {
            Err(e) if driver_refuses(&e) => {
                let reason = format!("the driver refuses native mode: {e}");
                (Mode::Generic, create(Mode::Generic), Some(reason))
            }
            result => (Mode::Native, result, None),
        },
    };
    let link = result.map_err(|e| attach_error(interface, mode, e))?;
    pin_link(&link, &layout.link(&interface.name))?;
    Ok(Attached { link, interface: interface.name.clone(), ifindex, mode, reason })
}

/// Whether generic mode is worth a try: not if we lack the right, the interface, or the place.
fn driver_refuses(error: &io::Error) -> bool {
    !matches!(
        error.raw_os_error(),
        Some(libc::EPERM | libc::EACCES | libc::ENODEV | libc::EBUSY | libc::EEXIST)
    )
}

fn attach_error(interface: &Interface, mode: Mode, source: io::Error) -> DataplaneError {
    let hint = match (source.raw_os_error(), mode) {
        (Some(libc::EPERM | libc::EACCES), _) => {
            return DataplaneError::Permission { what: format!("attaching to {}", interface.name) };
        }
        (Some(libc::EBUSY | libc::EEXIST), _) => {
            "; something else attached there just now, see `bpftool net`"
        }
        (Some(libc::EOPNOTSUPP), Mode::Native) => {
            "; the driver has no native XDP: use mode = \"auto\" or \"generic\""
        }
        (Some(libc::EINVAL | libc::ERANGE), Mode::Native) => {
            "; the driver may want a smaller MTU, fewer queues, or LRO off (`dmesg` tells); \
             or use mode = \"auto\" or \"generic\""
        }
        (Some(libc::EINVAL), Mode::Generic) => "; XDP links, which survive a restart, need Linux 5.9",
        _ => "",
    };
    DataplaneError::Attach { interface: interface.name.clone(), mode, source, hint }
}

fn pin_link(link: &OwnedFd, path: &Path) -> Result<(), DataplaneError> {
    sys::pin(link.as_fd(), path).map_err(|e| DataplaneError::call(format!("pinning {}", path.display()), e))
}

/// Takes the program off interfaces that are not ours any more, and removes what is left of other
/// versions once nothing of them is attached.
fn drop_others(layout: &Layout, interfaces: &[Interface]) -> Result<(), DataplaneError> {
    let wanted: HashSet<&str> = interfaces.iter().map(|i| i.name.as_str()).collect();
    let others = layout.other_versions();
    for link in layout.links().into_iter().chain(others.iter().flat_map(|v| pin::links_in(v))) {
        let interface = pin::interface_of(&link);
        if !wanted.contains(interface.as_str()) {
            drop_pin(&link)?;
            let cause = "no longer configured";
            tracing::info!(interface, cause, "detached: {cause}");
        }
    }
    for version in others {
        if pin::links_in(&version).is_empty() {
            pin::remove_version(&version)?;
            tracing::info!(version = %version.display(), "removed what another version had pinned");
        }
    }
    Ok(())
}

/// Detaches a pinned link, even if another process holds it, and removes the pin.
pub(super) fn drop_pin(path: &Path) -> Result<(), DataplaneError> {
    if let Ok(link) = sys::open_pin(path) {
        match sys::detach_link(link.as_fd()) {
            Ok(()) => {}
            // The interface is gone already.
            Err(e) if e.raw_os_error() == Some(libc::ENOLINK) => {}
            // Kernels before 5.9: the link goes with its last reference.
            Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            Err(e) => return Err(DataplaneError::call(format!("detaching {}", path.display()), e)),
        }
    }
    pin::remove_if_there(path)
}

fn program_name(id: u32) -> String {
    loaded_programs()
        .flatten()
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned))
        .unwrap_or_else(|| "?".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_is_tried_only_where_the_driver_is_the_reason() {
        let refuses = |errno| driver_refuses(&io::Error::from_raw_os_error(errno));
        assert!(refuses(libc::EOPNOTSUPP) && refuses(libc::EINVAL) && refuses(libc::ERANGE));
        assert!(!refuses(libc::EPERM) && !refuses(libc::EBUSY) && !refuses(libc::ENODEV));
    }

    #[test]
    fn a_configured_mode_is_kept() {
        assert!(fits(XdpMode::Auto, Mode::Generic) && fits(XdpMode::Auto, Mode::Native));
        assert!(!fits(XdpMode::Native, Mode::Generic) && !fits(XdpMode::Generic, Mode::Native));
    }
}
