//! What became of the traffic.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Why a flow is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason", content = "detail")]
pub enum Reason {
    /// No connection could be made.
    Connect(String),
    /// The connection was reset or closed.
    Reset(String),
    /// A byte that should not be there.
    WrongByte(String),
    /// No progress for [`STALL_LIMIT`](super::STALL_LIMIT).
    Stall,
}

/// The end of a flow that should have lived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Break {
    /// Why.
    #[serde(flatten)]
    pub reason: Reason,
    /// When, in milliseconds since the client started.
    pub at_ms: u64,
}

/// One long-lived TCP connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The client's end; none if it never connected.
    pub local: Option<SocketAddr>,
    /// The service.
    pub target: SocketAddr,
    /// The backend that answered the first request; none if none did.
    pub backend: Option<String>,
    /// Verified answers.
    pub requests: u64,
    /// When the connection stood, in milliseconds since the client started.
    pub connected_ms: u64,
    /// When the last answer was verified, on the same clock.
    pub last_ms: u64,
    /// Longest wait for an answer, in milliseconds.
    pub longest_stall_ms: u64,
    /// How it broke; none if it lived.
    pub broken: Option<Break>,
}

impl Flow {
    /// Verified answers a second while it lived.
    #[expect(clippy::cast_precision_loss, reason = "counts and milliseconds of a short run")]
    pub fn rate(&self) -> f64 {
        let ms = self.last_ms.saturating_sub(self.connected_ms);
        if ms == 0 { 0.0 } else { self.requests as f64 * 1000.0 / ms as f64 }
    }

    /// Whether it broke though its backend was well: `unhealthy` names the backends that were not
    /// well throughout. A flow that never learnt its backend counts as one on a healthy backend.
    pub fn is_broken_on_healthy(&self, unhealthy: &BTreeSet<String>) -> bool {
        self.broken.is_some() && !self.backend.as_ref().is_some_and(|name| unhealthy.contains(name))
    }
}

/// Short TCP connections: connect, one verified request, close.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Short {
    /// Those that ended well.
    pub done: u64,
    /// Those that did not.
    pub failed: u64,
}

/// Datagrams of all UDP flows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Udp {
    /// Sent.
    pub sent: u64,
    /// Answered.
    pub answered: u64,
    /// Answers that were not what was sent.
    pub corrupt: u64,
    /// Flows that were answered by more than one backend.
    pub moved: u64,
    /// Flows, by the backend that answered first.
    pub spread: BTreeMap<String, u64>,
}

impl Udp {
    /// Sent and not answered.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.answered)
    }
}

/// All traffic of a run, or of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Long-lived TCP connections.
    pub flows: Vec<Flow>,
    /// Short ones.
    pub short: Short,
    /// UDP.
    pub udp: Udp,
}

impl Outcome {
    /// Takes in what another client saw.
    pub fn merge(&mut self, other: Self) {
        self.flows.extend(other.flows);
        self.short.done += other.short.done;
        self.short.failed += other.short.failed;
        self.udp.sent += other.udp.sent;
        self.udp.answered += other.udp.answered;
        self.udp.corrupt += other.udp.corrupt;
        self.udp.moved += other.udp.moved;
        for (backend, flows) in other.udp.spread {
            *self.udp.spread.entry(backend).or_default() += flows;
        }
    }

    /// Broken flows.
    pub fn broken(&self) -> usize {
        self.flows.iter().filter(|flow| flow.broken.is_some()).count()
    }

    /// Broken flows on backends that were well throughout.
    pub fn broken_on_healthy(&self, unhealthy: &BTreeSet<String>) -> usize {
        self.flows.iter().filter(|flow| flow.is_broken_on_healthy(unhealthy)).count()
    }

    /// Longest wait for an answer, in milliseconds; at most [`STALL_LIMIT`](super::STALL_LIMIT),
    /// which breaks the flow.
    pub fn longest_stall_ms(&self) -> u64 {
        self.flows.iter().map(|flow| flow.longest_stall_ms).max().unwrap_or(0)
    }

    /// The lowest rate of verified answers of a flow that lived, a second.
    pub fn slowest_rate(&self) -> f64 {
        let slowest = self.living().map(Flow::rate).fold(f64::INFINITY, f64::min);
        if slowest.is_finite() { slowest } else { 0.0 }
    }

    /// Flows by backend.
    pub fn spread(&self) -> BTreeMap<String, u64> {
        let mut spread = BTreeMap::new();
        for backend in self.flows.iter().filter_map(|flow| flow.backend.clone()) {
            *spread.entry(backend).or_default() += 1;
        }
        spread
    }

    /// Broken flows by reason.
    pub fn reasons(&self) -> BTreeMap<&'static str, u64> {
        let mut reasons = BTreeMap::new();
        for broken in self.flows.iter().filter_map(|flow| flow.broken.as_ref()) {
            let word = match broken.reason {
                Reason::Connect(_) => "connect",
                Reason::Reset(_) => "reset",
                Reason::WrongByte(_) => "wrong byte",
                Reason::Stall => "stall",
            };
            *reasons.entry(word).or_default() += 1;
        }
        reasons
    }

    /// Verified answers on all flows.
    pub fn requests(&self) -> u64 {
        self.flows.iter().map(|flow| flow.requests).sum()
    }

    fn living(&self) -> impl Iterator<Item = &Flow> {
        self.flows.iter().filter(|flow| flow.broken.is_none())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn flow(backend: Option<&str>, broken: Option<Reason>, stall: u64) -> Flow {
        Flow {
            local: None,
            target: SocketAddr::from(([203, 0, 113, 1], 80)),
            backend: backend.map(str::to_owned),
            requests: 60,
            connected_ms: 1000,
            last_ms: 11_000,
            longest_stall_ms: stall,
            broken: broken.map(|reason| Break { reason, at_ms: 5000 }),
        }
    }

    fn outcome() -> Outcome {
        Outcome {
            flows: vec![
                flow(Some("be0"), None, 7),
                flow(Some("be0"), Some(Reason::Stall), 5000),
                flow(Some("be1"), Some(Reason::Reset("x".into())), 3),
                flow(None, Some(Reason::Connect("x".into())), 0),
            ],
            ..Outcome::default()
        }
    }

    #[test]
    fn a_flow_that_never_met_a_backend_counts_against_us() {
        let outcome = outcome();
        assert_eq!(outcome.broken(), 3);
        assert_eq!(outcome.broken_on_healthy(&BTreeSet::new()), 3);
        assert_eq!(outcome.broken_on_healthy(&BTreeSet::from(["be1".into()])), 2);
        assert_eq!(outcome.broken_on_healthy(&BTreeSet::from(["be0".into(), "be1".into()])), 1);
    }

    #[test]
    fn the_longest_stall_may_be_one_that_broke_its_flow() {
        assert_eq!(outcome().longest_stall_ms(), 5000);
    }

    #[test]
    fn the_rate_is_over_the_flows_own_life() {
        assert!((outcome().slowest_rate() - 6.0).abs() < 1e-9);
        assert!(Outcome::default().slowest_rate().abs() < f64::EPSILON);
    }

    #[test]
    fn clients_add_up() {
        let mut all = outcome();
        let udp =
            Udp { sent: 10, answered: 8, spread: BTreeMap::from([("be0".into(), 2)]), ..Udp::default() };
        all.merge(Outcome { udp: udp.clone(), ..outcome() });
        all.merge(Outcome { udp, ..Outcome::default() });
        assert_eq!((all.flows.len(), all.broken(), all.udp.lost()), (8, 6, 4));
        assert_eq!(all.udp.spread["be0"], 4);
        assert_eq!(all.spread(), BTreeMap::from([("be0".into(), 4), ("be1".into(), 2)]));
    }

    #[test]
    fn a_flow_survives_json() -> serde_json::Result<()> {
        for flow in outcome().flows {
            assert_eq!(serde_json::from_str::<Flow>(&serde_json::to_string(&flow)?)?, flow);
        }
        Ok(())
    }
}
