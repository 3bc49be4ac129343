//! Three PoPs of one AS that announce the same prefix, and a client near each: BGP says which is
//! nearest, and may change its mind while connections live.

mod config;
pub mod plan;

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::build::{listens, mount_bpffs, write_seed};
use super::daemons::{Daemon, Program, until};
use super::netns::{Namespace, ip_host};
use super::node::{Node, READY_DEADLINE, SERVICE_DEADLINE};
use super::state::RunDir;
use super::tools::Tools;
use super::topology::{EDGE, FABRIC, HTTP_PORT, PREFIX_V4, VIP_V4};
use super::traffic::{Outcome, RunningTraffic, Spec};
use super::{ROUTE_DEADLINE, bird, interrupt, programs, services, topology};
use plan::{EXCHANGE, NAMES};

/// A PoP: its router, nodes and backends, and the client near it.
#[derive(Debug)]
pub struct Pop {
    client: Namespace,
    router: Namespace,
    fabric: Namespace,
    ingresses: Vec<Node>,
    backends: Vec<Node>,
    router_bird: Option<Daemon>,
}

/// A lab of three PoPs that stands.
#[derive(Debug)]
pub struct PopLab {
    pops: Vec<Pop>,
    _exchange: Namespace,
    tools: Tools,
    // Last: it removes what is left once everything above is gone.
    run: Arc<RunDir>,
}

impl PopLab {
    /// Builds it, with rescue across PoPs or without any second chance.
    pub fn build(rescue: bool) -> Result<Self> {
        interrupt::install()?;
        let tools = Tools::locate()?;
        let run = Arc::new(RunDir::create()?);
        let exchange = Namespace::create(&run, EXCHANGE)?;
        let pops = (0..NAMES.len()).map(|pop| Pop::create(&run, &tools, pop)).collect::<Result<_>>()?;
        mount_bpffs(&run)?;
        write_seed(&run.path().join("seed"))?;
        let mut lab = Self { pops, _exchange: exchange.clone(), tools, run };
        lab.connect(&exchange)?;
        lab.start(rescue)?;
        for pop in 0..NAMES.len() {
            lab.wait_home(pop, true)?;
        }
        Ok(lab)
    }

    fn connect(&self, exchange: &Namespace) -> Result<()> {
        ip_host(&plan::links(self.run.id()))?;
        for port in NAMES {
            exchange.offloads_off(port)?;
        }
        exchange.ip(&plan::bridge(&NAMES))?;
        for (index, pop) in self.pops.iter().enumerate() {
            pop.connect(index, &self.tools.pass)?;
        }
        Ok(())
    }

    fn start(&mut self, rescue: bool) -> Result<()> {
        let (tools, run) = (&self.tools, &self.run);
        for (index, pop) in self.pops.iter_mut().enumerate() {
            pop.start_router(run, index)?;
            pop.start_backends(run, tools, index)?;
            for (number, node) in pop.ingresses.iter_mut().enumerate() {
                let address = plan::ingress(index, number);
                let text = config::ingress(&node.name, index, address, run.path(), rescue);
                fs::write(node.config(), text)?;
                node.balancer =
                    Some(daemon(run, node, programs::balancer(tools, &node.name, &node.config())));
                let file = run.path().join(format!("{}-bird.conf", node.name));
                fs::write(&file, config::ingress_bird(index, number))?;
                node.bird = Some(daemon(run, node, programs::bird(&node.name, run.path(), &file)));
            }
        }
        let mut nodes: Vec<&mut Node> =
            self.pops.iter_mut().flat_map(|pop| pop.backends.iter_mut().chain(&mut pop.ingresses)).collect();
        for node in &mut nodes {
            node.balancer()?.start()?;
        }
        for node in &mut nodes {
            node.balancer()?.wait_ready(READY_DEADLINE)?;
        }
        // A node is announced only once its data plane is up.
        nodes.into_iter().filter(|node| node.bird.is_some()).try_for_each(Node::start_bird)
    }

    /// The PoP withdraws the service's prefix; returns when its own router sends packets elsewhere.
    pub fn withdraw(&self, pop: usize) -> Result<()> {
        self.switch(pop, "disable")?;
        self.wait_home(pop, false)
    }

    /// The PoP announces it again; returns when its own router uses all its nodes.
    pub fn announce(&self, pop: usize) -> Result<()> {
        self.switch(pop, "enable")?;
        self.wait_home(pop, true)
    }

    fn switch(&self, pop: usize, verb: &str) -> Result<()> {
        self.pops[pop]
            .ingresses
            .iter()
            .try_for_each(|node| bird::command(&node.bird_socket(), &format!("{verb} announce4")).map(drop))
    }

    /// Waits until the PoP's router sends the service's packets to all nodes of its own, or to
    /// another PoP.
    fn wait_home(&self, pop: usize, home: bool) -> Result<()> {
        let own: Vec<String> =
            (0..plan::INGRESSES).map(|index| plan::ingress(pop, index).to_string()).collect();
        let what =
            format!("the router of {} to send packets {}", NAMES[pop], if home { "home" } else { "away" });
        until(ROUTE_DEADLINE, &what, || {
            let routes = self.pops[pop].router.ip_json(&["-4", "route", "show", PREFIX_V4])?;
            let gateways = gateways(&routes);
            let at_home = gateways.iter().filter(|gateway| own.contains(gateway)).count();
            let there = if home { at_home == own.len() } else { at_home == 0 && !gateways.is_empty() };
            Ok(there.then_some(()))
        })
    }

    /// Starts traffic from all clients, each with its share.
    pub fn traffic(&self, spec: &Spec) -> Result<RunningTraffic> {
        let spec = Spec { tcp: vec![(VIP_V4, HTTP_PORT).into()], udp_flows: 0, ..spec.clone() };
        let clients: Vec<_> = self.pops.iter().map(|pop| pop.client.clone()).collect();
        RunningTraffic::start(&self.run, &self.tools.xtask, &clients, &spec)
    }

    /// Packets that backends of a PoP sent on.
    pub fn hops(&self, pop: usize) -> Result<u64> {
        self.pops[pop].backends.iter().try_fold(0, |sum, node| {
            let stats = node.cli(&["stats", "--json"])?.json()?;
            let rows = stats["verdicts"].as_array().context("no verdicts")?;
            let row = rows.iter().find(|row| row["verdict"] == "hop").context("no verdict \"hop\"")?;
            Ok(sum + row["packets"].as_u64().context("no count")?)
        })
    }
}

/// Flows whose backend is in the PoP nearest to their client, and all flows.
pub fn at_home(outcome: &Outcome) -> (usize, usize) {
    let is_home = |flow: &&super::traffic::Flow| {
        NAMES.iter().enumerate().any(|(pop, name)| {
            let client = topology::client(pop, false).v4;
            let backend = flow.backend.as_deref().unwrap_or_default();
            flow.local.is_some_and(|local| local.ip() == client) && backend.starts_with(name)
        })
    };
    (outcome.flows.iter().filter(is_home).count(), outcome.flows.len())
}

fn daemon(run: &Arc<RunDir>, node: &Node, program: Program) -> Daemon {
    Daemon::new(run, &node.namespace, program, false)
}

/// Gateways in what `ip -json route show PREFIX` prints.
fn gateways(routes: &serde_json::Value) -> Vec<String> {
    let of = |hop: &serde_json::Value| hop["gateway"].as_str().map(str::to_owned);
    let routes = routes.as_array().map_or(&[] as &[_], Vec::as_slice);
    routes
        .iter()
        .flat_map(|route| match route["nexthops"].as_array() {
            Some(hops) => hops.iter().filter_map(of).collect(),
            None => of(route).into_iter().collect::<Vec<_>>(),
        })
        .collect()
}

impl Pop {
    fn create(run: &Arc<RunDir>, tools: &Tools, pop: usize) -> Result<Self> {
        let name = NAMES[pop];
        let node = |node: String| -> Result<Node> {
            Ok(Node {
                namespace: Namespace::create(run, &node)?,
                name: node,
                directory: run.path().to_owned(),
                binary: tools.balancer.clone(),
                balancer: None,
                bird: None,
                services: Vec::new(),
            })
        };
        Ok(Self {
            client: Namespace::create(run, &format!("{name}-client"))?,
            router: Namespace::create(run, &format!("{name}-router"))?,
            fabric: Namespace::create(run, &format!("{name}-fabric"))?,
            ingresses: (0..plan::INGRESSES)
                .map(|index| node(format!("{name}-ing{index}")))
                .collect::<Result<_>>()?,
            backends: (0..plan::BACKENDS)
                .map(|index| node(format!("{name}-be{index}")))
                .collect::<Result<_>>()?,
            router_bird: None,
        })
    }

    fn connect(&self, pop: usize, pass: &Path) -> Result<()> {
        self.router.sysctl(&[("net.ipv4.ip_forward", "1"), ("net.ipv4.fib_multipath_hash_policy", "1")])?;
        for interface in [FABRIC, EXCHANGE, "client"] {
            self.router.offloads_off(interface)?;
        }
        self.client.offloads_off(EDGE)?;
        for port in plan::ports() {
            self.fabric.offloads_off(&port)?;
        }
        self.router.ip(&plan::router_lines(pop))?;
        self.client.ip(&plan::client_lines(pop))?;
        self.fabric.ip(&plan::bridge(&plan::ports()))?;
        let addressed = |nodes: &[Node], address: fn(usize, usize) -> Ipv4Addr, has_vip| {
            nodes.iter().enumerate().try_for_each(|(index, node)| {
                node.namespace.offloads_off(FABRIC)?;
                node.namespace.ip(&plan::node_lines(pop, address(pop, index), has_vip))
            })
        };
        addressed(&self.ingresses, plan::ingress, false)?;
        addressed(&self.backends, plan::backend, true)?;
        for backend in &self.backends {
            let arp = [("net.ipv4.conf.all.arp_ignore", "1"), ("net.ipv4.conf.all.arp_announce", "2")];
            backend.namespace.sysctl(&arp)?;
        }
        // A frame that XDP sends out of a veth arrives only if the peer runs an XDP program too.
        let ports = plan::ports();
        let lines = ports
            .iter()
            .filter(|port| *port != "router")
            .map(|port| format!("link set dev {port} xdpdrv obj {} sec xdp\n", pass.display()));
        self.fabric.ip(&lines.collect::<String>())
    }

    fn start_router(&mut self, run: &Arc<RunDir>, pop: usize) -> Result<()> {
        let name = format!("{}-router", NAMES[pop]);
        let file = run.path().join(format!("{name}-bird.conf"));
        fs::write(&file, config::router_bird(pop))?;
        let mut bird = Daemon::new(run, &self.router, programs::bird(&name, run.path(), &file), false);
        bird.start()?;
        self.router_bird = Some(bird);
        Ok(())
    }

    fn start_backends(&mut self, run: &Arc<RunDir>, tools: &Tools, pop: usize) -> Result<()> {
        for node in &mut self.backends {
            fs::write(node.config(), config::backend(&node.name, pop, run.path()))?;
            node.balancer = Some(daemon(run, node, programs::balancer(tools, &node.name, &node.config())));
            let file = run.path().join(format!("{}-nginx.conf", node.name));
            fs::write(&file, services::nginx(&node.name, run.path()))?;
            let mut nginx = daemon(run, node, programs::nginx(&node.name, &file));
            nginx.start()?;
            let namespace = &node.namespace;
            nginx.wait_until(SERVICE_DEADLINE, "the listening socket", || {
                listens(namespace, "tcp", HTTP_PORT)
            })?;
            node.services = vec![nginx];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn gateways_are_found_with_and_without_a_list() {
        let many = json!([{"nexthops": [{"gateway": "10.0.0.2"}, {"gateway": "10.0.0.3"}]}]);
        assert_eq!(gateways(&many), ["10.0.0.2", "10.0.0.3"]);
        assert_eq!(gateways(&json!([{"gateway": "192.0.2.2"}])), ["192.0.2.2"]);
        assert!(gateways(&json!([])).is_empty());
    }
}
