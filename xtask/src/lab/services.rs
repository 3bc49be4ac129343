//! Configuration text of everything that runs in the lab (pure), and the UDP echo service.

use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use nix::sys::socket::{setsockopt, sockopt};

use super::topology::{self as plan, Addresses, ECHO_PORT, EDGE, FABRIC, HTTP_PORT, VIP_V4, VIP_V6};
use super::{Arms, Encapsulation, Families, Family, Mode};

/// AS number of the router.
const ROUTER_AS: u32 = 64510;
/// AS number of whoever announces the service prefixes.
const SERVICE_AS: u32 = 64500;

/// What all BGP sessions of the lab have in common: without these timers BIRD takes minutes to come
/// back. Short keepalives, because BIRD may hold its first update back until one is due.
const BGP_TIMERS: &str = "  hold time 9;
  keepalive time 1;
  connect delay time 1;
  connect retry time 2;
  error wait time 1, 3;
  error forget time 5;
  graceful restart off;
";

/// BIRD of the router: one session a family with each neighbour, equal paths merged into one route.
pub fn router_bird(neighbors: &[Addresses]) -> String {
    let mut text = format!(
        "log stderr all;
router id {};
protocol device {{ scan time 10; }}
protocol kernel kernel4 {{ merge paths on limit 16; ipv4 {{ import none; export where source = RTS_BGP; }}; }}
protocol kernel kernel6 {{ merge paths on limit 16; ipv6 {{ import none; export where source = RTS_BGP; }}; }}
",
        plan::ROUTER_UNDERLAY.v4
    );
    for (index, neighbor) in neighbors.iter().enumerate() {
        text += &session(
            &format!("n{index}v4"),
            ROUTER_AS,
            &neighbor.v4.to_string(),
            SERVICE_AS,
            "ipv4",
            "all",
            "none",
        );
        text += &session(
            &format!("n{index}v6"),
            ROUTER_AS,
            &neighbor.v6.to_string(),
            SERVICE_AS,
            "ipv6",
            "all",
            "none",
        );
    }
    text
}

/// BIRD of a node that announces the service prefixes to `router`, at once if it `serves`. Protocols
/// `announce4` and `announce6` are switched off and on to withdraw and announce.
pub fn announcing_bird(id: Addresses, router: Addresses, serves: bool) -> String {
    let disabled = if serves { "" } else { " disabled;" };
    let mut text = format!(
        "log stderr all;
router id {};
protocol device {{ scan time 10; }}
protocol static announce4 {{{disabled} ipv4; route {} blackhole; }}
protocol static announce6 {{{disabled} ipv6; route {} blackhole; }}
",
        id.v4,
        plan::PREFIX_V4,
        plan::PREFIX_V6
    );
    let export = "where source = RTS_STATIC";
    text += &session("router4", SERVICE_AS, &router.v4.to_string(), ROUTER_AS, "ipv4", "none", export);
    text += &session("router6", SERVICE_AS, &router.v6.to_string(), ROUTER_AS, "ipv6", "none", export);
    text
}

/// A BGP session of BIRD.
pub(super) fn session(
    name: &str,
    local: u32,
    neighbor: &str,
    remote: u32,
    channel: &str,
    import: &str,
    export: &str,
) -> String {
    format!(
        "protocol bgp {name} {{
  local as {local};
  neighbor {neighbor} as {remote};
{BGP_TIMERS}  {channel} {{ import {import}; export {export}; next hop self; }};
}}
"
    )
}

/// nginx of a backend: every answer names the backend, the connection, how many requests it has
/// carried, and returns what the request held, so that a client can check every byte.
pub fn nginx(name: &str, run: &Path) -> String {
    let run = run.display();
    format!(
        "daemon off;
master_process off;
pid {run}/{name}-nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {run}/state/{name}-body;
  proxy_temp_path {run}/state/{name}-proxy;
  fastcgi_temp_path {run}/state/{name}-fastcgi;
  uwsgi_temp_path {run}/state/{name}-uwsgi;
  scgi_temp_path {run}/state/{name}-scgi;
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  large_client_header_buffers 4 16k;
  default_type text/plain;
  server {{
    listen 0.0.0.0:{HTTP_PORT} backlog=4096;
    listen [::]:{HTTP_PORT} backlog=4096;
    location / {{ return 200 \"{name} $connection $connection_requests $arg_n $http_x_pad\\n\"; }}
  }}
}}
"
    )
}

/// What the configuration of an ingress node or backend depends on.
#[derive(Clone, Debug)]
pub struct NodeConfig<'a> {
    /// Name of the node, its instance too.
    pub node: &'a str,
    /// Run directory of the lab.
    pub run: &'a Path,
    /// How the ingress nodes are connected.
    pub arms: Arms,
    /// How XDP is attached.
    pub mode: Mode,
    /// How packets are carried.
    pub encapsulation: Encapsulation,
    /// Families of the VIPs.
    pub families: Families,
    /// How many of the backends the pool has at first.
    pub members: usize,
    /// How many backends a packet may try after its owner; the default where nothing is said.
    pub hops: Option<u8>,
    /// Whether the UDP service connects a socket to each client, and has the second chance.
    pub connected_udp: bool,
}

impl NodeConfig<'_> {
    /// Configuration of an ingress node.
    pub fn ingress(&self, source: Addresses) -> String {
        let mut text = self.head("ingress");
        let _ = writeln!(text, "hash_seed_file = \"{}/seed\"", self.run.display());
        let _ = writeln!(text, "source = [\"{}\", \"{}\"]", source.v4, source.v6);
        if self.arms == Arms::Two {
            text += &self.interface(EDGE);
        }
        text += &self.interface(FABRIC);
        text += &self.control();
        for family in self.families.all() {
            let carrier = self.encapsulation.carrier(family);
            if family == Family::V6
                && self.families.has(Family::V4)
                && carrier == self.encapsulation.carrier(Family::V4)
            {
                continue; // Both VIPs share the pool of the first.
            }
            let _ = write!(
                text,
                "\n[[pool]]\nname = \"{}\"\nencapsulation = \"{}\"\n",
                self.pool(family),
                self.encapsulation.word()
            );
            if let Some(hops) = self.hops {
                let _ = writeln!(text, "hops = {hops}");
            }
            for index in 0..self.members {
                let address = plan::backend(index);
                let address = match carrier {
                    Family::V4 => address.v4.to_string(),
                    Family::V6 => address.v6.to_string(),
                };
                let _ = write!(text, "[[pool.backend]]\naddress = \"{address}\"\n");
            }
        }
        text += &self.vips(true);
        for prefix in self.families.all().map(|family| match family {
            Family::V4 => plan::PREFIX_V4,
            Family::V6 => plan::PREFIX_V6,
        }) {
            let _ = write!(text, "\n[[prefix]]\nprefix = \"{prefix}\"\n");
        }
        text
    }

    /// Configuration of a backend.
    pub fn backend(&self) -> String {
        let mut text = self.head("backend");
        text += "allowed_senders = [\"10.0.0.0/24\", \"fd00::/64\"]\n";
        text += &self.interface(FABRIC);
        text += &self.control();
        text += &self.vips(false);
        text
    }

    fn head(&self, role: &str) -> String {
        let (node, run) = (self.node, self.run.display());
        format!(
            "role = \"{role}\"
node = \"{node}\"
pop = \"lab\"
instance = \"{node}\"
bpffs = \"{run}/bpf\"
state_dir = \"{run}/state/{node}\"
"
        )
    }

    fn interface(&self, name: &str) -> String {
        format!("\n[[interface]]\nname = \"{name}\"\nmode = \"{}\"\n", self.mode.word())
    }

    fn control(&self) -> String {
        format!("\n[control]\nsocket = \"{}/{}.sock\"\n", self.run.display(), self.node)
    }

    fn pool(&self, family: Family) -> &'static str {
        let shared = self.encapsulation.carrier(family) == self.encapsulation.carrier(Family::V4);
        if shared || !self.families.has(Family::V4) { "web" } else { "web6" }
    }

    fn vips(&self, with_pool: bool) -> String {
        let mut text = String::new();
        for family in self.families.all() {
            let address = match family {
                Family::V4 => VIP_V4.to_string(),
                Family::V6 => VIP_V6.to_string(),
            };
            for (port, protocol) in [(HTTP_PORT, "tcp"), (ECHO_PORT, "udp")] {
                let _ = write!(
                    text,
                    "\n[[vip]]\naddress = \"{address}\"\nport = {port}\nprotocol = \"{protocol}\"\n"
                );
                if with_pool {
                    let _ = writeln!(text, "pool = \"{}\"", self.pool(family));
                }
                if self.connected_udp && protocol == "udp" {
                    text += "second_chance = true\n";
                }
            }
        }
        text
    }
}

/// `xtask udp-echo`: answers each datagram with the backend's name, a space and the datagram.
#[derive(Debug, clap::Args)]
pub struct UdpEcho {
    /// Name of the backend
    #[arg(long)]
    pub name: String,
    /// Addresses to answer on
    #[arg(long, required = true)]
    pub listen: Vec<SocketAddr>,
    /// Answer each client from a socket that is connected to it
    #[arg(long)]
    pub connect: bool,
}

/// Largest datagram that the echo service takes.
pub(super) const MAX_DATAGRAM: usize = 65535;
/// Room for datagrams that wait for the echo service, in bytes: a busy machine is no loss.
pub(super) const ECHO_BUFFER: usize = 16 << 20;

/// Runs the echo service for ever, one thread an address.
pub fn udp_echo(arguments: &UdpEcho) -> Result<ExitCode> {
    if arguments.connect {
        return super::connected::run(arguments);
    }
    let sockets: Vec<_> = arguments
        .listen
        .iter()
        .map(|address| {
            let socket = UdpSocket::bind(address).with_context(|| format!("cannot bind {address}/udp"))?;
            setsockopt(&socket, sockopt::RcvBufForce, &ECHO_BUFFER).context("a larger receive buffer")?;
            Ok(socket)
        })
        .collect::<Result<_>>()?;
    let prefix = format!("{} ", arguments.name);
    std::thread::scope(|scope| {
        for socket in &sockets {
            let prefix = prefix.as_bytes();
            scope.spawn(move || {
                let mut buffer = vec![0; prefix.len() + MAX_DATAGRAM];
                buffer[..prefix.len()].copy_from_slice(prefix);
                loop {
                    // An error is an ICMP message about a client that is gone: the next one counts.
                    let Ok((length, client)) = socket.recv_from(&mut buffer[prefix.len()..]) else {
                        continue;
                    };
                    let _ = socket.send_to(&buffer[..prefix.len() + length], client);
                }
            });
        }
    });
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(encapsulation: Encapsulation, families: Families) -> String {
        let node = NodeConfig {
            node: "ing0",
            run: Path::new("/run/lab"),
            arms: Arms::Two,
            mode: Mode::Native,
            encapsulation,
            families,
            members: 3,
            hops: None,
            connected_udp: false,
        };
        node.ingress(plan::ingress(0))
    }

    fn count(text: &str, what: &str) -> usize {
        text.matches(what).count()
    }

    #[test]
    fn both_families_share_a_pool_where_one_carrier_serves_both() {
        let text = config(Encapsulation::GueV4, Families::Both);
        assert_eq!(count(&text, "[[pool]]"), 1);
        assert_eq!(count(&text, "[[pool.backend]]"), 3);
        assert_eq!(count(&text, "pool = \"web\"\n"), 4);
        assert!(text.contains("address = \"10.0.0.11\"") && !text.contains("address = \"fd00::11\""));
    }

    #[test]
    fn a_pool_never_mixes_families() {
        let text = config(Encapsulation::Ipip, Families::Both);
        assert_eq!(count(&text, "[[pool]]"), 2);
        let (first, second) = text.split_once("name = \"web6\"").unwrap_or_default();
        assert!(first.contains("10.0.0.11") && !first.contains("\"fd00::11\""));
        assert!(second.contains("\"fd00::11\"") && !second.contains("\"10.0.0.11\""));
        assert_eq!(count(&text, "pool = \"web6\""), 2);
    }

    #[test]
    fn ipv6_alone_uses_the_first_pool() {
        let text = config(Encapsulation::Ipip, Families::V6);
        assert_eq!(count(&text, "[[pool]]"), 1);
        assert!(text.contains("name = \"web\"") && !text.contains("203.0.113"));
    }

    #[test]
    fn a_router_has_a_session_a_family_and_neighbour() {
        let text = router_bird(&[plan::edge(0, false), plan::edge(1, false)]);
        assert_eq!(count(&text, "protocol bgp"), 4);
        assert_eq!(count(&text, "merge paths on"), 2);
        assert!(text.contains("neighbor 10.1.1.2 as 64500") && text.contains("neighbor fd01:1::2 as 64500"));
    }
}
