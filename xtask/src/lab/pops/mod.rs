//! Three PoPs of one AS that announce the same prefixes, and a client near each: BGP says which is
//! nearest, and may change its mind while connections live.

mod build;
mod config;
mod members;
pub mod plan;
mod routes;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Family;
use super::capture::Capture;
use super::daemons::Daemon;
use super::netns::Namespace;
use super::node::Node;
use super::state::RunDir;
use super::tools::Tools;
use super::topology::{self, EDGE, HTTP_PORT, VIP_V4, VIP_V6};
use super::traffic::{Flow, Outcome, RunningTraffic, Spec};
use plan::NAMES;
pub use routes::Change;

/// How long a single request may take: far longer than any that is answered.
const REQUEST_DEADLINE: Duration = Duration::from_secs(20);

/// What stands between routers and backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// Ingress nodes; packets list who may hold their flow, in other PoPs too.
    Rescue,
    /// Ingress nodes; packets go to the owner of their flow alone.
    OwnerOnly,
    /// Nothing: the backends announce the service, the routers' ECMP chooses.
    PlainEcmp,
}

/// A PoP: its router, nodes and backends, and the client near it.
#[derive(Debug)]
struct Pop {
    client: Namespace,
    router: Namespace,
    fabric: Namespace,
    ingresses: Vec<Node>,
    backends: Vec<Node>,
    router_bird: Option<Daemon>,
    /// Who announces the service's prefixes to the router, by number.
    announcing: BTreeSet<usize>,
    /// Who did so before the whole PoP withdrew them.
    resting: BTreeSet<usize>,
}

/// A lab of three PoPs that stands.
#[derive(Debug)]
pub struct PopLab {
    forwarding: Forwarding,
    pops: Vec<Pop>,
    exchange: Namespace,
    tools: Tools,
    // Last: it removes what is left once everything above is gone.
    pub(super) run: Arc<RunDir>,
}

impl PopLab {
    /// An ingress node of a PoP.
    pub fn ingress(&mut self, pop: usize, index: usize) -> &mut Node {
        &mut self.pops[pop].ingresses[index]
    }

    /// The client near a PoP.
    pub fn client(&self, pop: usize) -> &Namespace {
        &self.pops[pop].client
    }

    /// Where a backend of a PoP lives.
    pub fn backend_namespace(&self, pop: usize, index: usize) -> &Namespace {
        self.pops[pop].backends[index].namespace()
    }

    /// Where the lab keeps its files.
    pub fn directory(&self) -> &std::path::Path {
        self.run.path()
    }

    /// A backend of a PoP.
    pub fn backend(&mut self, pop: usize, index: usize) -> &mut Node {
        &mut self.pops[pop].backends[index]
    }

    /// All ingress nodes of all PoPs.
    pub fn ingresses(&self) -> impl Iterator<Item = &Node> {
        self.pops.iter().flat_map(|pop| &pop.ingresses)
    }

    /// Starts traffic from all clients to the VIPs of both families, each with its share.
    pub fn traffic(&self, spec: &Spec) -> Result<RunningTraffic> {
        let tcp = [Family::V4, Family::V6].map(target).to_vec();
        let spec = Spec { tcp, udp_flows: 0, ..spec.clone() };
        let clients: Vec<_> = self.pops.iter().map(|pop| pop.client.clone()).collect();
        RunningTraffic::start(&self.run, &self.tools.xtask, &clients, &spec)
    }

    /// Captures what the client near a PoP sends and gets.
    pub fn capture_client(&self, pop: usize) -> Result<Capture> {
        Capture::start(&self.pops[pop].client, EDGE)
    }

    /// Captures what passes between a PoP's router and the exchange.
    pub fn capture_exchange(&self, pop: usize) -> Result<Capture> {
        Capture::start(&self.exchange, NAMES[pop])
    }

    /// Makes a new connection from the client near a PoP, and returns the name of who answers.
    pub fn who_answers(&self, pop: usize, family: Family) -> Result<String> {
        let ask = || -> Result<String> {
            let mut stream = TcpStream::connect_timeout(&target(family), REQUEST_DEADLINE)?;
            stream.set_read_timeout(Some(REQUEST_DEADLINE))?;
            stream.write_all(b"GET /?n=1 HTTP/1.1\r\nHost: lab\r\n\r\n")?;
            let mut answer = Vec::new();
            let mut buffer = [0; 1024];
            // The body ends with a line; the connection stays open, so that the client is the one
            // that closes it.
            while !(answer.windows(4).any(|bytes| bytes == b"\r\n\r\n") && answer.ends_with(b" \n")) {
                let length = stream.read(&mut buffer)?;
                anyhow::ensure!(length > 0, "the connection ended within an answer");
                answer.extend_from_slice(&buffer[..length]);
            }
            let text = String::from_utf8(answer)?;
            let (_, body) = text.split_once("\r\n\r\n").context("an answer without a body")?;
            Ok(body.split(' ').next().unwrap_or_default().to_owned())
        };
        let answer = self.pops[pop].client.enter(ask)?;
        answer.with_context(|| format!("a new connection from {}", NAMES[pop]))
    }

    /// Connections that the kernel of a backend holds, by its balancer's word.
    pub fn held(&self, pop: usize, backend: usize) -> Result<u64> {
        let flows = self.pops[pop].backends[backend].cli(&["flows", "--json"])?.json()?;
        flows["total"].as_u64().context("no total")
    }

    /// Packets that backends of a PoP sent on.
    pub fn hops(&self, pop: usize) -> Result<u64> {
        packets(&self.pops[pop].backends, "hop")
    }

    /// Packets that ingress nodes of a PoP sent to backends.
    pub fn forwarded(&self, pop: usize) -> Result<u64> {
        packets(&self.pops[pop].ingresses, "forwarded_gue")
    }
}

/// Packets of a verdict on all of `nodes`.
fn packets(nodes: &[Node], verdict: &str) -> Result<u64> {
    nodes.iter().try_fold(0, |sum, node| {
        let stats = node.cli(&["stats", "--json"])?.json()?;
        let rows = stats["verdicts"].as_array().context("no verdicts")?;
        let row = rows.iter().find(|row| row["verdict"] == verdict);
        let row = row.with_context(|| format!("no verdict {verdict:?}"))?;
        Ok(sum + row["packets"].as_u64().context("no count")?)
    })
}

fn target(family: Family) -> SocketAddr {
    match family {
        Family::V4 => (VIP_V4, HTTP_PORT).into(),
        Family::V6 => (VIP_V6, HTTP_PORT).into(),
    }
}

/// The PoP near which the client of a flow is; none if it never connected.
pub fn origin(flow: &Flow) -> Option<usize> {
    let local = flow.local?.ip();
    (0..NAMES.len()).find(|&pop| {
        let client = topology::client(pop, false);
        local == client.v4 || local == client.v6
    })
}

/// The PoP of the backend that a flow has; none if nobody ever answered.
pub fn home(flow: &Flow) -> Option<usize> {
    let backend = flow.backend.as_deref()?;
    NAMES.iter().position(|name| backend.starts_with(name))
}

/// Flows whose backend is in the PoP nearest to their client.
pub fn at_nearest(outcome: &Outcome) -> usize {
    outcome.flows.iter().filter(|flow| origin(flow).is_some() && origin(flow) == home(flow)).count()
}

#[cfg(test)]
mod tests {
    use super::super::traffic::outcome::tests::flow;
    use super::*;

    #[test]
    fn a_flow_is_at_its_nearest_pop_by_its_client_and_its_backend() {
        let from = |pop: usize, v6: bool, backend: &str| {
            let client = topology::client(pop, false);
            let local = if v6 { (client.v6, 4711).into() } else { (client.v4, 4711).into() };
            Flow { local: Some(local), ..flow(Some(backend), None, 1) }
        };
        let lost = Flow { local: None, ..flow(None, None, 1) };
        let flows = vec![from(0, false, "fra-be0"), from(1, true, "sin-be1"), from(2, true, "fra-be0"), lost];
        assert_eq!(at_nearest(&Outcome { flows, ..Outcome::default() }), 2);
    }
}
