//! The router's FIB follows what the nodes can serve; no connection breaks on the way.

use std::fs;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use xtask::lab::daemons::until;
use xtask::lab::topology::PREFIX_V4;
use xtask::lab::traffic::{RunningTraffic, Spec};
use xtask::lab::{Lab, Shape, bird};

use super::super::stand::{done, status};
use super::{DEADLINE, ROUTER_AS, announce_by, health, next_hops, sessions};

/// Connections of the stories with traffic.
const FLOWS: usize = 500;
/// Answers that show that traffic flows.
const SOME: u64 = 2000;

/// A lab of two nodes that announce by their own speakers.
fn stage() -> Result<Lab> {
    let shape = Shape { clients: 2, ingresses: 2, backends: 2 };
    let mut lab = Lab::builder().shape(shape).without_balancers().build()?;
    for index in 0..2 {
        announce_by(lab.ingress(index), "bgp", &sessions(index, ROUTER_AS, ""))?;
        lab.backend(index).start()?;
    }
    for index in 0..2 {
        lab.ingress(index).start()?;
    }
    next_hops(&lab, 2, "two nodes started")?;
    Ok(lab)
}

#[test]
fn the_route_follows_the_backends_and_the_daemon() -> Result<()> {
    let mut lab = stage()?;
    health(lab.ingress(0), 0, "down")?;
    ensure!(lab.live_next_hops(xtask::lab::Family::V4)? == 2, "one backend is left");
    health(lab.ingress(0), 1, "down")?;
    next_hops(&lab, 1, "last backend down")?;
    let shown = lab.ingress(0).cli(&["bgp", "status"])?.stdout;
    ensure!(shown.contains("withdrawn  0 of 2 VIPs can be served, 1 must be"), "{shown}");
    health(lab.ingress(0), 1, "up")?;
    next_hops(&lab, 2, "a backend up again, held down for a second")?;

    lab.ingress(0).kill9()?;
    next_hops(&lab, 1, "SIGKILL")?;
    lab.ingress(0).start()?;
    next_hops(&lab, 2, "started again")?;

    lab.ingress(0).balancer()?.signal(Signal::SIGSTOP)?;
    next_hops(&lab, 1, "SIGSTOP, hold time 3 s")?;
    lab.ingress(0).balancer()?.signal(Signal::SIGCONT)?;
    next_hops(&lab, 2, "SIGCONT")?;

    lab.router_bird().kill9()?;
    let socket = lab.router_bird_socket();
    let _ = fs::remove_file(socket);
    lab.router_bird().start()?;
    next_hops(&lab, 2, "router restarted")?;

    ensure!(lab.ingress(0).stop()? == Some(0));
    next_hops(&lab, 1, "SIGTERM")?;
    let said = fs::read_to_string(lab.router_bird().log())?;
    ensure!(said.contains("anycast-lb is stopped on this node"), "no shutdown message: {said}");
    // The program is taken off below the daemon's feet.
    lab.ingress(0).start()?;
    next_hops(&lab, 2, "started once more")?;
    let config = lab.ingress(0).config();
    done(lab.ingress(0), &["detach", "--config", &config.display().to_string()])?;
    next_hops(&lab, 1, "detached")
}

#[test]
fn a_reload_leaves_sessions_alone_and_changes_what_they_say() -> Result<()> {
    let mut lab = stage()?;
    let established = |lab: &mut Lab| -> Result<Vec<(u64, String)>> {
        let bgp = lab.ingress(0).cli(&["bgp", "status", "--json"])?.json()?;
        let rows = bgp["neighbors"].as_array().cloned().unwrap_or_default();
        Ok(rows.iter().map(|r| (r["established"].as_u64().unwrap_or(0), r["state"].to_string())).collect())
    };
    let text = fs::read_to_string(lab.ingress(0).config())?;
    fs::write(
        lab.ingress(0).config(),
        text.replace("hold_time = \"3s\"\n", "hold_time = \"3s\"\nmed = 77\n"),
    )?;
    done(lab.ingress(0), &["reload"])?;
    next_hops(&lab, 1, "a worse metric")?;
    ensure!(established(&mut lab)? == vec![(1, "\"Established\"".to_owned()); 2], "a session was reset");
    fs::write(lab.ingress(0).config(), &text)?;
    done(lab.ingress(0), &["reload"])?;
    next_hops(&lab, 2, "the old metric")?;
    // No longer announced by this node.
    fs::write(lab.ingress(0).config(), text.replace("announce = \"bgp\"\n", ""))?;
    let output = done(lab.ingress(0), &["reload"])?;
    ensure!(output.stdout.contains("announcement 203.0.113.0/24 removed"), "{output:?}");
    next_hops(&lab, 1, "announce taken out")?;
    ensure!(established(&mut lab)? == vec![(1, "\"Established\"".to_owned()); 2], "a session was reset");
    Ok(())
}

fn traffic(lab: &Lab) -> Result<RunningTraffic> {
    let traffic = lab.traffic(&Spec { flows: FLOWS, rate: 5.0, udp_flows: 0, ..Spec::default() })?;
    let progress = traffic.wait_established(DEADLINE)?;
    ensure!(progress.broken == 0, "{progress:?} at the start");
    Ok(traffic)
}

fn unbroken(traffic: RunningTraffic, what: &str) -> Result<()> {
    let outcome = traffic.finish()?;
    let (broken, flows) = (outcome.broken(), outcome.flows.len());
    println!("{what}: {broken} of {flows} flows broken, {} verified requests", outcome.requests());
    ensure!(broken == 0 && flows == FLOWS, "{what}: {broken} of {flows} broke");
    Ok(())
}

/// How many of the router's routes for the IPv4 prefix carry the community of a graceful shutdown, and all.
fn routes(lab: &Lab) -> Result<(usize, usize)> {
    let lines = bird::command(&lab.router_bird_socket(), &format!("show route for {PREFIX_V4} all"))?;
    let marked = lines.iter().filter(|l| l.contains("BGP.community:") && l.contains("(65535,0)")).count();
    Ok((marked, lines.iter().filter(|l| l.contains("BGP.as_path:")).count()))
}

#[test]
fn a_drained_node_leaves_the_ecmp_set_first_then_withdraws_and_breaks_nothing() -> Result<()> {
    let mut lab = stage()?;
    let traffic = traffic(&lab)?;
    done(lab.ingress(0), &["node", "drain"])?;
    next_hops(&lab, 1, "drained: out of the ECMP set")?;
    ensure!(routes(&lab)? == (1, 2), "marked, and not withdrawn: {:?}", routes(&lab)?);
    let output = done(lab.ingress(0), &["node", "drain", "--wait"])?;
    ensure!(output.stdout.contains("its prefixes are withdrawn"), "{output:?}");
    until(DEADLINE, "the route to be withdrawn", || Ok((routes(&lab)? == (0, 1)).then_some(())))?;
    traffic.wait_requests(SOME, DEADLINE)?;

    // Maintenance lasts over a restart.
    ensure!(lab.ingress(0).stop()? == Some(0));
    lab.ingress(0).start()?;
    ensure!(status(lab.ingress(0))?["start"] == "adopted");
    let shown = lab.ingress(0).cli(&["bgp", "status"])?.stdout;
    ensure!(shown.contains("node        drained") && shown.contains("the node is drained"), "{shown}");
    ensure!(routes(&lab)? == (0, 1));
    done(lab.ingress(0), &["node", "undrain"])?;
    next_hops(&lab, 2, "undrained")?;
    traffic.wait_requests(SOME, DEADLINE)?;
    unbroken(traffic, "drain and undrain")
}

#[test]
fn nothing_is_lost_when_the_daemon_dies_or_is_restarted() -> Result<()> {
    let mut lab = stage()?;
    let traffic = traffic(&lab)?;
    lab.ingress(0).kill9()?;
    next_hops(&lab, 1, "SIGKILL")?;
    traffic.wait_requests(SOME, DEADLINE)?;
    lab.ingress(0).start()?;
    next_hops(&lab, 2, "started again")?;
    traffic.wait_requests(SOME, DEADLINE)?;
    ensure!(lab.ingress(0).stop()? == Some(0));
    lab.ingress(0).start()?;
    next_hops(&lab, 2, "restarted")?;
    traffic.wait_requests(SOME, DEADLINE)?;
    lab.ingress(0).balancer()?.signal(Signal::SIGSTOP)?;
    next_hops(&lab, 1, "SIGSTOP")?;
    lab.ingress(0).balancer()?.signal(Signal::SIGCONT)?;
    traffic.wait_requests(SOME, DEADLINE)?;
    unbroken(traffic, "SIGKILL, restart, SIGSTOP")
}
