//! Lets the very logic of the program decide, over the tables of a snapshot.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use anycast_lb_common::abi::{
    ADDRESS_SLOTS, Control, MAX_PREFIXES, Member, PoolEntry, SERVICE_SLOTS, Slot, TableRef, Verdict,
};
use anycast_lb_common::hash::{self, Flow};
use anycast_lb_common::host::{Frame, TableSet};
use anycast_lb_common::ingress;
use bytemuck::Zeroable;

use crate::snapshot::{Snapshot, Table};

/// What became of a packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The way out.
    pub verdict: Verdict,
    /// The VIP.
    pub vip: Option<String>,
    /// Its pool.
    pub pool: Option<String>,
    /// The slot of the pool's table.
    pub slot: Option<u32>,
    /// Whom it was sent to, or would have been.
    pub member: Option<Member>,
    /// The frame as it left.
    pub frame: Vec<u8>,
}

impl Decision {
    /// The address of the backend.
    pub fn backend(&self) -> Option<IpAddr> {
        self.member.map(|member| IpAddr::from(Ipv6Addr::from(member.address)).to_canonical())
    }
}

/// The maps as they were.
pub struct Decider<'a> {
    snapshot: &'a Snapshot,
    tables: TableSet,
}

impl<'a> Decider<'a> {
    /// As `snapshot` has them.
    pub fn new(snapshot: &'a Snapshot) -> Self {
        Decider { snapshot, tables: tables(snapshot) }
    }

    /// What became of `frame`, a whole frame whose flow is the one of `protocol` (its number) from `source` to
    /// `destination`. Nothing is remembered of it.
    pub fn decide(
        &self,
        frame: &[u8],
        protocol: u8,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Decision {
        let snapshot = self.snapshot;
        let mut frame = Frame::new(frame);
        let outcome = ingress::run(&mut frame, &self.tables);
        let vip = snapshot.vips.iter().find(|vip| vip.number == outcome.vip && outcome.vip != 0);
        let pool = vip.and_then(|vip| snapshot.pools.iter().find(|pool| pool.number == vip.entry.pool));
        let slot = vip.zip(pool.and_then(|pool| pool.table.as_ref())).and_then(|(vip, table)| {
            let hash = flow_hash(snapshot, vip.entry.flags, protocol, source, destination)?;
            Some(TableRef { bits: table.bits, ..TableRef::default() }.slot(hash))
        });
        let is_member = |(number, _): &&(u16, Member)| *number == outcome.member && outcome.member != 0;
        Decision {
            verdict: outcome.verdict,
            vip: vip.map(|vip| vip.name.clone()),
            pool: pool.map(|pool| pool.name.clone()),
            slot,
            member: snapshot.members.iter().find(is_member).map(|(_, member)| *member),
            frame: frame.bytes().to_vec(),
        }
    }
}

fn flow_hash(
    snapshot: &Snapshot,
    flags: u16,
    protocol: u8,
    source: SocketAddr,
    destination: SocketAddr,
) -> Option<u64> {
    let [a, b] = source.port().to_be_bytes();
    let [c, d] = destination.port().to_be_bytes();
    let ports = u32::from_le_bytes([a, b, c, d]).into();
    let (protocol, keys) = (protocol.into(), &snapshot.header.keys);
    Some(match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let addresses = hash::words_v4(source.octets(), destination.octets());
            Flow { addresses, ports, protocol }.hashed_by(flags).hash(keys)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let addresses = hash::words_v6(source.octets(), destination.octets());
            Flow { addresses, ports, protocol }.hashed_by(flags).hash(keys)
        }
        _ => return None,
    })
}

fn tables(snapshot: &Snapshot) -> TableSet {
    let mut set = TableSet::default();
    let half = (snapshot.active & Control::HALF) as u32;
    set.control.active = snapshot.active;
    *set.header() = snapshot.header;
    set.header().prefixes = snapshot.prefixes.len() as u32;
    put(&mut set.addresses, half * ADDRESS_SLOTS, snapshot.addresses.iter().copied());
    put(&mut set.services, half * SERVICE_SLOTS, snapshot.services.iter().copied());
    put(&mut set.prefixes, half * MAX_PREFIXES, (0..).zip(snapshot.prefixes.iter().copied()));
    set.vips = numbered(snapshot.vips.iter().map(|vip| (vip.number, vip.entry)));
    set.members = numbered(snapshot.members.iter().copied());
    let mut pools = Vec::new();
    for pool in &snapshot.pools {
        let mut place = |table: &Option<Table>| {
            let Some(table) = table else { return 0 };
            let base = set.slots.len() as u32;
            set.slots.extend(table.slots.iter().map(|word| Slot(*word)));
            TableRef { base, bits: table.bits, words: table.words, reserved: [0; 2] }.to_word()
        };
        let entry =
            PoolEntry { table: place(&pool.table), previous: place(&pool.previous), ..PoolEntry::default() };
        pools.push((pool.number, entry));
    }
    set.pools = numbered(pools.into_iter());
    set
}

fn put<T>(all: &mut [T], base: u32, entries: impl Iterator<Item = (u32, T)>) {
    for (place, entry) in entries {
        if let Some(there) = all.get_mut((base + place) as usize) {
            *there = entry;
        }
    }
}

/// By number.
fn numbered<T: Zeroable + Clone>(entries: impl Iterator<Item = (u16, T)> + Clone) -> Vec<T> {
    let length = entries.clone().map(|(number, _)| usize::from(number) + 1).max().unwrap_or(0);
    let mut all = vec![T::zeroed(); length];
    for (number, entry) in entries {
        all[usize::from(number)] = entry;
    }
    all
}
