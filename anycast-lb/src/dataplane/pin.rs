//! Where things are pinned, and whether what is pinned there is ours.
//!
//! ```text
//! <bpffs>/anycast-lb/<instance>/v<ABI>/maps/<NAME>
//!                                     /prog
//!                                     /link-<interface>
//!                                     /relay-<interface>
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anycast_lb_common::abi;
use aya::maps::MapInfo;
use aya_obj::Object;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::counters::{COUNTERS, Counters};
use super::error::DataplaneError;
use super::object::DECIDING;
use super::sys;

/// Directory of all instances.
const ROOT: &str = "anycast-lb";
const MAPS: &str = "maps";
const PROGRAM: &str = "prog";
/// The next program, on its way to [`PROGRAM`].
const PROGRAM_NEXT: &str = "prog-next";
const LINK_PREFIX: &str = "link-";
const RELAY_PREFIX: &str = "relay-";

/// The paths of one instance.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    instance: PathBuf,
    dir: PathBuf,
}

impl Layout {
    pub fn new(bpffs: &Path, instance: &str) -> Self {
        let instance = bpffs.join(ROOT).join(escape(instance));
        let dir = instance.join(format!("v{}", abi::VERSION));
        Layout { instance, dir }
    }

    pub fn map(&self, name: &str) -> PathBuf {
        self.dir.join(MAPS).join(name)
    }

    pub fn link(&self, interface: &str) -> PathBuf {
        self.dir.join(link_name(interface))
    }

    pub fn relay(&self, interface: &str) -> PathBuf {
        self.dir.join(format!("{RELAY_PREFIX}{}", escape(interface)))
    }

    /// Our own pinned relays.
    pub fn relays(&self) -> Vec<PathBuf> {
        relays_in(&self.dir)
    }

    /// The directory of all that the instance has pinned.
    pub fn instance(&self) -> &Path {
        &self.instance
    }

    /// The directory of this release's pins.
    pub fn version(&self) -> &Path {
        &self.dir
    }

    /// Whether we may look at what is pinned. What cannot be looked at must not pass for nothing.
    pub fn look(&self) -> Result<(), DataplaneError> {
        match fs::read_dir(&self.instance) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(DataplaneError::call(format!("looking into {}", self.instance.display()), e))
            }
            _ => Ok(()),
        }
    }

    /// Removes the directories around the versions as far as they are empty.
    pub fn remove_parents(&self) {
        for directory in self.instance.ancestors().take(2) {
            // Other instances may still be in the outer one, and the inner one may never have been.
            if fs::remove_dir(directory).is_err() {
                break;
            }
        }
    }

    /// Makes the directories; nobody but us may look inside.
    pub fn create(&self) -> Result<(), DataplaneError> {
        use std::os::unix::fs::DirBuilderExt;
        let maps = self.dir.join(MAPS);
        let builder = fs::DirBuilder::new().recursive(true).mode(0o700).create(&maps);
        builder.map_err(|source| DataplaneError::file(&maps, "make the directory", source))
    }

    /// Pins the program in place of the last one.
    pub fn pin_program(&self, program: std::os::fd::BorrowedFd<'_>) -> Result<(), DataplaneError> {
        let (next, path) = (self.dir.join(PROGRAM_NEXT), self.dir.join(PROGRAM));
        remove_if_there(&next)?;
        sys::pin(program, &next)
            .map_err(|e| DataplaneError::call(format!("pinning {}", next.display()), e))?;
        fs::rename(&next, &path).map_err(|source| DataplaneError::file(&path, "replace", source))
    }

    /// All versions of this instance that are pinned, this one included.
    pub fn versions(&self) -> Vec<PathBuf> {
        entries(&self.instance).into_iter().filter(|p| file_name(p).starts_with('v')).collect()
    }

    /// Versions other than ours.
    pub fn other_versions(&self) -> Vec<PathBuf> {
        self.versions().into_iter().filter(|p| *p != self.dir).collect()
    }

    /// Our own pinned links.
    pub fn links(&self) -> Vec<PathBuf> {
        links_in(&self.dir)
    }
}

/// The pinned links in the directory of one version.
pub(super) fn links_in(version: &Path) -> Vec<PathBuf> {
    entries(version).into_iter().filter(|p| file_name(p).starts_with(LINK_PREFIX)).collect()
}

/// The pinned relays in the directory of one version.
pub(super) fn relays_in(version: &Path) -> Vec<PathBuf> {
    entries(version).into_iter().filter(|p| file_name(p).starts_with(RELAY_PREFIX)).collect()
}

/// The interface that a pinned relay is named after.
pub(super) fn interface_of_relay(relay: &Path) -> String {
    let name = file_name(relay);
    unescape(name.strip_prefix(RELAY_PREFIX).unwrap_or(&name))
}

/// Name of the pin of the link on `interface`.
pub(super) fn link_name(interface: &str) -> String {
    format!("{LINK_PREFIX}{}", escape(interface))
}

/// The interface that a pinned link is named after.
pub(super) fn interface_of(link: &Path) -> String {
    let name = file_name(link);
    unescape(name.strip_prefix(LINK_PREFIX).unwrap_or(&name))
}

/// Removes everything in the directory of a version and the directory; gives what was removed.
pub(super) fn remove_version(version: &Path) -> Result<Vec<PathBuf>, DataplaneError> {
    let mut removed = Vec::new();
    let maps = version.join(MAPS);
    for path in entries(&maps).into_iter().chain(entries(version)) {
        if path != maps {
            remove_if_there(&path)?;
            removed.push(path);
        }
    }
    for directory in [maps.as_path(), version] {
        match fs::remove_dir(directory) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(DataplaneError::file(directory, "remove", source));
            }
            _ => {}
        }
    }
    Ok(removed)
}

/// Removes a pin.
pub(super) fn remove_if_there(path: &Path) -> Result<(), DataplaneError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(DataplaneError::file(path, "remove", source))
        }
        _ => Ok(()),
    }
}

/// Makes sure that a bpffs is mounted at `path`.
pub(super) fn ensure_bpffs(path: &Path) -> Result<(), DataplaneError> {
    let failed = |source| DataplaneError::Bpffs { path: path.to_path_buf(), source };
    if is_bpffs(path).map_err(|e| failed(e.into()))? {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(failed)?;
    mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), None::<&str>).map_err(|e| failed(e.into()))?;
    tracing::info!(path = %path.display(), "mounted a bpffs");
    Ok(())
}

/// Whether a bpffs is mounted at `path`; a path that does not exist is none.
pub(super) fn is_bpffs(path: &Path) -> nix::Result<bool> {
    match statfs(path) {
        Ok(stat) => Ok(stat.filesystem_type() == BPF_FS_MAGIC),
        Err(nix::Error::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Checks every map that is pinned already against the object; gives how many are.
pub(super) fn verify_maps(layout: &Layout, object: &Object) -> Result<usize, DataplaneError> {
    let mut pinned = 0;
    for name in DECIDING.into_iter().chain([COUNTERS]) {
        let expected =
            object.maps.get(name).ok_or_else(|| DataplaneError::Object(format!("it has no map {name}")))?;
        let path = layout.map(name);
        if !path.exists() {
            continue;
        }
        pinned += 1;
        let entries = if name == COUNTERS { Counters::elements()? } else { expected.max_entries() };
        let found = MapInfo::from_pin(&path).map_err(|e| DataplaneError::map(name, e))?;
        let kind = found.map_type().map_or(0, |t| t as u32);
        let properties = [
            ("the map type", kind, expected.map_type()),
            ("the key size", found.key_size(), expected.key_size()),
            ("the value size", found.value_size(), expected.value_size()),
            ("the number of entries", found.max_entries(), entries),
            ("the flags word", found.map_flags(), expected.map_flags()),
        ];
        for (what, found, expected) in properties {
            if found != expected {
                let (found, expected) = (found.to_string(), expected.to_string());
                return Err(DataplaneError::PinMismatch { path, what, found, expected });
            }
        }
    }
    Ok(pinned)
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    all.sort();
    all
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A bpffs refuses names with a dot, which VLAN interfaces have.
fn escape(name: &str) -> String {
    name.replace('%', "%25").replace('.', "%2E")
}

fn unescape(name: &str) -> String {
    name.replace("%2E", ".").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_no_dots_and_names_come_back() {
        for name in ["eth0", "eth0.100", "a%2Eb", "%"] {
            let path = Layout::new(Path::new("/bpf"), "edge.1").link(name);
            assert!(!path.to_string_lossy().contains('.'), "{}", path.display());
            assert_eq!(interface_of(&path), name);
        }
        let path = Layout::new(Path::new("/bpf"), "default").map("TABLES");
        assert_eq!(path, Path::new(&format!("/bpf/anycast-lb/default/v{}/maps/TABLES", abi::VERSION)));
    }

    #[test]
    fn an_ordinary_directory_is_no_bpffs() {
        let directory = tempfile::tempdir().expect("directory");
        assert_eq!(is_bpffs(directory.path()), Ok(false));
        assert_eq!(is_bpffs(&directory.path().join("missing")), Ok(false));
    }
}
