//! The exposition: text in the two formats that Prometheus reads.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::Facts;
use super::table::{Kind, Metric, Samples, metrics};

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' own, 0.0.4.
    Prometheus,
}

impl Format {
    /// The format for a request that accepts these media types: OpenMetrics where that is named.
    pub fn for_accept(accept: Option<&str>) -> Self {
        let open = accept.is_some_and(|a| a.contains("application/openmetrics-text"));
        if open { Format::OpenMetrics } else { Format::Prometheus }
    }

    /// Its media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Prometheus => prometheus_text::CONTENT_TYPE,
        }
    }
}

/// Writes the facts as metrics.
///
/// # Errors
/// A value could not be written, which is a mistake in the table.
pub fn encode(facts: Facts, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition(facts)));
    let mut out = String::new();
    match format {
        Format::OpenMetrics => text::encode(&mut out, &registry)?,
        Format::Prometheus => prometheus_text::encode(&mut out, &registry)?,
    }
    Ok(out)
}

/// Tells all metrics of the table.
#[derive(Debug)]
struct Exposition(Facts);

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in metrics().filter(|m| m.roles.have(self.0.role)) {
            let (base, unit) = parts(metric);
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Info => MetricType::Info,
            };
            let mut encoder = encoder.encode_descriptor(base, metric.help, unit.as_ref(), kind)?;
            let mut samples = Samples::of(metric, &mut encoder);
            (metric.read)(&self.0, &mut samples);
            samples.finish()?;
        }
        Ok(())
    }
}

/// A metric's name without the endings that the encoder puts on, and its unit.
fn parts(metric: &Metric) -> (&'static str, Option<Unit>) {
    let family = match metric.kind {
        Kind::Counter => metric.name.strip_suffix("_total"),
        Kind::Gauge => None,
        Kind::Info => metric.name.strip_suffix("_info"),
    };
    let family = family.unwrap_or(metric.name);
    for (ending, unit) in [("_seconds", Unit::Seconds), ("_bytes", Unit::Bytes)] {
        if let Some(base) = family.strip_suffix(ending) {
            return (base, Some(unit));
        }
    }
    (family, None)
}
