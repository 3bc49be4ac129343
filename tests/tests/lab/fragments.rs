//! Datagrams that are larger than the client's link arrive whole: their fragments go where the first
//! one went.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::lab::netns::Namespace;
use xtask::lab::topology::{CLIENT_MTU, ECHO_PORT, ROUTER_UNDERLAY, VIP_V4, VIP_V6};
use xtask::lab::{Families, Family, Lab, Mode};

use super::stand::{done, serving, shape, verdict};

/// Bytes of a datagram: three fragments on the client's link.
const LENGTH: usize = 4000;
/// Datagrams of each family, each of a flow of its own.
const FLOWS: u8 = 40;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_fragmented_datagram_arrives_whole() -> Result<()> {
    for mode in [Mode::Native, Mode::Generic] {
        whole(&mut serving(Lab::builder().mode(mode).shape(shape(1, 3)))?)
            .with_context(|| format!("{} mode", mode.word()))?;
    }
    Ok(())
}

fn whole(lab: &mut Lab) -> Result<()> {
    // The answers must not be larger than what the client's link takes: nobody tells the backends.
    for backend in &lab.topology().backends {
        backend.ip(&format!("route replace default via {} mtu {CLIENT_MTU}\n", ROUTER_UNDERLAY.v6))?;
    }
    let wire = lab.watch_underlay(&["be0", "be1", "be2"])?;
    let before = verdict(lab.ingress(0), "forwarded_gue")?;
    let mut backends = BTreeSet::new();
    for family in Families::Both.all() {
        for flow in 0..FLOWS {
            let name = exchange(lab.client(0), family, flow)
                .with_context(|| format!("datagram {flow}, {family:?}"))?;
            backends.insert(name);
        }
    }
    ensure!(backends.len() == 3, "all went to {backends:?}");
    let packets = verdict(lab.ingress(0), "forwarded_gue")? - before;
    let datagrams = 2 * u64::from(FLOWS);
    ensure!(packets == 3 * datagrams, "{packets} packets of {datagrams} datagrams in three parts each");
    ensure!(verdict(lab.ingress(0), "fragment")? == 0, "fragments were dropped");
    // Who owns nothing any more is asked no more, for fragments neither.
    done(lab.ingress(0), &["backend", "drain", "10.0.0.11"])?;
    for flow in 0..FLOWS {
        let name = exchange(lab.client(0), Family::V4, flow)?;
        ensure!(name != "be0", "a fragmented datagram went to a backend that drains");
    }
    wire.finish().map(drop)
}

/// Sends a datagram and reads its echo; the name of the backend.
fn exchange(client: &Namespace, family: Family, flow: u8) -> Result<String> {
    let (any, service): (IpAddr, IpAddr) = match family {
        Family::V4 => (Ipv4Addr::UNSPECIFIED.into(), VIP_V4.into()),
        Family::V6 => (Ipv6Addr::UNSPECIFIED.into(), VIP_V6.into()),
    };
    let socket = client.enter(|| UdpSocket::bind((any, 0)))??;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect((service, ECHO_PORT))?;
    let data: Vec<u8> = (0..LENGTH).map(|at| flow ^ (at % 251) as u8).collect();
    ensure!(socket.send(&data)? == LENGTH);
    let mut answer = vec![0; 2 * LENGTH];
    let length = socket.recv(&mut answer).context("no answer")?;
    let name = answer[..length].strip_suffix(data.as_slice()).context("not what was sent")?;
    Ok(std::str::from_utf8(name)?.trim_end().to_owned())
}
