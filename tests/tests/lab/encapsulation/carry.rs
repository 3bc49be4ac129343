//! TCP connections and UDP datagrams on every path.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use xtask::lab::netns::Namespace;
use xtask::lab::topology;
use xtask::lab::traffic::Spec;

use super::plan::like;
use super::stage::{Path, Stage};
use super::watch::Arrival;

/// Far longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);
/// Connections on each path.
const FLOWS: usize = 2;
/// Verified answers on each of them, on average.
const REQUESTS: u64 = 10;
/// Expedited forwarding, and ECT(0): every bit of it must reach the outer header.
const TOS: i32 = 0xba;
/// Payloads of datagrams; the largest fills the client's link.
const SIZES: [usize; 6] = [0, 1, 17, 100, 511, 1452];
/// IPv4 has a shorter header.
const LARGEST_V4: usize = 1472;

/// Connections and datagrams on all paths; returns the packets that arrived for them.
pub(super) fn connections_on_every_path(stage: &mut Stage) -> Result<Vec<Arrival>> {
    let watch = stage.watch()?;
    tcp(stage)?;
    let mut datagrams = Vec::new();
    for path in &stage.paths {
        let sizes: Vec<_> = match path.vip {
            IpAddr::V4(_) => SIZES.into_iter().chain([LARGEST_V4]).collect(),
            IpAddr::V6(_) => SIZES.to_vec(),
        };
        let server = stage.lab.topology().backends[path.row.server].clone();
        udp(&server, stage.lab.client(0), path, &sizes).with_context(|| path.row.name)?;
        datagrams.push(sizes.len());
    }
    let arrivals = watch.finish(stage)?;
    for (index, path) in stage.paths.iter().enumerate() {
        let marked = |arrival: &&Arrival| arrival.path == index && tos(&arrival.packet.bytes) == TOS as u8;
        let count = arrivals.iter().filter(marked).count();
        ensure!(count == datagrams[index], "{}: {count} marked packets", path.row.name);
        let full = usize::from(topology::CLIENT_MTU);
        let largest = arrivals.iter().filter(|a| a.path == index).map(|a| a.packet.bytes.len()).max();
        ensure!(largest == Some(full), "{}: the largest packet had {largest:?} bytes", path.row.name);
    }
    Ok(arrivals)
}

fn tcp(stage: &Stage) -> Result<()> {
    let targets: Vec<_> = stage.paths.iter().map(|path| path.row.tcp()).collect::<Result<_>>()?;
    let flows = targets.len() * FLOWS;
    let spec = Spec { tcp: targets.clone(), flows, rate: 20.0, udp_flows: 0, ..Spec::default() };
    let traffic = stage.lab.traffic(&spec)?;
    traffic.wait_established(DEADLINE)?;
    traffic.wait_requests(REQUESTS * flows as u64, DEADLINE)?;
    let outcome = traffic.finish()?;
    ensure!(outcome.broken() == 0, "broken flows: {:#?}", outcome.flows);
    for (path, target) in stage.paths.iter().zip(targets) {
        let backend = format!("be{}", path.row.server);
        let served = outcome.flows.iter().filter(|flow| flow.target == target && flow.requests > 0);
        let by_right_one = served.filter(|flow| flow.backend.as_ref() == Some(&backend)).count();
        ensure!(by_right_one == FLOWS, "{}: {:#?}", path.row.name, outcome.flows);
    }
    Ok(())
}

/// Datagrams there and back: what arrives at the service is what was sent, from whom it was sent.
fn udp(server: &Namespace, client: &Namespace, path: &Path, sizes: &[usize]) -> Result<()> {
    let service = bind(server, path.row.udp()?)?;
    let own = like(path.vip, topology::client(0, false));
    let client = bind(client, (own, 0).into())?;
    client.connect(path.row.udp()?)?;
    match path.vip {
        IpAddr::V4(_) => setsockopt(&client, sockopt::Ipv4Tos, &TOS)?,
        IpAddr::V6(_) => setsockopt(&client, sockopt::Ipv6TClass, &TOS)?,
    }
    let mut buffer = [0; 2048];
    for &size in sizes {
        let payload: Vec<u8> = (0..size).map(|index| (index * 7 + size) as u8).collect();
        client.send(&payload)?;
        let (length, from) = service.recv_from(&mut buffer).with_context(|| format!("{size} bytes"))?;
        ensure!(buffer[..length] == payload && from == client.local_addr()?, "{length} bytes from {from}");
        service.send_to(&payload, from)?;
        let length = client.recv(&mut buffer).context("the answer")?;
        ensure!(buffer[..length] == payload, "an answer of {length} bytes to {size}");
    }
    Ok(())
}

/// A socket in a namespace that does not wait for ever.
pub(super) fn bind(namespace: &Namespace, address: SocketAddr) -> Result<UdpSocket> {
    let socket = namespace
        .enter(|| UdpSocket::bind(address))?
        .with_context(|| format!("cannot bind {address}/udp"))?;
    socket.set_read_timeout(Some(DEADLINE))?;
    Ok(socket)
}

/// TOS or traffic class of an IP packet.
fn tos(packet: &[u8]) -> u8 {
    match packet {
        [first, second, ..] if first >> 4 == 6 => first << 4 | second >> 4,
        [_, tos, ..] => *tos,
        _ => 0,
    }
}
