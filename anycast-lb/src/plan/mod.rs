//! What the maps must hold for a configuration, given what they hold now. Pure: everything that can
//! be refused is refused here, before the first byte of a map changes.
//!
//! Numbers are stable: what stays keeps its number, and a number that the present tables name for
//! something else is not handed out. The present numbering is read from the pinned maps themselves,
//! so a restarted daemon goes on where the last one was killed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::time::SystemTime;

use anycast_lb_common::abi::{
    FlowKeys, HopLimits, MAX_MEMBERS, MAX_POOLS, MAX_PREFIXES, MAX_VIPS, MemberNumber, PrefixEntry,
    ServiceEntry, Slot, TableRef, VipEntry, VipFlags, VipNumber, server_key,
};
use bytemuck::Zeroable;
use ipnet::IpNet;

use crate::membership::InForce;
use crate::membership::history::History;
use crate::model::{self, Config, Role, Seed, VipKey};

mod arena;
mod cuckoo;
mod error;
mod health;
mod identity;
mod members;
mod numbering;
mod places;
mod pools;
mod recent;
mod rescue;
mod services;

pub use arena::words;
pub use error::PlanError;
pub use members::PlannedMember;
pub use pools::{Memo, PlannedPool, PlannedTable};
pub use rescue::{MOST_SITES, Sites, candidates};
pub use services::{Services, find};

pub(crate) use health::Lists;
pub(crate) use recent::{Recent, Remembered};

use arena::{Arena, Full};
use numbering::Exhausted;
use places::Width;
use pools::Circumstances;

/// What the maps name now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Previous {
    /// VIPs of the half in force.
    pub vips: BTreeMap<VipNumber, VipKey>,
    /// Addresses of the half in force.
    pub addresses: BTreeMap<u16, IpAddr>,
    /// Pools: what they are known by.
    pub pools: BTreeMap<u16, u64>,
    /// Their tables.
    pub tables: BTreeMap<u16, TableRef>,
    /// Their tables under the previous seed.
    pub previous_tables: BTreeMap<u16, TableRef>,
    /// Members: what they are known by.
    pub members: BTreeMap<MemberNumber, u64>,
}

/// A VIP, its number and its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedVip {
    /// Its number.
    pub number: VipNumber,
    /// Whether the previous tables did not know it.
    pub new: bool,
    /// What identifies it.
    pub key: VipKey,
    /// Its entry.
    pub entry: VipEntry,
}

/// What the maps must hold.
#[derive(Clone, Debug)]
pub struct Plan {
    /// VIPs, in the order of the configuration.
    pub vips: Vec<PlannedVip>,
    /// Pools, in the order of the configuration.
    pub pools: Vec<PlannedPool>,
    /// Members, pool by pool in the order of the configuration.
    pub members: Vec<PlannedMember>,
    /// Address and service table.
    pub services: Services,
    /// Announced prefixes, or allowed senders on a backend.
    pub prefixes: Vec<PrefixEntry>,
    /// Flow hash keys; zero without a seed, as on a backend, which hashes no flows.
    pub keys: FlowKeys,
    /// Flow hash keys of the previous seed, while the seed is being changed.
    pub previous_keys: Option<FlowKeys>,
    /// Limits on what a backend sends on, or an ingress node tells senders about MTUs.
    pub hop_limits: HopLimits,
    /// Whether what no service matches is passed.
    pub unmatched_pass: bool,
}

/// The plan for what is to be in force.
///
/// `locals` are the host's own addresses; only a backend uses them. `current` reads the words of the
/// table that lies at a place in the arena, to see whether it can stay. `history` has what determined
/// owners before, judged by the time beside it; it decides about no owner.
pub fn plan(
    in_force: &InForce,
    (history, now): (&History, SystemTime),
    locals: &[IpAddr],
    previous: &Previous,
    current: &dyn Fn(TableRef) -> Vec<Slot>,
    memo: &mut Memo,
) -> Result<Plan, PlanError> {
    let config = &in_force.config;
    let pool_numbers = number_pools(config, previous)?;
    let members = number_members(config, &pool_numbers, previous)?;
    let pools = |width, memo: &mut Memo| {
        plan_pools(in_force, (history, now), &pool_numbers, &members, (previous, current), width, memo)
    };
    // A change is worth more than room that lists of one pool or another would like to have.
    let pools = match pools(Width::AsNeeded, memo) {
        Err(PlanError::ArenaFull { .. }) => pools(Width::Least, memo)?,
        pools => pools?,
    };
    let vips = plan_vips(config, &pool_numbers, previous)?;
    let services = plan_services(config, &vips, &members, locals, previous)?;
    Ok(Plan {
        vips,
        pools,
        members,
        services,
        prefixes: plan_prefixes(config)?,
        keys: config.seed.as_ref().map_or_else(FlowKeys::zeroed, |seed| FlowKeys::from_seed(seed.0)),
        previous_keys: config.seed_previous.as_ref().map(|seed| FlowKeys::from_seed(seed.0)),
        hop_limits: match config.role {
            Role::Ingress => HopLimits::PATH_MTU,
            Role::Backend => hop_limits(config.hop_limits),
        },
        unmatched_pass: config.unmatched_pass,
    })
}

/// Limits as the packet path wants them.
fn hop_limits(limits: model::HopLimits) -> HopLimits {
    match (limits.per_prefix, limits.total) {
        (0, _) | (_, 0) => HopLimits { total_interval: HopLimits::NEVER, ..HopLimits::default() },
        (prefix, total) => HopLimits::per_second(prefix.into(), total.into()),
    }
}

fn number_pools<'c>(config: &'c Config, previous: &Previous) -> Result<HashMap<&'c str, u16>, PlanError> {
    let identities: Vec<u64> = config.pools.iter().map(|p| identity::pool(&p.name)).collect();
    refuse_collision(&identities, |i| config.pools[i].name.clone())?;
    let numbers = numbering::assign(&identities, &previous.pools, 0..=last(MAX_POOLS))
        .map_err(|e| too_many("pools", MAX_POOLS, e))?;
    Ok(config.pools.iter().map(|p| p.name.as_str()).zip(numbers).collect())
}

fn number_members(
    config: &Config,
    pool_numbers: &HashMap<&str, u16>,
    previous: &Previous,
) -> Result<Vec<PlannedMember>, PlanError> {
    let mut members: Vec<PlannedMember> = Vec::new();
    for pool in &config.pools {
        for backend in &pool.backends {
            let encap = members::encap(pool.encapsulation, backend.address);
            members.push(PlannedMember {
                number: 0,
                new: true,
                pool: pool.name.clone(),
                pool_number: pool_numbers[pool.name.as_str()],
                address: backend.address,
                encap,
                identity: identity::member(&pool.name, backend.address, encap),
            });
        }
    }
    let identities: Vec<u64> = members.iter().map(|m| m.identity).collect();
    refuse_collision(&identities, |i| format!("{} in {}", members[i].address, members[i].pool))?;
    let numbers = numbering::assign(&identities, &previous.members, 1..=last(MAX_MEMBERS))
        .map_err(|e| too_many("backends (counted in every pool)", MAX_MEMBERS - 1, e))?;
    for (member, number) in members.iter_mut().zip(numbers) {
        member.number = number;
        member.new = !previous.members.contains_key(&number);
    }
    Ok(members)
}

fn plan_pools(
    InForce { config, standings }: &InForce,
    (history, now): (&History, SystemTime),
    pool_numbers: &HashMap<&str, u16>,
    members: &[PlannedMember],
    (previous, current): (&Previous, &dyn Fn(TableRef) -> Vec<Slot>),
    width: Width,
    memo: &mut Memo,
) -> Result<Vec<PlannedPool>, PlanError> {
    let numbers: HashMap<(u16, IpAddr), MemberNumber> =
        members.iter().map(|m| ((m.pool_number, m.address), m.number)).collect();
    memo.retain(|name| pool_numbers.contains_key(name));
    // Pools exist on ingress nodes only, and those have a seed.
    let seed = config.seed.clone().unwrap_or(Seed([0; 16]));
    let in_use = previous.tables.values().chain(previous.previous_tables.values());
    let mut arena = Arena::new(in_use.copied());
    let home = config.pop.as_str();
    let around =
        Circumstances { home, seed: &seed, seed_fingerprint: &seed.fingerprint(), standings, history, now };
    let mut planned = Vec::with_capacity(config.pools.len());
    for pool in &config.pools {
        let number = pool_numbers[pool.name.as_str()];
        let member = |address| numbers[&(number, address)];
        let sites = Sites::in_force(pool, home, &config.drained_pops, standings);
        let own = pools::slots(pool, &around, &sites, member, memo);
        let (slots, words) = if sites.rescue.is_empty() {
            places::pack(&own, pool.hops, width)
        } else {
            let all = rescue::widen(&own, pool, &around, &sites, |c| member(c.identity), memo);
            places::pack_wide(&all)
        };
        let old_owners = config.seed_previous.as_ref().map_or_else(Vec::new, |seed| {
            pools::previous_owners(pool, seed, home, sites.owner, member, memo)
        });
        let mut place = |slots, words, in_force: Option<&TableRef>| {
            place_table(slots, words, in_force.copied(), current, &mut arena).map_err(
                |Full { needed, free }| PlanError::ArenaFull { pool: pool.name.clone(), needed, free },
            )
        };
        planned.push(PlannedPool {
            number,
            name: pool.name.clone(),
            identity: identity::pool(&pool.name),
            table: place(slots, words, previous.tables.get(&number))?,
            previous: place(old_owners, 1, previous.previous_tables.get(&number))?,
        });
    }
    Ok(planned)
}

/// Where a table lies: where the one in force does if that says the same, else in a free region.
fn place_table(
    slots: Vec<Slot>,
    words: u8,
    in_force: Option<TableRef>,
    current: &dyn Fn(TableRef) -> Vec<Slot>,
    arena: &mut Arena,
) -> Result<PlannedTable, Full> {
    if slots.is_empty() {
        return Ok(PlannedTable::Empty);
    }
    // A power of two from 2 to 2^20, says the validated configuration.
    let bits = (slots.len() / usize::from(words)).trailing_zeros() as u8;
    let same_shape = |at: &TableRef| (at.bits, at.words.max(1)) == (bits, words);
    match in_force.filter(|at| same_shape(at) && current(*at) == slots) {
        Some(at) => Ok(PlannedTable::Keep(at)),
        None => Ok(PlannedTable::Write { at: arena.allocate(bits, words)?, slots }),
    }
}

fn plan_vips(
    config: &Config,
    pool_numbers: &HashMap<&str, u16>,
    previous: &Previous,
) -> Result<Vec<PlannedVip>, PlanError> {
    let keys: Vec<VipKey> = config.vips.iter().map(|v| v.key).collect();
    let numbers = numbering::assign(&keys, &previous.vips, 1..=last(MAX_VIPS))
        .map_err(|e| too_many("VIPs", MAX_VIPS - 1, e))?;
    config
        .vips
        .iter()
        .zip(numbers)
        .map(|(vip, number)| {
            let quic = |pool: &&model::Pool| pool.name == vip.pool && vip.quic;
            let quic = config.pools.iter().find(quic).and_then(|pool| pool.quic.as_ref());
            let pool = match (config.role, pool_numbers.get(vip.pool.as_str())) {
                (Role::Backend, _) => 0,
                (Role::Ingress, Some(&number)) => number,
                (Role::Ingress, None) => {
                    let (vip, pool) = (format!("{:?}", vip.key), vip.pool.clone());
                    return Err(PlanError::UnknownPool { vip, pool });
                }
            };
            let second_chance = if vip.second_chance { VipFlags::SECOND_CHANCE } else { 0 };
            let by_id = if quic.is_some() { VipFlags::QUIC } else { 0 };
            let mss_clamp = if vip.mss_clamp { VipFlags::MSS_CLAMP } else { 0 };
            let identity = if vip.identity == model::Identity::Off { 0 } else { VipFlags::IDENTITY };
            let flags = second_chance | by_id | mss_clamp | identity | vip.hash.flags();
            let server_ids = quic.map(|quic| quic.ids).unwrap_or_default();
            Ok(PlannedVip {
                number,
                new: !previous.vips.contains_key(&number),
                key: vip.key,
                entry: VipEntry { pool, flags, server_ids, number },
            })
        })
        .collect()
}

fn plan_services(
    config: &Config,
    vips: &[PlannedVip],
    members: &[PlannedMember],
    locals: &[IpAddr],
    previous: &Previous,
) -> Result<Services, PlanError> {
    let addresses: Vec<IpAddr> =
        vips.iter().map(|v| v.key.address).collect::<BTreeSet<_>>().into_iter().collect();
    let ids = numbering::assign(&addresses, &previous.addresses, 1..=u16::MAX)
        .map_err(|e| too_many("VIP addresses", u32::from(u16::MAX), e))?;
    let ids = addresses.into_iter().zip(ids).collect();
    let keys: Vec<(VipKey, VipEntry)> = vips.iter().map(|v| (v.key, v.entry)).collect();
    let locals = match config.role {
        Role::Ingress => &[],
        Role::Backend => locals,
    };
    let servers = servers(config, members);
    Ok(Services::build(&keys, &servers, &ids, locals)?.with_fragments(vips))
}

/// The servers that connection IDs name.
fn servers(config: &Config, members: &[PlannedMember]) -> Vec<ServiceEntry> {
    let pools: HashMap<&str, &model::Quic> =
        config.pools.iter().filter_map(|p| Some((p.name.as_str(), p.quic.as_ref()?))).collect();
    let server = |member: &PlannedMember| {
        let id = pools.get(member.pool.as_str())?.servers.get(&member.address)?;
        let key = server_key(member.pool_number, *id);
        Some(ServiceEntry { key, value: member.number.into() })
    };
    members.iter().filter_map(server).collect()
}

fn plan_prefixes(config: &Config) -> Result<Vec<PrefixEntry>, PlanError> {
    let prefixes = match config.role {
        Role::Ingress => &config.prefixes,
        Role::Backend => &config.allowed_senders,
    };
    if prefixes.len() > MAX_PREFIXES as usize {
        return Err(PlanError::TooManyPrefixes { wanted: prefixes.len(), limit: MAX_PREFIXES });
    }
    Ok(prefixes.iter().map(prefix).collect())
}

fn prefix(net: &IpNet) -> PrefixEntry {
    /// Length of the prefix that all IPv4-mapped addresses share.
    const MAPPED_BITS: u8 = 96;
    let offset = if net.addr().is_ipv4() { MAPPED_BITS } else { 0 };
    PrefixEntry::new(mapped(net.addr()), offset + net.prefix_len())
}

/// Addresses as the maps hold them: IPv4 as IPv4-mapped.
pub(crate) fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// Undoes [`mapped`].
pub(crate) fn unmapped(bytes: [u8; 16]) -> IpAddr {
    IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
}

/// The last of `count` numbers that begin at 0.
fn last(count: u32) -> u16 {
    u16::try_from(count - 1).unwrap_or(u16::MAX)
}

fn too_many(what: &'static str, limit: u32, Exhausted { needed, free }: Exhausted) -> PlanError {
    PlanError::TooMany { what, needed, free, limit }
}

fn refuse_collision(identities: &[u64], name: impl Fn(usize) -> String) -> Result<(), PlanError> {
    let mut seen = HashMap::with_capacity(identities.len());
    for (i, identity) in identities.iter().enumerate() {
        if let Some(first) = seen.insert(identity, i) {
            return Err(PlanError::Collision { first: name(first), second: name(i) });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
