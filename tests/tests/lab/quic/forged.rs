//! Packets that no QUIC client would send.

use std::net::UdpSocket;
use std::time::Duration;

use anycast_lb::model::{ServerId, default_server_id};
use anyhow::{Context, Result, ensure};
use xtask::lab::daemons::until;
use xtask::lab::topology::{self, VIP_V4};

use super::super::stand::{DEADLINE, on_backends, verdict};
use super::server::{CONFIG, Ids, PORT};
use super::{MEMBERS, Stage};

/// Octets of a server ID in this lab.
const LEN: u8 = 2;
/// Every ID that nobody has, a step apart.
const STEP: usize = 61;
/// Bytes of a datagram that may be a first one (RFC 9000 §14.1).
const FIRST: usize = 1200;
/// A version that exists to be refused (RFC 9000 §15).
const GREASED: [u8; 4] = [0x1a, 0x2a, 0x3a, 0x4a];

impl Stage {
    /// IDs of servers that are in no pool, one of them that of a host which runs the backend's program, are
    /// no way around the tables: what carries them goes where any packet of its flow would.
    pub(super) fn forged_ids_lead_nowhere(&mut self) -> Result<()> {
        let stranger = default_server_id(topology::backend(MEMBERS).v4.into(), LEN);
        let known: Vec<u64> =
            (0..MEMBERS).map(|n| default_server_id(topology::backend(n).v4.into(), LEN)).collect();
        let ids = (0..=u64::from(u16::MAX)).step_by(STEP).filter(|id| !known.contains(id));
        let ids: Vec<u64> = ids.chain([stranger; 20]).collect();
        let pass = |lab: &mut xtask::lab::Lab, name| verdict(lab.ingress(0), name);
        let (hashed, by_id) = (pass(&mut self.lab, "forwarded_gue")?, pass(&mut self.lab, "forwarded_quic")?);
        let taken = on_backends(&mut self.lab, &["decap_gue"])?;
        let socket = self.lab.client(0).enter(|| UdpSocket::bind("0.0.0.0:0"))??;
        for id in &ids {
            let cid = Ids::new(&ServerId { id: *id, len: LEN }.to_string())?.octets();
            let packet = [&[0x40], &cid[..], &[0x55; 32]].concat();
            socket.send_to(&packet, (VIP_V4, PORT))?;
        }
        let sent = ids.len() as u64;
        until(DEADLINE, "forged packets to have gone by their flow's hash", || {
            Ok((verdict(self.lab.ingress(0), "forwarded_gue")? >= hashed + sent).then_some(()))
        })?;
        until(DEADLINE, "forged packets to arrive", || {
            Ok((on_backends(&mut self.lab, &["decap_gue"])? >= taken + sent).then_some(()))
        })?;
        let followed = pass(&mut self.lab, "forwarded_quic")? - by_id;
        ensure!(followed == 0, "{followed} forged connection IDs were followed");
        let outside = verdict(self.lab.backend(MEMBERS), "decap_gue")?;
        ensure!(outside == 0, "{outside} packets reached a host that is in no pool");
        println!("{sent} forged connection IDs, none followed (configuration {CONFIG})");
        Ok(())
    }

    /// A server's answer to a version that it does not know comes back to the client.
    pub(super) fn versions_are_negotiated(&self) -> Result<()> {
        const DESTINATION: &[u8] = b"a client's choice";
        const SOURCE: &[u8] = b"client";
        let length = |id: &[u8]| [id.len() as u8];
        let mut packet =
            [&[0xc0], &GREASED[..], &length(DESTINATION), DESTINATION, &length(SOURCE), SOURCE].concat();
        packet.resize(FIRST, 0);
        let socket = self.lab.client(0).enter(|| UdpSocket::bind("0.0.0.0:0"))??;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        socket.send_to(&packet, (VIP_V4, PORT))?;
        let mut answer = [0; FIRST];
        let (len, from) = socket.recv_from(&mut answer).context("no version negotiation")?;
        let expected = [&[0; 4][..], &length(SOURCE), SOURCE, &length(DESTINATION), DESTINATION].concat();
        ensure!(from == (VIP_V4, PORT).into() && answer[0] & 0x80 != 0, "{from}: {:02x?}", &answer[..len]);
        ensure!(answer[1..len].starts_with(&expected), "{:02x?}", &answer[..len]);
        Ok(())
    }
}
