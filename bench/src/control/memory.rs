//! How much memory a node takes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anycast_lb::dataplane::MapMemory;
use anyhow::{Context as _, Result};

use super::daemon::Daemon;

/// Bytes.
pub struct Memory {
    /// Maps on two CPUs, computed from the object; as many whatever is configured.
    pub maps_2_cpus: u64,
    /// The same on 128 CPUs.
    pub maps_128_cpus: u64,
    /// The daemon's maps on this machine, as the kernel counts them.
    pub maps_here: u64,
    /// What is resident of the daemon: `VmRSS`. Tables that it has mapped are maps and counted there too.
    pub daemon_resident: u64,
}

impl Memory {
    /// That of a node.
    pub fn of(daemon: &Daemon) -> Result<Self> {
        let maps = MapMemory::shipped()?;
        Ok(Memory {
            maps_2_cpus: maps.on(2),
            maps_128_cpus: maps.on(128),
            maps_here: maps_here(&daemon.proc())?,
            daemon_resident: resident(&daemon.proc())?,
        })
    }
}

/// Every map that the process holds, once.
fn maps_here(proc: &Path) -> Result<u64> {
    let mut maps = BTreeMap::new();
    for entry in fs::read_dir(proc.join("fdinfo"))? {
        // A connection may be over by now.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        if let (Some(id), Some(bytes)) = (field(&text, "map_id"), field(&text, "memlock")) {
            maps.insert(id, bytes);
        }
    }
    Ok(maps.values().sum())
}

fn resident(proc: &Path) -> Result<u64> {
    const KIB: u64 = 1024;
    let text = fs::read_to_string(proc.join("status"))?;
    Ok(field(&text, "VmRSS").context("no VmRSS")? * KIB)
}

/// A number behind `name:`.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "map_type:\t2\nmap_id:\t17\nmemlock:\t4096\nVmRSS:\t  60732 kB\n";
        assert_eq!(
            ["map_id", "memlock", "VmRSS", "map"].map(|name| field(text, name)),
            [Some(17), Some(4096), Some(60732), None]
        );
    }
}
