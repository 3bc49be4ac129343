//! Frames put on a wire of the lab as they are: padding, VLAN tags and all.

use anyhow::{Context, Result, ensure};

use super::open;
use crate::lab::netns::Namespace;

/// Sends frames out of an interface, past the kernel's IP.
pub fn inject<'f>(
    namespace: &Namespace,
    interface: &str,
    frames: impl IntoIterator<Item = &'f [u8]>,
) -> Result<()> {
    let what = || format!("cannot send on {interface} of {}", namespace.name());
    let socket = namespace.enter(|| open(interface))?.with_context(what)?;
    for frame in frames {
        let written = nix::unistd::write(&socket, frame).with_context(what)?;
        ensure!(written == frame.len(), "{written} of {} bytes were sent", frame.len());
    }
    Ok(())
}
