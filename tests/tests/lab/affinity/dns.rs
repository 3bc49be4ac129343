//! DNS: NSD on every backend, and `dig`.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use xtask::lab::daemons::{Daemon, Program, arguments};
use xtask::lab::netns::Namespace;
use xtask::lab::topology::{ECHO_PORT, VIP_V4, VIP_V6};
use xtask::lab::{Families, Family, Lab, SERVICE_DEADLINE, listens};

use super::super::stand::route_via;
use super::{BACKENDS, ECHO, add, forwarded, remove, sources, stage, vip};

/// Port of DNS, which the UDP echo has in labs without a name server.
const PORT: u16 = ECHO_PORT;
/// The name whose TXT record says which backend answers.
const NAME: &str = "backend.example.";
/// First port that a client sends from; each query has one of its own.
const FIRST_PORT: u16 = 20_000;
/// Queries over UDP from each address.
const DATAGRAMS: u16 = 4;
/// Queries over TCP from each address.
const CONNECTIONS: u16 = 2;
/// Queries of one address where the port makes a difference. That they miss a backend: one in 3 million.
const SPREAD: u16 = 40;

#[test]
fn all_dns_queries_of_a_source_have_one_server() -> Result<()> {
    let mut lab = stage()?;
    let servers = (0..BACKENDS).map(|index| serve(&mut lab, index)).collect::<Result<Vec<Daemon>>>()?;
    remove(&mut lab, "53/udp")?;
    add(&mut lab, "53/udp", "source")?;
    add(&mut lab, "53/tcp", "source")?;
    let mut port = FIRST_PORT;
    for family in Families::Both.all() {
        by_source(&mut lab, family, &mut port).with_context(|| format!("{family:?}"))?;
    }
    // The counter-check: by the whole flow, one client's queries are everywhere.
    remove(&mut lab, "53/udp")?;
    add(&mut lab, "53/udp", "5-tuple")?;
    for family in Families::Both.all() {
        let source = sources(family).next().context("no source")?;
        let before = forwarded(&mut lab)?[0];
        let names = ask(&lab, source, family, "+notcp", SPREAD, &mut port)?;
        let packets = forwarded(&mut lab)?[0] - before;
        ensure!(packets == u64::from(SPREAD), "{family:?}: {packets} packets of {SPREAD} queries");
        ensure!(
            BTreeSet::from_iter(&names).len() == BACKENDS,
            "{family:?}: by 5-tuple, all went to {names:?}"
        );
    }
    drop(servers);
    Ok(())
}

/// Each source has one backend, over UDP and TCP and whichever node its queries enter at.
fn by_source(lab: &mut Lab, family: Family, port: &mut u16) -> Result<()> {
    let mut chosen: Vec<String> = Vec::new();
    for node in [0, 1] {
        route_via(lab, node)?;
        let before = forwarded(lab)?;
        for (index, source) in sources(family).enumerate() {
            let mut names = ask(lab, source, family, "+notcp", DATAGRAMS, port)?;
            names.extend(ask(lab, source, family, "+tcp", CONNECTIONS, port)?);
            ensure!(
                names.iter().all(|name| *name == names[0]),
                "ing{node}: {source} was answered by {names:?}"
            );
            match chosen.get(index) {
                Some(name) => ensure!(*name == names[0], "{source} moved from {name} to {}", names[0]),
                None => chosen.push(names[0].clone()),
            }
        }
        let after = forwarded(lab)?;
        // A connection of one query: a SYN, its acknowledgement, the query, and the end at least.
        let least = chosen.len() as u64 * u64::from(DATAGRAMS + 4 * CONNECTIONS);
        ensure!(after[node] - before[node] >= least, "ing{node} forwarded {before:?} to {after:?}");
        ensure!(
            after[1 - node] == before[1 - node],
            "packets entered at the other node: {before:?}, {after:?}"
        );
    }
    route_via(lab, 0)?;
    let used = BTreeSet::from_iter(&chosen);
    ensure!(used.len() > 1, "all sources have {used:?}");
    println!("{family:?}: backends of {} sources: {chosen:?}", chosen.len());
    Ok(())
}

/// Asks so many times, from a port of its own each time; who answered.
fn ask(
    lab: &Lab,
    source: IpAddr,
    family: Family,
    transport: &str,
    count: u16,
    port: &mut u16,
) -> Result<Vec<String>> {
    let server = format!("@{}", vip(family));
    let mut names = Vec::new();
    for _ in 0..count {
        let from = format!("{source}#{port}");
        *port += 1;
        let words = ["+short", "+tries=1", "+time=5", transport, "-b", &from, &server, NAME, "TXT"];
        let output = lab.client(0).run("dig", &words)?;
        let text = String::from_utf8(output.stdout)?;
        let name = text.strip_prefix('"').and_then(|text| text.strip_suffix("\"\n"));
        let name = name.filter(|name| name.starts_with("be"));
        names.push(name.with_context(|| format!("{words:?}: {text:?}"))?.to_owned());
    }
    Ok(names)
}

/// Puts a name server in the place of the echo; returns when it listens.
fn serve(lab: &mut Lab, index: usize) -> Result<Daemon> {
    let backend = lab.backend(index);
    backend.service(ECHO)?.kill9()?;
    let (name, namespace) = (backend.name().to_owned(), backend.namespace().clone());
    let mut daemon = lab.beside(&namespace, nsd(lab.directory(), &name)?);
    wait_for_zone(&mut daemon, &namespace)?;
    Ok(daemon)
}

/// NSD of a backend: files written, to be started.
pub(in super::super) fn nsd(directory: &Path, name: &str) -> Result<Program> {
    fs::write(directory.join(format!("{name}.zone")), zone(name))?;
    let file = directory.join(format!("{name}-nsd.conf"));
    let run = directory.display();
    fs::write(
        &file,
        format!(
            "server:
  server-count: 1
  ip-address: {VIP_V4}
  ip-address: {VIP_V6}
  username: \"\"
  zonesdir: \"{run}\"
  pidfile: \"\"
  xfrdfile: \"\"
  xfrdir: \"{run}\"
  zonelistfile: \"{run}/{name}-nsd.list\"
remote-control:
  control-enable: no
zone:
  name: example.
  zonefile: {name}.zone
"
        ),
    )?;
    Ok(Program {
        name: format!("{name}-nsd"),
        program: "nsd".into(),
        arguments: arguments(["-d".as_ref(), "-c".as_ref(), file.as_os_str()]),
        notifies: false,
    })
}

/// Starts it, and waits until it answers.
pub(in super::super) fn wait_for_zone(daemon: &mut Daemon, namespace: &Namespace) -> Result<()> {
    daemon.start()?;
    for transport in ["udp", "tcp"] {
        daemon.wait_until(SERVICE_DEADLINE, transport, || listens(namespace, transport, PORT))?;
    }
    // The socket is there before the zone is read.
    let server = format!("@{VIP_V4}");
    daemon.wait_until(SERVICE_DEADLINE, "the zone", || {
        let words = ["+short", "+tries=1", "+time=1", &server, NAME, "TXT"];
        namespace.run("dig", &words).is_ok_and(|output| output.stdout.starts_with(b"\""))
    })
}

fn zone(name: &str) -> String {
    format!(
        "$ORIGIN example.
$TTL 60
@ SOA ns admin 1 3600 600 86400 60
@ NS ns
ns A {VIP_V4}
ns AAAA {VIP_V6}
{NAME} TXT \"{name}\"
"
    )
}
