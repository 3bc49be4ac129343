//! What keeps a route back: backends that fail their checks, a validator that says no.

use anyhow::{Result, ensure};
use xtask::lab::topology::{PREFIX_V4, PREFIX_V6};
use xtask::lab::{Lab, Node, Shape};

use super::super::rpki::Validator;
use super::super::stand::{done, edit};
use super::{ROUTER_AS, SERVICE_AS, announce_by, next_hops, sessions};

const BACKENDS: usize = 2;
const CHECK: &str = "[[pool]]\nhealth = { type = \"http\", via = \"tunnel\", interval = \"400ms\", timeout = \"400ms\", \
                     rise = 2, fall = 3 }\n";
const VALIDATOR: &str = "\n[[rtr]]\naddress = \"127.0.0.1:8282\"\nname = \"lab\"\n";

fn stage(prepare: impl Fn(&Node) -> Result<()>) -> Result<Lab> {
    let shape = Shape { clients: 1, ingresses: 2, backends: BACKENDS };
    let mut lab = Lab::builder().shape(shape).without_balancers().build()?;
    for index in 0..2 {
        announce_by(lab.ingress(index), "bgp", &sessions(index, ROUTER_AS, ""))?;
    }
    for index in 0..BACKENDS {
        lab.backend(index).start()?;
    }
    prepare(lab.ingress(0))?;
    Ok(lab)
}

#[test]
fn the_route_follows_checks_through_the_tunnel() -> Result<()> {
    let mut lab = stage(|node| edit(node, "[[pool]]\n", CHECK))?;
    edit(lab.ingress(1), "[[pool]]\n", CHECK)?;
    // Nobody serves yet: a node that has just started does not announce in good faith.
    for index in 0..BACKENDS {
        lab.backend(index).service(0)?.kill9()?;
    }
    for index in 0..2 {
        lab.ingress(index).start()?;
    }
    let shown = lab.ingress(0).cli(&["bgp", "status"])?.stdout;
    ensure!(shown.contains("withdrawn"), "{shown}");
    lab.backend(0).service(0)?.start()?;
    next_hops(&lab, 2, "a first backend proved healthy")?;
    lab.backend(1).service(0)?.start()?;
    lab.backend(0).service(0)?.kill9()?;
    lab.backend(1).service(0)?.kill9()?;
    next_hops(&lab, 0, "the servers of all backends killed")?;
    lab.backend(1).service(0)?.start()?;
    next_hops(&lab, 2, "one back")
}

#[test]
fn what_a_validator_calls_invalid_is_withdrawn_after_the_hold() -> Result<()> {
    let origin = format!("origin_as = {SERVICE_AS}\nrpki = \"enforce\"\nrpki_hold = \"3s\"\n");
    let mut lab = stage(|node| {
        for prefix in [PREFIX_V4, PREFIX_V6] {
            let line = format!("prefix = \"{prefix}\"\n");
            edit(node, &line, &format!("{line}{origin}"))?;
        }
        let text = std::fs::read_to_string(node.config())?;
        Ok(std::fs::write(node.config(), text + VALIDATOR)?)
    })?;
    let mut validator = Validator::new(&mut lab, "lab", 8282);
    validator.says(SERVICE_AS, SERVICE_AS)?;
    validator.start()?;
    for index in 0..2 {
        lab.ingress(index).start()?;
    }
    next_hops(&lab, 2, "valid")?;
    validator.says(64501, 64501)?;
    next_hops(&lab, 1, "another AS in the ROAs, refresh 1 s, hold 3 s")?;
    let shown = lab.ingress(0).cli(&["bgp", "status"])?.stdout;
    ensure!(shown.contains("withdrawn") && shown.contains("RPKI"), "{shown}");
    // A warning lets it pass.
    for _prefix in 0..2 {
        edit(lab.ingress(0), "rpki = \"enforce\"", "rpki = \"warn\"")?;
    }
    done(lab.ingress(0), &["reload"])?;
    next_hops(&lab, 2, "rpki = \"warn\"")
}
