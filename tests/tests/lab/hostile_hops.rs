//! Lists of hops that nobody of ours would send: a backend sends nothing on, and counts why.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use etherparse::PacketBuilder;
use xtask::lab::capture::{Direction, Frame, expect_clean};
use xtask::lab::daemons::until;
use xtask::lab::netns::Namespace;
use xtask::lab::topology::{self, HTTP_PORT, VIP_V4, VIP_V6};
use xtask::lab::{Family, Lab, Shape};

use super::second_chance::DEADLINE;
use super::stand::verdict;

/// Port on which backends take tunnelled packets.
const GUE_PORT: u16 = 19523;
/// IP protocol numbers of what GUE carries.
const IPV4: u8 = 4;
const IPV6: u8 = 41;
/// Times that each packet is sent.
const COPIES: u64 = 5;

/// The private word and what goes with it.
#[derive(Clone)]
struct List {
    /// Length of the private data that the GUE header claims, in 4-byte words; what is there if none.
    words: Option<u8>,
    version: u8,
    kind: u8,
    next: u8,
    count: u8,
    hops: Vec<IpAddr>,
}

impl List {
    /// As it should be.
    fn of(hops: &[IpAddr]) -> Self {
        let kind = u8::from(hops.first().is_some_and(IpAddr::is_ipv6));
        let count = u8::try_from(hops.len()).unwrap_or(u8::MAX);
        Self { words: None, version: 0, kind, next: 0, count, hops: hops.to_vec() }
    }

    /// GUE with this list, and a packet inside of a connection that nobody has.
    fn packet(&self, inner: &[u8], protocol: u8) -> Vec<u8> {
        let mut private = vec![0, self.kind, self.next, self.count];
        for hop in &self.hops {
            match hop {
                IpAddr::V4(address) => private.extend(address.octets()),
                IpAddr::V6(address) => private.extend(address.octets()),
            }
        }
        let words = self.words.unwrap_or_else(|| u8::try_from(private.len() / 4).unwrap_or(u8::MAX));
        let mut packet = vec![self.version << 6 | words & 0x1f, protocol, 0, 0];
        packet.extend(private);
        packet.extend(inner);
        packet
    }
}

#[test]
fn a_hostile_list_leads_nowhere() -> Result<()> {
    let shape = Shape { clients: 1, ingresses: 1, backends: 2 };
    let mut lab = Lab::builder().shape(shape).build()?;
    for outer in [Family::V4, Family::V6] {
        for inner in [Family::V4, Family::V6] {
            // A list that is right is followed, and the capture sees it.
            let other = backend(1, outer);
            let seen = send(&mut lab, outer, inner, "hop", &List::of(&[other]))?;
            ensure!(seen == COPIES, "{outer:?}: {seen} of {COPIES} hops were captured");
            for (name, list) in hostile(outer) {
                let seen = send(&mut lab, outer, inner, name, &list)?;
                ensure!(seen == 0, "{outer:?} {name}: {seen} packets were sent on");
            }
        }
        from_a_stranger(&mut lab, outer)?;
    }
    Ok(())
}

/// Each with the verdict that it must get.
fn hostile(outer: Family) -> Vec<(&'static str, List)> {
    let own = backend(0, outer);
    let other = backend(1, outer);
    let stranger: IpAddr = match outer {
        Family::V4 => IpAddr::from([192, 0, 2, 66]),
        Family::V6 => IpAddr::from([0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 0x66]),
    };
    let right = List::of(&[other]);
    vec![
        ("hop_stranger", List::of(&[stranger])),
        ("hop_stranger", List::of(&[stranger, other])),
        ("hop_stranger", List::of(&[own, stranger])),
        // Taken on the spot; nobody is left to ask, so this host answers as it would have.
        ("decap_last", List::of(&[own])),
        ("decap_last", List::of(&[own; 7])),
        ("gue_length", List { count: 3, ..right.clone() }),
        ("gue_length", List { count: u8::MAX, ..right.clone() }),
        ("gue_length", List { count: u8::MAX, words: Some(31), ..right.clone() }),
        ("gue_length", List { count: 0, ..right.clone() }),
        ("gue_length", List { next: 200, count: u8::MAX, ..right.clone() }),
        ("gue_hops", List { next: 2, ..right.clone() }),
        ("gue_hops", List { next: u8::MAX, ..right.clone() }),
        ("gue_type", List { kind: 1 - right.kind, ..right.clone() }),
        ("gue_version", List { version: 1, ..right }),
    ]
}

/// A list that would be followed if an ingress node or a backend had sent it.
fn from_a_stranger(lab: &mut Lab, outer: Family) -> Result<()> {
    let client = lab.client(0).clone();
    let capture = lab.capture_underlay("be0")?;
    let before = verdict(lab.backend(0), "stranger")?;
    let packet = List::of(&[backend(1, outer)]).packet(&unknown(Family::V4)?, IPV4);
    deliver(&client, outer, &packet)?;
    counted(lab, 0, "stranger", before)?;
    let seen = sent_on(&capture.finish()?, outer);
    ensure!(seen == 0, "{seen} packets of a stranger were sent on");
    Ok(())
}

/// Sends from the ingress node, waits until all were counted under the verdict, and returns how
/// many the backend sent on.
fn send(lab: &mut Lab, outer: Family, inner: Family, name: &str, list: &List) -> Result<u64> {
    let protocol = if inner == Family::V4 { IPV4 } else { IPV6 };
    let packet = list.packet(&unknown(inner)?, protocol);
    let node = lab.ingress(0).namespace().clone();
    let capture = lab.capture_underlay("be0")?;
    let before = verdict(lab.backend(0), name)?;
    let arrived = verdict(lab.backend(1), "decap_last")?;
    deliver(&node, outer, &packet)?;
    counted(lab, 0, name, before)?;
    if name == "hop" {
        // Once the other backend has them, they have passed where the capture is.
        counted(lab, 1, "decap_last", arrived)?;
    }
    let frames = capture.finish()?;
    if name == "hop" {
        expect_clean(&frames)?;
    }
    Ok(sent_on(&frames, outer))
}

fn counted(lab: &mut Lab, index: usize, name: &str, before: u64) -> Result<()> {
    let what = format!("{COPIES} packets to be counted as {name} by be{index}");
    until(DEADLINE, &what, || Ok((verdict(lab.backend(index), name)? == before + COPIES).then_some(())))
}

fn backend(index: usize, family: Family) -> IpAddr {
    match family {
        Family::V4 => topology::backend(index).v4.into(),
        Family::V6 => topology::backend(index).v6.into(),
    }
}

fn deliver(from: &Namespace, outer: Family, packet: &[u8]) -> Result<()> {
    let any: IpAddr = match outer {
        Family::V4 => IpAddr::from([0; 4]),
        Family::V6 => IpAddr::from([0_u16; 8]),
    };
    let target = SocketAddr::new(backend(0, outer), GUE_PORT);
    from.enter(|| {
        let socket = UdpSocket::bind((any, 0))?;
        (0..COPIES).try_for_each(|_| socket.send_to(packet, target).map(drop))
    })?
    .with_context(|| format!("cannot send to {target}"))
}

/// A segment of a connection that no backend knows.
fn unknown(family: Family) -> Result<Vec<u8>> {
    let client = topology::client(0, false);
    let builder = match family {
        Family::V4 => PacketBuilder::ipv4(client.v4.octets(), VIP_V4.octets(), 64),
        Family::V6 => PacketBuilder::ipv6(client.v6.octets(), VIP_V6.octets(), 64),
    };
    let mut packet = Vec::new();
    builder.tcp(40_000, HTTP_PORT, 1, 1000).ack(1).write(&mut packet, b"nobody")?;
    Ok(packet)
}

/// Tunnelled packets that backend 0 sent.
fn sent_on(frames: &[Frame], outer: Family) -> u64 {
    const ETHERNET: usize = 14;
    const UDP: u8 = 17;
    let is_hop = |bytes: &[u8]| -> Option<bool> {
        let (source, protocol, ports) = match outer {
            Family::V4 => (bytes.get(ETHERNET + 12..ETHERNET + 16)?, bytes.get(ETHERNET + 9)?, ETHERNET + 20),
            Family::V6 => (bytes.get(ETHERNET + 8..ETHERNET + 24)?, bytes.get(ETHERNET + 6)?, ETHERNET + 40),
        };
        let own = match backend(0, outer) {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let port = bytes.get(ports + 2..ports + 4)?;
        Some(source == own && *protocol == UDP && port == GUE_PORT.to_be_bytes())
    };
    let sent = frames.iter().filter(|frame| frame.direction == Direction::In);
    sent.filter(|frame| is_hop(&frame.bytes).unwrap_or(false)).count() as u64
}
