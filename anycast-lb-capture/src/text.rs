//! A packet as a line.

use std::net::IpAddr;

use crate::printable;
use crate::sight::{Sight, Where};
use crate::wanted::protocol_name;

/// TCP flags from the lowest bit on (RFC 9293 §3.1), as tcpdump abbreviates them.
const TCP_FLAGS: [char; 8] = ['F', 'S', 'R', 'P', '.', 'U', 'E', 'W'];
const NS_A_DAY: u64 = 86_400 * 1_000_000_000;
const TCP: u8 = 6;

/// Time of day in UTC, node, where, flags, bytes, verdict and whom it goes to. `flow`: with the flow, where the
/// reader cannot know it.
pub fn line(sight: &Sight, flow: bool) -> String {
    let mut out = format!("{}  {:<12} {:<7}", clock(sight.time), printable(&sight.node), sight.place.word(),);
    if flow {
        out.push_str(&format!("  {}", self::flow(sight)));
    }
    if sight.protocol == TCP {
        out.push_str(&format!("  {:<5}", format!("[{}]", flags(sight.tcp_flags))));
    }
    out.push_str(&format!("  {:>5}  {}", sight.before.length, printable(&sight.verdict)));
    if let Some(to) = whereto(sight) {
        out.push_str(&format!(" -> {to}"));
    }
    if let Some(sender) = sight.sender {
        out.push_str(&format!(", from {sender}"));
    }
    out
}

/// Whom it goes to.
fn whereto(sight: &Sight) -> Option<String> {
    match (sight.place, sight.kind.as_str()) {
        (Where::Backend, "pass") if sight.sender.is_some() => Some("this host".to_owned()),
        (Where::Backend, _) => sight.next.map(|next| next.to_string()),
        (Where::Ingress, _) => sight.backend.map(|backend| backend.to_string()),
    }
}

/// `tcp 192.0.2.7:51234 > 203.0.113.1:443`.
pub fn flow(sight: &Sight) -> String {
    let end = |address: Option<IpAddr>, port: u16| match (address, port) {
        (None, _) => "?".to_owned(),
        (Some(address), 0) => address.to_string(),
        (Some(IpAddr::V4(address)), port) => format!("{address}:{port}"),
        (Some(IpAddr::V6(address)), port) => format!("[{address}]:{port}"),
    };
    let source = end(sight.source, sight.source_port);
    let destination = end(sight.destination, sight.destination_port);
    format!("{} {source} > {destination}", protocol_name(sight.protocol))
}

/// Of TCP, as tcpdump writes them.
pub fn flags(flags: u8) -> String {
    TCP_FLAGS.iter().enumerate().filter(|(bit, _)| flags & (1 << bit) != 0).map(|(_, flag)| flag).collect()
}

/// `16:09:19.123456`, UTC.
fn clock(time: u64) -> String {
    let micros = time % NS_A_DAY / 1000;
    let seconds = micros / 1_000_000;
    format!("{:02}:{:02}:{:02}.{:06}", seconds / 3600, seconds / 60 % 60, seconds % 60, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sight::testing::{event, hop, sight};
    use anycast_lb_common::abi::{Event, Verdict};

    #[test]
    fn a_flow_is_followed_from_node_to_node() {
        let mut seen = sight(&event());
        assert_eq!(
            line(&seen, true),
            "00:00:01.000002  fra1-lb1     ingress  tcp 192.0.2.7:51234 > 203.0.113.1:443  [S]       74  \
             forwarded_gue -> 10.0.0.11"
        );
        seen.time = 1_795_968_559_123_456_789;
        assert_eq!(
            line(&seen, false),
            "16:09:19.123456  fra1-lb1     ingress  [S]       74  forwarded_gue -> 10.0.0.11"
        );
        assert_eq!(
            line(&sight(&hop()), false),
            "00:00:01.000002  fra1-lb1     backend  [S]       74  hop -> 10.0.0.12, from 10.0.0.2"
        );
        let kept = Event { verdict: Verdict::DecapGue as u8, next: [0, 0], ..hop() };
        assert!(line(&sight(&kept), false).ends_with("decap_gue -> this host, from 10.0.0.2"));
        let dropped = Event { verdict: Verdict::EmptyTable as u8, member: 0, protocol: 17, ..event() };
        assert!(line(&sight(&dropped), false).ends_with("ingress     74  empty_table"));
    }

    #[test]
    fn names_from_elsewhere_do_not_run() {
        let mut seen = sight(&event());
        seen.node = "\x1b[2J".to_owned();
        assert!(!line(&seen, true).contains('\x1b'));
    }
}
