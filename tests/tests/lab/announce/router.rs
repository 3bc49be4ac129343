//! Routing daemons at the other end, and what they have learnt.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::unistd::{Gid, Group, Uid, User};
use serde_json::Value;
use xtask::lab::daemons::{Daemon, Program, arguments};
use xtask::lab::netns::Namespace;
use xtask::lab::topology;
use xtask::lab::{Lab, SERVICE_DEADLINE, bird};

use super::SERVICE_AS;

/// What a router knows of a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// AS numbers of the path.
    pub path: Vec<u64>,
    /// MED.
    pub med: Option<u64>,
    /// Communities of both kinds, in the numbers' notation, sorted.
    pub communities: Vec<String>,
    /// LOCAL_PREF where the router tells it.
    pub local_pref: Option<u64>,
    /// Next hop.
    pub next_hop: String,
}

/// A router of some make.
pub(super) trait Router {
    /// What it learnt from node 0 of this prefix.
    fn seen(&self, prefix: &str) -> Result<Option<Seen>>;
}

/// How a session is protected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    /// The router's AS.
    pub asn: u32,
    /// Key of the signatures.
    pub key: &'static str,
}

/// BIRD 2: the lab's own, with another configuration.
pub(super) struct Bird {
    socket: PathBuf,
}

impl Bird {
    pub fn start(lab: &mut Lab, session: Session) -> Result<Self> {
        let peer = topology::edge(0, false);
        let Session { asn, key } = session;
        let mut text = format!(
            "log stderr all;\nrouter id {};\nprotocol device {{ }}\n\
             protocol kernel k4 {{ ipv4 {{ import none; export all; }}; }}\n\
             protocol kernel k6 {{ ipv6 {{ import none; export all; }}; }}\n",
            topology::ROUTER_UNDERLAY.v4
        );
        for (name, neighbor, channel) in
            [("n4", peer.v4.to_string(), "ipv4"), ("n6", peer.v6.to_string(), "ipv6")]
        {
            text += &format!(
                "protocol bgp {name} {{ local as {asn}; neighbor {neighbor} as {SERVICE_AS}; direct;\n  \
                 hold time 9; connect delay time 1; connect retry time 2; error wait time 1,3;\n  \
                 error forget time 5; graceful restart off; password \"{key}\"; ttl security on;\n  \
                 {channel} {{ import all; export none; }};\n}}\n"
            );
        }
        let socket = lab.router_bird_socket();
        lab.router_bird().kill9()?;
        let _ = fs::remove_file(&socket);
        fs::write(lab.directory().join("router-bird.conf"), text)?;
        let daemon = lab.router_bird();
        daemon.start()?;
        daemon.wait_until(SERVICE_DEADLINE, "the control socket", || socket.exists())?;
        Ok(Bird { socket })
    }
}

impl Router for Bird {
    fn seen(&self, prefix: &str) -> Result<Option<Seen>> {
        let Ok(lines) = bird::command(&self.socket, &format!("show route {prefix} all")) else {
            // "Network not found" is an error to BIRD.
            return Ok(None);
        };
        let value = |key: &str| {
            lines.iter().find_map(|line| line.trim().strip_prefix(&format!("BGP.{key}:"))).map(str::trim)
        };
        let Some(next_hop) = value("next_hop") else { return Ok(None) };
        let mut communities = Vec::new();
        for list in [value("community"), value("large_community")].into_iter().flatten() {
            let split = list.split(')').map(|c| c.trim().trim_start_matches('('));
            communities
                .extend(split.filter(|c| !c.is_empty()).map(|c| c.replace(", ", ":").replace(',', ":")));
        }
        communities.sort();
        let path = value("as_path").unwrap_or_default().split_whitespace();
        Ok(Some(Seen {
            path: path.map(str::parse).collect::<Result<_, _>>()?,
            med: value("med").map(str::parse).transpose()?,
            communities,
            local_pref: value("local_pref").map(str::parse).transpose()?,
            next_hop: next_hop.split_whitespace().next().unwrap_or_default().to_owned(),
        }))
    }
}

/// FRR: zebra and bgpd, with a directory of their own.
pub(super) struct Frr {
    directory: tempfile::TempDir,
    _daemons: [Daemon; 2],
}

impl Frr {
    pub fn start(lab: &mut Lab, session: Session) -> Result<Self> {
        lab.router_bird().kill9()?;
        let peer = topology::edge(0, false);
        let Session { asn, key } = session;
        let mut text = format!(
            "hostname router\nrouter bgp {asn}\n bgp router-id {}\n no bgp ebgp-requires-policy\n timers bgp 1 9\n",
            topology::ROUTER_UNDERLAY.v4
        );
        for neighbor in [peer.v4.to_string(), peer.v6.to_string()] {
            text += &format!(
                " neighbor {neighbor} remote-as {SERVICE_AS}\n neighbor {neighbor} password {key}\n \
                 neighbor {neighbor} ttl-security hops 1\n neighbor {neighbor} timers connect 2\n"
            );
        }
        text += &format!(
            " address-family ipv4 unicast\n  neighbor {} activate\n  no neighbor {} activate\n exit-address-family\n \
             address-family ipv6 unicast\n  neighbor {} activate\n exit-address-family\n",
            peer.v4, peer.v6, peer.v6
        );
        let router = lab.router().clone();
        Frr::launch(lab, &router, &text)
    }

    /// FRR in any namespace, with this configuration of bgpd.
    pub fn launch(lab: &Lab, namespace: &Namespace, text: &str) -> Result<Self> {
        let user = User::from_name("frr")?.context("no user frr")?;
        let group = Group::from_name("frr")?.context("no group frr")?;
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        own(path, user.uid, group.gid)?;
        fs::write(path.join("bgpd.conf"), text)?;
        fs::write(path.join("zebra.conf"), "hostname router\n")?;
        for file in ["bgpd.conf", "zebra.conf"] {
            own(&path.join(file), user.uid, group.gid)?;
        }
        let start = |name: &str| -> Result<Daemon> {
            let file = |name: &str| path.join(name).display().to_string();
            let program = Program {
                name: format!("frr-{name}"),
                program: format!("/usr/lib/frr/{name}").into(),
                arguments: arguments([
                    "-f",
                    &file(&format!("{name}.conf")),
                    "-z",
                    &file("zserv.api"),
                    "-i",
                    &file(&format!("{name}.pid")),
                    "--vty_socket",
                    &path.display().to_string(),
                    "-u",
                    "frr",
                    "-g",
                    "frr",
                    "-P",
                    "0",
                    "--log",
                    "stdout",
                ]),
                notifies: false,
            };
            let mut daemon = lab.daemon(namespace, program);
            daemon.start()?;
            let socket = path.join(format!("{name}.vty"));
            daemon.wait_until(SERVICE_DEADLINE, "the vty", || socket.exists())?;
            Ok(daemon)
        };
        let daemons = [start("zebra")?, start("bgpd")?];
        Ok(Frr { directory, _daemons: daemons })
    }
}

fn own(path: &std::path::Path, user: Uid, group: Gid) -> Result<()> {
    chown(path, Some(user.as_raw()), Some(group.as_raw()))?;
    let mode = if path.is_dir() { 0o755 } else { 0o640 };
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

impl Router for Frr {
    fn seen(&self, prefix: &str) -> Result<Option<Seen>> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let command = format!("show bgp {family} unicast {prefix} json");
        let directory = self.directory.path().display().to_string();
        let words = ["--vty_socket", &directory, "-c", &command];
        let output = std::process::Command::new("vtysh").args(words).output().context("vtysh")?;
        let Ok(answer) = serde_json::from_slice::<Value>(&output.stdout) else { return Ok(None) };
        let Some(path) = answer["paths"].as_array().and_then(|paths| paths.first()) else { return Ok(None) };
        let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut communities: Vec<String> = [&path["community"]["string"], &path["largeCommunity"]["string"]]
            .into_iter()
            .flat_map(|list| words(list).split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .map(|c| if c == "graceful-shutdown" { "65535:0".to_owned() } else { c })
            .collect();
        communities.sort();
        let numbers = words(&path["aspath"]["string"]);
        let numbers = numbers.split_whitespace().filter(|word| *word != "Local");
        Ok(Some(Seen {
            path: numbers.map(str::parse).collect::<Result<_, _>>()?,
            med: path["metric"].as_u64(),
            communities,
            local_pref: None,
            next_hop: words(&path["nexthops"][0]["ip"]),
        }))
    }
}

/// GoBGP.
pub(super) struct Gobgp {
    namespace: Namespace,
    _daemon: Daemon,
}

impl Gobgp {
    pub fn start(lab: &mut Lab, session: Session) -> Result<Self> {
        lab.router_bird().kill9()?;
        let peer = topology::edge(0, false);
        let Session { asn, key } = session;
        let mut text =
            format!("[global.config]\n  as = {asn}\n  router-id = \"{}\"\n", topology::ROUTER_UNDERLAY.v4);
        for (neighbor, family) in
            [(peer.v4.to_string(), "ipv4-unicast"), (peer.v6.to_string(), "ipv6-unicast")]
        {
            text += &format!(
                "[[neighbors]]\n  [neighbors.config]\n    neighbor-address = \"{neighbor}\"\n    \
                 peer-as = {SERVICE_AS}\n    auth-password = \"{key}\"\n  \
                 [neighbors.ttl-security.config]\n    enabled = true\n    ttl-min = 255\n  \
                 [[neighbors.afi-safis]]\n    [neighbors.afi-safis.config]\n      afi-safi-name = \"{family}\"\n"
            );
        }
        let file = lab.directory().join("gobgpd.toml");
        fs::write(&file, text)?;
        let program = Program {
            name: "gobgpd".into(),
            program: "/usr/bin/gobgpd".into(),
            arguments: arguments([
                "-f",
                &file.display().to_string(),
                "--api-hosts",
                "127.0.0.1:50051",
                "--pprof-disable",
            ]),
            notifies: false,
        };
        let namespace = lab.router().clone();
        let mut daemon = lab.daemon(&namespace, program);
        daemon.start()?;
        daemon.wait_until(SERVICE_DEADLINE, "the API", || {
            namespace.run("gobgp", &["-u", "127.0.0.1", "global"]).is_ok()
        })?;
        Ok(Gobgp { namespace, _daemon: daemon })
    }
}

impl Router for Gobgp {
    fn seen(&self, prefix: &str) -> Result<Option<Seen>> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let words = ["-u", "127.0.0.1", "global", "rib", "-a", family, "-j"];
        let output = self.namespace.run("gobgp", &words)?;
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        let Some(attributes) = answer[prefix][0]["attrs"].as_array() else { return Ok(None) };
        let mut seen = Seen::default();
        for attribute in attributes {
            let list = |key: &str| attribute[key].as_array().cloned().unwrap_or_default();
            match attribute["type"].as_u64() {
                Some(2) => {
                    let segments = list("as_paths");
                    let numbers = segments.iter().filter_map(|segment| segment["asns"].as_array()).flatten();
                    seen.path = numbers.filter_map(Value::as_u64).collect();
                }
                Some(3 | 14) => {
                    seen.next_hop = attribute["nexthop"].as_str().unwrap_or_default().to_owned();
                }
                Some(4) => seen.med = attribute["metric"].as_u64(),
                Some(8) => {
                    let numbers = list("communities").into_iter().filter_map(|c| c.as_u64());
                    seen.communities.extend(numbers.map(|c| format!("{}:{}", c >> 16, c & 0xffff)));
                }
                Some(32) => seen.communities.extend(
                    list("value")
                        .iter()
                        .map(|c| format!("{}:{}:{}", c["ASN"], c["LocalData1"], c["LocalData2"])),
                ),
                _ => {}
            }
        }
        seen.communities.sort();
        Ok(Some(seen))
    }
}
