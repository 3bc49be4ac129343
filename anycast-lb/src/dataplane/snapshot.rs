//! What the maps hold, to be kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use anycast_lb_common::abi::{ADDRESS_SLOTS, MAX_PREFIXES, PoolEntry, SERVICE_SLOTS, TableRef, VipEntry};
use anycast_lb_kept::{Pool, Snapshot, Table, Vip};

use super::Names;
use super::tables::Tables;

/// The tables of pools that were read last, by the word that says where they lie. A table that changes lies
/// elsewhere, so one that lies where it did is the same, if no change in between was left out.
#[derive(Debug, Default)]
pub struct KnownTables(HashMap<u64, Arc<[u64]>>);

/// The tables in force, under their names.
pub(super) fn of(tables: &Tables, names: &Names, known: &mut KnownTables) -> Snapshot {
    let control = tables.control.load(0);
    let half = tables.active();
    let header = control.buffers[half as usize];
    let addresses =
        (0..ADDRESS_SLOTS).map(|place| (place, tables.addresses.load(half * ADDRESS_SLOTS + place)));
    let services =
        (0..SERVICE_SLOTS).map(|place| (place, tables.services.load(half * SERVICE_SLOTS + place)));
    let prefixes = 0..header.prefixes.min(MAX_PREFIXES);
    let mut read = HashMap::new();
    let mut table = |word: u64| {
        let at = TableRef::from_word(word);
        if at.bits == 0 {
            return None;
        }
        let fresh = || tables.table(at).into_iter().map(|slot| slot.0).collect();
        let slots: Arc<[u64]> = known.0.get(&word).cloned().unwrap_or_else(fresh);
        read.insert(word, slots.clone());
        Some(Table { bits: at.bits, words: at.words.max(1), slots })
    };
    let pools = names.pools.iter().map(|(number, name)| {
        let entry: PoolEntry = tables.pools.load((*number).into());
        Pool {
            number: *number,
            name: name.clone(),
            table: table(entry.table),
            previous: table(entry.previous),
        }
    });
    let mut pools: Vec<Pool> = pools.collect();
    pools.sort_by_key(|pool| pool.number);
    known.0 = read;
    let vips = names.vips.iter().map(|(number, key, _)| {
        let entry: VipEntry = tables.vips.load((*number).into());
        Vip { number: *number, entry, name: key.to_string() }
    });
    Snapshot {
        time: SystemTime::now(),
        version: header.version,
        beginning: None,
        last_sign: None,
        active: control.active,
        header,
        addresses: addresses.filter(|(_, entry)| entry.flags != 0).collect(),
        services: services.filter(|(_, entry)| entry.key != 0).collect(),
        prefixes: prefixes.map(|place| tables.prefixes.load(half * MAX_PREFIXES + place)).collect(),
        vips: vips.collect(),
        pools,
        members: names.members.iter().map(|m| (m.number, tables.members.load(m.number.into()))).collect(),
    }
}
