//! Nodes that were started in different order with shuffled files answer alike, and packets go where
//! the answers say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use serde_json::Value;
use xtask::lab::Lab;
use xtask::lab::capture::verify::dissect;
use xtask::lab::daemons::until;
use xtask::lab::topology::{self, ECHO_PORT, HTTP_PORT, VIP_V4, VIP_V6};

use super::stand::{DEADLINE, done, route_via, shape, status, trace};

const NODES: usize = 3;
const QUESTIONS: usize = 10_000;
/// Of these, how many are asked of real packets too.
const CONFIRMED: usize = 100;
/// What must be the same everywhere; next hops and the outer source are each node's own.
const COMMON: &[&str] = &["verdict", "vip", "pool", "slot", "backend", "encapsulation"];

#[test]
fn three_nodes_agree_and_packets_prove_it() -> Result<()> {
    let mut lab = Lab::builder().shape(shape(NODES, 3)).without_balancers().build()?;
    for index in 0..3 {
        lab.backend(index).start()?;
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for index in 0..NODES {
        let node = lab.ingress(index);
        let text = fs::read_to_string(node.config())?;
        let (head, _) = text.split_once("\n[[pool]]\n").context("no pool")?;
        fs::write(node.config(), format!("{head}\n{}", entries(&mut random)))?;
    }
    start_in_disorder(&mut lab)?;
    // What the reload brought to one of them fills first.
    until(DEADLINE, "the joins to end", || {
        let members = status(lab.ingress(1))?["members"].as_array().context("no members")?.clone();
        Ok((!members.iter().any(|member| member["state"] == "filling")).then_some(()))
    })?;
    let fingerprints: BTreeSet<String> = (0..NODES)
        .map(|index| {
            let mut pools = status(lab.ingress(index))?["pools"].as_array().context("no pools")?.clone();
            pools.sort_by_key(|pool| pool["pool"].to_string());
            Ok(format!("{pools:?}"))
        })
        .collect::<Result<_>>()?;
    ensure!(fingerprints.len() == 1, "{fingerprints:#?}");

    let flows: Vec<Flow> = (0..QUESTIONS).map(|number| Flow::new(number, &mut random)).collect();
    let questions: Vec<String> = flows.iter().map(ToString::to_string).collect();
    let mut answers = Vec::new();
    for index in 0..NODES {
        let since = Instant::now();
        answers.push(trace(lab.ingress(index), &questions)?);
        println!("{QUESTIONS} questions answered in {:?}", since.elapsed());
    }
    agree(&answers)?;
    for index in 0..NODES {
        route_via(&lab, index)?;
        confirm(&lab, index, &flows[..CONFIRMED], &answers[0])?;
    }
    Ok(())
}

/// The last one first, and one of them with another history.
fn start_in_disorder(lab: &mut Lab) -> Result<()> {
    lab.ingress(2).start()?;
    lab.ingress(0).start()?;
    let node = lab.ingress(1);
    let whole = fs::read_to_string(node.config())?;
    // Without one backend, whose entries take five lines each.
    let mut skip = 0;
    let less: String = whole
        .lines()
        .filter(|line| {
            skip = if *line == "# 10.0.0.12" { 6 } else { skip };
            skip = usize::saturating_sub(skip, 1);
            skip == 0
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    ensure!(less.matches("10.0.0.12").count() == 0, "{less}");
    fs::write(node.config(), less)?;
    node.start()?;
    fs::write(node.config(), whole)?;
    done(node, &["reload"]).map(drop)
}

/// Pools, their backends and VIPs, in an order of its own.
fn entries(random: &mut Random) -> String {
    let pool = |random: &mut Random, head: &str, backends: &[(&str, u32, &str)]| {
        let mut backends: Vec<String> = backends
            .iter()
            .map(|(address, weight, state)| {
                format!(
                    "# {address}\n[[pool.backend]]\naddress = \"{address}\"\n\
                     weight = {weight}\nstate = \"{state}\"\n"
                )
            })
            .collect();
        random.shuffle(&mut backends);
        format!("[[pool]]\n{head}\n{}", backends.concat())
    };
    let vip = |address: &str, rest: &str| format!("[[vip]]\naddress = \"{address}\"\n{rest}\n");
    let (v4, v6) = (VIP_V4.to_string(), VIP_V6.to_string());
    let mut all = vec![
        pool(
            random,
            "name = \"web\"\nslots = 4096\nfill_time = \"1s\"",
            &[("10.0.0.11", 100, "active"), ("10.0.0.12", 70, "active"), ("10.0.0.13", 30, "active")],
        ),
        pool(
            random,
            "name = \"six\"\ntable = \"maglev\"\nslots = 2048\nfill_time = \"1s\"",
            &[("fd00::11", 100, "active"), ("fd00::12", 100, "active"), ("fd00::13", 50, "active")],
        ),
        pool(
            random,
            "name = \"dns\"\nmargin = 0.0\nfill_time = \"1s\"",
            &[("10.0.0.11", 100, "active"), ("10.0.0.12", 100, "active"), ("10.0.0.13", 9, "draining")],
        ),
        vip(&v4, &format!("port = {HTTP_PORT}\nprotocol = \"tcp\"\npool = \"web\"")),
        vip(&v4, &format!("port = {ECHO_PORT}\nprotocol = \"udp\"\npool = \"six\"")),
        vip(&v6, &format!("port = {HTTP_PORT}\nprotocol = \"tcp\"\npool = \"six\"")),
        vip(&v6, &format!("port = {ECHO_PORT}\nprotocol = \"udp\"\npool = \"dns\"")),
        vip("203.0.113.2", "protocol = \"any\"\npool = \"web\""),
        vip("203.0.113.3", "port = 443\nprotocol = \"tcp\"\npool = \"dns\""),
        vip("203.0.113.3", "port = 443\nprotocol = \"udp\"\npool = \"web\""),
        vip("2001:db8:ff::2", "protocol = \"any\"\npool = \"web\""),
        "[[prefix]]\nprefix = \"203.0.113.0/24\"\n".to_owned(),
        "[[prefix]]\nprefix = \"2001:db8:ff::/48\"\n".to_owned(),
    ];
    random.shuffle(&mut all);
    all.join("\n")
}

fn agree(answers: &[Vec<Value>]) -> Result<()> {
    let mut verdicts: BTreeMap<String, usize> = BTreeMap::new();
    let mut backends = BTreeSet::new();
    for number in 0..QUESTIONS {
        let first = &answers[0][number];
        for other in &answers[1..] {
            let other = &other[number];
            let same = COMMON.iter().all(|key| first[key] == other[key]);
            let ports = first["outer"]["source_port"] == other["outer"]["source_port"];
            ensure!(same && ports, "{first:#}\nelsewhere {other:#}");
        }
        *verdicts.entry(first["verdict"].as_str().context("no verdict")?.to_owned()).or_default() += 1;
        backends.extend(first["backend"].as_str().map(str::to_owned));
    }
    println!("verdicts: {verdicts:?}");
    ensure!(backends.len() == 6 && verdicts.len() == 3, "{backends:?}, {verdicts:?}");
    ensure!(verdicts.get("forwarded_gue").is_some_and(|&count| count > QUESTIONS / 3), "{verdicts:?}");
    Ok(())
}

/// Sends a packet of each flow by way of one node and looks where it went.
fn confirm(lab: &Lab, index: usize, flows: &[Flow], answers: &[Value]) -> Result<()> {
    let capture = lab.capture_underlay(&format!("ing{index}"))?;
    let heard = lab.client(0).enter(|| {
        let since = Instant::now();
        let heard = flows.iter().map(Flow::send).collect::<Result<Vec<_>>>();
        heard.with_context(|| format!("via node {index}, after {:?}", since.elapsed()))
    })??;
    let mut went: BTreeMap<(bool, SocketAddr, SocketAddr), BTreeSet<String>> = BTreeMap::new();
    for frame in capture.finish()? {
        let dissected = dissect(&frame.bytes);
        ensure!(dissected.faults.is_empty(), "{:?}", dissected.faults);
        let [outer, inner] = &dissected.packets[..] else { continue };
        let (source, destination) = inner.ports.context("no ports")?;
        let key = (
            i32::from(inner.protocol) == libc::IPPROTO_TCP,
            (inner.source, source).into(),
            (inner.destination, destination).into(),
        );
        went.entry(key).or_default().insert(outer.destination.to_string());
    }
    for ((flow, answer), heard) in flows.iter().zip(answers).zip(heard) {
        let backend = answer["backend"].as_str().context("no backend")?;
        let went = went.get(&(flow.tcp, flow.source, flow.destination));
        ensure!(
            went.is_some_and(|went| went.len() == 1 && went.contains(backend)),
            "{flow} via node {index}: {went:?} instead of {backend}"
        );
        if let Some(name) = heard {
            let number: usize = name.trim_start_matches("be").parse()?;
            let own = topology::backend(number);
            ensure!(
                backend == own.v4.to_string() || backend == own.v6.to_string(),
                "{flow}: {name} answered"
            );
        }
    }
    Ok(())
}

struct Flow {
    tcp: bool,
    source: SocketAddr,
    destination: SocketAddr,
}

impl std::fmt::Display for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", if self.tcp { "tcp" } else { "udp" }, self.source, self.destination)
    }
}

impl Flow {
    /// The first ones can be sent by the client to services that answer.
    fn new(number: usize, random: &mut Random) -> Self {
        let (tcp, v6) = (number & 1 == 0, number & 2 == 0);
        if number < CONFIRMED {
            let client = topology::client(0, false);
            let port = 30_000 + u16::try_from(number).unwrap_or(0);
            let service = if tcp { HTTP_PORT } else { ECHO_PORT };
            return match v6 {
                true => Self { tcp, source: (client.v6, port).into(), destination: (VIP_V6, service).into() },
                false => {
                    Self { tcp, source: (client.v4, port).into(), destination: (VIP_V4, service).into() }
                }
            };
        }
        let port = random.below(1 << 16) as u16;
        let service = [HTTP_PORT, ECHO_PORT, 443][random.below(3)];
        match v6 {
            true => {
                let to = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1 + random.below(3) as u16);
                let from = Ipv6Addr::from((0x2001_u128 << 112) | u128::from(random.next()));
                Self { tcp, source: (from, port).into(), destination: (to, service).into() }
            }
            false => {
                let to = Ipv4Addr::new(203, 0, 113, 1 + random.below(4) as u8);
                let from = Ipv4Addr::new(100, 64, random.below(256) as u8, random.below(256) as u8);
                Self { tcp, source: (from, port).into(), destination: (to, service).into() }
            }
        }
    }

    /// Connects, or asks the echo service; the name of who answered, if it says. The next node gets
    /// the same flow, so nothing of it must be left.
    fn send(&self) -> Result<Option<String>> {
        if self.tcp {
            let family = if self.source.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
            let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
            setsockopt(&socket, sockopt::ReuseAddr, &true)?;
            let deadline = TimeVal::seconds(DEADLINE.as_secs().cast_signed());
            setsockopt(&socket, sockopt::SendTimeout, &deadline)?;
            setsockopt(&socket, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
            bind(socket.as_raw_fd(), &SockaddrStorage::from(self.source))?;
            connect(socket.as_raw_fd(), &SockaddrStorage::from(self.destination))
                .with_context(|| format!("{self}"))?;
            drop(socket);
            return Ok(None);
        }
        let socket = UdpSocket::bind(self.source)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.connect(self.destination)?;
        socket.send(b"whither")?;
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).with_context(|| format!("{self}"))?;
        let answer = std::str::from_utf8(&buffer[..length])?;
        Ok(answer.split(' ').next().map(str::to_owned))
    }
}

/// Xorshift: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn shuffle<T>(&mut self, list: &mut [T]) {
        for index in (1..list.len()).rev() {
            list.swap(index, self.below(index + 1));
        }
    }
}
