//! From a plan to three PoPs that stand.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use super::super::build::{listens, mount_bpffs, write_seed};
use super::super::daemons::{Daemon, Program};
use super::super::netns::{Namespace, ip_host};
use super::super::node::{Node, READY_DEADLINE, SERVICE_DEADLINE};
use super::super::state::RunDir;
use super::super::tools::Tools;
use super::super::topology::{Addresses, EDGE, FABRIC, HTTP_PORT, ROUTER_SYSCTLS};
use super::super::{interrupt, programs, services};
use super::plan::{self, EXCHANGE, NAMES};
use super::{Forwarding, Pop, PopLab, config};

impl PopLab {
    /// Builds it; on failure everything is removed again.
    pub fn build(forwarding: Forwarding) -> Result<Self> {
        interrupt::install()?;
        let tools = Tools::locate()?;
        let run = Arc::new(RunDir::create()?);
        let exchange = Namespace::create(&run, EXCHANGE)?;
        let pops = (0..NAMES.len()).map(|pop| Pop::create(&run, &tools, pop)).collect::<Result<_>>()?;
        let mut lab = Self { forwarding, pops, exchange, tools, run };
        if forwarding != Forwarding::PlainEcmp {
            mount_bpffs(&lab.run)?;
            write_seed(&lab.run.path().join("seed"))?;
        }
        lab.connect()?;
        lab.start()?;
        lab.wait_routes()?;
        Ok(lab)
    }

    fn connect(&self) -> Result<()> {
        ip_host(&plan::links(self.run.id()))?;
        for port in NAMES {
            self.exchange.offloads_off(port)?;
        }
        self.exchange.ip(&plan::bridge(&NAMES))?;
        for (index, pop) in self.pops.iter().enumerate() {
            pop.connect(index)?;
            if self.forwarding != Forwarding::PlainEcmp {
                pop.load_pass(index, &self.tools.pass)?;
            }
        }
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        let (run, tools, forwarding) = (&self.run, &self.tools, self.forwarding);
        for (index, pop) in self.pops.iter_mut().enumerate() {
            pop.start_router(run, index, forwarding)?;
            pop.start_services(run)?;
            match forwarding {
                Forwarding::PlainEcmp => pop.announce_backends(run, index)?,
                _ => pop.configure(run, tools, index, forwarding)?,
            }
        }
        let nodes = self.pops.iter_mut().flat_map(|pop| pop.backends.iter_mut().chain(&mut pop.ingresses));
        let mut nodes: Vec<&mut Node> = nodes.collect();
        for balancer in nodes.iter_mut().filter_map(|node| node.balancer.as_mut()) {
            balancer.start()?;
        }
        for balancer in nodes.iter_mut().filter_map(|node| node.balancer.as_mut()) {
            balancer.wait_ready(READY_DEADLINE)?;
        }
        // A node is announced only once its data plane is up.
        nodes.into_iter().filter(|node| node.bird.is_some()).try_for_each(Node::start_bird)
    }
}

fn daemon(run: &Arc<RunDir>, node: &Node, program: Program) -> Daemon {
    Daemon::new(run, &node.namespace, program, false)
}

impl Pop {
    fn create(run: &Arc<RunDir>, tools: &Tools, pop: usize) -> Result<Self> {
        let name = NAMES[pop];
        let nodes = |kind: &str, count: usize| -> Result<Vec<Node>> {
            (0..count)
                .map(|index| {
                    let node = format!("{name}-{kind}{index}");
                    Ok(Node {
                        namespace: Namespace::create(run, &node)?,
                        name: node,
                        directory: run.path().to_owned(),
                        binary: tools.balancer.clone(),
                        balancer: None,
                        bird: None,
                        services: Vec::new(),
                    })
                })
                .collect()
        };
        Ok(Self {
            client: Namespace::create(run, &format!("{name}-client"))?,
            router: Namespace::create(run, &format!("{name}-router"))?,
            fabric: Namespace::create(run, &format!("{name}-fabric"))?,
            ingresses: nodes("ing", plan::INGRESSES)?,
            backends: nodes("be", plan::backends(pop))?,
            router_bird: None,
            announcing: BTreeSet::new(),
            resting: BTreeSet::new(),
        })
    }

    fn connect(&self, pop: usize) -> Result<()> {
        self.router.sysctl(&ROUTER_SYSCTLS)?;
        let edges = (0..plan::INGRESSES).map(plan::router_edge);
        for interface in [FABRIC, EXCHANGE, "client"].map(str::to_owned).into_iter().chain(edges) {
            self.router.offloads_off(&interface)?;
        }
        self.client.offloads_off(EDGE)?;
        for port in plan::ports(pop) {
            self.fabric.offloads_off(&port)?;
        }
        self.router.ip(&plan::router_lines(pop))?;
        self.client.ip(&plan::client_lines(pop))?;
        self.fabric.ip(&plan::bridge(&plan::ports(pop)))?;
        for (index, node) in self.ingresses.iter().enumerate() {
            node.namespace.offloads_off(EDGE)?;
            node.namespace.offloads_off(FABRIC)?;
            node.namespace.ip(&plan::ingress_lines(pop, index))?;
        }
        for (index, node) in self.backends.iter().enumerate() {
            node.namespace.offloads_off(FABRIC)?;
            // The VIP is on every backend: none may answer ARP for it.
            let arp = [("net.ipv4.conf.all.arp_ignore", "1"), ("net.ipv4.conf.all.arp_announce", "2")];
            node.namespace.sysctl(&arp)?;
            node.namespace.ip(&plan::backend_lines(pop, index))?;
        }
        Ok(())
    }

    /// A frame that XDP sends out of a veth arrives only if the peer runs an XDP program too.
    fn load_pass(&self, pop: usize, object: &Path) -> Result<()> {
        let line =
            |name: String| format!("link set dev {name} xdpdrv obj {} sec xdp.frags\n", object.display());
        self.router.ip(&(0..plan::INGRESSES).map(plan::router_edge).map(line).collect::<String>())?;
        let ports = plan::ports(pop).into_iter().filter(|port| port != "router");
        self.fabric.ip(&ports.map(line).collect::<String>())
    }

    fn start_router(&mut self, run: &Arc<RunDir>, pop: usize, forwarding: Forwarding) -> Result<()> {
        let announcers: Vec<Addresses> = match forwarding {
            Forwarding::PlainEcmp => (0..plan::backends(pop)).map(|i| plan::backend(pop, i)).collect(),
            _ => (0..plan::INGRESSES).map(|i| plan::edge(pop, i, false)).collect(),
        };
        let name = format!("{}-router", NAMES[pop]);
        let file = run.path().join(format!("{name}-bird.conf"));
        fs::write(&file, config::router_bird(pop, &announcers))?;
        let mut bird = Daemon::new(run, &self.router, programs::bird(&name, run.path(), &file), false);
        bird.start()?;
        self.router_bird = Some(bird);
        Ok(())
    }

    fn start_services(&mut self, run: &Arc<RunDir>) -> Result<()> {
        for node in &mut self.backends {
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

    /// Balancers on backends and ingress nodes, BIRD on the latter; nothing is started.
    fn configure(
        &mut self,
        run: &Arc<RunDir>,
        tools: &Tools,
        pop: usize,
        forwarding: Forwarding,
    ) -> Result<()> {
        for node in &mut self.backends {
            fs::write(node.config(), config::backend(&node.name, pop, run.path()))?;
            node.balancer = Some(daemon(run, node, programs::balancer(tools, &node.name, &node.config())));
        }
        for (index, node) in self.ingresses.iter_mut().enumerate() {
            fs::write(node.config(), config::ingress(&node.name, pop, index, run.path(), forwarding))?;
            node.balancer = Some(daemon(run, node, programs::balancer(tools, &node.name, &node.config())));
            let text =
                config::announcing_bird(pop, plan::ingress(pop, index), plan::edge(pop, index, true), true);
            node.bird = Some(bird(run, node, &text)?);
        }
        self.announcing = (0..plan::INGRESSES).collect();
        Ok(())
    }

    /// BIRD on backends; nothing is started.
    fn announce_backends(&mut self, run: &Arc<RunDir>, pop: usize) -> Result<()> {
        for (index, node) in self.backends.iter_mut().enumerate() {
            let serves = index < plan::MEMBERS;
            let text = config::announcing_bird(pop, plan::backend(pop, index), plan::router(pop), serves);
            node.bird = Some(bird(run, node, &text)?);
        }
        self.announcing = (0..plan::MEMBERS).collect();
        Ok(())
    }
}

fn bird(run: &Arc<RunDir>, node: &Node, config: &str) -> Result<Daemon> {
    let file = run.path().join(format!("{}-bird.conf", node.name));
    fs::write(&file, config)?;
    Ok(daemon(run, node, programs::bird(&node.name, run.path(), &file)))
}
