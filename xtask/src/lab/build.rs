//! From a description to a lab that stands.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};

use super::daemons::{Daemon, Program, arguments};
use super::netns::Namespace;
use super::node::{Node, READY_DEADLINE, SERVICE_DEADLINE, bird_socket};
use super::programs;
use super::services::{self, NodeConfig};
use super::state::RunDir;
use super::tools::Tools;
use super::topology::{self as plan, Topology};
use super::{Arms, Encapsulation, Families, Kind, Lab, Mode, Shape, interrupt};

/// Bytes of the hash seed.
const SEED_LENGTH: usize = 16;

/// Describes a lab to be built.
#[derive(Clone, Copy, Debug, Default)]
pub struct LabBuilder {
    kind: Kind,
    arms: Arms,
    mode: Mode,
    encapsulation: Encapsulation,
    families: Families,
    shape: Shape,
    /// Backends that the pool has at first; all where nothing is said.
    members: Option<usize>,
    /// `hops` of the pools; the default where nothing is said.
    hops: Option<u8>,
    connected_udp: bool,
    persistent: bool,
    balancers: Balancers,
}

/// Whether the balancers are started with the lab.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Balancers {
    #[default]
    Start,
    Leave,
}

impl LabBuilder {
    /// With or without a balancer.
    pub fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// How ingress nodes are connected.
    pub fn arms(self, arms: Arms) -> Self {
        Self { arms, ..self }
    }

    /// How XDP is attached.
    pub fn mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// How packets are carried.
    pub fn encapsulation(self, encapsulation: Encapsulation) -> Self {
        Self { encapsulation, ..self }
    }

    /// Families of the VIPs.
    pub fn families(self, families: Families) -> Self {
        Self { families, ..self }
    }

    /// How many nodes.
    pub fn shape(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }

    /// How many of the backends serve at first: the others run and wait to join.
    pub fn members(self, members: usize) -> Self {
        Self { members: Some(members), ..self }
    }

    /// How many backends a packet may try after its owner.
    pub fn hops(self, hops: u8) -> Self {
        Self { hops: Some(hops), ..self }
    }

    /// The UDP service answers each client from a socket that is connected to it, and its VIPs have the
    /// second chance.
    pub fn connected_udp(self) -> Self {
        Self { connected_udp: true, ..self }
    }

    /// The lab outlives this process.
    pub fn persistent(self) -> Self {
        Self { persistent: true, ..self }
    }

    /// Configurations are written but balancers and the ingress nodes' BIRDs are left to be started
    /// with [`Node::start`] and [`Node::start_bird`]. The router has no next hops until then.
    pub fn without_balancers(self) -> Self {
        Self { balancers: Balancers::Leave, ..self }
    }

    /// Builds it; on failure everything is removed again.
    pub fn build(self) -> Result<Lab> {
        let Shape { clients, ingresses, backends } = self.shape;
        let most = Shape::MOST;
        ensure!(clients.max(ingresses).max(backends) <= most, "a lab has at most {most} nodes of a kind");
        interrupt::install()?;
        let tools = Tools::locate()?;
        let run = Arc::new(RunDir::create()?);
        let pass = (self.kind == Kind::Balanced).then_some(tools.pass.as_path());
        let topology = Topology::create(&run, self.shape, self.mode, pass)?;
        if self.kind == Kind::Balanced {
            mount_bpffs(&run)?;
            write_seed(&run.path().join("seed"))?;
        }
        let building = Building { options: self, tools, run, topology };
        // First, so that sessions are made at the announcers' first try.
        let router = building.router()?;
        let backends = building.backends()?;
        let ingresses = building.ingresses()?;
        let Building { options, tools, run, topology } = building;
        let lab = Lab {
            kind: self.kind,
            arms: self.arms,
            families: self.families,
            router,
            ingresses,
            backends,
            topology,
            tools,
            run,
        };
        if options.balancers == Balancers::Start {
            let count = match self.kind {
                Kind::Balanced => self.shape.ingresses,
                Kind::PlainEcmp => self.first_members(),
            };
            lab.wait_next_hops(count)?;
        }
        if self.persistent {
            lab.run.make(|state| state.persistent = true, || Ok(()))?;
        }
        Ok(lab)
    }

    fn first_members(&self) -> usize {
        self.members.unwrap_or(self.shape.backends)
    }
}

struct Building {
    options: LabBuilder,
    tools: Tools,
    run: Arc<RunDir>,
    topology: Topology,
}

impl Building {
    fn backends(&self) -> Result<Vec<Node>> {
        let mut nodes = Vec::new();
        for (index, namespace) in self.topology.backends.iter().enumerate() {
            let mut node = self.node(namespace, format!("be{index}"));
            fs::write(node.config(), self.config(&node.name).backend())?;
            node.services = self.services(namespace, &node.name)?;
            match self.options.kind {
                Kind::Balanced => node.balancer = Some(self.balancer(&node)),
                Kind::PlainEcmp => {
                    let serves = index < self.options.first_members();
                    let config =
                        services::announcing_bird(plan::backend(index), plan::ROUTER_UNDERLAY, serves);
                    node.bird = Some(self.bird(namespace, &node.name, &config)?);
                    node.start_bird()?;
                }
            }
            nodes.push(node);
        }
        self.start_balancers(&mut nodes)?;
        Ok(nodes)
    }

    fn ingresses(&self) -> Result<Vec<Node>> {
        let mut nodes = Vec::new();
        if self.options.kind == Kind::PlainEcmp {
            return Ok(nodes);
        }
        for (index, namespace) in self.topology.ingresses.iter().enumerate() {
            let mut node = self.node(namespace, format!("ing{index}"));
            fs::write(node.config(), self.config(&node.name).ingress(plan::ingress(index)))?;
            node.balancer = Some(self.balancer(&node));
            let router = match self.options.arms {
                Arms::Two => plan::edge(index, true),
                Arms::One => plan::ROUTER_UNDERLAY,
            };
            let config = services::announcing_bird(plan::ingress(index), router, true);
            node.bird = Some(self.bird(namespace, &node.name, &config)?);
            nodes.push(node);
        }
        self.start_balancers(&mut nodes)?;
        if self.options.balancers == Balancers::Start {
            // A node is announced only once its data plane is up.
            nodes.iter_mut().try_for_each(Node::start_bird)?;
        }
        Ok(nodes)
    }

    /// All at once, then waits for each.
    fn start_balancers(&self, nodes: &mut [Node]) -> Result<()> {
        if self.options.balancers == Balancers::Leave {
            return Ok(());
        }
        for balancer in nodes.iter_mut().filter_map(|node| node.balancer.as_mut()) {
            balancer.start()?;
        }
        for balancer in nodes.iter_mut().filter_map(|node| node.balancer.as_mut()) {
            balancer.wait_ready(READY_DEADLINE)?;
        }
        Ok(())
    }

    fn router(&self) -> Result<Daemon> {
        let shape = self.options.shape;
        let neighbors: Vec<_> = match (self.options.kind, self.options.arms) {
            (Kind::Balanced, Arms::Two) => {
                (0..shape.ingresses).map(|index| plan::edge(index, false)).collect()
            }
            (Kind::Balanced, Arms::One) => (0..shape.ingresses).map(plan::ingress).collect(),
            (Kind::PlainEcmp, _) => (0..shape.backends).map(plan::backend).collect(),
        };
        let mut bird = self.bird(&self.topology.router, "router", &services::router_bird(&neighbors))?;
        let socket = bird_socket(self.run.path(), "router");
        bird.start()?;
        bird.wait_until(SERVICE_DEADLINE, "the control socket", || socket.exists())?;
        Ok(bird)
    }

    fn node(&self, namespace: &Namespace, name: String) -> Node {
        Node {
            name,
            namespace: namespace.clone(),
            directory: self.run.path().to_owned(),
            binary: self.tools.balancer.clone(),
            balancer: None,
            bird: None,
            services: Vec::new(),
        }
    }

    fn config<'a>(&'a self, node: &'a str) -> NodeConfig<'a> {
        NodeConfig {
            node,
            run: self.run.path(),
            arms: self.options.arms,
            mode: self.options.mode,
            encapsulation: self.options.encapsulation,
            families: self.options.families,
            members: self.options.first_members(),
            hops: self.options.hops,
            connected_udp: self.options.connected_udp,
        }
    }

    fn daemon(&self, namespace: &Namespace, program: Program) -> Daemon {
        Daemon::new(&self.run, namespace, program, self.options.persistent)
    }

    fn balancer(&self, node: &Node) -> Daemon {
        let program = programs::balancer(&self.tools, &node.name, &node.config());
        self.daemon(&node.namespace, program)
    }

    fn bird(&self, namespace: &Namespace, node: &str, config: &str) -> Result<Daemon> {
        let directory = self.run.path();
        let file = directory.join(format!("{node}-bird.conf"));
        fs::write(&file, config)?;
        Ok(self.daemon(namespace, programs::bird(node, directory, &file)))
    }

    fn services(&self, namespace: &Namespace, node: &str) -> Result<Vec<Daemon>> {
        let directory = self.run.path();
        let file = directory.join(format!("{node}-nginx.conf"));
        fs::write(&file, services::nginx(node, directory))?;
        let nginx = programs::nginx(node, &file);
        let listen = |address: std::net::SocketAddr| address.to_string();
        let mut words = arguments([
            "udp-echo",
            "--name",
            node,
            "--listen",
            &listen((plan::VIP_V4, plan::ECHO_PORT).into()),
            "--listen",
            &listen((plan::VIP_V6, plan::ECHO_PORT).into()),
        ]);
        words.extend(self.options.connected_udp.then(|| "--connect".into()));
        let echo = Program {
            name: format!("{node}-echo"),
            program: self.tools.xtask.clone(),
            arguments: words,
            notifies: false,
        };
        let (mut nginx, mut echo) = (self.daemon(namespace, nginx), self.daemon(namespace, echo));
        nginx.start()?;
        echo.start()?;
        nginx.wait_until(SERVICE_DEADLINE, "the listening socket", || {
            listens(namespace, "tcp", plan::HTTP_PORT)
        })?;
        echo.wait_until(SERVICE_DEADLINE, "the socket", || listens(namespace, "udp", plan::ECHO_PORT))?;
        Ok(vec![nginx, echo])
    }
}

/// Whether both families have a socket on `port`, by the namespace's `/proc/net`.
pub fn listens(namespace: &Namespace, protocol: &str, port: u16) -> bool {
    let look = || {
        ["", "6"].iter().all(|family| {
            let table =
                fs::read_to_string(format!("/proc/thread-self/net/{protocol}{family}")).unwrap_or_default();
            has_local_port(&table, port)
        })
    };
    namespace.enter(look).unwrap_or(false)
}

fn has_local_port(table: &str, port: u16) -> bool {
    let suffix = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .any(|line| line.split_ascii_whitespace().nth(1).is_some_and(|end| end.ends_with(&suffix)))
}

/// One bpffs for all nodes of the lab: their instances have different names.
pub fn mount_bpffs(run: &RunDir) -> Result<()> {
    let path = run.path().join("bpf");
    run.make(
        |state| state.mounts.push(path.clone()),
        || {
            mount(Some("bpf"), &path, Some("bpf"), MsFlags::empty(), None::<&str>)
                .with_context(|| format!("cannot mount a bpffs at {}", path.display()))
        },
    )
}

/// A fresh hash seed, which only its owner may read.
pub fn write_seed(path: &Path) -> Result<()> {
    let mut seed = [0; SEED_LENGTH];
    fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut seed)).context("/dev/urandom")?;
    let digits: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    writeln!(file, "{digits}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_in_the_kernels_table() {
        let table = "  sl  local_address rem_address st\n   0: 00000000:0050 00000000:0000 0A\n";
        assert!(has_local_port(table, 80));
        assert!(!has_local_port(table, 5));
        assert!(!has_local_port(table, 0));
    }
}
