//! Whom to ask when, and what the answers mean.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::control::api::{Flows, ListedBackend, NodeReport, PeerRow};
use crate::membership::Join;
use crate::model::{Config, Peer, VipKey};

mod feeding;
#[cfg(test)]
mod tests;

/// How often a peer is asked while something is changing.
pub const BUSY_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is asked otherwise.
pub const IDLE_INTERVAL: Duration = Duration::from_secs(10);

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// An ingress node, for its [`NodeReport`].
    Node(String),
    /// A backend, for its [`Flows`].
    Backend(IpAddr),
}

/// A question to be asked now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whom.
    pub target: Target,
    /// Where.
    pub address: SocketAddr,
}

/// This node, as far as others are compared with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// What it says of itself.
    pub report: NodeReport,
    /// The other ingress nodes.
    pub peers: Vec<Peer>,
    /// VIPs of each pool.
    pub vips: BTreeMap<String, Vec<VipKey>>,
    /// Pools whose flows cannot be counted: a server of QUIC has all of them on one socket.
    pub uncounted: BTreeSet<String>,
    /// Backends whose flows are wanted.
    pub draining: Vec<IpAddr>,
    /// Its joins.
    pub joins: Vec<Join>,
    /// Whether a backend is joining or leaving.
    pub changing: bool,
    /// Where backends listen.
    pub port: u16,
    /// PoPs whose new flows go elsewhere.
    pub drained_pops: Vec<String>,
}

impl Own {
    /// This node by its configuration, what it says of itself, and its joins.
    pub fn new(config: &Config, report: NodeReport, joins: Vec<Join>) -> Self {
        let mut vips: BTreeMap<String, Vec<VipKey>> = BTreeMap::new();
        for vip in &config.vips {
            vips.entry(vip.pool.clone()).or_default().push(vip.key);
        }
        let listed = || report.pools.iter().flat_map(|p| &p.listed);
        let mut draining: Vec<IpAddr> =
            listed().filter(|b| b.state == "draining").map(|b| b.address).collect();
        draining.sort_unstable();
        draining.dedup();
        let changing = !joins.is_empty() || listed().any(|b| b.state != "active");
        Own {
            peers: config.control.peers.clone(),
            vips,
            uncounted: config.vips.iter().filter(|v| v.quic).map(|v| v.pool.clone()).collect(),
            draining,
            joins,
            changing,
            port: config.control.port(),
            report,
            drained_pops: config.drained_pops.clone(),
        }
    }
}

/// What is known of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known<T> {
    address: SocketAddr,
    /// When a question that is under way was asked.
    asking: Option<Instant>,
    /// When the last answered question was asked.
    asked: Option<Instant>,
    /// The last good answer, and when it came.
    answer: Option<(Instant, T)>,
    /// Why the last question had none.
    failure: Option<String>,
}

impl<T> Known<T> {
    fn new(address: SocketAddr) -> Self {
        Known { address, asking: None, asked: None, answer: None, failure: None }
    }

    /// When the next question is due; none while one is under way.
    fn due(&self, interval: Duration) -> Option<Option<Instant>> {
        match (self.asking, self.asked) {
            (Some(_), _) => None,
            (None, None) => Some(None),
            (None, Some(asked)) => Some(Some(asked + interval)),
        }
    }

    fn answered(&mut self, now: Instant, answer: Result<T, String>) {
        self.asked = self.asking.take().or(self.asked);
        match answer {
            Ok(answer) => {
                self.answer = Some((now, answer));
                self.failure = None;
            }
            Err(reason) => self.failure = Some(reason),
        }
    }

    /// The answer, if the last question was asked at `since` or later and had one.
    fn fresh(&self, since: Instant) -> Option<&T> {
        let (_, answer) = self.answer.as_ref()?;
        (self.failure.is_none() && self.asked? >= since).then_some(answer)
    }
}

/// All that is known of others.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    own: Own,
    nodes: BTreeMap<String, Known<NodeReport>>,
    backends: BTreeMap<IpAddr, Known<Flows>>,
}

impl Machine {
    /// This node is so from now on. What was known of hosts that are still of interest stays.
    pub fn configure(&mut self, own: Own) {
        let mut nodes = std::mem::take(&mut self.nodes);
        for peer in &own.peers {
            let known = nodes.remove(&peer.node).filter(|k| k.address == peer.control);
            self.nodes.insert(peer.node.clone(), known.unwrap_or_else(|| Known::new(peer.control)));
        }
        let mut backends = std::mem::take(&mut self.backends);
        for backend in &own.draining {
            let address = SocketAddr::new(*backend, own.port);
            let known = backends.remove(backend).filter(|k| k.address == address);
            self.backends.insert(*backend, known.unwrap_or_else(|| Known::new(address)));
        }
        self.own = own;
    }

    /// The questions that are due; each is under way from now on, until [`Self::node_answered`] or
    /// [`Self::backend_answered`].
    pub fn questions(&mut self, now: Instant) -> Vec<Question> {
        let interval = self.interval();
        let is_due = |due: Option<Option<Instant>>| due.is_some_and(|at| at.is_none_or(|at| at <= now));
        let mut out = Vec::new();
        for (node, known) in &mut self.nodes {
            if is_due(known.due(interval)) {
                known.asking = Some(now);
                out.push(Question { target: Target::Node(node.clone()), address: known.address });
            }
        }
        for (backend, known) in &mut self.backends {
            if is_due(known.due(BUSY_INTERVAL)) {
                known.asking = Some(now);
                out.push(Question { target: Target::Backend(*backend), address: known.address });
            }
        }
        out
    }

    /// How often peers are asked: often while something changes, here or there.
    fn interval(&self) -> Duration {
        let differs = |known: &Known<NodeReport>| {
            known.answer.as_ref().is_some_and(|(_, report)| !self.differing(report).is_empty())
        };
        if self.own.changing || self.nodes.values().any(differs) { BUSY_INTERVAL } else { IDLE_INTERVAL }
    }

    /// A peer's answer. One that comes after the peer was taken out of the file is ignored.
    pub fn node_answered(&mut self, now: Instant, node: &str, answer: Result<NodeReport, String>) {
        let answer = answer.and_then(|report| {
            if report.node == node {
                Ok(report)
            } else {
                Err(format!("node {} answers there, not {node}", report.node))
            }
        });
        if let Some(known) = self.nodes.get_mut(node) {
            match (&answer, &known.failure) {
                (Err(reason), None) => tracing::warn!(peer = node, cause = reason, "a peer gives no answer"),
                (Ok(_), Some(_)) => {
                    tracing::info!(peer = node, cause = "it was asked again", "a peer answers again");
                }
                _ => {}
            }
            known.answered(now, answer);
        }
    }

    /// A backend's answer. One that comes after its drain is ignored.
    pub fn backend_answered(&mut self, now: Instant, backend: IpAddr, answer: Result<Flows, String>) {
        if let Some(known) = self.backends.get_mut(&backend) {
            if let (Err(reason), None) = (&answer, &known.failure) {
                tracing::warn!(%backend, cause = reason, "a draining backend does not tell its flows: its drain ends by time");
            }
            known.answered(now, answer);
        }
    }

    /// Whether every other ingress node lists the backend of a join, with the weight that it will have
    /// and not as down, by answers to questions asked since the join began. None: it is not known,
    /// because no peers are configured or one of them has not answered; then `fill_time` decides. A peer
    /// without such a pool has no say.
    pub fn everyone_lists(&self, Join { key: (pool, backend), since, weight }: &Join) -> Option<bool> {
        if self.nodes.is_empty() {
            return None;
        }
        let mut all = true;
        for known in self.nodes.values() {
            let report = known.fresh(*since)?;
            let theirs = report.pools.iter().find(|p| p.pool == *pool);
            let lists = |b: &ListedBackend| {
                // An older release does not say the weight.
                b.address == *backend && !b.down && b.weight.is_none_or(|theirs| theirs == *weight)
            };
            all &= theirs.is_none_or(|p| p.listed.iter().any(lists));
        }
        Some(all)
    }

    /// The joins of which every other node knows already.
    pub fn listed(&self) -> Vec<Join> {
        let is_listed = |join: &&Join| self.everyone_lists(join) == Some(true);
        self.own.joins.iter().filter(is_listed).cloned().collect()
    }

    /// Where the API of a peer is.
    pub fn address(&self, node: &str) -> Option<SocketAddr> {
        self.nodes.get(node).map(|known| known.address)
    }

    /// The peers in file order, as the API shows them.
    pub fn rows(&self, now: Instant) -> Vec<PeerRow> {
        self.own
            .peers
            .iter()
            .filter_map(|peer| Some(self.row(now, peer, self.nodes.get(&peer.node)?)))
            .collect()
    }

    fn row(&self, now: Instant, peer: &Peer, known: &Known<NodeReport>) -> PeerRow {
        let answer = known.answer.as_ref();
        let differing = answer.map(|(_, report)| self.differing(report)).unwrap_or_default();
        PeerRow {
            node: peer.node.clone(),
            pop: peer.pop.clone(),
            address: peer.control,
            reachable: known.asked.map(|_| known.failure.is_none()),
            reason: known.failure.clone(),
            seen_seconds_ago: answer.map(|(at, _)| now.saturating_duration_since(*at).as_secs()),
            generation: answer.map(|(_, report)| report.generation),
            agrees: answer.map(|_| differing.is_empty()),
            differing,
        }
    }

    /// In what a peer places new flows otherwise than this node. Pools that only one of the two has
    /// are no difference; the hop lists may differ.
    fn differing(&self, theirs: &NodeReport) -> Vec<String> {
        let ours = &self.own.report;
        let mut out = Vec::new();
        if ours.placement != theirs.placement {
            out.push("placement".to_owned());
        }
        if ours.seed_fingerprint != theirs.seed_fingerprint {
            // Then all pools differ.
            out.push("seed".to_owned());
            return out;
        }
        // At another site, new flows go to that site's backends.
        let comparable = ours.pools.iter().filter(|_| ours.pop == theirs.pop);
        for pool in comparable {
            let other = theirs.pools.iter().find(|p| p.pool == pool.pool);
            if other.is_some_and(|other| other.owners != pool.owners) {
                out.push(pool.pool.clone());
            }
        }
        out
    }
}
