//! Attaches the second half of the backend's program, which sends hops on, at the ingress hook of
//! traffic control. Pinned like the XDP links: it outlives the daemon, too.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use super::attach::drop_pin;
use super::error::DataplaneError;
use super::netlink;
use super::pin::{self, Layout};
use super::sys;
use crate::model::Interface;

/// Takes the relay off all interfaces but `interfaces`.
pub(super) fn drop_others(layout: &Layout, interfaces: &[Interface]) -> Result<(), DataplaneError> {
    for path in layout.relays() {
        if !interfaces.iter().any(|i| layout.relay(&i.name) == path) {
            drop_pin(&path)?;
            let cause = "interface no longer configured";
            tracing::info!(pin = %path.display(), cause, "relay detached: {cause}");
        }
    }
    Ok(())
}

/// The relay on an interface.
#[derive(Debug)]
pub(super) struct Relay {
    _link: OwnedFd,
    /// Where it is pinned, if it was not there before.
    fresh: Option<PathBuf>,
}

/// Makes `program` run on `interfaces`. Should one fail, those that were newly attached are taken off.
pub(super) fn attach(
    layout: &Layout,
    program: BorrowedFd<'_>,
    interfaces: &[Interface],
) -> Result<Vec<Relay>, DataplaneError> {
    let mut relays = Vec::with_capacity(interfaces.len());
    match attach_all(layout, program, interfaces, &mut relays) {
        Ok(()) => Ok(relays),
        Err(error) => {
            undo(&relays);
            Err(error)
        }
    }
}

/// Takes off what was newly attached.
pub(super) fn undo(relays: &[Relay]) {
    for path in relays.iter().filter_map(|relay| relay.fresh.as_ref()) {
        if let Err(error) = drop_pin(path) {
            tracing::warn!(pin = %path.display(), "cannot take the relay off again: {error}");
        }
    }
}

fn attach_all(
    layout: &Layout,
    program: BorrowedFd<'_>,
    interfaces: &[Interface],
    relays: &mut Vec<Relay>,
) -> Result<(), DataplaneError> {
    for interface in interfaces {
        let ifindex = netlink::index_of(&interface.name).ok_or_else(|| DataplaneError::NoInterface {
            name: interface.name.clone(),
            existing: netlink::existing(),
        })?;
        let path = layout.relay(&interface.name);
        if let Ok(link) = sys::open_pin(&path) {
            let there = sys::link_info(link.as_fd()).is_ok_and(|info| info.ifindex == ifindex);
            if there && sys::update_link(link.as_fd(), program).is_ok() {
                relays.push(Relay { _link: link, fresh: None });
                continue;
            }
            drop_pin(&path)?;
        }
        let link = sys::create_tc_link(program, ifindex, sys::Hook::Ingress).map_err(|source| {
            let what = format!("attaching to traffic control of {} (takes Linux 6.6)", interface.name);
            DataplaneError::call(what, source)
        })?;
        sys::pin(link.as_fd(), &path)
            .map_err(|e| DataplaneError::call(format!("pinning {}", path.display()), e))?;
        relays.push(Relay { _link: link, fresh: Some(path) });
    }
    Ok(())
}

/// Takes the relays of one version off their interfaces.
pub(super) fn detach(version: &std::path::Path) -> Result<Vec<String>, DataplaneError> {
    let mut removed = Vec::new();
    for path in pin::relays_in(version) {
        drop_pin(&path)?;
        removed.push(format!("relay on {} ({})", pin::interface_of_relay(&path), path.display()));
    }
    Ok(removed)
}
