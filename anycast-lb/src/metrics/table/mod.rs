//! Every metric, described once.

mod announce;
mod node;
mod peers;
mod pools;
mod process;
mod routes;
mod traffic;

use std::fmt::{self, Display};

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric as _, LabelSetEncoder, MetricEncoder};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Facts;
use crate::model::Role;

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, and begins anew at a restart of what counts.
    Counter,
    /// It goes up and down. Where one of the labels is a state, the state that holds has 1 and the others 0.
    Gauge,
    /// It is always 1: its labels tell.
    Info,
}

impl Kind {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Info => "info",
        }
    }
}

/// On which nodes a metric is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roles {
    /// On all nodes.
    Both,
    /// On ingress nodes.
    Ingress,
}

impl Roles {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Roles::Both => "both",
            Roles::Ingress => "ingress",
        }
    }

    /// Whether a node of this role tells it.
    pub fn have(self, role: Role) -> bool {
        self == Roles::Both || role == Role::Ingress
    }
}

/// A metric.
pub struct Metric {
    /// Its whole name, as queries name it. Its unit is the name's, `_seconds` or `_bytes`.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Where it is told.
    pub roles: Roles,
    /// Its labels, in this order.
    pub labels: &'static [&'static str],
    /// What it means, in a sentence.
    pub help: &'static str,
    /// Reads its samples from the facts.
    pub read: fn(&Facts, &mut Samples<'_, '_>),
}

/// All metrics, in the order in which they are told.
pub fn metrics() -> impl Iterator<Item = &'static Metric> {
    [
        traffic::METRICS,
        pools::METRICS,
        announce::METRICS,
        routes::METRICS,
        peers::METRICS,
        node::METRICS,
        process::METRICS,
    ]
    .into_iter()
    .flatten()
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// Counted.
    Whole(u64),
    /// Measured.
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Value::Whole(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Value::Whole(value.into())
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Value::Whole(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Whole(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Real(value)
    }
}

/// Takes the samples of one metric.
pub struct Samples<'a, 'e> {
    metric: &'static Metric,
    encoder: &'a mut MetricEncoder<'e>,
    result: fmt::Result,
}

impl<'a, 'e> Samples<'a, 'e> {
    /// Of this metric.
    pub fn of(metric: &'static Metric, encoder: &'a mut MetricEncoder<'e>) -> Self {
        Samples { metric, encoder, result: Ok(()) }
    }

    /// A sample, with values for the metric's labels in their order. What they contain does not matter: it is
    /// escaped.
    pub fn put(&mut self, labels: &[&dyn Display], value: impl Into<Value>) {
        debug_assert_eq!(labels.len(), self.metric.labels.len(), "{}", self.metric.name);
        let labels = Labels { names: self.metric.labels, values: labels };
        let result = match (self.metric.kind, value.into()) {
            (Kind::Counter, Value::Whole(v)) => self.with(&labels, |e| ConstCounter::new(v).encode(e)),
            (Kind::Counter, Value::Real(v)) => self.with(&labels, |e| ConstCounter::new(v).encode(e)),
            (Kind::Gauge, Value::Whole(v)) => self.with(&labels, |e| ConstGauge::new(v).encode(e)),
            (Kind::Gauge, Value::Real(v)) => self.with(&labels, |e| ConstGauge::new(v).encode(e)),
            (Kind::Info, _) => self.encoder.encode_info(&labels),
        };
        self.result = self.result.and(result);
    }

    /// A sample where there is a value.
    pub fn put_some(&mut self, labels: &[&dyn Display], value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(labels, value);
        }
    }

    /// A sample for each of the states that something may be in: 1 for the one that holds. The state is the last
    /// label.
    pub fn put_state(&mut self, labels: &[&dyn Display], states: &[&str], now: &str) {
        for state in states {
            let mut all = labels.to_vec();
            all.push(state);
            self.put(&all, *state == now);
        }
    }

    /// Whether all could be written.
    pub fn finish(self) -> fmt::Result {
        self.result
    }

    fn with(
        &mut self,
        labels: &Labels<'_>,
        encode: impl FnOnce(MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        encode(self.encoder.encode_family(labels)?)
    }
}

/// Names and values of labels.
struct Labels<'a> {
    names: &'static [&'static str],
    values: &'a [&'a dyn Display],
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        use std::fmt::Write as _;
        for (name, value) in self.names.iter().zip(self.values) {
            let mut label = encoder.encode_label();
            let mut key = label.encode_label_key()?;
            key.write_str(name)?;
            let mut text = key.encode_label_value()?;
            write!(text, "{value}")?;
            text.finish()?;
        }
        Ok(())
    }
}
