//! Connections outlive their PoP's announcement: BGP leads their packets to another PoP, and from
//! there they go home.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::lab::Family;
use xtask::lab::capture::verify::dissect;
use xtask::lab::capture::{Frame, expect_clean};
use xtask::lab::daemons::until;
use xtask::lab::pops::plan::{FRANKFURT, INGRESSES, MEMBERS, NAMES, SINGAPORE};
use xtask::lab::pops::{Change, Forwarding, PopLab, at_nearest, home, origin};
use xtask::lab::traffic::{Outcome, RunningTraffic, Spec};

/// Far longer than anything here takes; a test that waits this long has failed.
const DEADLINE: Duration = Duration::from_secs(60);
/// Long-lived connections, of which each client has a third and each family half.
const FLOWS: usize = 120;
/// Connections that begin while a PoP is drained.
const NEW_FLOWS: usize = 60;
/// Verified answers for each flow, on average, between two events.
const ANSWERS: u64 = 8;
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

#[test]
fn flows_live_on_when_bgp_moves_them_to_another_pop() -> Result<()> {
    let mut lab = PopLab::build(Forwarding::Rescue)?;
    withdrawn_and_announced(&mut lab).context("Frankfurt is withdrawn")?;
    with_a_join_and_a_drain(&mut lab).context("Frankfurt is withdrawn, members change")?;
    drained(&lab).context("Frankfurt is drained")?;
    // What it is for: the same with nobody to ask but the owner.
    owner_only(&mut lab).context("with the owner only")
}

/// Each client is near its PoP; then Frankfurt is far from everybody.
fn withdrawn_and_announced(lab: &mut PopLab) -> Result<()> {
    for (pop, name) in NAMES.iter().enumerate() {
        lands(lab, pop, name)?;
    }
    let wire = lab.capture_exchange(FRANKFURT)?;
    let traffic = established(lab, FLOWS)?;
    let hops = lab.hops(SINGAPORE)?;
    lab.at_once(FRANKFURT, &[Change::WithdrawAll])?;
    // What was on its way to Frankfurt's nodes has arrived by then.
    more_answers(&traffic)?;
    let (before, elsewhere) = (lab.forwarded(FRANKFURT)?, lab.forwarded(SINGAPORE)?);
    more_answers(&traffic)?;
    ensure!(lab.forwarded(FRANKFURT)? == before, "packets still enter in Frankfurt");
    let entered = lab.forwarded(SINGAPORE)? - elsewhere;
    ensure!(lab.hops(SINGAPORE)? > hops, "nobody in Singapore sent a packet on");
    lands(lab, FRANKFURT, NAMES[SINGAPORE])?;

    lab.at_once(FRANKFURT, &[Change::AnnounceAll])?;
    more_answers(&traffic)?;
    let outcome = well(traffic, FLOWS)?;
    ensure!(at_nearest(&outcome) == FLOWS, "some flows landed elsewhere: {:?}", outcome.spread());
    lands(lab, FRANKFURT, NAMES[FRANKFURT])?;
    let tunnelled = verified(&wire.finish()?)?;
    println!(
        "withdrawn: {} requests, longest stall {} ms, {entered} packets entered in Singapore, {tunnelled} tunnelled ones captured",
        outcome.requests(),
        outcome.longest_stall_ms()
    );
    Ok(())
}

/// In the same moment Frankfurt gets another member and loses one.
fn with_a_join_and_a_drain(lab: &mut PopLab) -> Result<()> {
    let traffic = established(lab, FLOWS)?;
    lab.at_once(FRANKFURT, &[Change::WithdrawAll, Change::Join(MEMBERS), Change::Drain(1)])?;
    more_answers(&traffic)?;
    lab.wait_joined()?;
    more_answers(&traffic)?;
    lab.at_once(FRANKFURT, &[Change::AnnounceAll])?;
    more_answers(&traffic)?;
    let outcome = well(traffic, FLOWS)?;
    ensure!(at_nearest(&outcome) == FLOWS, "some flows landed elsewhere: {:?}", outcome.spread());
    ensure!(outcome.spread().contains_key("fra-be1"), "nobody was on the one that drained");
    println!("with a join and a drain: longest stall {} ms", outcome.longest_stall_ms());
    Ok(())
}

/// `pop drain`: flows stay where they are, new ones go to the first rescue PoP.
fn drained(lab: &PopLab) -> Result<()> {
    let traffic = established(lab, FLOWS)?;
    lab.command(&["pop", "drain", NAMES[FRANKFURT]])?;
    more_answers(&traffic)?;
    lands(lab, FRANKFURT, NAMES[SINGAPORE])?;
    let outcome = well(established(lab, NEW_FLOWS)?, NEW_FLOWS)?;
    for flow in &outcome.flows {
        let from = origin(flow).context("a flow from nowhere")?;
        let there = if from == FRANKFURT { SINGAPORE } else { from };
        ensure!(home(flow) == Some(there), "a new flow landed elsewhere: {flow:?}");
    }
    lab.command(&["pop", "undrain", NAMES[FRANKFURT]])?;
    until(DEADLINE, "new flows to land in Frankfurt again", || {
        Ok(lands(lab, FRANKFURT, NAMES[FRANKFURT]).is_ok().then_some(()))
    })?;
    more_answers(&traffic)?;
    let outcome = well(traffic, FLOWS)?;
    ensure!(at_nearest(&outcome) == FLOWS, "some flows landed elsewhere: {:?}", outcome.spread());
    Ok(())
}

fn owner_only(lab: &mut PopLab) -> Result<()> {
    for pop in 0..NAMES.len() {
        for index in 0..INGRESSES {
            let file = lab.ingress(pop, index).config();
            let text = fs::read_to_string(&file)?;
            let lines =
                text.lines().map(|line| if line.starts_with("rescue = ") { "hops = 0" } else { line });
            fs::write(file, lines.flat_map(|line| [line, "\n"]).collect::<String>())?;
        }
    }
    lab.command(&["reload"])?;
    let traffic = established(lab, FLOWS)?;
    lab.at_once(FRANKFURT, &[Change::WithdrawAll])?;
    until(DEADLINE, "a flow to break", || Ok((traffic.progress().broken > 0).then_some(())))?;
    let outcome = traffic.finish()?;
    let broken: BTreeSet<_> = outcome.flows.iter().filter(|flow| flow.broken.is_some()).map(origin).collect();
    ensure!(broken == BTreeSet::from([Some(FRANKFURT)]), "flows of {broken:?} broke");
    println!("owner only: {} of {FLOWS} flows broken", outcome.broken());
    Ok(())
}

/// New connections of a PoP's client land at `site`, in both families.
fn lands(lab: &PopLab, pop: usize, site: &str) -> Result<()> {
    for family in FAMILIES {
        let backend = lab.who_answers(pop, family)?;
        ensure!(backend.starts_with(site), "the client near {} reaches {backend}", NAMES[pop]);
    }
    Ok(())
}

fn established(lab: &PopLab, flows: usize) -> Result<RunningTraffic> {
    let traffic = lab.traffic(&Spec { flows, ..Spec::default() })?;
    let progress = traffic.wait_established(DEADLINE)?;
    ensure!(progress.broken == 0, "{progress:?} before anything happened");
    Ok(traffic)
}

fn more_answers(traffic: &RunningTraffic) -> Result<()> {
    let progress = traffic.progress();
    traffic.wait_requests(ANSWERS * (progress.established - progress.broken), DEADLINE)
}

fn well(traffic: RunningTraffic, flows: usize) -> Result<Outcome> {
    let outcome = traffic.finish()?;
    let broken: Vec<_> = outcome.flows.iter().filter(|flow| flow.broken.is_some()).collect();
    ensure!(broken.is_empty(), "{} broke of {flows}: {broken:#?}", broken.len());
    ensure!(outcome.flows.len() == flows, "{} flows", outcome.flows.len());
    Ok(outcome)
}

/// Every checksum is right, and packets of both families were rescued; returns how many.
fn verified(frames: &[Frame]) -> Result<usize> {
    expect_clean(frames)?;
    let mut tunnelled = [0; 2];
    for frame in frames {
        let dissected = dissect(&frame.bytes);
        if let [outer, _] = &dissected.packets[..] {
            tunnelled[usize::from(outer.source.is_ipv6())] += 1;
        }
    }
    ensure!(tunnelled.iter().all(|&count| count > 0), "tunnelled by family: {tunnelled:?}");
    Ok(tunnelled.iter().sum())
}
