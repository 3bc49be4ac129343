//! What belongs together meets at one backend, and what does not is spread: name and time servers that
//! are not ours with clients that are not ours, and protocols without ports.

pub(super) mod dns;
mod ntp;
mod raw;

use std::net::IpAddr;

use anyhow::Result;
use xtask::lab::topology::{EDGE, VIP_V4, VIP_V6};
use xtask::lab::{Family, Lab};

use super::stand::{done, serving, shape, verdict};

/// Ingress nodes: packets enter at the first one, and after a reroute at the second.
const INGRESSES: usize = 2;
/// Backends.
const BACKENDS: usize = 3;
/// Addresses of the client in each family. That all of them share a backend by chance: one in 3^11.
const SOURCES: u8 = 12;
/// Place of the UDP echo among a backend's services.
const ECHO: usize = 1;

/// A lab of two ways in, whose client has [`SOURCES`] addresses of each family.
fn stage() -> Result<Lab> {
    let lab = serving(Lab::builder().shape(shape(INGRESSES, BACKENDS)))?;
    for family in [Family::V4, Family::V6] {
        let length = if family == Family::V4 { 28 } else { 64 };
        for address in sources(family).skip(1) {
            lab.client(0).ip(&format!("address add {address}/{length} dev {EDGE}\n"))?;
        }
    }
    Ok(lab)
}

/// Addresses of the client; it has the first one from the start.
fn sources(family: Family) -> impl Iterator<Item = IpAddr> {
    let first = xtask::lab::topology::client(0, false);
    (0..SOURCES).map(move |offset| match family {
        Family::V4 => {
            let [a, b, c, d] = first.v4.octets();
            [a, b, c, d + offset].into()
        }
        Family::V6 => {
            let mut segments = first.v6.segments();
            segments[7] += u16::from(offset);
            segments.into()
        }
    })
}

fn vip(family: Family) -> IpAddr {
    match family {
        Family::V4 => VIP_V4.into(),
        Family::V6 => VIP_V6.into(),
    }
}

/// A service of the VIP of a family, as the command line names it: `53/udp`, `any`.
fn service(family: Family, what: &str) -> String {
    let separator = if what == "any" { "/" } else { ":" };
    match family {
        Family::V4 => format!("{VIP_V4}{separator}{what}"),
        Family::V6 => format!("[{VIP_V6}]{separator}{what}"),
    }
}

/// Adds a service to the pool on all nodes.
fn add(lab: &mut Lab, what: &str, hash: &str) -> Result<()> {
    on_all(lab, what, |vip| {
        vec!["vip".into(), "add".into(), vip, "--pool".into(), "web".into(), "--hash".into(), hash.into()]
    })
}

/// Removes a service on all nodes.
fn remove(lab: &mut Lab, what: &str) -> Result<()> {
    on_all(lab, what, |vip| vec!["vip".into(), "remove".into(), vip])
}

fn on_all(lab: &mut Lab, what: &str, words: impl Fn(String) -> Vec<String>) -> Result<()> {
    for index in 0..INGRESSES {
        for family in [Family::V4, Family::V6] {
            let words = words(service(family, what));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            done(lab.ingress(index), &words)?;
        }
    }
    Ok(())
}

/// Packets that each ingress node has forwarded.
fn forwarded(lab: &mut Lab) -> Result<[u64; INGRESSES]> {
    Ok([verdict(lab.ingress(0), "forwarded_gue")?, verdict(lab.ingress(1), "forwarded_gue")?])
}
