//! Where the probes of a pool go.

use std::net::IpAddr;

use anycast_lb_health::probe::Check;

use crate::model::{HealthCheck, Protocol, Via, VipKey};

/// Why there is nowhere to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The pool has no VIP that takes what is asked.
    NoVip,
    /// Its VIP takes every port, and the check names none.
    NoPort,
}

/// The VIP and port that are checked: one check stands for all VIPs of a pool. It is the first VIP, in the order
/// of the file, whose protocol fits; what fits any comes after what fits exactly. The VIP is none for a
/// direct check that names its port in a pool without a fitting VIP.
///
/// # Errors
/// There is no such place.
pub fn place(
    check: &HealthCheck,
    vips: impl Iterator<Item = VipKey> + Clone,
) -> Result<(Option<IpAddr>, u16), Place> {
    let protocol = match check.check {
        Check::Tcp | Check::Http(_) => Some(Protocol::Tcp),
        Check::Dns(_) | Check::Udp(_) => Some(Protocol::Udp),
        Check::Icmp | Check::Command(_) => None,
    };
    let exact = |v: &VipKey| protocol.is_none_or(|p| v.protocol == p);
    let vip = vips.clone().find(exact).or_else(|| vips.clone().find(|v| v.protocol == Protocol::Any));
    let usual = match &check.check {
        Check::Http(http) if http.tls.is_some() => Some(443),
        Check::Http(_) => Some(80),
        Check::Dns(_) => Some(53),
        // They are not about a port.
        Check::Icmp | Check::Command(_) => Some(0),
        Check::Tcp | Check::Udp(_) => None,
    };
    let port = check.port.or(vip.and_then(|v| v.port));
    match (vip, port, check.via) {
        (Some(vip), Some(port), _) => Ok((Some(vip.address), port)),
        (Some(vip), None, _) => usual.map(|port| (Some(vip.address), port)).ok_or(Place::NoPort),
        (None, Some(port), Via::Direct) => Ok((None, port)),
        (None, None, Via::Direct) if protocol.is_none() => Ok((None, 0)),
        (None, _, _) => Err(Place::NoVip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anycast_lb_health::Timing;
    use anycast_lb_health::probe::DnsCheck;
    use std::time::Duration;

    const TIMING: Timing =
        Timing { interval: Duration::from_secs(2), timeout: Duration::from_secs(1), rise: 2, fall: 3 };

    fn dns() -> Check {
        Check::Dns(DnsCheck { name: "www.example".to_owned(), record: "A".to_owned() })
    }

    /// Where `check` goes: `203.0.113.1:443`, `-:8080`, or why it goes nowhere.
    fn goes(check: Check, via: Via, port: Option<u16>, vips: &[&str]) -> String {
        let check = HealthCheck { check, via, port, timing: TIMING };
        let vips: Vec<VipKey> = vips.iter().map(|v| v.parse().unwrap()).collect();
        match place(&check, vips.into_iter()) {
            Ok((vip, port)) => format!("{}:{port}", vip.map_or("-".to_owned(), |v| v.to_string())),
            Err(why) => format!("{why:?}"),
        }
    }

    #[test]
    fn the_first_vip_that_takes_what_is_asked_is_checked() {
        use Via::{Direct, Tunnel};
        let web = &["203.0.113.9/any", "203.0.113.1:53/udp", "203.0.113.1:443/tcp", "203.0.113.2:80/tcp"];
        assert_eq!(goes(Check::Tcp, Tunnel, None, web), "203.0.113.1:443");
        assert_eq!(goes(Check::Tcp, Direct, Some(8080), web), "203.0.113.1:8080");
        assert_eq!(goes(dns(), Tunnel, None, web), "203.0.113.1:53");
        assert_eq!(goes(Check::Icmp, Tunnel, None, web), "203.0.113.9:0");
        assert_eq!(goes(dns(), Tunnel, None, &["203.0.113.9/any"]), "203.0.113.9:53");
        assert_eq!(goes(Check::Tcp, Tunnel, None, &["203.0.113.9/any"]), "NoPort");
        assert_eq!(goes(Check::Tcp, Tunnel, Some(25), &["203.0.113.9/any"]), "203.0.113.9:25");
        assert_eq!(goes(Check::Tcp, Direct, None, &["203.0.113.1:*/tcp"]), "NoPort");
        assert_eq!(goes(Check::Tcp, Tunnel, Some(25), &["203.0.113.1:53/udp"]), "NoVip");
        assert_eq!(goes(Check::Tcp, Direct, Some(25), &["203.0.113.1:53/udp"]), "-:25");
        assert_eq!(goes(Check::Tcp, Direct, None, &[]), "NoVip");
        assert_eq!(goes(Check::Icmp, Direct, None, &[]), "-:0");
        assert_eq!(goes(Check::Icmp, Tunnel, None, &[]), "NoVip");
    }
}
