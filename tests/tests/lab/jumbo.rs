//! Jumbo frames from the client to the backend, in drivers that spread them over several buffers.

use anyhow::{Context, Result, ensure};
use xtask::lab::netns::Namespace;
use xtask::lab::topology::{EDGE, FABRIC, VIP_V4, VIP_V6};
use xtask::lab::{Lab, Mode, Node};

use super::path_mtu::transfers::{PORT, Servers, Transfer};
use super::stand::{done, route_via, shape, start_all, status};

/// MTU of clients' links.
const CLIENTS: u16 = 9000;
/// MTU of the underlay: a client's packet and the longest headers.
const UNDERLAY: u16 = 9216;
/// Longer than this no frame fits into one buffer of a page.
const PAGE: u64 = 4096;

#[test]
fn jumbo_frames_pass_both_programs_in_native_mode() -> Result<()> {
    let mut lab = Lab::builder().shape(shape(1, 2)).mode(Mode::Native).without_balancers().build()?;
    widen(&lab)?;
    start_all(&mut lab)?;
    let _servers = Servers::start(&lab)?;
    for vip in [format!("{VIP_V4}:{PORT}/tcp"), format!("[{VIP_V6}]:{PORT}/tcp")] {
        done(lab.ingress(0), &["vip", "add", &vip, "--pool", "web"])?;
    }
    route_via(&lab, 0)?;
    native(lab.ingress(0))?;
    for index in 0..2 {
        native(lab.backend(index))?;
    }
    for vip in [VIP_V4.into(), VIP_V6.into()] {
        let before = (packets_and_bytes(lab.ingress(0), "forwarded_gue")?, on_backends(&mut lab)?);
        let mut transfer = Transfer::begin(lab.client(0), vip)?;
        transfer.upload().with_context(|| format!("to {vip}"))?;
        let after = (packets_and_bytes(lab.ingress(0), "forwarded_gue")?, on_backends(&mut lab)?);
        for (what, (packets, bytes)) in
            [("ingress", difference(before.0, after.0)), ("backends", difference(before.1, after.1))]
        {
            println!("{vip}, {what}: {packets} packets of {} bytes on average", bytes / packets.max(1));
            // Those of the transfer are full; acknowledgements and the handshake are few beside them.
            ensure!(
                bytes > packets * PAGE / 2,
                "{what}: {bytes} bytes in {packets} packets, no jumbo frames"
            );
        }
    }
    Ok(())
}

/// Every link between clients and backends takes jumbo frames.
fn widen(lab: &Lab) -> Result<()> {
    let topology = lab.topology();
    let set = |namespace: &Namespace, interface: &str, mtu: u16| {
        namespace.ip(&format!("link set dev {interface} mtu {mtu}\n"))
    };
    for interface in ["client0", "ing0"] {
        set(lab.router(), interface, CLIENTS)?;
    }
    set(lab.client(0), EDGE, CLIENTS)?;
    set(&topology.ingresses[0], EDGE, CLIENTS)?;
    for port in ["ing0", "be0", "be1", "br0"] {
        set(&topology.fabric, port, UNDERLAY)?;
    }
    set(&topology.ingresses[0], FABRIC, UNDERLAY)?;
    topology.backends.iter().try_for_each(|backend| set(backend, FABRIC, UNDERLAY))
}

/// The node's program runs in its drivers.
fn native(node: &Node) -> Result<()> {
    let status = status(node)?;
    let interfaces = status["interfaces"].as_array().context("no interfaces")?;
    let all = interfaces.iter().all(|interface| interface["mode"] == "native");
    ensure!(all && !interfaces.is_empty(), "{interfaces:?}");
    Ok(())
}

/// Packets and bytes under a verdict.
fn packets_and_bytes(node: &Node, name: &str) -> Result<(u64, u64)> {
    let stats = node.cli(&["stats", "--json"])?.json()?;
    let rows = stats["verdicts"].as_array().context("no verdicts")?;
    let row = rows.iter().find(|row| row["verdict"] == name).with_context(|| format!("no {name}"))?;
    Ok((row["packets"].as_u64().context("no count")?, row["bytes"].as_u64().context("no bytes")?))
}

fn on_backends(lab: &mut Lab) -> Result<(u64, u64)> {
    let mut sum = (0, 0);
    for index in 0..2 {
        let (packets, bytes) = packets_and_bytes(lab.backend(index), "decap_gue")?;
        sum = (sum.0 + packets, sum.1 + bytes);
    }
    Ok(sum)
}

fn difference(before: (u64, u64), after: (u64, u64)) -> (u64, u64) {
    (after.0 - before.0, after.1 - before.1)
}
