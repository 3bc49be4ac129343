//! Packets that come with a list of backends, against sockets that live: the cases of the kernel's
//! own test of a redirecting balancer (`cls_redirect`) and those of GLB's, each for IPv4 and IPv6,
//! inside and outside.

mod live;
mod packets;

use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::{Context, Result};
use xtask::lab::daemons::until;
use xtask::lab::topology::{self, CLIENT_MTU, PREFIX_V4, PREFIX_V6, VIP_V4, VIP_V6};
use xtask::lab::{Family, Lab};

use super::stand::{DEADLINE, shape, verdict};
use live::{Connection, Datagrams, resets};
use packets::{List, Segment};

/// Port on which backends take tunnelled packets.
const GUE_PORT: u16 = 19523;
/// Ports of the services; nobody has a TCP socket on the first but who holds the connection.
const TCP_SERVICE: u16 = 7777;
const UDP_SERVICE: u16 = 7778;
/// The client's port of flows that nobody has.
const NOBODY: u16 = 40_000;
/// The backend that holds the flows.
const HOLDER: usize = 1;
const BACKENDS: usize = 3;
/// What may become of a packet here.
const VERDICTS: [&str; 3] = ["decap_gue", "hop", "decap_last"];

#[test]
fn live_sockets_decide_where_a_packet_goes() -> Result<()> {
    let mut lab = Lab::builder().shape(shape(1, BACKENDS)).without_balancers().build()?;
    for index in 0..BACKENDS {
        lab.backend(index).start()?;
    }
    let holder = topology::backend(HOLDER);
    lab.router().ip(&format!(
        "route replace {PREFIX_V4} via {}\nroute replace {PREFIX_V6} via {}\n",
        holder.v4, holder.v6
    ))?;
    let wire = lab.watch_underlay(&["be0", "be1", "be2"])?;
    for inner in [Family::V4, Family::V6] {
        let mut stage = Stage { lab: &mut lab, outer: Family::V4, inner };
        let mut connection = Connection::open(stage.lab, inner)?;
        let datagrams = Datagrams::open(stage.lab, inner)?;
        for outer in [Family::V4, Family::V6] {
            stage.outer = outer;
            let context = || format!("{inner:?} in {outer:?}");
            stage.tcp(&mut connection).with_context(context)?;
            stage.udp(&datagrams).with_context(context)?;
            stage.glb(&mut connection).with_context(context)?;
        }
    }
    println!("on the wires: {:?}", wire.finish()?);
    Ok(())
}

/// Where packets are sent, and in what.
struct Stage<'l> {
    lab: &'l mut Lab,
    outer: Family,
    inner: Family,
}

impl Stage<'_> {
    /// The kernel's cases of TCP.
    fn tcp(&mut self, connection: &mut Connection) -> Result<()> {
        let unknown = Segment { source: NOBODY, ..connection.next() };

        let syn = Segment { opens: true, ..unknown.clone() };
        self.case("SYN with a hop left", &syn.packet(self.inner)?, &[0, 2], &[(0, "decap_gue")], Some(0))?;
        let unknown = unknown.packet(self.inner)?;
        let on = [(0, "hop"), (2, "decap_last")];
        self.case("unknown ACK with a hop left", &unknown, &[0, 2], &on, Some(2))?;
        self.case("unknown ACK without a hop", &unknown, &[0], &[(0, "decap_gue")], Some(0))?;
        self.used_up("unknown ACK after its last hop", &unknown)?;

        let known = connection.next().packet(self.inner)?;
        self.case("known connection, with a hop left", &known, &[HOLDER, 0], &[(HOLDER, "decap_gue")], None)?;
        connection.received().context("known connection, with a hop left")?;
        let known = connection.next().packet(self.inner)?;
        self.case("known connection, without a hop", &known, &[HOLDER], &[(HOLDER, "decap_gue")], None)?;
        connection.received().context("known connection, without a hop")
    }

    /// The kernel's cases of UDP: on every backend a socket listens, on one a socket is connected.
    fn udp(&mut self, sockets: &Datagrams) -> Result<()> {
        let known = sockets.known(self.inner)?;
        self.case("known UDP, with a hop left", &known, &[HOLDER, 0], &[(HOLDER, "decap_gue")], None)?;
        sockets.received_by_connected().context("known UDP, with a hop left")?;
        let unknown = sockets.unknown(self.inner)?;
        let on = [(0, "hop"), (2, "decap_last")];
        self.case("unknown UDP with a hop left", &unknown, &[0, 2], &on, None)?;
        sockets.received_by_listening(2).context("unknown UDP with a hop left")?;
        self.case("unknown UDP without a hop", &unknown, &[0], &[(0, "decap_gue")], None)?;
        sockets.received_by_listening(0).context("unknown UDP without a hop")
    }

    fn glb(&mut self, connection: &mut Connection) -> Result<()> {
        let unknown = Segment { source: NOBODY, ..connection.next() }.packet(self.inner)?;
        let chain = [(0, "hop"), (1, "hop"), (2, "decap_last")];
        self.case("unknown ACK through a chain", &unknown, &[0, 1, 2], &chain, Some(2))?;

        let known = connection.next().packet(self.inner)?;
        let first = [(0, "hop"), (HOLDER, "decap_gue")];
        self.case("ACK accepted at the first hop", &known, &[0, HOLDER, 2], &first, None)?;
        connection.received().context("ACK accepted at the first hop")?;
        let known = connection.next().packet(self.inner)?;
        let second = [(0, "hop"), (2, "hop"), (HOLDER, "decap_gue")];
        self.case("ACK accepted at the second hop", &known, &[0, 2, HOLDER], &second, None)?;
        connection.received().context("ACK accepted at the second hop")?;

        let name = "fragmentation needed at the second hop";
        // What does not lessen the segments is not listened to.
        let mtu = connection.path_mtu()?.min(CLIENT_MTU.into()) - 100;
        let error = packets::too_big(self.inner, &connection.next(), u16::try_from(mtu)?)?;
        self.case(name, &error, &[0, 2, HOLDER], &second, None)?;
        until(DEADLINE, name, || Ok((connection.path_mtu()? == mtu).then_some(())))
    }

    /// Sends a packet to the first of a list of backends. Each verdict must be counted once on its
    /// backend and no other anywhere; `resets` is the only one whose kernel answers with an RST.
    fn case(
        &mut self,
        name: &str,
        inner: &[u8],
        route: &[usize],
        verdicts: &[(usize, &'static str)],
        resets: Option<usize>,
    ) -> Result<()> {
        let hops: Vec<IpAddr> = route.iter().map(|&index| backend(index, self.outer)).collect();
        let list = List { hops: hops[1..].to_vec(), next: 0 };
        self.deliver(hops[0], &list.packet(self.inner, self.outer, inner), verdicts, resets)
            .with_context(|| name.to_owned())
    }

    /// As it arrives at the last backend of a list.
    fn used_up(&mut self, name: &str, inner: &[u8]) -> Result<()> {
        let own = backend(0, self.outer);
        let list = List { hops: vec![own], next: 1 };
        let packet = list.packet(self.inner, self.outer, inner);
        self.deliver(own, &packet, &[(0, "decap_last")], Some(0)).with_context(|| name.to_owned())
    }

    fn deliver(
        &mut self,
        to: IpAddr,
        packet: &[u8],
        verdicts: &[(usize, &'static str)],
        resets: Option<usize>,
    ) -> Result<()> {
        let mut expected = self.counted()?;
        for (index, name) in verdicts {
            let place = VERDICTS.iter().position(|v| v == name).context("no such verdict")?;
            expected[*index].verdicts[place] += 1;
        }
        if let Some(index) = resets {
            expected[index].resets += 1;
        }
        let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
        self.lab.ingress(0).namespace().enter(|| -> Result<()> {
            UdpSocket::bind((any, 0))?.send_to(packet, SocketAddr::new(to, GUE_PORT))?;
            Ok(())
        })??;
        let mut seen = Vec::new();
        let result = until(DEADLINE, "the packet to be counted", || {
            seen = self.counted()?;
            Ok((seen == expected).then_some(()))
        });
        result.with_context(|| format!("counted {VERDICTS:?}, resets:\n{seen:?} instead of\n{expected:?}"))
    }

    fn counted(&mut self) -> Result<Vec<Counted>> {
        (0..BACKENDS)
            .map(|index| {
                let node = self.lab.backend(index);
                let mut counted = Counted { resets: resets(node.namespace())?, ..Counted::default() };
                for (count, name) in counted.verdicts.iter_mut().zip(VERDICTS) {
                    *count = verdict(node, name)?;
                }
                Ok(counted)
            })
            .collect()
    }
}

/// What a backend has counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    verdicts: [u64; VERDICTS.len()],
    resets: u64,
}

fn backend(index: usize, family: Family) -> IpAddr {
    match family {
        Family::V4 => topology::backend(index).v4.into(),
        Family::V6 => topology::backend(index).v6.into(),
    }
}

fn vip(family: Family) -> IpAddr {
    match family {
        Family::V4 => VIP_V4.into(),
        Family::V6 => VIP_V6.into(),
    }
}

fn client(family: Family) -> IpAddr {
    let client = topology::client(0, false);
    match family {
        Family::V4 => client.v4.into(),
        Family::V6 => client.v6.into(),
    }
}
