//! A thousand VIPs and a pool of a thousand backends.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::UdpSocket;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::lab::capture::verify::dissect;
use xtask::lab::daemons::until;
use xtask::lab::{Lab, Node};

use super::stand::{DEADLINE, done, route_via, shape, status, trace, verdict};

const SLOTS: u64 = 65_536;
/// 250 addresses with four ports each.
const VIPS: usize = 1000;
const BACKENDS: usize = 1000;
/// Backends beyond be0, which is the gateway to them.
const NETWORK: &str = "10.9.0.0/16";

#[test]
fn a_thousand_vips_and_backends() -> Result<()> {
    let mut lab = Lab::builder().shape(shape(1, 1)).without_balancers().build()?;
    let node = lab.ingress(0);
    node.namespace().ip(&format!("route add {NETWORK} via 10.0.0.11\n"))?;
    let text = fs::read_to_string(node.config())?;
    let (head, _) = text.split_once("\n[[pool]]\n").context("no pool")?;
    fs::write(node.config(), format!("{head}\n{}", entries()))?;
    timed("start", || node.start())?;
    looks_right(node)?;

    timed("a weight", || done(node, &["backend", "weight", &backend(500), "400"]))?;
    let pool = members(node)?;
    let (heavy, others): (Vec<_>, Vec<_>) = pool.iter().partition(|row| row["address"] == *backend(500));
    ensure!(heavy.len() == 1 && heavy[0]["weight"] == 400, "{heavy:?}");
    // 400 of 100,300 parts, and the margin of three in a hundred.
    let fair = SLOTS * 400 / 100_300;
    let owned = heavy[0]["owned_slots"].as_u64().context("no slots")?;
    ensure!((fair * 95 / 100..=fair * 105 / 100).contains(&owned), "{owned} slots, {fair} would be fair");
    ensure!(others.iter().all(|row| row["owned_slots"].as_u64().is_some_and(|slots| slots > 0)));

    let before = trace(node, &questions())?;
    node.kill9()?;
    timed("restart", || node.start())?;
    ensure!(status(node)?["start"] == "adopted");
    ensure!(trace(node, &questions())? == before, "another table after the restart");

    fs::write(node.config(), fs::read_to_string(node.config())?.replace("weight = 400", "weight = 100"))?;
    timed("reload", || done(node, &["reload"]))?;
    route_via(&lab, 0)?;
    a_packet_goes_where_the_trace_says(&mut lab)
}

/// Times are printed for who wants to know; nothing depends on them.
fn timed<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let since = Instant::now();
    let result = work()?;
    println!("{what}: {:?}", since.elapsed());
    Ok(result)
}

fn vip(index: usize) -> (String, usize) {
    (format!("203.0.113.{}", 1 + index / 4), 5000 + index % 4)
}

fn backend(index: usize) -> String {
    format!("10.9.{}.{}", index / 250, 1 + index % 250)
}

fn entries() -> String {
    let mut text = format!("[[pool]]\nname = \"big\"\nslots = {SLOTS}\nfill_time = \"0s\"\n");
    for index in 0..BACKENDS {
        // Writing to a String cannot fail.
        let _ = write!(text, "[[pool.backend]]\naddress = \"{}\"\nweight = 100\n", backend(index));
    }
    for (address, port) in (0..VIPS).map(vip) {
        let _ = write!(
            text,
            "[[vip]]\naddress = \"{address}\"\nport = {port}\nprotocol = \"udp\"\npool = \"big\"\n"
        );
    }
    text
}

fn questions() -> Vec<String> {
    (0..VIPS)
        .map(|index| {
            let (address, port) = vip(index);
            format!("udp 198.51.100.2:{} {address}:{port}", 20_000 + index)
        })
        .collect()
}

fn members(node: &Node) -> Result<Vec<Value>> {
    let pool = timed("pool show", || node.cli(&["pool", "show", "big", "--json"])?.json())?;
    Ok(pool["members"].as_array().context("no members")?.clone())
}

fn looks_right(node: &Node) -> Result<()> {
    let vips = timed("vip list", || node.cli(&["vip", "list", "--json"])?.json())?;
    let listed: BTreeSet<&str> =
        vips["vips"].as_array().context("no VIPs")?.iter().filter_map(|row| row["vip"].as_str()).collect();
    let wanted: Vec<String> =
        (0..VIPS).map(vip).map(|(address, port)| format!("{address}:{port}/udp")).collect();
    ensure!(listed == wanted.iter().map(String::as_str).collect(), "{} VIPs: {listed:?}", listed.len());

    // Next hops may come in after the start; each is known in the end.
    let resolved = until(DEADLINE, "all next hops", || {
        let rows = members(node)?;
        let all = rows.iter().all(|row| row["next_hop"]["state"] == "resolved");
        Ok(all.then_some(rows))
    })?;
    ensure!(resolved.len() == BACKENDS);
    let slots: u64 = resolved.iter().filter_map(|row| row["owned_slots"].as_u64()).sum();
    ensure!(slots == SLOTS, "{slots} slots are owned");
    // Weights are equal: 65.5 slots each, and the margin of three in a hundred rounded up.
    let most = resolved.iter().filter_map(|row| row["owned_slots"].as_u64()).max();
    ensure!(most <= Some(68), "the largest share is {most:?} slots");

    let answers = timed("1000 traces", || trace(node, &questions()))?;
    let known: BTreeSet<String> = (0..BACKENDS).map(backend).collect();
    for (answer, wanted) in answers.iter().zip(&wanted) {
        let right = answer["verdict"] == "forwarded_gue" && answer["vip"] == **wanted;
        let backend = answer["backend"].as_str().unwrap_or_default();
        ensure!(right && known.contains(backend), "{wanted}: {answer}");
    }
    Ok(())
}

fn a_packet_goes_where_the_trace_says(lab: &mut Lab) -> Result<()> {
    let node = lab.ingress(0);
    let question = &questions()[777];
    let answer = trace(node, std::slice::from_ref(question))?.remove(0);
    let before = verdict(node, "forwarded_gue")?;
    let capture = lab.capture_underlay("ing0")?;
    let (address, port) = vip(777);
    lab.client(0).enter(|| {
        let socket = UdpSocket::bind(("198.51.100.2", 20_777))?;
        socket.send_to(b"hello", format!("{address}:{port}")).map(drop)
    })??;
    let node = lab.ingress(0);
    until(DEADLINE, "the packet to be forwarded", || {
        Ok((verdict(node, "forwarded_gue")? > before).then_some(()))
    })?;
    let frames = capture.finish()?;
    let dissected: Vec<_> = frames.iter().map(|frame| dissect(&frame.bytes)).collect();
    let found = dissected.iter().find(|frame| frame.is_encapsulated()).context("no packet was captured")?;
    ensure!(found.faults.is_empty(), "{:?}", found.faults);
    ensure!(answer["backend"] == found.packets[0].destination.to_string(), "{answer}: {found:?}");
    Ok(())
}
