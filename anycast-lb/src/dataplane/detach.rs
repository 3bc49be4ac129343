//! Takes an instance off its interfaces and removes all its pins, daemon or not.

use std::path::Path;

use super::attach;
use super::error::DataplaneError;
use super::pin::{self, Layout};
use super::relay;

/// Removes what a start pinned that came to nothing. Where a link is pinned packets go through the
/// maps, and everything stays.
pub(super) fn discard(layout: &Layout) -> Result<(), DataplaneError> {
    if layout.links().is_empty() {
        relay::detach(layout.version())?;
        pin::remove_version(layout.version())?;
        layout.remove_parents();
    }
    Ok(())
}

/// Removes everything of `instance`; gives a line for each thing that was removed.
pub(super) fn detach(bpffs: &Path, instance: &str) -> Result<Vec<String>, DataplaneError> {
    let is_bpffs = pin::is_bpffs(bpffs).map_err(|e| DataplaneError::file(bpffs, "look at", e.into()))?;
    if !is_bpffs {
        return Ok(Vec::new());
    }
    let layout = Layout::new(bpffs, instance);
    layout.look()?;
    let mut removed = Vec::new();
    for version in layout.versions() {
        // First what relies on the other: without the XDP program anybody could make up hops.
        removed.extend(relay::detach(&version)?);
        for link in pin::links_in(&version) {
            attach::drop_pin(&link)?;
            removed.push(format!("link on {} ({})", pin::interface_of(&link), link.display()));
        }
        for path in pin::remove_version(&version)? {
            removed.push(format!("pin {}", path.display()));
        }
    }
    layout.remove_parents();
    Ok(removed)
}
