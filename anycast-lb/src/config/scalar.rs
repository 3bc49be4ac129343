//! Values that TOML has no type for: durations, networks.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;

/// Parses `500ms`, `10s`, `30m`, `2h`, `1d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    /// A century: added to any moment, this is still one.
    const LONGEST: Duration = Duration::from_secs(100 * 365 * 86400);
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(number)).filter(|d| *d <= LONGEST),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs).filter(|d| *d <= LONGEST)
}

/// Parses a prefix, or an address as the prefix that holds it alone.
pub(super) fn parse_network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Why an address cannot belong to one host, if it cannot; as "is ...".
pub(super) fn not_a_host(address: IpAddr) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some("the unspecified address"),
        _ if address.is_multicast() => Some("a multicast address"),
        _ if address.is_loopback() => Some("a loopback address"),
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some("the broadcast address"),
        IpAddr::V6(a) if a.to_ipv4_mapped().is_some() => Some("an IPv4-mapped address"),
        IpAddr::V6(a) if a.is_unicast_link_local() => Some("a link-local address, which needs an interface"),
        _ => None,
    }
}

/// `IPv4` or `IPv6`.
pub(super) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("30m", 1_800_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "s",
            "10",
            "10 s",
            "-1s",
            "1.5s",
            "10S",
            "10sec",
            "99999999999999999999s",
            "999999999999999999d",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn networks() {
        let network = |text| parse_network(text).map(|n| n.to_string());
        assert_eq!(network("10.0.0.0/24").as_deref(), Some("10.0.0.0/24"));
        assert_eq!(network("10.0.0.1").as_deref(), Some("10.0.0.1/32"));
        assert_eq!(network("fd00::1").as_deref(), Some("fd00::1/128"));
        assert_eq!(network("10.0.0.0/33"), None);
    }

    #[test]
    fn addresses_of_no_host() {
        for text in [
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "127.0.0.1",
            "::1",
            "255.255.255.255",
            "::ffff:10.0.0.1",
            "fe80::1",
        ] {
            assert!(text.parse().ok().and_then(not_a_host).is_some(), "{text}");
        }
        for text in ["10.0.0.1", "203.0.113.1", "2001:db8::1", "169.254.0.1"] {
            assert!(text.parse().ok().and_then(not_a_host).is_none(), "{text}");
        }
    }
}
