//! Routing daemons on the node itself: BIRD by file and socket, BIRD by a session over loopback, ExaBGP.

use std::fs;

use anyhow::{Result, ensure};
use xtask::lab::daemons::{Program, arguments};
use xtask::lab::topology::{self, PREFIX_V4};
use xtask::lab::{Lab, Shape, bird};

use super::super::stand::done;
use super::router::Frr;
use super::{DRAIN_WAIT, ROUTER_AS, SERVICE_AS, announce_by, health, next_hops, wait};

fn stage() -> Result<Lab> {
    let shape = Shape { clients: 1, ingresses: 1, backends: 1 };
    let mut lab = Lab::builder().shape(shape).without_balancers().build()?;
    lab.backend(0).start()?;
    Ok(lab)
}

/// Sessions of the node's BIRD with the router, which announce what `export` lets through.
fn towards_router(lab: &mut Lab, text: &str, export: &str) -> Result<()> {
    let (own, router) = (topology::edge(0, false), topology::edge(0, true));
    let mut config = format!("log stderr all;\nrouter id {};\nprotocol device {{ }}\n{text}\n", own.v4);
    for (name, neighbor, channel) in
        [("router4", router.v4.to_string(), "ipv4"), ("router6", router.v6.to_string(), "ipv6")]
    {
        config += &format!(
            "protocol bgp {name} {{ local as {SERVICE_AS}; neighbor {neighbor} as {ROUTER_AS};\n  \
             hold time 9; connect delay time 1; connect retry time 2; error wait time 1,3;\n  \
             error forget time 5; graceful restart off;\n  \
             {channel} {{ import none; export where {export}; next hop self; }};\n}}\n"
        );
    }
    Ok(fs::write(lab.directory().join("ing0-bird.conf"), config)?)
}

/// What the router's BIRD tells of the IPv4 prefix: the path, and whether a graceful shutdown is asked for.
fn at_router(lab: &Lab) -> Result<Option<(usize, bool)>> {
    let Ok(lines) = bird::command(&lab.router_bird_socket(), &format!("show route {PREFIX_V4} all")) else {
        return Ok(None);
    };
    let path = lines.iter().find_map(|line| line.trim().strip_prefix("BGP.as_path:"));
    let marked = lines.iter().any(|line| line.contains("(65535,0)"));
    Ok(path.map(|path| (path.split_whitespace().count(), marked)))
}

/// Announced, drained, undrained, without a backend, stopped.
fn story(lab: &mut Lab, make: &str) -> Result<()> {
    wait(&format!("{make}: announced"), || Ok(at_router(lab)? == Some((1, false))))?;
    next_hops(lab, 1, make)?;
    done(lab.ingress(0), &["node", "drain"])?;
    wait(&format!("{make}: marked"), || Ok(at_router(lab)? == Some((3, true))))?;
    next_hops(lab, 0, &format!("{make}: drained"))?;
    done(lab.ingress(0), &["node", "undrain"])?;
    next_hops(lab, 1, &format!("{make}: undrained"))?;
    health(lab.ingress(0), 0, "down")?;
    next_hops(lab, 0, &format!("{make}: no backend"))?;
    health(lab.ingress(0), 0, "up")?;
    next_hops(lab, 1, &format!("{make}: a backend again"))?;
    ensure!(lab.ingress(0).stop()? == Some(0));
    next_hops(lab, 0, &format!("{make}: stopped"))
}

fn drain_keys() -> String {
    format!(
        "\n[bgp]\nlocal_as = {SERVICE_AS}\nrouter_id = \"10.1.0.2\"\n[bgp.drain]\nprepend = 2\nwait = \"{DRAIN_WAIT}s\"\n"
    )
}

#[test]
fn bird_by_a_file_and_its_socket() -> Result<()> {
    let mut lab = stage()?;
    let directory = lab.directory().join("outlet");
    fs::create_dir(&directory)?;
    let socket = lab.ingress(0).bird_socket();
    let text = format!("include \"{}/*.conf\";", directory.display());
    towards_router(&mut lab, &text, "proto = \"anycast_lb_v4\" || proto = \"anycast_lb_v6\"")?;
    let keys = format!(
        "{}\n[bird]\nfile = \"{}/prefixes.conf\"\nsocket = \"{}\"\n",
        drain_keys(),
        directory.display(),
        socket.display()
    );
    announce_by(lab.ingress(0), "bird", &keys)?;
    // A BIRD that is not there yet is told once it is.
    lab.ingress(0).start()?;
    wait("BIRD is missed", || {
        Ok(lab.ingress(0).cli(&["bgp", "status"])?.stdout.contains("bird is tried again"))
    })?;
    lab.ingress(0).start_bird()?;
    story(&mut lab, "BIRD by file")?;
    // Its configuration is broken by somebody else meanwhile.
    let file = lab.directory().join("ing0-bird.conf");
    let good = fs::read_to_string(&file)?;
    fs::write(&file, format!("{good}\nnonsense;\n"))?;
    lab.ingress(0).start()?;
    wait("BIRD refuses", || {
        Ok(lab.ingress(0).cli(&["bgp", "status"])?.stdout.contains("BIRD refused `configure check`"))
    })?;
    fs::write(&file, good)?;
    next_hops(&lab, 1, "BIRD's file mended")
}

#[test]
fn bird_by_a_session_over_loopback() -> Result<()> {
    let mut lab = stage()?;
    let own = topology::edge(0, false);
    let text = format!(
        "protocol bgp lb {{ local 127.0.0.1 as {SERVICE_AS}; neighbor 127.0.0.2 as {SERVICE_AS};\n  \
         multihop 2; passive on; graceful restart off;\n  \
         ipv4 {{ import filter {{ dest = RTD_BLACKHOLE; accept; }}; export none; }};\n  \
         ipv6 {{ import filter {{ dest = RTD_BLACKHOLE; accept; }}; export none; }};\n}}"
    );
    towards_router(&mut lab, &text, "proto = \"lb\"")?;
    let keys = format!(
        "\n[bgp]\nlocal_as = {SERVICE_AS}\nrouter_id = \"{}\"\n[bgp.drain]\nwait = \"{DRAIN_WAIT}s\"\n\
         [[bgp.neighbor]]\naddress = \"127.0.0.1\"\nsource = \"127.0.0.2\"\nremote_as = {SERVICE_AS}\n\
         next_hop = [\"{}\", \"{}\"]\nhold_time = \"3s\"\n",
        // Not BIRD's: within an AS two speakers are told apart by it.
        topology::ingress(0).v4,
        own.v4,
        own.v6
    );
    announce_by(lab.ingress(0), "bgp", &keys)?;
    lab.ingress(0).start_bird()?;
    lab.ingress(0).start()?;
    next_hops(&lab, 1, "BIRD over loopback")?;
    done(lab.ingress(0), &["node", "drain"])?;
    wait("BIRD over loopback: marked", || Ok(at_router(&lab)? == Some((1, true))))?;
    next_hops(&lab, 0, "BIRD over loopback: drained")?;
    done(lab.ingress(0), &["node", "undrain"])?;
    next_hops(&lab, 1, "BIRD over loopback: undrained")?;
    lab.ingress(0).kill9()?;
    next_hops(&lab, 0, "BIRD over loopback: SIGKILL")
}

#[test]
fn frr_by_a_session_over_loopback() -> Result<()> {
    let mut lab = stage()?;
    let (own, router) = (topology::edge(0, false), topology::edge(0, true));
    // A network on lo is local as a whole, but only one address of it is an own one to FRR.
    let namespace = lab.ingress(0).namespace().clone();
    namespace.ip("address add 169.254.7.1/24 dev lo\naddress add fd07::1/64 dev lo nodad\n")?;
    let mut text = format!(
        "hostname node\nrouter bgp {SERVICE_AS}\n bgp router-id {}\n no bgp ebgp-requires-policy\n timers bgp 1 9\n \
         neighbor 169.254.7.2 remote-as {SERVICE_AS}\n neighbor 169.254.7.2 passive\n",
        own.v4
    );
    for neighbor in [router.v4.to_string(), router.v6.to_string()] {
        text +=
            &format!(" neighbor {neighbor} remote-as {ROUTER_AS}\n neighbor {neighbor} timers connect 2\n");
    }
    text += &format!(
        " address-family ipv4 unicast\n  no neighbor {} activate\n exit-address-family\n \
         address-family ipv6 unicast\n  neighbor 169.254.7.2 activate\n  neighbor {} activate\n exit-address-family\n",
        router.v6, router.v6
    );
    let keys = format!(
        "\n[bgp]\nlocal_as = {SERVICE_AS}\nrouter_id = \"{}\"\n[bgp.drain]\nwait = \"{DRAIN_WAIT}s\"\n\
         [[bgp.neighbor]]\naddress = \"169.254.7.1\"\nsource = \"169.254.7.2\"\nremote_as = {SERVICE_AS}\n\
         next_hop = [\"fd07::2\"]\nhold_time = \"3s\"\n",
        topology::ingress(0).v4
    );
    announce_by(lab.ingress(0), "bgp", &keys)?;
    let _frr = Frr::launch(&lab, &namespace, &text)?;
    lab.ingress(0).start()?;
    next_hops(&lab, 1, "FRR over loopback")?;
    done(lab.ingress(0), &["node", "drain"])?;
    wait("FRR over loopback: marked", || Ok(at_router(&lab)? == Some((1, true))))?;
    next_hops(&lab, 0, "FRR over loopback: drained")?;
    done(lab.ingress(0), &["node", "undrain"])?;
    next_hops(&lab, 1, "FRR over loopback: undrained")?;
    lab.ingress(0).kill9()?;
    next_hops(&lab, 0, "FRR over loopback: SIGKILL")
}

#[test]
fn exabgp() -> Result<()> {
    let mut lab = stage()?;
    let (own, router) = (topology::edge(0, false), topology::edge(0, true));
    let socket = lab.ingress(0).socket();
    let binary = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/anycast-lb");
    let mut config = format!(
        "process anycast-lb {{\n  run {} --socket {} announce exabgp;\n  encoder text;\n}}\n",
        binary.canonicalize()?.display(),
        socket.display()
    );
    for (neighbor, local, family) in [
        (router.v4.to_string(), own.v4.to_string(), "ipv4"),
        (router.v6.to_string(), own.v6.to_string(), "ipv6"),
    ] {
        config += &format!(
            "neighbor {neighbor} {{\n  router-id {};\n  local-address {local};\n  local-as {SERVICE_AS};\n  \
             peer-as {ROUTER_AS};\n  hold-time 9;\n  family {{ {family} unicast; }}\n  \
             api {{ processes [ anycast-lb ]; }}\n}}\n",
            own.v4
        );
    }
    let file = lab.directory().join("exabgp.conf");
    fs::write(&file, config)?;
    announce_by(lab.ingress(0), "exabgp", &drain_keys())?;
    lab.ingress(0).start()?;
    let program = Program {
        name: "exabgp".into(),
        program: "/usr/bin/env".into(),
        arguments: arguments([
            "exabgp.daemon.user=root",
            "exabgp.api.cli=false",
            "exabgp.log.level=INFO",
            "/usr/sbin/exabgp",
            &file.display().to_string(),
        ]),
        notifies: false,
    };
    let namespace = lab.ingress(0).namespace().clone();
    let mut exabgp = lab.daemon(&namespace, program);
    exabgp.start()?;
    story(&mut lab, "ExaBGP").map_err(|error| error.context(exabgp.log_tail()))?;
    Ok(())
}
