//! NTP: chrony on every backend, each with a stratum of its own, and chrony as a client that sets no
//! clock.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, ensure};
use xtask::lab::daemons::{Daemon, Program, arguments};
use xtask::lab::topology::{VIP_V4, VIP_V6};
use xtask::lab::{Families, Family, Lab, SERVICE_DEADLINE, listens};

use super::super::stand::route_via;
use super::{BACKENDS, add, forwarded, remove, stage, vip};

/// Port of NTP.
const PORT: u16 = 123;
/// Stratum of the first backend's server; it tells the servers apart.
const STRATUM: usize = 5;
/// Exchanges of a client by each way in, each from a port of its own.
const EXCHANGES: usize = 5;
/// Exchanges where the port makes a difference. That all have one backend: one in 3^23.
const SPREAD: usize = 24;
/// All clocks of a lab are one clock: what a client may think it is off, in seconds.
const OFFSET: f64 = 0.5;

#[test]
fn a_time_client_keeps_its_server() -> Result<()> {
    let mut lab = stage()?;
    let servers = (0..BACKENDS).map(|index| serve(&mut lab, index)).collect::<Result<Vec<Daemon>>>()?;
    add(&mut lab, "123/udp", "source")?;
    for family in Families::Both.all() {
        let mut used = BTreeSet::new();
        for node in [0, 1] {
            route_via(&lab, node)?;
            let before = forwarded(&mut lab)?;
            for _ in 0..EXCHANGES {
                used.insert(ask(&lab, family).with_context(|| format!("{family:?} by ing{node}"))?);
            }
            let mut expected = before;
            expected[node] += EXCHANGES as u64;
            let after = forwarded(&mut lab)?;
            ensure!(after == expected, "{family:?} by ing{node}: forwarded {before:?}, then {after:?}");
        }
        route_via(&lab, 0)?;
        ensure!(used.len() == 1, "{family:?}: one client had the servers {used:?}");
        println!("{family:?}: {} exchanges with server {used:?}", 2 * EXCHANGES);
    }
    // The counter-check: by the whole flow, one client has several servers.
    remove(&mut lab, "123/udp")?;
    add(&mut lab, "123/udp", "5-tuple")?;
    for family in Families::Both.all() {
        let used = (0..SPREAD).map(|_| ask(&lab, family)).collect::<Result<BTreeSet<_>>>()?;
        ensure!(used.len() > 1, "{family:?}: by 5-tuple, all went to {used:?}");
    }
    drop(servers);
    Ok(())
}

/// Compares the clock with the service's once; which backend answered, by its stratum.
fn ask(lab: &Lab, family: Family) -> Result<usize> {
    const LOG: &str = "measurements.log";
    let directory = lab.directory().join("ntp-client");
    fs::create_dir_all(&directory)?;
    let log = directory.join(LOG);
    if log.exists() {
        fs::remove_file(&log)?;
    }
    let server = format!("server {} iburst maxsamples 1", vip(family));
    let place = format!("logdir {}", directory.display());
    let words = ["-Q", "-t", "5", "-u", "root", &server, "log measurements", &place];
    let output = lab.client(0).run("chronyd", &words)?;
    let said = String::from_utf8(output.stderr)?;
    let off =
        said.split_once("System clock wrong by ").and_then(|(_, rest)| rest.split_once(" seconds (ignored)"));
    let off: f64 = off.with_context(|| format!("no offset in {said}"))?.0.parse()?;
    ensure!(off.abs() < OFFSET, "the clock is off by {off} s");

    // Date, time, server, leap second, stratum.
    let text = fs::read_to_string(&log).with_context(|| format!("no measurement; {said}"))?;
    let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rows: Vec<_> = rows.filter(|row| row.get(2) == Some(&vip(family).to_string().as_str())).collect();
    let [row] = rows.as_slice() else { anyhow::bail!("not one measurement: {text}") };
    let stratum: usize = row.get(4).context("no stratum")?.parse()?;
    let backend = stratum.checked_sub(STRATUM).filter(|&backend| backend < BACKENDS);
    backend.with_context(|| format!("stratum {stratum} is nobody's"))
}

/// Starts a time server that leaves the clock alone; returns when it listens.
fn serve(lab: &mut Lab, index: usize) -> Result<Daemon> {
    let backend = lab.backend(index);
    let (name, namespace) = (backend.name().to_owned(), backend.namespace().clone());
    let program = Program {
        name: format!("{name}-chronyd"),
        program: "chronyd".into(),
        arguments: arguments([
            "-d",
            "-x",
            "-u",
            "root",
            &format!("local stratum {}", STRATUM + index),
            "allow",
            "cmdport 0",
            &format!("pidfile {}/{name}-chronyd.pid", lab.directory().display()),
            &format!("bindaddress {VIP_V4}"),
            &format!("bindaddress {VIP_V6}"),
        ]),
        notifies: false,
    };
    let mut daemon = lab.beside(&namespace, program);
    daemon.start()?;
    daemon.wait_until(SERVICE_DEADLINE, "the sockets", || listens(&namespace, "udp", PORT))?;
    Ok(daemon)
}
