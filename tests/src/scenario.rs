//! `vectors/vectors.json`: a configuration, and packets with what must become of them.

use std::collections::{BTreeMap, HashMap};
use std::iter;
use std::net::IpAddr;

use anycast_lb_common::abi::{
    AddressEntry, AddressFlags, FlowKeys, HopLimits, Member, MemberFlags, PoolEntry, PrefixEntry, Program,
    ServerIds, ServiceEntry, Slot, TableRef, VERDICTS, Verdict, VipEntry, VipFlags, address_key, server_key,
    service_key,
};
use anycast_lb_common::host::TableSet;
use anycast_lb_common::template::{self, Ends, Link, Tunnel};
use anycast_lb_common::wire::transport::{TCP, UDP};
use anyhow::{Context as _, bail, ensure};
use bytemuck::Zeroable as _;
use serde::Deserialize;

/// Slots of the tables in the scenario, as a power of two.
const TABLE_BITS: u8 = 4;
/// MTU of the path to a backend whose pool does not say another.
const MTU: u16 = 9000;

/// The whole file.
#[derive(Deserialize)]
pub struct Scenario {
    seed: String,
    previous_seed: String,
    node: Vec<IpAddr>,
    macs: Macs,
    pools: BTreeMap<String, Pool>,
    vips: Vec<Vip>,
    prefixes: Vec<String>,
    senders: Vec<String>,
    locals: Vec<IpAddr>,
    vectors: Vec<RawVector>,
}

#[derive(Deserialize)]
struct Macs {
    source: String,
    destination: String,
}

#[derive(Deserialize)]
struct Pool {
    encap: Option<String>,
    address: Option<IpAddr>,
    #[serde(default)]
    hops: Vec<IpAddr>,
    previous: Option<IpAddr>,
    table: Option<String>,
    mtu: Option<u16>,
    ifindex: Option<u32>,
    resolved: Option<bool>,
    /// Members by the IDs that name them in connection IDs.
    #[serde(default)]
    servers: BTreeMap<String, IpAddr>,
}

#[derive(Deserialize)]
struct Vip {
    address: IpAddr,
    port: Option<u16>,
    protocol: String,
    pool: String,
    #[serde(default)]
    second_chance: bool,
    /// Parts of the flow that are hashed; empty = all.
    #[serde(default)]
    hash: Vec<String>,
    /// Where the VIP's packets are QUIC.
    quic_config: Option<u8>,
    #[serde(default)]
    server_id_length: u8,
    #[serde(default)]
    mss_clamp: bool,
    #[serde(default)]
    identity: bool,
}

#[derive(Deserialize)]
struct RawVector {
    name: String,
    program: String,
    r#in: String,
    out: String,
    verdict: String,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    metadata: usize,
    #[serde(default)]
    before: Vec<String>,
}

/// What is special about a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nothing.
    #[default]
    Plain,
    /// It passes what it does not match.
    UnmatchedPass,
    /// Its hash seed is being changed.
    SeedChange,
    /// A backend that sends nothing on.
    NoHops,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 4] = [Mode::Plain, Mode::UnmatchedPass, Mode::SeedChange, Mode::NoHops];
}

/// A packet and what must become of it.
#[derive(Clone, Debug)]
pub struct Vector {
    /// What it is about.
    pub name: String,
    /// Which program sees it.
    pub program: Program,
    /// The frame before.
    pub input: Vec<u8>,
    /// The frame after; the same where the program leaves it alone.
    pub output: Vec<u8>,
    /// The way out.
    pub verdict: Verdict,
    /// What is special about the node.
    pub mode: Mode,
    /// Bytes of metadata in front of the frame.
    pub metadata: usize,
    /// Frames that came before.
    pub before: Vec<Vec<u8>>,
}

impl Scenario {
    /// Reads the file.
    pub fn load() -> anyhow::Result<Self> {
        serde_json::from_str(include_str!("../vectors/vectors.json")).context("tests/vectors/vectors.json")
    }

    /// The vectors.
    pub fn vectors(&self) -> anyhow::Result<Vec<Vector>> {
        self.vectors.iter().map(RawVector::parse).collect()
    }

    /// The tables of a node of the given kind.
    pub fn tables(&self, program: Program, mode: Mode) -> anyhow::Result<TableSet> {
        let mut tables = TableSet::default();
        // The other half than the one that zeroed memory names.
        tables.control.active = 1;
        tables.header().keys = FlowKeys::from_seed(seed(&self.seed)?);
        tables.header().previous_keys = FlowKeys::from_seed(seed(&self.previous_seed)?);
        tables.header().unmatched_pass = (mode == Mode::UnmatchedPass).into();
        tables.header().seed_change = (mode == Mode::SeedChange).into();
        tables.header().hop_limits = HopLimits {
            total_interval: if mode == Mode::NoHops { HopLimits::NEVER } else { 0 },
            ..HopLimits::default()
        };
        tables.header().question_limits = tables.header().hop_limits;
        let pools = self.fill_pools(&mut tables)?;
        self.fill_vips(&mut tables, &pools)?;
        let prefixes = match program {
            Program::Ingress => &self.prefixes,
            Program::Backend => {
                for local in &self.locals {
                    tables.insert_address(AddressEntry {
                        address: key(*local),
                        flags: AddressFlags::LOCAL,
                        ..AddressEntry::default()
                    });
                }
                &self.senders
            }
        };
        for text in prefixes {
            tables.push_prefix(prefix(text)?);
        }
        Ok(tables)
    }

    fn fill_pools(&self, tables: &mut TableSet) -> anyhow::Result<HashMap<&str, u16>> {
        let mut numbers = HashMap::new();
        tables.members.push(Member::zeroed());
        for (name, pool) in &self.pools {
            let number = u16::try_from(tables.pools.len())?;
            numbers.insert(name.as_str(), number);
            let mut entry = PoolEntry { identity: 1 + u64::from(number), ..PoolEntry::default() };
            let base = u32::try_from(tables.slots.len())?;
            match pool.table.as_deref() {
                None => {
                    let mut list = Vec::new();
                    for address in iter::once(pool.address).chain(pool.hops.iter().map(|h| Some(*h))) {
                        list.push(self.add_member(tables, pool, number, address)?);
                    }
                    entry.table = add_table(tables, &list)?.to_word();
                    if let Some(previous) = pool.previous {
                        let previous = self.add_member(tables, pool, number, Some(previous))?;
                        entry.previous = add_table(tables, &[previous])?.to_word();
                    }
                }
                Some("empty") => {
                    tables.slots.resize(tables.slots.len() + (1 << TABLE_BITS), Slot::default());
                    entry.table = TableRef { base, bits: TABLE_BITS, words: 1, reserved: [0; 2] }.to_word();
                }
                Some("none") => {}
                Some("broken") => {
                    entry.table =
                        TableRef { base: u32::MAX / 2, bits: TABLE_BITS, words: 1, reserved: [0; 2] }
                            .to_word();
                }
                Some(other) => bail!("pool {name}: table {other:?}"),
            }
            for (id, address) in &pool.servers {
                let there =
                    tables.members.iter().position(|m| m.pool == number && m.address == octets(*address));
                let member = match there {
                    Some(there) => u16::try_from(there)?,
                    None => self.add_member(tables, pool, number, Some(*address))?,
                };
                let key = server_key(number, u64::from_str_radix(id, 16)?);
                tables.insert_server(ServiceEntry { key, value: member.into() });
            }
            tables.pools.push(entry);
        }
        Ok(numbers)
    }

    /// The number of a new member of `pool` at `address`; 0 without an address.
    fn add_member(
        &self,
        tables: &mut TableSet,
        pool: &Pool,
        number: u16,
        address: Option<IpAddr>,
    ) -> anyhow::Result<u16> {
        let Some(address) = address else { return Ok(0) };
        tables.members.push(self.member(pool, number, address)?);
        Ok(u16::try_from(tables.members.len() - 1)?)
    }

    fn member(&self, pool: &Pool, number: u16, address: IpAddr) -> anyhow::Result<Member> {
        let link = Link { source: mac(&self.macs.source)?, destination: mac(&self.macs.destination)? };
        let ends = self.ends(address)?;
        let tunnel = match pool.encap.as_deref() {
            Some("gue") => Tunnel::Gue(ends),
            Some("ipip") => Tunnel::Ipip(ends),
            Some("l2") => Tunnel::L2,
            other => bail!("encapsulation {other:?}"),
        };
        Ok(Member {
            template: template::build(&link, &tunnel),
            ifindex: pool.ifindex.unwrap_or(0),
            mtu: pool.mtu.unwrap_or(MTU),
            encap: tunnel.encap() as u8,
            flags: if pool.resolved.unwrap_or(true) { MemberFlags::RESOLVED } else { 0 },
            pool: number,
            address: octets(address),
            ..Member::zeroed()
        })
    }

    fn ends(&self, address: IpAddr) -> anyhow::Result<Ends> {
        let source = self.node.iter().find(|n| n.is_ipv4() == address.is_ipv4()).context("no source")?;
        Ok(match (*source, address) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Ends::V4 { source, destination },
            (IpAddr::V6(source), IpAddr::V6(destination)) => Ends::V6 { source, destination },
            _ => bail!("mixed families"),
        })
    }

    fn fill_vips(&self, tables: &mut TableSet, pools: &HashMap<&str, u16>) -> anyhow::Result<()> {
        tables.vips.push(VipEntry::default());
        let mut addresses: BTreeMap<IpAddr, AddressEntry> = BTreeMap::new();
        for vip in &self.vips {
            let number = u16::try_from(tables.vips.len())?;
            let pool = *pools.get(vip.pool.as_str()).with_context(|| format!("pool {}", vip.pool))?;
            let second_chance = if vip.second_chance { VipFlags::SECOND_CHANCE } else { 0 };
            let quic = if vip.quic_config.is_some() { VipFlags::QUIC } else { 0 };
            let mss_clamp = if vip.mss_clamp { VipFlags::MSS_CLAMP } else { 0 };
            let identity = if vip.identity { VipFlags::IDENTITY } else { 0 };
            let flags = second_chance | quic | identity | mss_clamp | vip.hashed_parts()?;
            let server_ids =
                ServerIds { config: vip.quic_config.unwrap_or_default(), len: vip.server_id_length };
            let known = VipEntry { pool, flags, server_ids, number };
            tables.vips.push(known);
            let id = u16::try_from(addresses.len() + 1)?;
            let entry = addresses.entry(vip.address).or_insert(AddressEntry {
                address: key(vip.address),
                flags: AddressFlags::VIP,
                id,
                ..AddressEntry::default()
            });
            if flags & VipFlags::HASHED_PARTS == VipFlags::HASH_SOURCE {
                entry.fragments_tcp = number;
                entry.fragments_udp = number;
            }
            match (vip.protocol.as_str(), vip.port) {
                ("any", None) => entry.any_protocol = number,
                ("tcp", None) => entry.any_tcp = number,
                ("udp", None) => entry.any_udp = number,
                (protocol, Some(port)) => {
                    entry.flags |= AddressFlags::PORTS;
                    let protocol = if protocol == "tcp" { TCP } else { UDP };
                    let service =
                        ServiceEntry { key: service_key(entry.id, protocol, port), value: known.to_word() };
                    tables.insert_service(entry.address, protocol, port, service);
                }
                other => bail!("VIP {}: {other:?}", vip.address),
            }
        }
        for entry in addresses.into_values() {
            tables.insert_address(entry);
        }
        Ok(())
    }
}

impl Vip {
    fn hashed_parts(&self) -> anyhow::Result<u16> {
        self.hash.iter().try_fold(0, |flags, part| {
            Ok(flags
                | match part.as_str() {
                    "source" => VipFlags::HASH_SOURCE,
                    "source port" => VipFlags::HASH_SOURCE_PORT,
                    "destination port" => VipFlags::HASH_DESTINATION_PORT,
                    other => bail!("VIP {}: hash of {other:?}", self.address),
                })
        })
    }
}

impl RawVector {
    fn parse(&self) -> anyhow::Result<Vector> {
        let program = match self.program.as_str() {
            "ingress" => Program::Ingress,
            "backend" => Program::Backend,
            other => bail!("{}: program {other:?}", self.name),
        };
        let verdict = VERDICTS.iter().find(|v| v.name() == self.verdict);
        let verdict = *verdict.with_context(|| format!("{}: verdict {:?}", self.name, self.verdict))?;
        ensure!(verdict.program() == program, "{}: {} is another program's verdict", self.name, self.verdict);
        Ok(Vector {
            name: self.name.clone(),
            program,
            input: unhex(&self.r#in)?,
            output: unhex(&self.out)?,
            verdict,
            mode: self.mode,
            metadata: self.metadata,
            before: self.before.iter().map(|frame| unhex(frame)).collect::<Result<_, _>>()?,
        })
    }
}

/// A table every slot of which has `list`.
fn add_table(tables: &mut TableSet, list: &[u16]) -> anyhow::Result<TableRef> {
    ensure!(list.len() <= 2 * Slot::LEN, "a list of {}", list.len());
    let words = if list.len() > Slot::LEN { 2 } else { 1 };
    let base = u32::try_from(tables.slots.len())?;
    for _ in 0..1 << TABLE_BITS {
        for word in 0..words {
            let at = |i: usize| list.get(word * Slot::LEN + i).copied().unwrap_or(0);
            tables.slots.push(Slot::new([at(0), at(1), at(2), at(3)]));
        }
    }
    Ok(TableRef { base, bits: TABLE_BITS, words: words as u8, reserved: [0; 2] })
}

fn seed(text: &str) -> anyhow::Result<[u8; 16]> {
    unhex(text)?.try_into().ok().context("a seed has 16 bytes")
}

/// Hex, in which `(6a*8890)` are so many of the same byte.
fn unhex(text: &str) -> anyhow::Result<Vec<u8>> {
    if let Some((before, rest)) = text.split_once('(') {
        let (run, after) = rest.split_once(')').context("a run without its end")?;
        let (byte, count) = run.split_once('*').context("a run without a number")?;
        let run = [u8::from_str_radix(byte, 16)?].repeat(count.parse()?);
        return Ok([unhex(before)?, run, unhex(after)?].concat());
    }
    ensure!(text.len().is_multiple_of(2) && text.is_ascii(), "not hex: {text}");
    (0..text.len()).step_by(2).map(|i| Ok(u8::from_str_radix(&text[i..i + 2], 16)?)).collect()
}

fn mac(text: &str) -> anyhow::Result<[u8; 6]> {
    unhex(&text.replace(':', ""))?.try_into().ok().with_context(|| format!("not a MAC: {text}"))
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        IpAddr::V6(a) => a.octets(),
    }
}

fn key(address: IpAddr) -> [u64; 2] {
    address_key(octets(address))
}

fn prefix(text: &str) -> anyhow::Result<PrefixEntry> {
    let (address, length) = text.split_once('/').with_context(|| format!("not a prefix: {text}"))?;
    let (address, length): (IpAddr, u8) = (address.parse()?, length.parse()?);
    Ok(PrefixEntry::new(octets(address), if address.is_ipv4() { 96 + length } else { length }))
}
