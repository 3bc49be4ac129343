//! What goes in at the ingress node's wire, what comes out at the backends' wires, and what the
//! counters say of it: three accounts that must agree to the bit.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::lab::Node;
use xtask::lab::capture::verify::{Packet, dissect};
use xtask::lab::capture::{Capture, Carrier, Direction, Frame, expect_clean};
use xtask::lab::daemons::until;
use xtask::lab::netns::Namespace;

use super::plan::{OURS, STOCK};
use super::stage::{Path, Stage};

/// How long connections may take to be closed.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);
const TCP: u8 = 6;

/// Counters by name: packets and bytes.
type Counters = BTreeMap<String, (u64, u64)>;

/// Captures under way on the wires of the ingress node and of both backends.
pub(super) struct Watch {
    edge: Capture,
    backends: [Capture; 2],
    ingress_before: Counters,
    backend_before: Counters,
}

/// A packet for a VIP.
pub(super) struct Arrival {
    /// Index of its path.
    pub(super) path: usize,
    /// As it arrived on the backend's wire.
    pub(super) frame: Frame,
    /// The packet inside, byte for byte one that was sent.
    pub(super) packet: Packet,
}

impl Stage {
    pub(super) fn watch(&mut self) -> Result<Watch> {
        Ok(Watch {
            ingress_before: counters(self.lab.ingress(0))?,
            backend_before: counters(self.lab.backend(OURS))?,
            edge: self.capture_edge()?,
            backends: [self.lab.capture_underlay("be0")?, self.lab.capture_underlay("be1")?],
        })
    }

    /// The path of packets to this address.
    pub(super) fn path_of(&self, vip: IpAddr) -> Option<usize> {
        self.paths.iter().position(|path| path.vip == vip)
    }
}

impl Watch {
    /// Ends the captures and compares the accounts; returns what arrived.
    pub(super) fn finish(self, stage: &mut Stage) -> Result<Vec<Arrival>> {
        wait_for_closed_connections(stage.lab.client(0))?;
        let edge = self.edge.finish()?;
        let [ours, stock] = self.backends;
        let wires = [(OURS, ours.finish()?), (STOCK, stock.finish()?)];
        expect_clean(edge.iter().chain(wires.iter().flat_map(|(_, frames)| frames)))?;

        let sent: Vec<_> = edge.into_iter().filter_map(|frame| to_vip(stage, frame)).collect();
        let mut arrivals = Vec::new();
        for (server, frames) in wires {
            for (path, frame, packet) in frames.into_iter().filter_map(|frame| to_vip(stage, frame)) {
                let Path { row, tunnel, .. } = &stage.paths[path];
                ensure!(row.server == server, "a packet for {} came to backend {server}", row.name);
                let inner = tunnel.open(&frame.bytes).with_context(|| format!("carried as {}", row.name))?;
                ensure!(inner == packet.bytes, "{}: two readings of one frame", row.name);
                arrivals.push(Arrival { path, frame, packet });
            }
        }
        expect_same(stage, &sent, &arrivals)?;
        expect_flows_keep_their_headers(stage, &arrivals)?;

        let grown = growth(&self.ingress_before, &counters(stage.lab.ingress(0))?);
        let expected = ingress_account(stage, &sent);
        ensure!(grown == expected, "the ingress node counts {grown:#?}, its wire carried {expected:#?}");
        let grown = growth(&self.backend_before, &counters(stage.lab.backend(OURS))?);
        let expected = backend_account(stage, &arrivals);
        ensure!(grown == expected, "the backend counts {grown:#?}, its wire carried {expected:#?}");
        Ok(arrivals)
    }
}

/// The frame, its path and its innermost packet, if it travels towards a VIP.
fn to_vip(stage: &Stage, frame: Frame) -> Option<(usize, Frame, Packet)> {
    if frame.direction != Direction::Out {
        return None;
    }
    let packet = dissect(&frame.bytes).packets.pop()?;
    Some((stage.path_of(packet.destination)?, frame, packet))
}

/// Every packet that was sent arrived, once, and as it was, TTL included.
fn expect_same(stage: &Stage, sent: &[(usize, Frame, Packet)], arrivals: &[Arrival]) -> Result<()> {
    for (index, path) in stage.paths.iter().enumerate() {
        let mut before: Vec<_> =
            sent.iter().filter(|(path, ..)| *path == index).map(|(.., packet)| &packet.bytes).collect();
        let mut after: Vec<_> = arrivals
            .iter()
            .filter(|arrival| arrival.path == index)
            .map(|arrival| &arrival.packet.bytes)
            .collect();
        before.sort_unstable();
        after.sort_unstable();
        let name = path.row.name;
        ensure!(!before.is_empty(), "{name}: nothing was sent");
        let equal = before.iter().zip(&after).take_while(|(before, after)| before == after).count();
        ensure!(
            before == after,
            "{name}: {} packets were sent, {} arrived; of the sorted ones number {equal} differs: {:02x?}, {:02x?}",
            before.len(),
            after.len(),
            before.get(equal),
            after.get(equal)
        );
    }
    Ok(())
}

/// All packets of a flow say the same to routers that spread by flow label or port.
fn expect_flows_keep_their_headers(stage: &Stage, arrivals: &[Arrival]) -> Result<()> {
    let mut flows = BTreeMap::new();
    for Arrival { path, frame, packet } in arrivals {
        let flow = (packet.protocol, packet.source, packet.destination, packet.ports);
        let entropy = stage.paths[*path].tunnel.entropy(&frame.bytes);
        let first = *flows.entry(flow).or_insert(entropy);
        ensure!(entropy == first, "{flow:?} has {entropy:02x?} and {first:02x?}");
    }
    Ok(())
}

fn ingress_account(stage: &Stage, sent: &[(usize, Frame, Packet)]) -> Counters {
    let mut account = Counters::new();
    for (index, frame, packet) in sent {
        let path = &stage.paths[*index];
        let verdict = match path.tunnel.carrier {
            Carrier::L2 => "forwarded_l2",
            Carrier::Ipip { .. } => "forwarded_ipip",
            Carrier::Gue { .. } => "forwarded_gue",
        };
        let port = packet.ports.map_or(0, |(_, port)| port);
        let protocol = if packet.protocol == TCP { "tcp" } else { "udp" };
        let vip = match path.vip {
            IpAddr::V4(v4) => format!("vip {v4}:{port}/{protocol}"),
            IpAddr::V6(v6) => format!("vip [{v6}]:{port}/{protocol}"),
        };
        for name in [format!("verdict {verdict}"), vip, format!("pool {}", path.row.name)] {
            add(&mut account, name, frame);
        }
    }
    account
}

fn backend_account(stage: &Stage, arrivals: &[Arrival]) -> Counters {
    let mut account = Counters::new();
    for Arrival { path, frame, .. } in arrivals {
        let Path { row, tunnel, .. } = &stage.paths[*path];
        let verdict = match tunnel.carrier {
            // Plain packets are the kernel's: they are counted with all others of the host.
            Carrier::L2 => continue,
            Carrier::Ipip { .. } => "verdict decap_ipip",
            Carrier::Gue { .. } => "verdict decap_gue",
        };
        if row.server == OURS {
            add(&mut account, verdict.to_owned(), frame);
        }
    }
    account
}

fn add(account: &mut Counters, name: String, frame: &Frame) {
    let (packets, bytes) = account.entry(name).or_default();
    *packets += 1;
    *bytes += frame.bytes.len() as u64;
}

/// The counters of a node, without those of packets that are none of ours.
///
/// A backend counts GUE by whether it had the socket; a wire does not tell that.
pub(super) fn counters(node: &Node) -> Result<Counters> {
    let stats = node.cli(&["stats", "--json"])?.json()?;
    let mut counters = Counters::new();
    let mut take = |list: &str, prefix: &str, name: &str| -> Result<()> {
        for row in stats[list].as_array().with_context(|| format!("stats without {list}"))? {
            let plain =
                row["kind"] == "pass" && !row[name].as_str().is_some_and(|name| name.starts_with("decap"));
            if !plain {
                let name = row[name].as_str().with_context(|| row.to_string())?;
                let number = |key: &str| row[key].as_u64().with_context(|| row.to_string());
                let name = if name == "decap_last" { "decap_gue" } else { name };
                let (packets, bytes) = counters.entry(format!("{prefix} {name}")).or_default();
                *packets += number("packets")?;
                *bytes += number("bytes")?;
            }
        }
        Ok(())
    };
    take("verdicts", "verdict", "verdict")?;
    if stats["backends"].as_array().is_some_and(|rows| !rows.is_empty()) {
        take("vips", "vip", "vip")?;
        take("backends", "pool", "pool")?;
    }
    Ok(counters)
}

/// What has grown, and by how much.
pub(super) fn growth(before: &Counters, after: &Counters) -> Counters {
    let grown = after.iter().map(|(name, &(packets, bytes))| {
        let (packets_before, bytes_before) = before.get(name).copied().unwrap_or_default();
        (name.clone(), (packets - packets_before, bytes - bytes_before))
    });
    grown.filter(|(_, count)| *count != (0, 0)).collect()
}

/// Waits until the client's side of every connection is closed: nothing more is sent then.
fn wait_for_closed_connections(client: &Namespace) -> Result<()> {
    /// States in the kernel's table: TIME_WAIT, CLOSE, LISTEN.
    const QUIET: [&str; 3] = ["06", "07", "0A"];
    let is_quiet = |table: &str| {
        table
            .lines()
            .skip(1)
            .all(|line| line.split_ascii_whitespace().nth(3).is_some_and(|state| QUIET.contains(&state)))
    };
    until(CLOSE_DEADLINE, "the client's connections to close", || {
        let tables = client.enter(|| {
            ["tcp", "tcp6"].map(|name| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")))
        })?;
        let [v4, v6] = tables;
        Ok((is_quiet(&v4?) && is_quiet(&v6?)).then_some(()))
    })
}

/// Packets that `stats` counts for a verdict.
pub(super) fn packets(stats: &Counters, verdict: &str) -> u64 {
    stats.get(&format!("verdict {verdict}")).map_or(0, |&(packets, _)| packets)
}
