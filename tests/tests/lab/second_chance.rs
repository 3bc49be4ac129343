//! No flow is lost while ingress nodes go and come, backends join and backends drain, all at once:
//! a packet that meets a backend without its socket goes on to the one that has it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::lab::daemons::until;
use xtask::lab::traffic::{Outcome, RunningTraffic, Spec};
use xtask::lab::{Churn, Lab, Node, Shape};

use super::stand::{hops, netstat, on_backends};

/// Far longer than anything here takes; a test that waits this long has failed.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);
/// Backends that serve at first, each of which is drained; as many others join.
const MEMBERS: usize = 3;
/// Requests a second on each long-lived connection.
const RATE: f64 = 6.0;
/// New short connections a second.
const SHORT_RATE: f64 = 60.0;
/// Verified answers for each flow, on average, between two events.
const ANSWERS: u64 = 10;
/// Nodes are not connected here: a backend that joins fills for a time that is shorter than a round,
/// so that one that joined is active before the last of the first ones drains.
const FILL_TIME: &str = "fill_time = \"1s\"\n";
/// Switches the long form on.
const LONG: &str = "ANYCAST_LB_LONG";

#[test]
fn no_flow_breaks_in_the_churn() -> Result<()> {
    let shape = Shape { backends: 2 * MEMBERS, ..Shape::default() };
    let mut lab = Lab::builder().shape(shape).members(MEMBERS).build()?;
    let first = configurations(&mut lab)?;
    backends_do_not_forward(&lab)?;

    let names: Vec<String> = (0..2 * MEMBERS).map(|index| format!("be{index}")).collect();
    let wire = lab.watch_underlay(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    reset(&mut lab, &first, FILL_TIME)?;
    ordinary_udp_makes_no_hop(&mut lab)?;

    reset(&mut lab, &first, FILL_TIME)?;
    let before = hops(&mut lab)?;
    let outcome = churn(&mut lab)?;
    all_well(&outcome).context("with plain connections")?;
    let hopped = hops(&mut lab)? - before;
    ensure!(hopped > 0, "nothing was sent on: the second chance was not needed");
    println!("plain: {}, {hopped} packets sent on", figures(&outcome));

    reset(&mut lab, &first, FILL_TIME)?;
    cookies(&lab, "2")?;
    let outcome = churn(&mut lab)?;
    all_well(&outcome).context("with SYN cookies")?;
    ensure!(cookies_received(&lab)? >= flows() as u64, "not every connection began with a cookie");
    cookies(&lab, "1")?;
    println!("SYN cookies: {}", figures(&outcome));
    println!("on the wires: {:?}", wire.finish()?);

    // What it is for: the same with nobody to ask but the owner.
    reset(&mut lab, &first, "hops = 0\n")?;
    let before = hops(&mut lab)?;
    let outcome = control(&lab)?;
    ensure!(outcome.broken() > 0, "nothing broke without the second chance: the churn is too tame");
    ensure!(hops(&mut lab)? == before, "packets without a list were sent on");
    println!("owner only, one round: {}", figures(&outcome));
    Ok(())
}

fn flows() -> usize {
    if std::env::var_os(LONG).is_some_and(|value| value == "1") { 1000 } else { 300 }
}

fn configurations(lab: &mut Lab) -> Result<Vec<String>> {
    let nodes = lab.topology().ingresses.len();
    (0..nodes).map(|index| Ok(fs::read_to_string(lab.ingress(index).config())?)).collect()
}

/// Gives all nodes the configuration that they had at first, with `keys` added to the pool.
fn reset(lab: &mut Lab, first: &[String], keys: &str) -> Result<()> {
    for (index, text) in first.iter().enumerate() {
        let text = text.replacen("[[pool]]\n", &format!("[[pool]]\n{keys}"), 1);
        fs::write(lab.ingress(index).config(), text)?;
    }
    lab.command_ingresses(&["reload"])?;
    // Who comes back joins, and owns nothing until it has filled.
    for index in 0..first.len() {
        let node = lab.ingress(index);
        until(DEADLINE, "all backends to be active", || {
            let output = node.cli(&["backend", "list", "--json"])?;
            Ok((output.code == Some(0) && !output.stdout.contains("filling")).then_some(()))
        })?;
    }
    Ok(())
}

fn backends_do_not_forward(lab: &Lab) -> Result<()> {
    for backend in &lab.topology().backends {
        backend.sysctl(&[("net.ipv4.ip_forward", "0"), ("net.ipv6.conf.all.forwarding", "0")])?;
    }
    Ok(())
}

/// Nobody knows anybody's MAC address any more.
fn forget_neighbours(lab: &Lab) -> Result<()> {
    lab.topology().backends.iter().try_for_each(|backend| backend.ip("neigh flush all\n"))
}

fn cookies(lab: &Lab, value: &str) -> Result<()> {
    let setting = [("net.ipv4.tcp_syncookies", value)];
    lab.topology().backends.iter().try_for_each(|backend| backend.sysctl(&setting))
}

/// Connections of all backends that began with a cookie, since the lab stands.
fn cookies_received(lab: &Lab) -> Result<u64> {
    lab.topology().backends.iter().map(|backend| netstat(backend, "SyncookiesRecv")).sum()
}

/// The servers' sockets are unconnected: a list would send every query round all its backends.
fn ordinary_udp_makes_no_hop(lab: &mut Lab) -> Result<()> {
    const DATAGRAMS: u64 = 500;
    let wait = |lab: &mut Lab| {
        let goal = on_backends(lab, &["decap_gue"])? + DATAGRAMS;
        until(DEADLINE, "datagrams to arrive", || {
            Ok((on_backends(lab, &["decap_gue"])? >= goal).then_some(()))
        })
    };
    let traffic = lab.traffic(&Spec { flows: 0, udp_flows: 60, ..Spec::default() })?;
    wait(lab)?;
    lab.churn(Churn { withdraw: 0, join: MEMBERS, drain: 0 })?;
    wait(lab)?;
    lab.announce(0)?;
    let udp = traffic.finish()?.udp;
    ensure!(udp.answered > DATAGRAMS && udp.corrupt == 0, "{udp:?}");
    ensure!(udp.moved > 0, "no flow changed its server: the churn is too tame");
    let hopped = hops(lab)?;
    ensure!(hopped == 0, "{hopped} datagrams to unconnected sockets were sent on");
    Ok(())
}

fn established(lab: &Lab) -> Result<RunningTraffic> {
    let spec = Spec { flows: flows(), rate: RATE, short_rate: SHORT_RATE, ..Spec::default() };
    let traffic = lab.traffic(&spec)?;
    let progress = traffic.wait_established(DEADLINE)?;
    ensure!(progress.broken == 0, "{progress:?} before anything happened");
    Ok(traffic)
}

/// One round of [`churn`], until it has broken something.
fn control(lab: &Lab) -> Result<Outcome> {
    let traffic = established(lab)?;
    lab.churn(Churn { withdraw: 0, join: MEMBERS, drain: 0 })?;
    until(DEADLINE, "a flow to break", || Ok((traffic.progress().broken > 0).then_some(())))?;
    lab.announce(0)?;
    traffic.finish()
}

/// Three times at once: an ingress node goes, a backend joins, another drains. In between an
/// ingress node comes back that knows nothing.
fn churn(lab: &mut Lab) -> Result<Outcome> {
    let traffic = established(lab)?;
    for round in 0..MEMBERS {
        forget_neighbours(lab)?;
        lab.churn(Churn { withdraw: round, join: MEMBERS + round, drain: round })?;
        more_answers(&traffic)?;
        if round == 1 {
            forgets_all(lab.ingress(round))?;
        }
        lab.announce(round)?;
        more_answers(&traffic)?;
    }
    traffic.finish()
}

fn more_answers(traffic: &RunningTraffic) -> Result<()> {
    let progress = traffic.progress();
    traffic.wait_requests(ANSWERS * (progress.established - progress.broken), DEADLINE)
}

/// The node starts again without anything that it knew.
fn forgets_all(node: &mut Node) -> Result<()> {
    ensure!(node.stop()? == Some(0), "the daemon did not end well");
    let config = node.config();
    let output = node.cli(&["detach", "--config", config.to_str().context("a path that is no text")?])?;
    ensure!(output.code == Some(0), "{output:?}");
    let state = config.with_file_name("state").join(node.name());
    if state.exists() {
        fs::remove_dir_all(&state).with_context(|| state.display().to_string())?;
    }
    node.start()?;
    let status = node.cli(&["status", "--json"])?.json()?;
    ensure!(status["start"] == "fresh", "{} kept something: {status}", node.name());
    Ok(())
}

fn all_well(outcome: &Outcome) -> Result<()> {
    let broken: Vec<_> = outcome.flows.iter().filter(|flow| flow.broken.is_some()).collect();
    ensure!(broken.is_empty(), "{} broke of {}: {broken:#?}", broken.len(), outcome.flows.len());
    ensure!(outcome.flows.len() == flows(), "{} flows", outcome.flows.len());
    ensure!(outcome.short.failed == 0 && outcome.short.done > 0, "short ones: {:?}", outcome.short);
    ensure!(outcome.spread().len() == MEMBERS, "{:?}", outcome.spread());
    Ok(())
}

fn figures(outcome: &Outcome) -> String {
    format!(
        "{} of {} flows broken, {} verified requests ({:.1}/s on the slowest flow), longest stall {} ms, {} of {} short ones failed",
        outcome.broken(),
        outcome.flows.len(),
        outcome.requests(),
        outcome.slowest_rate(),
        outcome.longest_stall_ms(),
        outcome.short.failed,
        outcome.short.done + outcome.short.failed
    )
}
