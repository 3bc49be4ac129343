//! Configuration text of the nodes and routers of three PoPs.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use super::super::services::session;
use super::super::topology::{FABRIC, HTTP_PORT, PREFIX_V4, VIP_V4};
use super::plan::{self, NAMES};

/// Configuration of an ingress node. Without `rescue`, a flow is asked for at its owner alone.
pub fn ingress(node: &str, pop: usize, address: Ipv4Addr, run: &Path, rescue: bool) -> String {
    let mut text = head("ingress", node, pop, run);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "hash_seed_file = \"{}/seed\"\nsource = [\"{address}\"]\n{}\n[[pool]]\nname = \"web\"\nencapsulation = \"gue\"\n{}",
        run.display(),
        common(node, run),
        if rescue { "rescue = [\"fra\", \"sin\", \"gru\"]\n" } else { "hops = 0\n" }
    );
    for (site, name) in NAMES.iter().enumerate() {
        for index in 0..plan::BACKENDS {
            let address = plan::backend(site, index);
            let _ = write!(text, "[[pool.backend]]\naddress = \"{address}\"\npop = \"{name}\"\n");
        }
    }
    let _ = write!(text, "{}pool = \"web\"\n\n[[prefix]]\nprefix = \"{PREFIX_V4}\"\n", vip());
    text
}

/// Configuration of a backend.
pub fn backend(node: &str, pop: usize, run: &Path) -> String {
    let senders = "allowed_senders = [\"10.0.0.0/24\", \"10.1.0.0/24\", \"10.2.0.0/24\"]\n";
    head("backend", node, pop, run) + senders + &common(node, run) + &vip()
}

fn head(role: &str, node: &str, pop: usize, run: &Path) -> String {
    let (run, pop) = (run.display(), NAMES[pop]);
    format!(
        "role = \"{role}\"\nnode = \"{node}\"\npop = \"{pop}\"\ninstance = \"{node}\"\nbpffs = \"{run}/bpf\"\nstate_dir = \"{run}/state/{node}\"\n"
    )
}

fn common(node: &str, run: &Path) -> String {
    format!(
        "\n[[interface]]\nname = \"{FABRIC}\"\nmode = \"native\"\n\n[control]\nsocket = \"{}/{node}.sock\"\n",
        run.display()
    )
}

fn vip() -> String {
    format!("\n[[vip]]\naddress = \"{VIP_V4}\"\nport = {HTTP_PORT}\nprotocol = \"tcp\"\n")
}

/// BIRD of a PoP's router: the PoP's ingress nodes, and the other routers.
pub fn router_bird(pop: usize) -> String {
    let mut text = format!(
        "log stderr all;
router id {};
protocol device {{ scan time 10; }}
protocol kernel kernel4 {{ merge paths on limit 16; ipv4 {{ import none; export where source = RTS_BGP; }}; }}
",
        plan::router(pop)
    );
    let own = plan::router_as(pop);
    for index in 0..plan::INGRESSES {
        let neighbor = plan::ingress(pop, index).to_string();
        text += &session(&format!("ing{index}"), own, &neighbor, plan::SERVICE_AS, "ipv4", "all", "none");
    }
    for (other, name) in NAMES.iter().enumerate().filter(|&(other, _)| other != pop) {
        let neighbor = plan::exchange(other).to_string();
        let export = plan::export(pop);
        text += &session(name, own, &neighbor, plan::router_as(other), "ipv4", "all", &export);
    }
    text
}

/// BIRD of an ingress node. Protocol `announce4` is switched off and on to withdraw and announce.
pub fn ingress_bird(pop: usize, index: usize) -> String {
    let mut text = format!(
        "log stderr all;
router id {};
protocol device {{ scan time 10; }}
protocol static announce4 {{ ipv4; route {PREFIX_V4} blackhole; }}
",
        plan::ingress(pop, index)
    );
    let (router, remote) = (plan::router(pop).to_string(), plan::router_as(pop));
    let export = "where source = RTS_STATIC";
    text += &session("router4", plan::SERVICE_AS, &router, remote, "ipv4", "none", export);
    text
}
