//! Configuration of what stands in the lab (pure).

use std::fmt::Write as _;
use std::path::Path as File;

use xtask::lab::Mode;
use xtask::lab::topology::{CLIENT_MTU, ECHO_PORT, EDGE, FABRIC, HTTP_PORT, UNDERLAY_MTU, VIP_V4};

use super::plan::{BACKEND, BACKEND_BACK, CLIENT, CLIENT_BACK, MIDDLE, MIDDLE_EDGE, Path};

/// The interface of the way back, on client and backend.
pub const BACK: &str = "back";
/// Where Debian's package puts nginx's module for TCP.
pub const STREAM_MODULE: &str = xtask::setup::packages::NGINX_STREAM;

/// `ip` lines, for the host, that make the three links between the namespaces of these names.
pub fn links(client: &str, middle: &str, backend: &str) -> String {
    let pair = |a: &str, b: &str, name: &str, mtu: u16| {
        format!("link add {name} netns {a} mtu {mtu} type veth peer name {name} netns {b} mtu {mtu}\n")
    };
    pair(client, middle, EDGE, CLIENT_MTU)
        + &pair(middle, backend, FABRIC, UNDERLAY_MTU)
        + &pair(client, backend, BACK, CLIENT_MTU)
}

/// `ip` lines of the client: the service is behind the middle.
pub fn client() -> String {
    format!(
        "link set {EDGE} up\naddress add {CLIENT}/30 dev {EDGE}\n\
         link set {BACK} up\naddress add {CLIENT_BACK}/30 dev {BACK}\n\
         route add {VIP_V4}/32 via {MIDDLE_EDGE}\n"
    )
}

/// `ip` lines of the middle. A proxy has the service's address; a router knows the way to it.
pub fn middle(path: Path) -> String {
    let mut text = format!(
        "link set {EDGE} up\naddress add {MIDDLE_EDGE}/30 dev {EDGE}\n\
         link set {FABRIC} up\naddress add {MIDDLE}/24 dev {FABRIC}\n"
    );
    // Writing into a string does not fail.
    let _ = match path {
        Path::Plain => writeln!(text, "route add {VIP_V4}/32 via {BACKEND}"),
        Path::Balanced(_) => Ok(()),
        Path::Haproxy | Path::Nginx => writeln!(text, "address add {VIP_V4}/32 dev lo"),
    };
    text
}

/// `ip` lines of the backend, which answers directly unless a proxy has asked.
pub fn backend(path: Path) -> String {
    let mut text = format!(
        "link set {FABRIC} up\naddress add {BACKEND}/24 dev {FABRIC}\n\
         link set {BACK} up\naddress add {BACKEND_BACK}/30 dev {BACK}\n\
         route add {CLIENT}/32 via {CLIENT_BACK}\n"
    );
    if !path.is_proxy() {
        let _ = writeln!(text, "address add {VIP_V4}/32 dev lo");
    }
    text
}

/// Our ingress: GUE, hops as by default.
pub fn balancer_ingress(run: &File, node: &str, mode: Mode) -> String {
    let own = format!("hash_seed_file = \"{}/seed\"\nsource = [\"{MIDDLE}\"]\n", run.display());
    let pool = format!("\n[[pool]]\nname = \"web\"\n[[pool.backend]]\naddress = \"{BACKEND}\"\n");
    head(run, node, "ingress")
        + &own
        + &tables(run, node, &[EDGE, FABRIC], mode)
        + &pool
        + &vips("pool = \"web\"\n")
}

/// Our backend's program.
pub fn balancer_backend(run: &File, node: &str, mode: Mode) -> String {
    let own = "allowed_senders = [\"10.0.0.0/24\"]\n";
    head(run, node, "backend") + own + &tables(run, node, &[FABRIC], mode) + &vips("")
}

fn head(run: &File, node: &str, role: &str) -> String {
    let run = run.display();
    format!(
        "role = \"{role}\"\nnode = \"{node}\"\npop = \"bench\"\ninstance = \"{node}\"\n\
         bpffs = \"{run}/bpf\"\nstate_dir = \"{run}/state/{node}\"\n"
    )
}

fn tables(run: &File, node: &str, interfaces: &[&str], mode: Mode) -> String {
    let interface = |name: &&str| format!("\n[[interface]]\nname = \"{name}\"\nmode = \"{}\"\n", mode.word());
    let interfaces: String = interfaces.iter().map(interface).collect();
    interfaces + &format!("\n[control]\nsocket = \"{}/{node}.sock\"\n", run.display())
}

fn vips(more: &str) -> String {
    [(HTTP_PORT, "tcp"), (ECHO_PORT, "udp")]
        .map(|(port, protocol)| {
            format!("\n[[vip]]\naddress = \"{VIP_V4}\"\nport = {port}\nprotocol = \"{protocol}\"\n{more}")
        })
        .concat()
}

/// HAProxy: one thread, as nginx has one worker.
pub fn haproxy() -> String {
    format!(
        "global
  nbthread 1
  maxconn 4096
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen service
  bind {VIP_V4}:{HTTP_PORT}
  server backend {BACKEND}:{HTTP_PORT}
"
    )
}

/// nginx `stream`: one process, since workers would outlive a master that is killed.
pub fn nginx(run: &File, node: &str) -> String {
    let run = run.display();
    format!(
        "load_module {STREAM_MODULE};
daemon off;
master_process off;
pid {run}/{node}.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
stream {{
  server {{
    listen {VIP_V4}:{HTTP_PORT} backlog=4096;
    proxy_connect_timeout 5s;
    proxy_timeout 30s;
    tcp_nodelay on;
    proxy_pass {BACKEND}:{HTTP_PORT};
  }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_lives_where_the_connection_ends() {
        let vip = format!("address add {VIP_V4}/32 dev lo");
        for path in Path::ALL {
            let (middle, backend) = (middle(path).contains(&vip), backend(path).contains(&vip));
            assert_eq!((middle, backend), (path.is_proxy(), !path.is_proxy()), "{path:?}");
        }
    }

    #[test]
    fn only_the_plain_path_is_routed() {
        let routed = |path| middle(path).contains("route add 203.0.113.1/32");
        assert_eq!(Path::ALL.map(routed), [true, false, false, false, false]);
    }

    #[test]
    fn both_services_are_balanced_in_the_mode_that_is_asked_for() {
        let run = File::new("/run/x");
        let text = balancer_ingress(run, "ing", Mode::Generic);
        assert_eq!(text.matches("mode = \"generic\"").count(), 2);
        assert_eq!(text.matches("pool = \"web\"").count(), 2);
        assert_eq!(balancer_backend(run, "be", Mode::Native).matches("mode = \"native\"").count(), 1);
    }
}
