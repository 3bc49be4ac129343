//! The same story with BIRD 2, FRR and GoBGP as the neighbour: IPv4 and IPv6, signed, TTL security.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};
use xtask::lab::topology::{self, PREFIX_V4, PREFIX_V6};
use xtask::lab::{Lab, Shape};

use super::super::stand::done;
use super::router::{Bird, Frr, Gobgp, Router, Seen, Session};
use super::{ROUTER_AS, SERVICE_AS, announce_by, health, sessions, wait};

const KEY: &str = "a-key-of-signatures";

/// A lab of one node, ready to be started.
fn stage(remote_as: u32, key: &str) -> Result<Lab> {
    let shape = Shape { clients: 1, ingresses: 1, backends: 1 };
    let mut lab = Lab::builder().shape(shape).without_balancers().build()?;
    lab.backend(0).start()?;
    let file = lab.directory().join("bgp.md5");
    fs::write(&file, format!("{key}\n"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    let keys = format!(
        "md5_file = \"{}\"\ngtsm = true\nprepend = 1\nmed = 50\ncommunities = [\"64500:100\", \"64500:1:2\"]",
        file.display()
    );
    announce_by(lab.ingress(0), "bgp", &sessions(0, remote_as, &keys))?;
    Ok(lab)
}

/// What a router should know of both prefixes; `times` is the length of the path.
fn expected(times: usize, communities: &[&str]) -> [(&'static str, Seen); 2] {
    let own = topology::edge(0, false);
    [(PREFIX_V4, own.v4.to_string()), (PREFIX_V6, own.v6.to_string())].map(|(prefix, next_hop)| {
        let communities = communities.iter().map(|c| (*c).to_owned()).collect();
        let path = vec![u64::from(SERVICE_AS); times];
        (prefix, Seen { path, med: Some(50), communities, local_pref: None, next_hop })
    })
}

fn all_seen(router: &dyn Router, expected: &[(&str, Seen)]) -> Result<bool> {
    for (prefix, expected) in expected {
        let Some(seen) = router.seen(prefix)? else { return Ok(false) };
        // A router of another AS makes its own preference.
        let seen = Seen { local_pref: expected.local_pref, ..seen };
        if seen != *expected {
            println!("{prefix}: {seen:?}");
            return Ok(false);
        }
    }
    Ok(true)
}

fn none_seen(router: &dyn Router) -> Result<bool> {
    Ok(router.seen(PREFIX_V4)?.is_none() && router.seen(PREFIX_V6)?.is_none())
}

fn story(lab: &mut Lab, router: &dyn Router, make: &str) -> Result<()> {
    let plain = expected(2, &["64500:100", "64500:1:2"]);
    let marked = expected(4, &["64500:100", "64500:1:2", "65535:0"]);
    lab.ingress(0).start()?;
    wait(&format!("{make}: announced"), || all_seen(router, &plain))?;
    done(lab.ingress(0), &["node", "drain"])?;
    wait(&format!("{make}: marked"), || all_seen(router, &marked))?;
    wait(&format!("{make}: drained and withdrawn"), || none_seen(router))?;
    done(lab.ingress(0), &["node", "undrain"])?;
    wait(&format!("{make}: announced again"), || all_seen(router, &plain))?;
    health(lab.ingress(0), 0, "down")?;
    wait(&format!("{make}: no backend, withdrawn"), || none_seen(router))?;
    health(lab.ingress(0), 0, "up")?;
    wait(&format!("{make}: a backend, announced"), || all_seen(router, &plain))?;
    let shown = lab.ingress(0).cli(&["bgp", "status"])?.stdout;
    ensure!(shown.matches("Established").count() == 2, "{shown}");
    ensure!(lab.ingress(0).stop()? == Some(0));
    wait(&format!("{make}: stopped, withdrawn"), || none_seen(router))
}

#[test]
fn bird() -> Result<()> {
    let mut lab = stage(ROUTER_AS, KEY)?;
    let router = Bird::start(&mut lab, Session { asn: ROUTER_AS, key: KEY })?;
    story(&mut lab, &router, "BIRD")
}

#[test]
fn frr() -> Result<()> {
    let mut lab = stage(ROUTER_AS, KEY)?;
    let router = Frr::start(&mut lab, Session { asn: ROUTER_AS, key: KEY })?;
    story(&mut lab, &router, "FRR")
}

#[test]
fn gobgp() -> Result<()> {
    let mut lab = stage(ROUTER_AS, KEY)?;
    let router = Gobgp::start(&mut lab, Session { asn: ROUTER_AS, key: KEY })?;
    story(&mut lab, &router, "GoBGP")
}

#[test]
fn within_an_as_the_preference_tells_of_a_drain() -> Result<()> {
    let mut lab = stage(SERVICE_AS, KEY)?;
    let router = Bird::start(&mut lab, Session { asn: SERVICE_AS, key: KEY })?;
    lab.ingress(0).start()?;
    let preference = |expected: u64| -> Result<bool> {
        let seen = router.seen(PREFIX_V4)?;
        Ok(seen.is_some_and(|seen| seen.local_pref == Some(expected) && seen.path.is_empty()))
    };
    wait("iBGP: announced", || preference(100))?;
    done(lab.ingress(0), &["node", "drain"])?;
    wait("iBGP: marked", || preference(0))
}

#[test]
fn a_wrong_key_makes_no_session_and_is_told() -> Result<()> {
    let mut lab = stage(ROUTER_AS, "another-key")?;
    let router = Bird::start(&mut lab, Session { asn: ROUTER_AS, key: KEY })?;
    lab.ingress(0).start()?;
    wait("no connection", || {
        let shown = lab.ingress(0).cli(&["bgp", "status"])?.stdout;
        Ok(shown.contains("no connection in 5 s"))
    })?;
    ensure!(none_seen(&router)?);
    let log = fs::read_to_string(lab.ingress(0).balancer()?.log())?;
    ensure!(!log.contains("another-key") && !log.contains(KEY), "a key is in the log");
    Ok(())
}
