//! Traffic that knows when it was hurt: long TCP connections with verified content, short ones, and
//! UDP flows. [`client`] runs inside a client's namespace and speaks JSON lines; [`running`] is the
//! other end of that pipe.

pub mod client;
pub mod outcome;
mod patience;
pub mod running;
mod tcp;
mod udp;

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

pub use outcome::{Break, Flow, Outcome, Reason, Short, Udp};
pub use running::RunningTraffic;

/// A flow that makes no progress for this long is broken.
pub const STALL_LIMIT: Duration = Duration::from_secs(5);

/// What traffic to make. Flows are spread over the targets in turn.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Spec {
    /// TCP services
    #[arg(long)]
    pub tcp: Vec<SocketAddr>,
    /// Long-lived TCP connections
    #[arg(long, default_value_t = 300)]
    pub flows: usize,
    /// Requests a second on each of them
    #[arg(long, default_value_t = 6.0)]
    pub rate: f64,
    /// Longest padding of a request, in bytes: several segments, so that full packets travel too
    #[arg(long, default_value_t = 3000)]
    pub padding: usize,
    /// New short TCP connections a second
    #[arg(long, default_value_t = 0.0)]
    pub short_rate: f64,
    /// UDP services
    #[arg(long)]
    pub udp: Vec<SocketAddr>,
    /// UDP flows
    #[arg(long, default_value_t = 30)]
    pub udp_flows: usize,
    /// Datagrams a second on each of them
    #[arg(long, default_value_t = 10.0)]
    pub udp_rate: f64,
    /// Longest time to run, in seconds; standard input closed ends it earlier
    #[arg(long, default_value_t = 120.0)]
    pub seconds: f64,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            tcp: Vec::new(),
            flows: 300,
            rate: 6.0,
            padding: 3000,
            short_rate: 0.0,
            udp: Vec::new(),
            udp_flows: 30,
            udp_rate: 10.0,
            seconds: 120.0,
        }
    }
}

impl Spec {
    /// The part of it that client `index` of `clients` makes.
    pub fn share(&self, index: usize, clients: usize) -> Self {
        let part = |count: usize| count / clients + usize::from(index < count % clients);
        #[expect(clippy::cast_precision_loss, reason = "a lab has a handful of clients")]
        let short_rate = self.short_rate / clients as f64;
        Self { flows: part(self.flows), udp_flows: part(self.udp_flows), short_rate, ..self.clone() }
    }

    /// The command line of `xtask traffic-client` that means this.
    pub fn arguments(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut option = |name: &str, value: String| words.extend([format!("--{name}"), value]);
        for target in &self.tcp {
            option("tcp", target.to_string());
        }
        for target in &self.udp {
            option("udp", target.to_string());
        }
        option("flows", self.flows.to_string());
        option("rate", self.rate.to_string());
        option("padding", self.padding.to_string());
        option("short-rate", self.short_rate.to_string());
        option("udp-flows", self.udp_flows.to_string());
        option("udp-rate", self.udp_rate.to_string());
        option("seconds", self.seconds.to_string());
        words
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        spec: Spec,
    }

    #[test]
    fn the_command_line_means_the_same() {
        let spec = Spec {
            tcp: vec![
                SocketAddr::from(([203, 0, 113, 1], 80)),
                SocketAddr::from(([0x2001, 0, 0, 0, 0, 0, 0, 1], 80)),
            ],
            udp: vec![SocketAddr::from(([203, 0, 113, 1], 53))],
            flows: 7,
            short_rate: 2.5,
            ..Spec::default()
        };
        let words = ["x".to_owned()].into_iter().chain(spec.arguments());
        assert_eq!(Line::parse_from(words).spec, spec);
        assert_eq!(Line::parse_from(["x"]).spec, Spec::default());
    }

    #[test]
    fn shares_add_up() {
        let spec = Spec { flows: 301, udp_flows: 5, ..Spec::default() };
        let shares: Vec<_> = (0..2).map(|index| spec.share(index, 2)).collect();
        assert_eq!(shares.iter().map(|share| share.flows).sum::<usize>(), 301);
        assert_eq!(shares.iter().map(|share| share.udp_flows).sum::<usize>(), 5);
    }
}
