//! Path MTU discovery of real transfers: a way behind the ingress node that is narrower than the
//! clients' links, and a link beyond the router that is narrower than what backends send.

pub(super) mod transfers;

use std::net::IpAddr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use xtask::lab::netns::Namespace;
use xtask::lab::topology::{self, EDGE, FABRIC, VIP_V4, VIP_V6};
use xtask::lab::{Families, Family, Lab};

use self::transfers::{PORT, Servers, Transfer};
use super::stand::{done, hops, route_via, serving, shape, start_all, verdict};

/// MTU of the way to the backends, for clients whose link takes 1500.
const NARROW_UNDERLAY: u16 = 1400;
/// MTU of the link to a client who says that it takes segments of 1460 bytes.
const NARROW_CLIENT: u16 = 1300;
/// Transfers of each family, at once.
const TRANSFERS: usize = 120;
/// Answers a second to one prefix, and at once.
const LIMIT: u64 = 100;

#[test]
fn transfers_over_a_narrow_way_to_the_backends_complete() -> Result<()> {
    let mut lab = Lab::builder().shape(shape(1, 3)).without_balancers().build()?;
    lab.topology().ingresses[0].ip(&format!("link set dev {FABRIC} mtu {NARROW_UNDERLAY}\n"))?;
    start_all(&mut lab)?;
    let _servers = Servers::start(&lab)?;
    balance(&mut lab)?;
    for family in Families::Both.all() {
        narrow_underlay(&mut lab, family).with_context(|| format!("{family:?}"))?;
    }
    Ok(())
}

fn narrow_underlay(lab: &mut Lab, family: Family) -> Result<()> {
    let before = verdict(lab.ingress(0), "too_big_answered")?;
    let began = Instant::now();
    let done = transfers::upload_at_once(lab.client(0), vip(family), TRANSFERS)?;
    let seconds = began.elapsed().as_secs() + 1;
    ensure!(done == TRANSFERS, "{done} of {TRANSFERS} transfers completed");
    let answered = verdict(lab.ingress(0), "too_big_answered")? - before;
    println!(
        "{family:?}: {answered} answers in {seconds} s, {} limited",
        verdict(lab.ingress(0), "too_big_limited")?
    );
    ensure!(answered > 0, "everything fitted: nothing was shown");
    ensure!(answered <= LIMIT * (seconds + 1), "{answered} answers in {seconds} s");
    ensure!(verdict(lab.ingress(0), "too_big_no_df")? == 0, "packets without DF");
    Ok(())
}

#[test]
fn what_a_router_says_about_a_servers_packets_reaches_that_server() -> Result<()> {
    let mut lab = serving(Lab::builder().shape(shape(1, 3)))?;
    narrow_client_link(&lab)?;
    let _servers = Servers::start(&lab)?;
    balance(&mut lab)?;
    for family in Families::Both.all() {
        narrow_client(&mut lab, family).with_context(|| format!("{family:?}"))?;
    }
    Ok(())
}

fn narrow_client(lab: &mut Lab, family: Family) -> Result<()> {
    // Of a flow whose owner holds it.
    let mut transfer = Transfer::begin(lab.client(0), vip(family))?;
    transfer.download().context("from the owner")?;

    // Of a flow that another backend holds than the one that owns it now.
    let mut transfer = Transfer::begin(lab.client(0), vip(family))?;
    forget_paths(lab)?;
    let before = (errors(lab, transfer.server(), family)?, hops(lab)?);
    let address = topology::backend(transfer.server()).v4.to_string();
    done(lab.ingress(0), &["backend", "drain", &address])?;
    transfer.download().context("after the flow moved")?;
    let after = (errors(lab, transfer.server(), family)?, hops(lab)?);
    ensure!(after.0 > before.0, "be{} heard of no path", transfer.server());
    ensure!(after.1 > before.1, "nothing was sent on: the flow has not moved");
    done(lab.ingress(0), &["backend", "undrain", &address])?;
    Ok(())
}

/// The client's link takes 1300 bytes, and its SYN says more.
fn narrow_client_link(lab: &Lab) -> Result<()> {
    lab.router().ip(&format!("link set dev client0 mtu {NARROW_CLIENT}\n"))?;
    let router = topology::client(0, true);
    lab.client(0).ip(&format!(
        "link set dev {EDGE} mtu {NARROW_CLIENT}\nroute replace default via {} advmss 1460\nroute replace default via {} advmss 1440\n",
        router.v4, router.v6
    ))
}

/// What backends have learnt of paths.
fn forget_paths(lab: &Lab) -> Result<()> {
    for backend in &lab.topology().backends {
        for family in ["-4", "-6"] {
            backend.run("ip", &[family, "route", "flush", "cache"])?;
        }
    }
    Ok(())
}

/// "Fragmentation needed" and "packet too big" that a backend's kernel has taken.
fn errors(lab: &Lab, backend: usize, family: Family) -> Result<u64> {
    let namespace: &Namespace = &lab.topology().backends[backend];
    let read = |path: &'static str| namespace.enter(move || std::fs::read_to_string(path));
    let text = match family {
        Family::V6 => read("/proc/thread-self/net/snmp6")??,
        Family::V4 => {
            let text = read("/proc/thread-self/net/snmp")??;
            let mut lines = text.lines().filter(|line| line.starts_with("Icmp:"));
            let (names, values) = lines.next().zip(lines.next()).context("no ICMP")?;
            names.split(' ').zip(values.split(' ')).map(|(name, value)| format!("{name} {value}\n")).collect()
        }
    };
    let name = if family == Family::V4 { "InDestUnreachs" } else { "Icmp6InPktTooBigs" };
    let line =
        text.lines().find(|line| line.split_whitespace().next() == Some(name)).context("no counter")?;
    Ok(line.split_whitespace().nth(1).context("no value")?.parse()?)
}

/// Leads the servers' port to the pool.
fn balance(lab: &mut Lab) -> Result<()> {
    for address in [format!("{VIP_V4}:{PORT}/tcp"), format!("[{VIP_V6}]:{PORT}/tcp")] {
        done(lab.ingress(0), &["vip", "add", &address, "--pool", "web"])?;
    }
    route_via(lab, 0)
}

fn vip(family: Family) -> IpAddr {
    match family {
        Family::V4 => VIP_V4.into(),
        Family::V6 => VIP_V6.into(),
    }
}

#[test]
fn a_traceroute_ends_at_the_vip() -> Result<()> {
    let mut lab = serving(Lab::builder().shape(shape(1, 3)))?;
    let router = topology::client(0, true);
    for (family, router) in [(Family::V4, IpAddr::from(router.v4)), (Family::V6, router.v6.into())] {
        for way in [&["-I"][..], &["-U", "-p", "53"], &["-T", "-p", "80"]] {
            let target = vip(family).to_string();
            let words = [&["-n", "-q", "1", "-m", "8", "-w", "5"], way, &[target.as_str()]].concat();
            let output = lab.client(0).run("traceroute", &words)?;
            let text = String::from_utf8(output.stdout)?;
            let places: Vec<&str> =
                text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
            ensure!(places == [router.to_string().as_str(), target.as_str()], "{way:?}: {text}");
        }
    }
    ensure!(verdict(lab.ingress(0), "icmp_error_quote")? == 0, "an error was not understood");
    Ok(())
}
