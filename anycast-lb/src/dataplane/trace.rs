//! Answers "where would this packet go?" by letting the very program decide about one.
//!
//! The object is loaded a second time. It shares the tables with the live one and has counters of its
//! own, which tell what the program did with the packet without touching those of the traffic.

use std::net::{IpAddr, SocketAddr};

use anycast_lb_common::abi::{
    ADDRESS_SLOTS, Control, Encap, Member, MemberFlags, MemberNumber, SERVICE_SLOTS, TableRef, VERDICTS,
    Verdict, VipNumber,
};
use anycast_lb_common::hash::{self, Flow as HashedFlow};
use anycast_lb_common::wire::{Ethernet, Ipv4, Ipv6, Udp};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use serde::Serialize;

use super::counters::Counters;
use super::error::DataplaneError;
use super::object::{DECIDING, OBJECT};
use super::pin::Layout;
use super::programs::BACKEND;
use super::socket_fields::SocketFields;
use super::tables::Tables;
use crate::model::{Protocol, VipKey};
use crate::plan;

mod frames;
mod packet;
mod then;

pub(super) use frames::Candidates;
pub use then::then;

/// What would become of the first packet of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The way out.
    pub verdict: Verdict,
    /// The VIP that takes it.
    pub vip: Option<VipKey>,
    /// Its pool.
    pub pool: Option<String>,
    /// The slot of the pool's table.
    pub slot: Option<u32>,
    /// The backend that owns the slot.
    pub backend: Option<IpAddr>,
    /// How packets get to it.
    pub encapsulation: Option<Encap>,
    /// The way to it; none if it is not resolved.
    pub next_hop: Option<Way>,
    /// The outer header the program made.
    pub outer: Option<Outer>,
}

/// The first packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its protocol; `Any` stands for one without ports.
    pub protocol: Protocol,
    /// Client. The port counts for TCP and UDP.
    pub source: SocketAddr,
    /// VIP. The port counts for TCP and UDP.
    pub destination: SocketAddr,
}

/// What would become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The way out.
    pub verdict: Verdict,
    /// The VIP, or 0.
    pub vip: VipNumber,
    /// The slot of its pool's table; none without a table.
    pub slot: Option<u32>,
    /// The member the slot names, or 0.
    pub member: MemberNumber,
    /// The way to it, if it is resolved.
    pub way: Option<Way>,
    /// The outer addresses of the packet that was made; none if none was, or for L2.
    pub outer: Option<Outer>,
}

/// How a frame leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    /// Interface.
    pub ifindex: u32,
    /// MAC of the interface.
    pub source_mac: [u8; 6],
    /// MAC of the neighbour.
    pub destination_mac: [u8; 6],
    /// Largest IP packet, in bytes.
    pub mtu: u16,
}

/// The outer header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Outer {
    /// This node.
    pub source: IpAddr,
    /// The backend.
    pub destination: IpAddr,
    /// UDP source port, for GUE.
    pub source_port: Option<u16>,
}

/// The second load.
pub(super) struct Tracer {
    ebpf: Ebpf,
    program: &'static str,
    counters: Counters,
    /// Packets of each verdict so far.
    seen: Vec<u64>,
    /// The verdict of the last question, which is likely that of the next.
    last: usize,
    /// Whether packets may have left something in its memories.
    remembers: bool,
}

impl Tracer {
    /// Loads `program` once more, on the tables that are pinned in `layout`.
    pub fn load(layout: &Layout, program: &'static str) -> Result<Self, DataplaneError> {
        let mut loader = EbpfLoader::new();
        for name in DECIDING {
            loader.map_pin_path(name, layout.map(name));
        }
        Counters::put(&mut loader)?;
        // As the live program has them, or it would ask sockets less.
        let fields = SocketFields::of_kernel();
        if program == BACKEND {
            fields.put(&mut loader);
        }
        let mut ebpf = loader.load(OBJECT).map_err(DataplaneError::load)?;
        super::load_program(&mut ebpf, program)?;
        let counters = Counters::open(&ebpf)?;
        Ok(Tracer { ebpf, program, counters, seen: vec![0; VERDICTS.len()], last: 0, remembers: false })
    }

    /// Asks the program.
    pub fn ask(&mut self, tables: &Tables, flow: &Flow) -> Result<Answer, DataplaneError> {
        let frame = packet::first_of(flow)
            .ok_or(DataplaneError::Trace("source and destination are of different families"))?;
        let guess = Guess::new(tables, flow);
        let before = self.member_count(guess.member);

        let mut output = [0; packet::OUTPUT_SIZE];
        let options = TestRunOptions {
            data_in: Some(&frame),
            data_out: Some(&mut output),
            ..TestRunOptions::default()
        };
        let result = self.xdp()?.test_run(options).map_err(|e| DataplaneError::program(self.program, e))?;
        let output = &output[..output.len().min(result.data_size_out as usize)];

        self.remembers = true;
        let verdict = self.verdict()?;
        let forwarded = matches!(
            verdict,
            Verdict::ForwardedGue
                | Verdict::ForwardedIpip
                | Verdict::ForwardedL2
                | Verdict::NoNeighbour
                | Verdict::TooBig
                | Verdict::TooBigAnswered
                | Verdict::TooBigNoDf
                | Verdict::TooBigLimited
        );
        if forwarded && self.member_count(guess.member) == before {
            return Err(DataplaneError::Trace(
                "the program chose another backend than the tables say: a fault in one of them",
            ));
        }
        // So that whole frames find them at zero.
        self.counters.vips.zero(guess.vip.into());
        self.counters.members.zero(guess.member.into());
        let member = tables.members.load(guess.member.into());
        Ok(Answer {
            verdict,
            vip: guess.vip,
            slot: guess.slot,
            member: guess.member,
            way: (guess.member != 0 && member.flags & MemberFlags::RESOLVED != 0).then(|| way(&member)),
            outer: outer(verdict, &member, output),
        })
    }

    fn member_count(&self, member: MemberNumber) -> u64 {
        if member == 0 { 0 } else { self.counters.members.sum(member.into()).packets }
    }

    fn xdp(&self) -> Result<&Xdp, DataplaneError> {
        let program = self.ebpf.program(self.program).and_then(|p| p.try_into().ok());
        program.ok_or_else(|| DataplaneError::Object(format!("it has no XDP program \"{}\"", self.program)))
    }

    /// The verdict whose counter moved.
    fn verdict(&mut self) -> Result<Verdict, DataplaneError> {
        let others = (0..VERDICTS.len()).filter(|i| *i != self.last);
        for i in std::iter::once(self.last).chain(others) {
            let packets = self.counters.verdicts.sum(i as u32).packets;
            if packets != self.seen[i] {
                self.seen[i] = packets;
                self.last = i;
                return Ok(VERDICTS[i]);
            }
        }
        Err(DataplaneError::Trace(
            "the program counted no verdict: the embedded object is from another build",
        ))
    }
}

/// What the tables say about a flow, by the same hash; the program has the last word.
struct Guess {
    vip: VipNumber,
    slot: Option<u32>,
    member: MemberNumber,
}

impl Guess {
    fn new(tables: &Tables, flow: &Flow) -> Self {
        let half = tables.active();
        let control = tables.control.load(0);
        let header = control.buffers[half as usize];
        let protocol = packet::protocol(flow.protocol);
        let ports = flow.protocol != Protocol::Any;
        let vip = plan::find(
            |slot| tables.addresses.load(half * ADDRESS_SLOTS + slot),
            |slot| tables.services.load(half * SERVICE_SLOTS + slot),
            control.active & Control::SALT,
            flow.destination.ip(),
            protocol,
            ports.then_some(flow.destination.port()),
        );
        let nothing = Guess { vip: vip.unwrap_or(0), slot: None, member: 0 };
        let Some(vip) = vip else { return nothing };
        let entry = tables.vips.load(vip.into());
        let table = TableRef::from_word(tables.pools.load(entry.pool.into()).table);
        if table.bits == 0 {
            return nothing;
        }
        let words = if ports { packet::port_words(flow) } else { 0 };
        let protocol = protocol.into();
        let ports = words.into();
        let hash = match (flow.source.ip(), flow.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let addresses = hash::words_v4(source.octets(), destination.octets());
                HashedFlow { addresses, ports, protocol }.hashed_by(entry.flags).hash(&header.keys)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let addresses = hash::words_v6(source.octets(), destination.octets());
                HashedFlow { addresses, ports, protocol }.hashed_by(entry.flags).hash(&header.keys)
            }
            _ => return nothing,
        };
        let slot = table.slot(hash);
        let word = slot.wrapping_mul(if table.words < 2 { 1 } else { 2 });
        let member = tables.slots.load(table.base.wrapping_add(word)).member(0);
        Guess { vip, slot: Some(slot), member }
    }
}

fn way(member: &Member) -> Way {
    let ethernet: &Ethernet = member.header();
    Way {
        ifindex: member.ifindex,
        source_mac: ethernet.source,
        destination_mac: ethernet.destination,
        mtu: member.mtu,
    }
}

/// The outer addresses in `frame`, as the program left it.
fn outer(verdict: Verdict, member: &Member, frame: &[u8]) -> Option<Outer> {
    if !matches!(verdict, Verdict::ForwardedGue | Verdict::ForwardedIpip) {
        return None;
    }
    let behind_link = frame.get(Ethernet::LEN..)?;
    let (source, destination, length) = match Encap::from_number(member.encap)? {
        Encap::Gue4 | Encap::Ipip4 => {
            let ip: &Ipv4 = bytemuck::from_bytes(behind_link.get(..Ipv4::LEN)?);
            (ip.source.into(), ip.destination.into(), Ipv4::LEN)
        }
        Encap::Gue6 | Encap::Ipip6 => {
            let ip: &Ipv6 = bytemuck::from_bytes(behind_link.get(..Ipv6::LEN)?);
            (ip.source.into(), ip.destination.into(), Ipv6::LEN)
        }
        Encap::L2 => return None,
    };
    let udp = behind_link.get(length..length + Udp::LEN).filter(|_| verdict == Verdict::ForwardedGue);
    let source_port = udp.map(|udp| u16::from_be_bytes(bytemuck::from_bytes::<Udp>(udp).ports.source));
    Some(Outer { source, destination, source_port })
}
