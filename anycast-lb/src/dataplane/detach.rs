//! Takes an instance off its interfaces and removes all its pins, daemon or not.

use std::fs;
use std::path::Path;

use super::attach;
use super::error::DataplaneError;
use super::pin::{self, Layout};
use super::relay;

/// Removes everything of `instance`; gives a line for each thing that was removed.
pub(super) fn detach(bpffs: &Path, instance: &str) -> Result<Vec<String>, DataplaneError> {
    let is_bpffs = pin::is_bpffs(bpffs).map_err(|e| DataplaneError::file(bpffs, "look at", e.into()))?;
    if !is_bpffs {
        return Ok(Vec::new());
    }
    let layout = Layout::new(bpffs, instance);
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
    for directory in layout.parents() {
        // Other instances may still be in the outer one, and the inner one may never have been.
        if fs::remove_dir(&directory).is_err() {
            break;
        }
    }
    Ok(removed)
}
