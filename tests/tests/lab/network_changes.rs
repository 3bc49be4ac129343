//! Neighbours, routes and interfaces change under traffic, and the data plane follows by itself.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::lab::capture::Capture;
use xtask::lab::capture::verify::dissect;
use xtask::lab::daemons::until;
use xtask::lab::tools::Tools;
use xtask::lab::topology::{self, EDGE, FABRIC, UNDERLAY_MTU};
use xtask::lab::{Families, Lab, Node};

use super::stand::stream::Stream;
use super::stand::{DEADLINE, shape, start_all, status, verdict, xdp_program};

/// Answers that show that traffic flows.
const SOME: u64 = 500;
/// The second NIC of the ingress node, and its far end.
const SECOND: &str = "second";
const SECOND_PEER: &str = "ing0b";

#[test]
fn neighbours_routes_and_links_are_followed() -> Result<()> {
    let mut lab = Lab::builder().shape(shape(1, 2)).families(Families::V4).without_balancers().build()?;
    // A neighbour that changes its address in silence is noticed when the kernel has reason to doubt
    // what it knows. That takes it about half a minute, unless it is told to doubt sooner.
    lab.ingress(0).namespace().sysctl(&[
        ("net.ipv4.neigh.fabric.base_reachable_time_ms", "500"),
        ("net.ipv4.neigh.fabric.delay_first_probe_time", "1"),
        ("net.ipv4.neigh.fabric.retrans_time_ms", "200"),
    ])?;
    start_all(&mut lab)?;
    // Flows of both backends.
    let stream = Stream::start(lab.client(0), Families::V4)?;
    stream.more_from("be0", SOME)?;
    stream.more_from("be1", SOME)?;
    a_new_mac(&mut lab, &stream)?;
    a_route_to_another_nic(&mut lab, &stream)?;
    a_link_goes_and_comes(&mut lab, &stream)?;
    an_interface_is_made_anew(&mut lab, &stream)?;
    Ok(())
}

fn a_new_mac(lab: &mut Lab, stream: &Stream) -> Result<()> {
    // One that announces its new address, as hosts that take over another's do.
    let announcing = lab.backend(0).namespace().clone();
    announcing.sysctl(&[("net.ipv4.conf.fabric.arp_notify", "1")])?;
    announcing.ip(&format!("link set {FABRIC} address 02:00:00:00:0b:00\n"))?;
    next_hop(lab.ingress(0), "10.0.0.11", "mac", "02:00:00:00:0b:00")?;
    stream.more_from("be0", SOME)?;

    // One that does not.
    lab.backend(1).namespace().ip(&format!("link set {FABRIC} address 02:00:00:00:0b:01\n"))?;
    next_hop(lab.ingress(0), "10.0.0.12", "mac", "02:00:00:00:0b:01")?;
    stream.more_from("be1", SOME)
}

/// Waits until a backend's next hop is known to be so.
fn next_hop(node: &Node, backend: &str, key: &str, value: &str) -> Result<()> {
    let followed = until(DEADLINE, &format!("{key} {value} of {backend}"), || {
        let list = node.cli(&["backend", "list", "--json"])?.json()?;
        let rows = list["backends"].as_array().context("no backends")?;
        let row = rows.iter().find(|row| row["address"] == backend).context("no such backend")?;
        Ok((row["next_hop"][key] == value).then_some(()))
    });
    followed.with_context(|| {
        let kernel = node.namespace().run("ip", &["-d", "-s", "neigh"]);
        let kernel = kernel.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        format!("{:?}\nthe kernel: {kernel:?}", unresolved(node))
    })
}

/// Makes a second link of ing0 to the underlay, with a program at the far end, without which a frame
/// that XDP sends there would vanish.
fn second_link(lab: &mut Lab) -> Result<()> {
    let (fabric, node) = (lab.topology().fabric.clone(), lab.ingress(0).namespace().clone());
    connect(&fabric, SECOND_PEER, &node, SECOND)?;
    node.ip(&format!("link set {SECOND} up\naddress add 10.0.0.102/32 dev {SECOND}\n"))
}

fn connect(
    fabric: &xtask::lab::netns::Namespace,
    port: &str,
    node: &xtask::lab::netns::Namespace,
    interface: &str,
) -> Result<()> {
    fabric.ip(&format!(
        "link add {port} mtu {UNDERLAY_MTU} type veth peer name {interface} netns {} mtu {UNDERLAY_MTU}\n",
        node.name()
    ))?;
    fabric.offloads_off(port)?;
    node.offloads_off(interface)?;
    let pass = Tools::locate()?.pass;
    fabric.ip(&format!(
        "link set {port} master br0 up\nlink set dev {port} xdpdrv obj {} sec xdp.frags\n",
        pass.display()
    ))
}

fn a_route_to_another_nic(lab: &mut Lab, stream: &Stream) -> Result<()> {
    second_link(lab)?;
    let capture = Capture::start(&lab.topology().fabric, SECOND_PEER)?;
    let node = lab.ingress(0);
    node.namespace().ip(&format!("route add 10.0.0.11/32 dev {SECOND}\n"))?;
    next_hop(node, "10.0.0.11", "interface", SECOND)?;
    stream.more_from("be0", SOME)?;
    stream.more_from("be1", SOME)?;
    lab.ingress(0).namespace().ip(&format!("route del 10.0.0.11/32 dev {SECOND}\n"))?;
    next_hop(lab.ingress(0), "10.0.0.11", "interface", FABRIC)?;
    stream.more_from("be0", SOME)?;
    let mut tunnelled = 0;
    for frame in capture.finish()? {
        let dissected = dissect(&frame.bytes);
        if dissected.is_encapsulated() {
            ensure!(dissected.faults.is_empty(), "{:?}", dissected.faults);
            ensure!(dissected.packets[0].destination == topology::backend(0).v4, "{dissected:?}");
            tunnelled += 1;
        }
    }
    ensure!(tunnelled >= SOME, "{tunnelled} packets went by the second NIC");
    Ok(())
}

fn unresolved(node: &Node) -> Result<Vec<Value>> {
    Ok(status(node)?["unresolved"].as_array().context("no list")?.clone())
}

fn a_link_goes_and_comes(lab: &mut Lab, stream: &Stream) -> Result<()> {
    let router = topology::edge(0, true);
    let node = lab.ingress(0);
    // The router knows a way to the backends too: with a default route that is what is used.
    node.namespace().ip(&format!("link set {FABRIC} down\n"))?;
    next_hop(node, "10.0.0.11", "interface", EDGE)?;
    stream.more_from("be0", SOME)?;
    stream.more_from("be1", SOME)?;
    node.namespace().ip(&format!("link set {FABRIC} up\n"))?;
    next_hop(node, "10.0.0.11", "interface", FABRIC)?;
    stream.more_from("be0", SOME)?;

    // Without one there is none: it says so, and counts.
    node.namespace().ip(&format!("route del default via {}\n", router.v4))?;
    node.namespace().ip(&format!("link set {FABRIC} down\n"))?;
    let list = until(DEADLINE, "both backends to be out of reach", || {
        Ok(Some(unresolved(node)?).filter(|list| list.len() == 2))
    })?;
    for (row, backend) in list.iter().zip(["10.0.0.11", "10.0.0.12"]) {
        ensure!(row["backend"] == backend, "{row}");
        ensure!(row["reason"].as_str().is_some_and(|why| why.contains("route")), "{row}");
    }
    let counted = verdict(node, "no_neighbour")?;
    until(DEADLINE, "packets without a way to be counted", || {
        Ok((verdict(node, "no_neighbour")? > counted + SOME).then_some(()))
    })?;
    node.namespace().ip(&format!("link set {FABRIC} up\n"))?;
    stream.more_from("be0", SOME)?;
    stream.more_from("be1", SOME)?;
    ensure!(unresolved(node)?.is_empty());

    // The other side: nothing comes in, and then it does.
    node.namespace().ip(&format!("link set {EDGE} down\n"))?;
    node.namespace().ip(&format!("link set {EDGE} up\n"))?;
    stream.more(SOME)
}

fn an_interface_is_made_anew(lab: &mut Lab, stream: &Stream) -> Result<()> {
    let fabric = lab.topology().fabric.clone();
    let node = lab.ingress(0);
    let before = xdp_program(node, FABRIC)?;
    node.namespace().ip(&format!("link del {FABRIC}\n"))?;
    until(DEADLINE, "the loss of the interface to show", || {
        let interfaces = status(node)?["interfaces"].clone();
        let gone = |row: &Value| row["interface"] == FABRIC && row["mode"].is_null();
        Ok(interfaces.as_array().is_some_and(|list| list.iter().any(gone)).then_some(()))
    })?;
    connect(&fabric, "ing0", node.namespace(), FABRIC)?;
    node.namespace()
        .ip(&format!("address add {}/24 dev {FABRIC}\nlink set {FABRIC} up\n", topology::ingress(0).v4))?;
    until(DEADLINE, "the program to be back", || xdp_program(node, FABRIC))?;
    ensure!(before.is_some() && status(node)?["interfaces"].to_string().matches("native").count() == 2);
    stream.more_from("be0", SOME)?;
    stream.more_from("be1", SOME)
}
