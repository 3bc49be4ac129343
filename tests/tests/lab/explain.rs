//! `trace --pcap` says of captured packets what the live program did with them, and touches nothing of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData, MapInfo};
use aya::programs::loaded_programs;
use etherparse::PacketBuilder;
use serde_json::Value;
use xtask::lab::capture::{Capture, Direction, Frame, write_pcap};
use xtask::lab::daemons::until;
use xtask::lab::topology::{self, ECHO_PORT, HTTP_PORT, VIP_V4, VIP_V6};
use xtask::lab::{Lab, Mode, Node};

use super::stand::{DEADLINE, done, serving, shape, status, verdict, xdp_program};

/// What neighbours say to each other is counted under these at any time.
const BACKGROUND: [&str; 4] = ["not_ip", "not_vip", "backend_not_ip", "not_tunnel"];
/// Bytes of a datagram of three fragments.
const LARGE: usize = 4000;
/// Where nobody listens.
const NO_SERVICE: u16 = 999;

#[test]
fn captured_packets_are_explained_as_they_were_decided() -> Result<()> {
    for mode in [Mode::Native, Mode::Generic] {
        let mut lab = serving(Lab::builder().mode(mode).shape(shape(1, 2)))?;
        told_as_decided(&mut lab).with_context(|| format!("{} mode", mode.word()))?;
    }
    Ok(())
}

fn told_as_decided(lab: &mut Lab) -> Result<()> {
    // The answers must not be larger than what the client's link takes.
    for backend in &lab.topology().backends {
        backend.ip(&format!("route replace default via {} mtu 1500\n", topology::ROUTER_UNDERLAY.v6))?;
    }
    let before = counted(lab.ingress(0))?;
    let served: Vec<_> = (0..2).map(|index| counted(lab.backend(index))).collect::<Result<_>>()?;
    let entering = Capture::start(lab.router(), "ing0")?;
    let tunnels = [lab.capture_underlay("be0")?, lab.capture_underlay("be1")?];
    // Kept open, so that backends say now what they said then.
    let _connections = traffic(lab)?;
    until(DEADLINE, "the packets to be counted", || {
        Ok((verdict(lab.ingress(0), "unmatched_prefix")? > 0).then_some(()))
    })?;
    let entered = of_clients(entering.finish()?);
    let tunnelled: Vec<Vec<Frame>> =
        tunnels.into_iter().map(|capture| Ok(tunnel(capture.finish()?))).collect::<Result<_>>()?;

    // What the ingress node says of the packets that came, and what leaves it.
    let told = explain(lab, "ing0", &entered)?;
    let live = difference(&counted(lab.ingress(0))?, &before);
    ensure!(verdicts(&told)? == live, "told {:?}, counted {live:?}", verdicts(&told)?);
    for name in ["forwarded_gue", "unmatched_service", "unmatched_prefix"] {
        ensure!(live.contains_key(name), "nothing was {name}: {live:?}");
    }
    let mut left: Vec<String> = told
        .iter()
        .filter(|row| row["verdict"] == "forwarded_gue")
        .map(|row| text(&row["leaves"]["frame"]))
        .collect();
    let mut received: Vec<String> = tunnelled.iter().flatten().map(|frame| digits(&frame.bytes)).collect();
    left.sort();
    received.sort();
    ensure!(left == received, "{} frames were told, {} others received", left.len(), received.len());
    for row in told.iter().filter(|row| row["kind"] == "drop") {
        ensure!(row["advice"].is_string() && row["leaves"].is_null(), "{row}");
    }
    for row in told.iter().filter(|row| row["verdict"] == "forwarded_gue") {
        let backend = text(&row["backend"]);
        let outer = format!("> {backend}:19523 UDP");
        let sent = text(&row["leaves"]["parsed"]);
        ensure!(
            sent.contains(&outer) || sent.contains(&outer.replace(&backend, &format!("[{backend}]"))),
            "{row}"
        );
    }

    // And each backend of what it received.
    for (index, frames) in tunnelled.iter().enumerate() {
        let told = explain(lab, &format!("be{index}"), frames)?;
        let live = difference(&counted(lab.backend(index))?, &served[index]);
        ensure!(verdicts(&told)? == live, "be{index} told {:?}, counted {live:?}", verdicts(&told)?);
    }
    nothing_is_touched(lab, &entered)?;
    a_hop(lab)?;
    by_hand(lab)?;
    mistakes(lab)
}

/// All kinds of packets to the service, IPv4 and IPv6. Returns what must stay open.
fn traffic(lab: &Lab) -> Result<Vec<TcpStream>> {
    let client = lab.client(0);
    let mut open = Vec::new();
    for vip in [IpAddr::from(VIP_V4), IpAddr::from(VIP_V6)] {
        for _ in 0..4 {
            let mut stream = client.enter(|| TcpStream::connect(SocketAddr::new(vip, HTTP_PORT)))??;
            stream.set_read_timeout(Some(DEADLINE))?;
            stream.write_all(b"GET /?n=1 HTTP/1.1\r\nHost: vip\r\n\r\n")?;
            let mut answer = [0; 1000];
            ensure!(stream.read(&mut answer)? > 0, "no answer from {vip}");
            open.push(stream);
        }
        let any: IpAddr =
            if vip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = client.enter(|| UdpSocket::bind((any, 0)))??;
        socket.set_read_timeout(Some(DEADLINE))?;
        for length in [10, LARGE] {
            socket.send_to(&vec![7; length], (vip, ECHO_PORT))?;
            socket
                .recv(&mut [0; 2 * LARGE])
                .with_context(|| format!("no echo of {length} bytes from {vip}"))?;
        }
        socket.send_to(b"x", (vip, NO_SERVICE))?;
    }
    let socket = client.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    socket.send_to(b"x", (Ipv4Addr::new(203, 0, 113, 77), NO_SERVICE))?;
    Ok(open)
}

/// Packets to the service as the router sent them.
fn of_clients(frames: Vec<Frame>) -> Vec<Frame> {
    let prefixes: [(usize, &[u8]); 2] =
        [(14 + 16, &[203, 0, 113]), (14 + 24, &[0x20, 1, 0x0d, 0xb8, 0, 0xff])];
    let types: [[u8; 2]; 2] = [[8, 0], [0x86, 0xdd]];
    let ours = |frame: &Frame| {
        types.iter().zip(prefixes).any(|(kind, (at, prefix))| {
            frame.bytes.get(12..14) == Some(&kind[..])
                && frame.bytes.get(at..at + prefix.len()) == Some(prefix)
        })
    };
    frames.into_iter().filter(|frame| frame.direction == Direction::Out && ours(frame)).collect()
}

/// Tunnelled packets on their way to the backend.
fn tunnel(frames: Vec<Frame>) -> Vec<Frame> {
    let gue = |frame: &Frame| {
        let port = if frame.bytes.get(12..14) == Some(&[8, 0][..]) { 14 + 22 } else { 14 + 42 };
        frame.bytes.get(port..port + 2) == Some(&19523_u16.to_be_bytes()[..])
    };
    frames.into_iter().filter(|frame| frame.direction == Direction::Out && gue(frame)).collect()
}

/// The rows of `trace --pcap` on a node.
fn explain(lab: &Lab, node: &str, frames: &[Frame]) -> Result<Vec<Value>> {
    let path = lab.directory().join(format!("{node}.pcap"));
    write_pcap(&path, frames)?;
    let answer =
        done(named(lab, node)?, &["trace", "--pcap", path.to_str().context("path")?, "--json"])?.json()?;
    ensure!(answer["schema"] == 1, "{answer}");
    let rows = answer["packets"].as_array().context("no packets")?;
    ensure!(rows.len() == frames.len(), "{} rows of {} packets", rows.len(), frames.len());
    for (number, row) in (1_u64..).zip(rows) {
        ensure!(row["number"] == number && row["error"].is_null(), "{row}");
    }
    Ok(rows.clone())
}

fn named<'l>(lab: &'l Lab, node: &str) -> Result<&'l Node> {
    lab.ingresses().iter().chain(lab.backends()).find(|n| n.name() == node).context("no such node")
}

fn verdicts(rows: &[Value]) -> Result<BTreeMap<String, u64>> {
    let mut all = BTreeMap::new();
    for row in rows {
        *all.entry(row["verdict"].as_str().context("no verdict")?.to_owned()).or_default() += 1;
    }
    Ok(all)
}

/// Packets of each verdict but those of the background.
fn counted(node: &Node) -> Result<BTreeMap<String, u64>> {
    let stats = node.cli(&["stats", "--json"])?.json()?;
    let rows = stats["verdicts"].as_array().context("no verdicts")?;
    let count = |row: &Value| Some((row["verdict"].as_str()?.to_owned(), row["packets"].as_u64()?));
    Ok(rows.iter().filter_map(count).filter(|(name, _)| !BACKGROUND.contains(&name.as_str())).collect())
}

fn difference(after: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let grown = |(name, packets): (&String, &u64)| {
        let packets = packets - before.get(name).copied().unwrap_or(0);
        (packets > 0).then(|| (name.clone(), packets))
    };
    after.iter().filter_map(grown).collect()
}

/// Explaining all packets leaves live counters, and what live programs remember, as they are.
fn nothing_is_touched(lab: &mut Lab, frames: &[Frame]) -> Result<()> {
    let interface = topology::FABRIC;
    let memory = |lab: &Lab| -> Result<Vec<Vec<[u64; 2]>>> {
        lab.ingresses().iter().map(|node| live_fragments(node, interface)).collect()
    };
    let (before, remembered) = (counters(lab.ingress(0))?, memory(lab)?);
    ensure!(remembered[0].iter().any(|entry| *entry != [0; 2]), "no live fragment is remembered");
    explain(lab, "ing0", frames)?;
    // Fragments in another order and of other datagrams would be remembered differently.
    let mut others: Vec<Frame> = frames.to_vec();
    for frame in &mut others {
        if frame.bytes.get(12..14) == Some(&[8, 0][..]) {
            frame.bytes[14 + 4] ^= 0x55;
        }
    }
    explain(lab, "ing0", &others)?;
    ensure!(memory(lab)? == remembered, "what live packets left was changed");
    let after = counters(lab.ingress(0))?;
    ensure!(after == before, "live counters moved: {before} and {after}");

    // The second load has a memory of its own, for one question: a later fragment finds its first one
    // in the same file only.
    let is_later = |f: &&Frame| f.bytes[12..14] == [8, 0] && (f.bytes[20] & 0x1f, f.bytes[21]) != (0, 0);
    let later: Vec<Frame> = frames.iter().filter(is_later).cloned().collect();
    ensure!(!later.is_empty(), "no later fragment was captured");
    let alone = verdicts(&explain(lab, "ing0", &later)?)?;
    ensure!(alone.keys().collect::<Vec<_>>() == ["fragment"], "{alone:?}");
    Ok(())
}

/// All that is counted but the background.
fn counters(node: &Node) -> Result<Value> {
    let mut stats = node.cli(&["stats", "--json"])?.json()?;
    let rows = stats["verdicts"].as_array_mut().context("no verdicts")?;
    rows.retain(|row| row["verdict"].as_str().is_some_and(|name| !BACKGROUND.contains(&name)));
    Ok(stats)
}

/// What the program on an interface remembers of fragments.
fn live_fragments(node: &Node, interface: &str) -> Result<Vec<[u64; 2]>> {
    let id = xdp_program(node, interface)?.context("no program")?;
    let program = loaded_programs().flatten().find(|p| u64::from(p.id()) == id).context("no such program")?;
    for map in program.map_ids()?.context("no maps")? {
        if MapInfo::from_id(map)?.name_as_str() == Some("FRAGMENTS") {
            let map = Map::Array(MapData::from_id(map)?);
            let array: Array<MapData, [u64; 2]> = Array::try_from(map)?;
            return (0..array.len()).map(|index| Ok(array.get(&index, 0)?)).collect();
        }
    }
    anyhow::bail!("program {id} has no map FRAGMENTS")
}

/// A backend tells of a packet whose flow it does not hold that it goes on, and does not count it.
fn a_hop(lab: &mut Lab) -> Result<()> {
    let mut inner = Vec::new();
    PacketBuilder::ipv4([198, 51, 100, 2], VIP_V4.octets(), 64)
        .tcp(7, HTTP_PORT, 1, 1000)
        .ack(9)
        .write(&mut inner, &[])?;
    let other = topology::backend(1).v4;
    let gue = [&[2, 4, 0, 0, 0, 0, 0, 1], &other.octets()[..], &inner].concat();
    let mut frame = Vec::new();
    let (from, to) = (topology::ingress(0).v4, topology::backend(0).v4);
    PacketBuilder::ethernet2([2; 6], [2; 6])
        .ipv4(from.octets(), to.octets(), 64)
        .udp(40000, 19523)
        .write(&mut frame, &gue)?;
    let before = counted(lab.backend(0))?;
    let answer = done(lab.backend(0), &["trace", "--hex", &digits(&frame), "--json"])?.json()?;
    let row = &answer["packets"][0];
    ensure!(row["verdict"] == "hop" && row["leaves"]["added"] == 0, "{row}");
    let sent = text(&row["leaves"]["parsed"]);
    ensure!(
        sent.contains(&format!("{to}:40000 > {other}:19523")) && sent.contains("1 of 1 hops used"),
        "{sent}"
    );
    ensure!(text(&row["notes"][0]).contains("relay"), "{row}");
    let after = counted(lab.backend(0))?;
    ensure!(after == before, "counted: {before:?} and {after:?}");
    let people = done(lab.backend(0), &["trace", "--hex", &digits(&frame)])?.stdout;
    ensure!(people.contains("verdict        hop (transmit)") && people.contains("note "), "{people}");
    Ok(())
}

/// An IP packet of digits, and the answer to "nothing says why".
fn by_hand(lab: &mut Lab) -> Result<()> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([198, 51, 100, 2], [192, 0, 2, 9], 64)
        .tcp(7, 443, 1, 1000)
        .syn()
        .write(&mut packet, &[])?;
    let spaced: String = packet.iter().map(|byte| format!("{byte:02X} ")).collect();
    let output = done(lab.ingress(0), &["trace", "--hex", &spaced])?;
    for words in ["not_vip (pass)", "vip add\n               192.0.2.9:443/tcp", "Ethernet header"] {
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(flat(&output.stdout).contains(&flat(words)), "no {words:?}: {}", output.stdout);
    }
    let piped = lab.ingress(0).cli_with_input(&["trace", "--hex", "-", "--json"], &spaced)?;
    ensure!(piped.code == Some(0) && piped.json()?["packets"][0]["verdict"] == "not_vip", "{piped:?}");
    Ok(())
}

fn mistakes(lab: &mut Lab) -> Result<()> {
    let no_capture = lab.directory().join("no.pcap");
    fs::write(&no_capture, "tcp 192.0.2.7:1 203.0.113.1:443\n")?;
    let no_capture = no_capture.to_str().context("path")?;
    for (words, code, said) in [
        (&["trace", "--pcap", no_capture][..], 1, "neither pcap nor pcapng"),
        (&["trace", "--pcap", "/nonexistent/x.pcap"], 1, "No such file"),
        (&["trace", "--hex", "45"], 1, "1 bytes: the kernel's test run takes 14 to"),
        (&["trace", "--hex", "45xy"], 2, "'x' is no hexadecimal digit"),
        (&["trace", "--hex", "450"], 2, "an odd number of digits"),
        (&["trace", "--pcap", no_capture, "--count", "0"], 2, "--count"),
    ] {
        let output = lab.ingress(0).cli(words)?;
        let text = format!("{}{}", output.stdout, output.stderr);
        ensure!(output.code == Some(code) && text.contains(said), "{words:?}: {output:?}");
    }
    Ok(())
}

/// `status` names the offload that hides VLAN tags, and the line that mends it.
#[test]
fn an_offload_that_hides_tags_is_named_with_its_remedy() -> Result<()> {
    let lab = serving(Lab::builder().shape(shape(1, 1)))?;
    for node in lab.ingresses().iter().chain(lab.backends()) {
        let named = |on: bool| -> Result<bool> {
            let switch = if on { "on" } else { "off" };
            node.namespace().run(
                "ethtool",
                &["-K", topology::FABRIC, "rxvlan", switch, "rx-vlan-stag-hw-parse", "off"],
            )?;
            let findings = status(node)?["findings"].clone();
            let findings = findings.as_array().context("no findings")?;
            let about =
                findings.iter().filter(|f| text(&f["what"]).contains("VLAN offload hides tags at fabric"));
            let fixes: Vec<String> = about.map(|f| text(&f["fix"])).collect();
            ensure!(fixes.iter().all(|fix| fix == "ethtool -K fabric rxvlan off"), "{fixes:?}");
            Ok(!fixes.is_empty())
        };
        ensure!(named(true)?, "{}: not named", node.name());
        ensure!(!named(false)?, "{}: named though it is off", node.name());
    }
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
