//! The hash seed is changed on one node after the other, and no flow breaks: packets name the owner
//! under the other seed too.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Result, ensure};
use xtask::lab::Lab;

use super::super::stand::{done, status};
use super::{SHORT_RATE, SOME, all_well, breaks, flows, reroute_until, route, stage};

/// More than a packet lists, so that an owner under another seed is not there by chance.
const BACKENDS: usize = 7;
const NODES: usize = 2;
/// Flows that began before.
const FLOWS: usize = 200;
/// Seed files; the lab makes the first.
const SEEDS: [&str; 4] = ["seed", "seed.second", "seed.third", "seed.fourth"];

#[test]
fn a_new_hash_seed_breaks_no_flow() -> Result<()> {
    let mut lab = stage(NODES, BACKENDS, BACKENDS, "")?;
    for (number, name) in SEEDS.iter().enumerate().skip(1) {
        let path = lab.directory().join(name);
        let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{}", number.to_string().repeat(32))?;
    }
    in_two_steps(&mut lab)?;
    in_three_steps(&mut lab)?;
    at_once(&mut lab)
}

/// Gives a node its seeds, with a reload.
fn give(lab: &mut Lab, node: usize, seed: usize, previous: Option<usize>) -> Result<()> {
    let directory = lab.directory().display().to_string();
    let node = lab.ingress(node);
    let text = fs::read_to_string(node.config())?;
    let mut text: Vec<String> =
        text.lines().filter(|line| !line.starts_with("hash_seed")).map(str::to_owned).collect();
    text.insert(0, format!("hash_seed_file = \"{directory}/{}\"", SEEDS[seed]));
    if let Some(previous) = previous {
        text.insert(0, format!("hash_seed_previous_file = \"{directory}/{}\"", SEEDS[previous]));
    }
    fs::write(node.config(), text.join("\n") + "\n")?;
    done(node, &["reload"]).map(drop)
}

/// The same on one node after the other, while flows go from the one to the other.
fn give_all(lab: &mut Lab, seed: usize, previous: Option<usize>) -> Result<()> {
    for node in 0..NODES {
        give(lab, node, seed, previous)?;
        reroute_until(lab, |_| Ok(true))?;
    }
    let fingerprints =
        [status(lab.ingress(0))?, status(lab.ingress(1))?].map(|s| s["seed_fingerprint"].clone());
    ensure!(fingerprints[0] == fingerprints[1] && fingerprints[0].is_string(), "{fingerprints:?}");
    Ok(())
}

/// Each node goes over to the new seed and names the owner under the old one.
fn in_two_steps(lab: &mut Lab) -> Result<()> {
    let before = flows(lab, FLOWS, 0.0)?;
    give_all(lab, 1, Some(0))?;
    let after = flows(lab, SOME, SHORT_RATE)?;
    reroute_until(lab, |_| Ok(true))?;
    all_well(&before.finish()?, "two steps, began before")?;
    give_all(lab, 1, None)?;
    reroute_until(lab, |_| Ok(true))?;
    all_well(&after.finish()?, "two steps, began after")
}

/// Each node names the owner under the coming seed first: then flows are safe too that begin while
/// one node has gone over to it and another has not.
fn in_three_steps(lab: &mut Lab) -> Result<()> {
    let before = flows(lab, FLOWS, SHORT_RATE)?;
    give_all(lab, 1, Some(2))?;
    give(lab, 0, 2, Some(1))?;
    route(lab, &[0])?;
    let between = flows(lab, SOME, 0.0)?;
    reroute_until(lab, |_| Ok(true))?;
    route(lab, &[1])?;
    let between_as_well = flows(lab, SOME, 0.0)?;
    give_all(lab, 2, Some(1))?;
    let after = flows(lab, SOME, 0.0)?;
    reroute_until(lab, |_| Ok(true))?;
    all_well(&before.finish()?, "three steps, began before")?;
    all_well(&between.finish()?, "three steps, began where the seed was new")?;
    all_well(&between_as_well.finish()?, "three steps, began where the seed was old")?;
    give_all(lab, 2, None)?;
    all_well(&after.finish()?, "three steps, began after")
}

/// What becomes of flows when nobody names the owner under the old seed.
fn at_once(lab: &mut Lab) -> Result<()> {
    route(lab, &[0])?;
    let traffic = flows(lab, SOME, 0.0)?;
    give(lab, 0, 3, None)?;
    breaks(traffic)
}
