//! What on this host will bite, each with the command that mends it.
//!
//! [`read`] gathers [`facts::Facts`]; [`common`], [`nic`], [`ingress`] and [`backend`] decide by them alone.
//! Nothing here changes the host.

mod backend;
mod common;
mod ethtool;
mod facts;
mod ingress;
mod nic;
mod read;

use serde::Serialize;

use crate::model::{Config, Role};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It will not work like this.
    Error,
    /// It will bite some packets, or some day.
    Warning,
    /// Worth knowing.
    Info,
}

/// Something on the host that does not fit the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was found, in one line.
    pub what: String,
    /// What comes of it.
    pub why: String,
    /// The command line that mends it, if there is one.
    pub fix: Option<String>,
}

/// Compares the running host (the network namespace of the calling thread) with what `config`
/// needs; the worst findings come first. What cannot be read becomes a finding too. Blocks for some
/// milliseconds; may be called inside or outside of an async runtime.
pub fn check(config: &Config) -> Vec<Finding> {
    let facts = match read::facts(config) {
        Ok(facts) => facts,
        Err(error) => {
            return vec![Finding {
                severity: Severity::Warning,
                what: format!("the host could not be checked: {error}"),
                why: "nothing is known of its interfaces, addresses and settings".to_owned(),
                fix: None,
            }];
        }
    };
    let mut findings = common::check(config, &facts);
    findings.extend(match config.role {
        Role::Ingress => ingress::check(config, &facts),
        Role::Backend => backend::check(config, &facts),
    });
    // Stable: findings of one severity stay in the order of the checks.
    findings.sort_by_key(|finding| finding.severity);
    findings
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;
    use crate::model::{
        Announcing, Backend, BackendState, Control, Encapsulation, FlowHash, HopLimits, Interface, Pool,
        Protocol, TableKind, Vip, VipKey, XdpMode,
    };

    /// `eth0`, a VIP of each family on one pool (GUE, three hops) with one IPv4 backend.
    pub(super) fn config(role: Role) -> Config {
        let vip = |address: &str| Vip {
            key: VipKey {
                address: address.parse().expect("an address"),
                port: Some(443),
                protocol: Protocol::Tcp,
            },
            pool: "web".into(),
            second_chance: true,
            hash: FlowHash::default(),
            quic: false,
            mss_clamp: false,
            identity: Default::default(),
        };
        let backend = Backend {
            address: IpAddr::from([10, 0, 0, 11]),
            weight: 100,
            state: BackendState::Active,
            pop: None,
        };
        let pool = Pool {
            name: "web".into(),
            encapsulation: Encapsulation::Gue,
            table: TableKind::Rendezvous,
            slots: 16_384,
            margin_ppm: 30_000,
            hops: 3,
            rescue: vec![],
            fill_time: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(1800),
            backends: vec![backend],
            quic: None,
            health: Default::default(),
        };
        Config {
            role,
            node: "fra1-lb1".into(),
            pop: "fra1".into(),
            instance: "default".into(),
            bpffs: "/sys/fs/bpf".into(),
            state_dir: "/var/lib/anycast-lb".into(),
            seed: None,
            unmatched_pass: false,
            sources: vec![],
            interfaces: vec![Interface { name: "eth0".into(), mode: XdpMode::Auto }],
            control: Control::on_socket("/run/anycast-lb/control.sock"),
            pools: if role == Role::Ingress { vec![pool] } else { vec![] },
            vips: vec![vip("203.0.113.1"), vip("2001:db8::1")],
            prefixes: vec![],
            allowed_senders: vec![],
            hop_limits: HopLimits::default(),
            identity_clients: Vec::new(),
            rpki: Default::default(),
            bmp: None,
            metrics: None,
            page: None,
            flow_log: None,
            seed_previous: None,
            drained_pops: Vec::new(),
            announcing: Announcing::default(),
        }
    }

    #[test]
    fn the_running_host_can_be_read() {
        // No assumption about the host: an interface that cannot exist must be found missing.
        let mut config = config(Role::Backend);
        config.interfaces[0].name = "no/such".into();
        let findings = check(&config);
        assert!(findings.iter().any(|f| f.what == "there is no interface no/such"), "{findings:?}");
        assert!(findings.is_sorted_by_key(|f| f.severity));
    }
}
