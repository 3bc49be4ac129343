//! Writes a plan into the maps so that every packet sees the old state or the new one.
//!
//! What nothing names yet is written first, then the words that name it, from the inside out:
//! members, tables, the half of the service tables that is not in force, pools, VIPs, and last the
//! word that puts that half in force. When no packet can be looking at the old state any more, what
//! only that one named is cleared, and from then on its numbers are free.
//!
//! A change of the seed puts other tables and other hash keys in force, which are not one word. So
//! the owners under the old seed are put in force before either: whichever a packet sees for the
//! microsecond between, it lists the backend that holds its flow.

use std::collections::{HashMap, HashSet};
use std::mem::offset_of;
use std::net::IpAddr;

use anycast_lb_common::abi::{
    ADDRESS_SLOTS, Buffer, Control, FlowKeys, HopLimits, MAX_PREFIXES, Member, MemberFlags, PoolEntry,
    PrefixEntry, SERVICE_SLOTS, VipEntry,
};
use bytemuck::Zeroable;

use super::counters::Counters;
use super::error::DataplaneError;
use super::sys;
use super::tables::Tables;
use crate::neighbour::NextHop;
use crate::plan::{Plan, PlannedTable, Previous};

/// The word of interface, MTU, encapsulation and flags.
const WAY: usize = offset_of!(Member, ifindex) / size_of::<u64>();
/// The word of the destination MAC.
const MAC: usize = offset_of!(Member, template) / size_of::<u64>();
/// The first word of address, identity and pool, which follow the template.
const NAME: usize = offset_of!(Member, address) / size_of::<u64>();

/// Writes `plan`. `ways` are the ways to backends as far as they are known; a member that stays and
/// whose way is not known keeps what it has.
///
/// Only one thing can fail: when the change is in force, waiting for packets; then nothing is cleared.
pub(super) fn write(
    tables: &Tables,
    counters: &Counters,
    plan: &Plan,
    previous: &Previous,
    ways: &HashMap<IpAddr, NextHop>,
) -> Result<(), DataplaneError> {
    for member in plan.members.iter().filter(|m| m.new) {
        counters.members.zero(member.number.into());
    }
    for vip in plan.vips.iter().filter(|v| v.new) {
        counters.vips.zero(vip.number.into());
    }

    for member in &plan.members {
        let way = ways.get(&member.address);
        let number = member.number.into();
        if member.new || way.is_some() {
            store_member(tables, number, &member.entry(way));
        } else {
            // What a daemon left that was killed while it cleared may name another pool.
            let kept = tables.members.load(number);
            store_member(tables, number, &Member { pool: member.pool_number, ..kept });
        }
    }
    for pool in &plan.pools {
        for table in [&pool.table, &pool.previous] {
            if let PlannedTable::Write { at, slots } = table {
                for (i, slot) in (at.base..).zip(slots) {
                    tables.slots.store(i, slot);
                }
            }
        }
        let number = u32::from(pool.number);
        // The identity first: a number that has a table is never without an owner.
        tables.pools.store_part(number, offset_of!(PoolEntry, identity), &pool.identity);
        // What is no longer wanted is cleared when nobody looks at it any more.
        if !matches!(pool.previous, PlannedTable::Empty) {
            let previous = pool.previous.location().to_word();
            tables.pools.store_part(number, offset_of!(PoolEntry, previous), &previous);
        }
    }
    let half = prepare_half(tables, plan);
    begin_seed_change(tables, plan);
    for pool in &plan.pools {
        let table = pool.table.location().to_word();
        tables.pools.store_part(pool.number.into(), offset_of!(PoolEntry, table), &table);
    }
    for vip in &plan.vips {
        tables.vips.store(vip.number.into(), &vip.entry);
    }
    let active = u64::from(half) | plan.services.salt;
    tables.control.store_part(0, offset_of!(Control, active), &active);

    sys::wait_for_packets().map_err(|e| DataplaneError::call("membarrier", e))?;
    clear(tables, plan, previous);
    Ok(())
}

/// Writes a member that exists already, or that nothing names yet.
///
/// The packet path reads a member without a lock. A moved neighbour changes the word of its MAC alone,
/// another MTU the way word alone: a packet sees the old or the new one. Anything else (the route
/// moved to another interface) takes the member out for the few nanoseconds of the change. A packet
/// that falls into them is counted as `no_neighbour`; one that had just looked at the member may
/// leave with a mixture of both headers, and may be lost as well.
pub(super) fn store_member(tables: &Tables, number: u32, new: &Member) {
    let old = tables.members.load(number);
    if old == *new {
        return;
    }
    let (old_words, new_words): ([u64; 16], [u64; 16]) = (bytemuck::cast(old), bytemuck::cast(*new));
    let rest = MAC + 1..NAME;
    let template_stays = old_words[rest.clone()] == new_words[rest.clone()];
    let store = |word: usize, value: u64| tables.members.store_part(number, word * size_of::<u64>(), &value);
    if !template_stays {
        let unresolved = Member { flags: old.flags & !MemberFlags::RESOLVED, ..old };
        store(WAY, bytemuck::cast::<_, [u64; 16]>(unresolved)[WAY]);
        for word in rest {
            store(word, new_words[word]);
        }
    }
    store(MAC, new_words[MAC]);
    for (word, value) in new_words.iter().enumerate().skip(NAME) {
        store(word, *value);
    }
    // Last: a member that says it is resolved is complete.
    store(WAY, new_words[WAY]);
}

/// Where the header of a half lies.
const fn header_at(half: u32) -> usize {
    offset_of!(Control, buffers) + half as usize * size_of::<Buffer>()
}

/// Has packets list the owner under the old seed as well while that seed is still in force.
fn begin_seed_change(tables: &Tables, plan: &Plan) {
    /// Two fields in one word.
    const SEED_CHANGE: usize = offset_of!(Buffer, seed_change);
    let half = tables.active();
    let header = tables.control.load(0).buffers[half as usize];
    let Some(previous_keys) = plan.previous_keys else { return };
    if header.seed_change != 0 || header.keys != previous_keys {
        return;
    }
    // Nothing looks at the keys before the word that says they count.
    tables.control.store_part(0, header_at(half) + offset_of!(Buffer, previous_keys), &previous_keys);
    tables.control.store_part(0, header_at(half) + SEED_CHANGE, &[1_u32, header.version]);
}

/// Fills the half of the service tables that is not in force, and gives its number.
fn prepare_half(tables: &Tables, plan: &Plan) -> u32 {
    let half = 1 - tables.active();
    for (i, entry) in (half * ADDRESS_SLOTS..).zip(&plan.services.addresses) {
        tables.addresses.store(i, entry);
    }
    for (i, entry) in (half * SERVICE_SLOTS..).zip(&plan.services.services) {
        tables.services.store(i, entry);
    }
    let unused = std::iter::repeat(&PrefixEntry { network: [0; 2], mask: [0; 2] });
    let first = half * MAX_PREFIXES;
    for (i, entry) in (first..first + MAX_PREFIXES).zip(plan.prefixes.iter().chain(unused)) {
        tables.prefixes.store(i, entry);
    }
    let header = Buffer {
        keys: plan.keys,
        previous_keys: plan.previous_keys.unwrap_or_else(FlowKeys::zeroed),
        seed_change: plan.previous_keys.is_some().into(),
        prefixes: plan.prefixes.len() as u32,
        unmatched_pass: plan.unmatched_pass.into(),
        hop_limits: plan.hop_limits,
        question_limits: HopLimits::QUESTIONS,
        version: tables.version().wrapping_add(1),
    };
    tables.control.store_part(0, header_at(half), &header);
    half
}

/// Forgets what only the previous state named.
fn clear(tables: &Tables, plan: &Plan, previous: &Previous) {
    let vips: HashSet<u16> = plan.vips.iter().map(|v| v.number).collect();
    for number in previous.vips.keys().filter(|n| !vips.contains(n)) {
        tables.vips.store((*number).into(), &VipEntry::zeroed());
    }
    let pools: HashSet<u16> = plan.pools.iter().map(|p| p.number).collect();
    for number in previous.pools.keys().filter(|n| !pools.contains(n)) {
        tables.pools.store((*number).into(), &PoolEntry::zeroed());
    }
    for pool in plan.pools.iter().filter(|p| p.previous == PlannedTable::Empty) {
        tables.pools.store_part(pool.number.into(), offset_of!(PoolEntry, previous), &0_u64);
    }
    let members: HashSet<u16> = plan.members.iter().map(|m| m.number).collect();
    for number in previous.members.keys().filter(|n| !members.contains(n)) {
        store_member(tables, (*number).into(), &Member::zeroed());
    }
}
