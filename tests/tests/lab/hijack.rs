//! The hijack watch with real routers: FRR and GoBGP send by BMP what BIRD announces to them, in our name and not.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use xtask::lab::daemons::{Daemon, Program, arguments, until};
use xtask::lab::netns::Namespace;
use xtask::lab::topology::{self, Addresses, PREFIX_V4, PREFIX_V6};
use xtask::lab::{Lab, Node, SERVICE_DEADLINE, Shape, bird};

use super::stand::{DEADLINE, done, edit, status};

const OURS: u32 = 64500;
const FOREIGN: u32 = 64666;
const FRR_AS: u32 = 64510;
const GOBGP_AS: u32 = 64511;
const BMP_PORT: u16 = 11019;
const FRR: &str = "/usr/lib/frr/bgpd";
/// The module brings BMP.
const FRR_BMP: &str = "/usr/lib/x86_64-linux-gnu/frr/modules/bgpd_bmp.so";

const PART_V4: &str = "203.0.113.128/25";
const PART_V6: &str = "2001:db8:ff:80::/57";

/// FRR is client 0, the foreign AS client 1, GoBGP client 2. We announce from the backend, since the ingress node's own BIRD
/// has the port of BGP there.
#[test]
fn a_foreign_announcement_is_told_with_who_saw_it_and_ours_is_not() -> Result<()> {
    let shape = Shape { clients: 3, ingresses: 1, backends: 1 };
    let mut lab = Lab::builder().shape(shape).without_balancers().build()?;
    let node = lab.ingress(0);
    for prefix in [PREFIX_V4, PREFIX_V6] {
        let line = format!("prefix = \"{prefix}\"\n");
        edit(node, &line, &format!("{line}origin_as = {OURS}\n"))?;
    }
    let station = topology::edge(0, false);
    let text = fs::read_to_string(node.config())?;
    fs::write(node.config(), format!("{text}\n[bmp]\nlisten = \"{}:{BMP_PORT}\"\n", station.v4))?;
    node.start()?;

    let mut foreign =
        Speaker::start(&mut lab, "foreign", Some(1), FOREIGN, &[PREFIX_V4, PART_V4, PREFIX_V6, PART_V6])?;
    let mut own = Speaker::start(&mut lab, "own", None, OURS, &[PREFIX_V4, PREFIX_V6])?;
    let mut frr = frr(&mut lab, station)?;
    let peers = |lab: &mut Lab, count: u64| {
        let node = lab.ingress(0);
        let mut last = Value::Null;
        until(DEADLINE, &format!("a router with {count} peers"), || {
            last = list(node)?;
            Ok((last["routers"][0]["peers"] == count).then_some(()))
        })
        .with_context(|| last.to_string())
    };
    // Ours and the foreign AS's, of both families.
    peers(&mut lab, 4)?;
    let vty = lab.directory().to_owned();
    let known = |lab: &Lab, family: &str, prefix: &str| -> Result<bool> {
        let show = format!("show bgp {family} unicast {prefix} json");
        let words = ["--vty_socket", vty.to_str().context("a path")?, "-d", "bgpd", "-c", &show];
        let text = lab.client(0).run("vtysh", &words)?.stdout;
        Ok(String::from_utf8_lossy(&text).contains(&OURS.to_string()))
    };
    until(DEADLINE, "our routes at FRR", || {
        Ok((known(&lab, "ipv4", PREFIX_V4)? && known(&lab, "ipv6", PREFIX_V6)?).then_some(()))
    })?;
    ensure!(alarms(lab.ingress(0))?.is_empty(), "an alarm about our own route");

    // The foreign AS begins.
    let began = Instant::now();
    foreign.announces(true)?;
    let expected =
        [PREFIX_V4, PART_V4, PREFIX_V6, PART_V6].map(|prefix| (prefix.to_owned(), format!("AS{FOREIGN}")));
    told(lab.ingress(0), &expected)?;
    println!("four alarms {:?} after the announcements began (FRR)", began.elapsed());
    let peer = topology::client(1, false);
    for (prefix, peer, part) in [
        (PREFIX_V4, peer.v4.to_string(), false),
        (PART_V4, peer.v4.to_string(), true),
        (PREFIX_V6, peer.v6.to_string(), false),
        (PART_V6, peer.v6.to_string(), true),
    ] {
        let text = alarms(lab.ingress(0))?.into_iter().find(|a| a.starts_with(prefix)).context("no alarm")?;
        let own = if part { "a part of our" } else { "announced by AS64666" };
        for word in [own, "AS64666", "not by AS64500", &peer, &topology::client(0, false).v4.to_string()] {
            ensure!(text.contains(word), "{word:?} is not in {text:?}");
        }
        // FRR puts its own AS in front.
        ensure!(text.contains("AS path") && text.ends_with(" 64666"), "{text:?}");
    }
    let people = done(lab.ingress(0), &["hijack", "list"])?.stdout;
    ensure!(people.contains(PART_V4) && people.contains(&peer.v4.to_string()), "{people}");
    ensure!(done(lab.ingress(0), &["status"])?.stdout.contains("error: hijack"));

    // It ends, and ours goes on.
    foreign.announces(false)?;
    told(lab.ingress(0), &[])?;
    ensure!(known(&lab, "ipv4", PREFIX_V4)?, "FRR lost our route");

    // It is over as well when the router, or its session with the foreign AS, is gone.
    foreign.announces(true)?;
    told(lab.ingress(0), &expected)?;
    foreign.daemon.kill9()?;
    told(lab.ingress(0), &[])?;
    foreign.restart()?;
    foreign.announces(true)?;
    told(lab.ingress(0), &expected)?;
    frr.kill9()?;
    told(lab.ingress(0), &[])?;
    let gone = list(lab.ingress(0))?;
    ensure!(gone["routers"] == json!([]), "{gone}");

    // Another implementation says the same.
    let began = Instant::now();
    let gobgp = gobgp(&mut lab, station)?;
    told(lab.ingress(0), &expected)?;
    println!("four alarms {:?} after GoBGP was started", began.elapsed());
    let text = alarms(lab.ingress(0))?.join("\n");
    ensure!(text.contains(&peer.v4.to_string()) && text.contains(&peer.v6.to_string()), "{text}");
    foreign.announces(false)?;
    told(lab.ingress(0), &[])?;
    drop(gobgp);

    own.announces(false)?;
    let log = fs::read_to_string(lab.ingress(0).balancer()?.log())?;
    // Once for each of the four times it began.
    let lines =
        log.lines().filter(|line| line.contains("is announced by AS64666") && line.contains(PART_V4)).count();
    ensure!(lines == 4, "{lines} lines about {PART_V4}:\n{log}");
    Ok(())
}

fn list(node: &Node) -> Result<Value> {
    node.cli(&["hijack", "list", "--json"])?.json()
}

/// Texts of the alarms in `status`.
fn alarms(node: &Node) -> Result<Vec<String>> {
    let status = status(node)?;
    let alarms = status["alarms"].as_array().context("no alarms")?;
    Ok(alarms.iter().filter_map(|a| Some(a["text"].as_str()?.to_owned())).collect())
}

/// Waits until these prefixes are seen from these origins, and no others.
fn told(node: &Node, expected: &[(String, String)]) -> Result<()> {
    let mut expected = expected.to_vec();
    expected.sort();
    let mut seen = Vec::new();
    until(DEADLINE, &format!("{expected:?}"), || {
        let list = list(node)?;
        let rows = list["hijacks"].as_array().context("no hijacks")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        seen = rows.iter().map(|row| (text(&row["prefix"]), text(&row["origin"]))).collect();
        seen.sort();
        Ok((seen == expected).then_some(()))
    })
    .with_context(|| format!("{seen:?}"))
}

/// Who is told of routes: FRR and GoBGP.
fn listeners() -> [(Addresses, u32); 2] {
    [(topology::client(0, false), FRR_AS), (topology::client(2, false), GOBGP_AS)]
}

/// BIRD that announces prefixes to the listeners when it is told to.
struct Speaker {
    daemon: Daemon,
    socket: PathBuf,
}

impl Speaker {
    /// On a client, or on the backend; ours announces at once.
    fn start(lab: &mut Lab, name: &str, client: Option<usize>, asn: u32, prefixes: &[&str]) -> Result<Self> {
        let (namespace, local) = match client {
            Some(index) => (lab.client(index).clone(), topology::client(index, false)),
            None => (lab.backend(0).namespace().clone(), topology::backend(0)),
        };
        let disabled = if asn == OURS { "" } else { " disabled;" };
        let mut text =
            format!("log stderr all;\nrouter id {};\nprotocol device {{ scan time 10; }}\n", local.v4);
        for (channel, six) in [("ipv4", false), ("ipv6", true)] {
            let routes: String = prefixes
                .iter()
                .filter(|prefix| prefix.contains(':') == six)
                .map(|prefix| format!(" route {prefix} blackhole;"))
                .collect();
            text += &format!("protocol static announce_{channel} {{{disabled} {channel};{routes} }}\n");
        }
        for (number, (address, remote)) in listeners().into_iter().enumerate() {
            for (channel, from, to) in [
                ("ipv4", local.v4.to_string(), address.v4.to_string()),
                ("ipv6", local.v6.to_string(), address.v6.to_string()),
            ] {
                text += &format!(
                    "protocol bgp n{number}_{channel} {{
  local {from} as {asn};
  neighbor {to} as {remote};
  multihop 4;
  hold time 9; keepalive time 1; connect delay time 1; connect retry time 2; error wait time 1, 3; error forget time 5;
  graceful restart off;
  {channel} {{ import none; export where source = RTS_STATIC; next hop self; }};
}}
"
                );
            }
        }
        let file = lab.directory().join(format!("{name}-bird.conf"));
        fs::write(&file, text)?;
        let socket = lab.directory().join(format!("{name}-speaker.ctl"));
        let words = ["-f".as_ref(), "-c".as_ref(), file.as_os_str(), "-s".as_ref(), socket.as_os_str()];
        let program = Program {
            name: format!("{name}-bird"),
            program: "bird".into(),
            arguments: arguments(words),
            notifies: false,
        };
        let mut speaker = Speaker { daemon: lab.beside(&namespace, program), socket };
        speaker.restart()?;
        Ok(speaker)
    }

    fn restart(&mut self) -> Result<()> {
        // One that a killed BIRD left.
        let _ = fs::remove_file(&self.socket);
        self.daemon.start()?;
        let socket = &self.socket;
        self.daemon.wait_until(SERVICE_DEADLINE, "the control socket", || {
            bird::command(socket, "show status").is_ok()
        })
    }

    fn announces(&mut self, on: bool) -> Result<()> {
        let word = if on { "enable" } else { "disable" };
        for channel in ["ipv4", "ipv6"] {
            bird::command(&self.socket, &format!("{word} announce_{channel}"))?;
        }
        Ok(())
    }
}

/// FRR's BGP daemon alone, which sends what it receives to the station.
fn frr(lab: &mut Lab, station: Addresses) -> Result<Daemon> {
    let namespace: Namespace = lab.client(0).clone();
    let (foreign, own) = (topology::client(1, false), topology::backend(0));
    let own_address = topology::client(0, false);
    let mut neighbors = String::new();
    let (mut v4, mut v6) = (String::new(), String::new());
    for (peer, asn) in [(foreign, FOREIGN), (own, OURS)] {
        for (address, six) in [(peer.v4.to_string(), false), (peer.v6.to_string(), true)] {
            neighbors += &format!(
                " neighbor {address} remote-as {asn}\n neighbor {address} ebgp-multihop 4\n neighbor {address} timers 1 9\n \
                 neighbor {address} timers connect 1\n"
            );
            let on =
                format!("  neighbor {address} activate\n  neighbor {address} soft-reconfiguration inbound\n");
            if six { v6 += &on } else { v4 += &on }
        }
    }
    let text = format!(
        "router bgp {FRR_AS}
 bgp router-id {}
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
{neighbors} address-family ipv4 unicast
{v4} exit-address-family
 address-family ipv6 unicast
{v6} exit-address-family
 bmp targets watch
  bmp monitor ipv4 unicast pre-policy
  bmp monitor ipv6 unicast pre-policy
  bmp connect {} port {BMP_PORT} min-retry 100 max-retry 1000
 exit
",
        own_address.v4, station.v4
    );
    let directory = lab.directory().to_owned();
    let file = directory.join("frr-bgpd.conf");
    fs::write(&file, text)?;
    let pid = directory.join("frr-bgpd.pid");
    let mut words = arguments(["-f".as_ref(), file.as_os_str(), "-i".as_ref(), pid.as_os_str()]);
    words.extend(arguments(["--vty_socket".as_ref(), directory.as_os_str()]));
    words.extend(arguments(["-Z", "-S", "-n", "-P", "0", "-M", FRR_BMP, "--log", "stdout"]));
    let program =
        Program { name: "frr-bgpd".to_owned(), program: FRR.into(), arguments: words, notifies: false };
    let mut daemon = lab.beside(&namespace, program);
    daemon.start()?;
    let socket = directory.join("bgpd.vty");
    daemon.wait_until(SERVICE_DEADLINE, "the control socket", || socket.exists())?;
    Ok(daemon)
}

/// GoBGP, which sends what it receives to the station.
fn gobgp(lab: &mut Lab, station: Addresses) -> Result<Daemon> {
    let namespace: Namespace = lab.client(2).clone();
    let own_address = topology::client(2, false);
    let mut text = format!(
        "[global.config]
  as = {GOBGP_AS}
  router-id = \"{0}\"
  local-address-list = [\"{0}\", \"{1}\"]
[[bmp-servers]]
  [bmp-servers.config]
    address = \"{2}\"
    port = {BMP_PORT}
    route-monitoring-policy = \"pre-policy\"
",
        own_address.v4, own_address.v6, station.v4
    );
    for (peer, asn) in [(topology::client(1, false), FOREIGN), (topology::backend(0), OURS)] {
        for (address, family) in
            [(peer.v4.to_string(), "ipv4-unicast"), (peer.v6.to_string(), "ipv6-unicast")]
        {
            text += &format!(
                "[[neighbors]]
  [neighbors.config]
    neighbor-address = \"{address}\"
    peer-as = {asn}
  [neighbors.timers.config]
    connect-retry = 5
    hold-time = 9
    keepalive-interval = 1
  [neighbors.ebgp-multihop.config]
    enabled = true
    multihop-ttl = 4
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = \"{family}\"
"
            );
        }
    }
    let file = lab.directory().join("gobgpd.toml");
    fs::write(&file, text)?;
    let words = ["-f".as_ref(), file.as_os_str(), "--api-hosts".as_ref(), "127.0.0.1:50051".as_ref()];
    let program = Program {
        name: "gobgpd".to_owned(),
        program: "gobgpd".into(),
        arguments: arguments(words),
        notifies: false,
    };
    let mut daemon = lab.beside(&namespace, program);
    daemon.start()?;
    Ok(daemon)
}
