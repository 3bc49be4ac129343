//! A packet and what became of it, with names in place of numbers.

use std::net::{IpAddr, Ipv6Addr};

use anycast_lb_common::abi::{Event, Kind, MemberNumber, Program, VERDICTS, VipNumber};
use serde::{Deserialize, Serialize};

use crate::hex;

/// Where a packet was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Where {
    /// By a balancer.
    Ingress,
    /// By a backend.
    Backend,
}

impl Where {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Where::Ingress => "ingress",
            Where::Backend => "backend",
        }
    }
}

/// What was kept of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Its bytes; 0 = there was none.
    pub length: u32,
    /// The first of them.
    #[serde(with = "hex", default, skip_serializing_if = "Vec::is_empty")]
    pub bytes: Vec<u8>,
}

/// A packet and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// When, in ns since 1970.
    pub time: u64,
    /// The node that saw it.
    pub node: String,
    /// Its site.
    pub pop: String,
    /// What the node does.
    pub place: Where,
    /// The interface it came in by.
    pub interface: String,
    /// Number of the protocol; 0 where the program did not get as far.
    pub protocol: u8,
    /// Client; absent where the program did not get as far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// Its port; 0 where there is none.
    pub source_port: u16,
    /// Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<IpAddr>,
    /// Its port; 0 where there is none.
    pub destination_port: u16,
    /// Flags of TCP.
    pub tcp_flags: u8,
    /// The way out.
    pub verdict: String,
    /// What that means.
    pub explanation: String,
    /// `transmit`, `pass` or `drop`.
    pub kind: String,
    /// The VIP that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<String>,
    /// Its pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The backend it is sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<IpAddr>,
    /// On a backend, who sent it here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<IpAddr>,
    /// On a backend, whom it is sent on to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<IpAddr>,
    /// Number of the tables.
    pub version: u32,
    /// As it came.
    pub before: Frame,
    /// As it left.
    pub after: Frame,
}

/// Names of what the programs know by numbers.
pub trait Names {
    /// A VIP.
    fn vip(&self, number: VipNumber) -> Option<String>;
    /// A member: its pool and address.
    fn member(&self, number: MemberNumber) -> Option<(String, IpAddr)>;
    /// An interface.
    fn interface(&self, ifindex: u32) -> Option<String>;
}

impl Sight {
    /// What `event`, with the bytes behind it, says. `time`: when, in ns since 1970.
    pub fn read(
        (event, before, after): (&Event, Vec<u8>, Vec<u8>),
        time: u64,
        (node, pop): (&str, &str),
        names: &impl Names,
    ) -> Self {
        let verdict = VERDICTS.get(usize::from(event.verdict));
        let place = match verdict.map(|verdict| verdict.program()) {
            Some(Program::Backend) => Where::Backend,
            _ => Where::Ingress,
        };
        let kind = verdict.map_or("", |verdict| match verdict.kind() {
            Kind::Transmit => "transmit",
            Kind::Pass => "pass",
            Kind::Drop => "drop",
        });
        let member = names.member(event.member).filter(|_| event.member != 0);
        let vip = names.vip(event.vip).filter(|_| event.vip != 0);
        Sight {
            time,
            node: node.to_owned(),
            pop: pop.to_owned(),
            place,
            interface: names.interface(event.ifindex).unwrap_or_else(|| format!("#{}", event.ifindex)),
            protocol: event.protocol,
            source: address(event.source),
            source_port: event.source_port,
            destination: address(event.destination),
            destination_port: event.destination_port,
            tcp_flags: event.tcp_flags,
            verdict: verdict.map_or_else(|| event.verdict.to_string(), |verdict| verdict.name().to_owned()),
            explanation: verdict.map_or("", |verdict| verdict.explanation()).to_owned(),
            kind: kind.to_owned(),
            vip,
            pool: member.as_ref().map(|(pool, _)| pool.clone()),
            backend: member.map(|(_, address)| address),
            sender: address(event.sender),
            next: address(event.next),
            version: event.version,
            before: Frame { length: event.length, bytes: before },
            after: Frame { length: event.length_after, bytes: after },
        }
    }
}

/// Undoes [`address_key`](anycast_lb_common::abi::address_key) of what is no unspecified address.
fn address(key: [u64; 2]) -> Option<IpAddr> {
    if key == [0, 0] {
        return None;
    }
    let bytes: [u8; 16] = bytemuck::cast(key);
    Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical())
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use anycast_lb_common::abi::{Verdict, address_key};
    use bytemuck::Zeroable;

    /// Names of a node with one VIP and one backend.
    pub struct One;

    impl Names for One {
        fn vip(&self, number: VipNumber) -> Option<String> {
            (number == 3).then(|| "203.0.113.1:443/tcp".to_owned())
        }

        fn member(&self, number: MemberNumber) -> Option<(String, IpAddr)> {
            (number == 5).then(|| ("web".to_owned(), [10, 0, 0, 11].into()))
        }

        fn interface(&self, ifindex: u32) -> Option<String> {
            (ifindex == 2).then(|| "eth0".to_owned())
        }
    }

    fn mapped(address: [u8; 4]) -> [u64; 2] {
        address_key(std::net::Ipv4Addr::from(address).to_ipv6_mapped().octets())
    }

    /// A SYN that was sent to a backend in GUE.
    pub fn event() -> Event {
        Event {
            source: mapped([192, 0, 2, 7]),
            destination: mapped([203, 0, 113, 1]),
            source_port: 51234,
            destination_port: 443,
            protocol: 6,
            tcp_flags: 0x02,
            verdict: Verdict::ForwardedGue as u8,
            vip: 3,
            member: 5,
            ifindex: 2,
            version: 17,
            length: 74,
            length_after: 110,
            ..Event::zeroed()
        }
    }

    /// The same packet on a backend that sends it on.
    pub fn hop() -> Event {
        Event {
            verdict: Verdict::Hop as u8,
            vip: 0,
            member: 0,
            sender: mapped([10, 0, 0, 2]),
            next: mapped([10, 0, 0, 12]),
            ..event()
        }
    }

    /// Read, a second and a bit after the epoch.
    pub fn sight(event: &Event) -> Sight {
        Sight::read((event, vec![1, 2], vec![3]), 1_000_002_003, ("fra1-lb1", "fra1"), &One)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;
    use bytemuck::Zeroable;

    #[test]
    fn numbers_become_names() {
        let seen = sight(&event());
        assert_eq!(
            (seen.place, seen.verdict.as_str(), seen.kind.as_str()),
            (Where::Ingress, "forwarded_gue", "transmit")
        );
        assert_eq!(seen.vip.as_deref(), Some("203.0.113.1:443/tcp"));
        assert_eq!((seen.pool.as_deref(), seen.backend), (Some("web"), Some([10, 0, 0, 11].into())));
        assert_eq!((seen.interface.as_str(), seen.source), ("eth0", Some([192, 0, 2, 7].into())));
        let hop = sight(&hop());
        assert_eq!(
            (hop.place, hop.sender, hop.next),
            (Where::Backend, Some([10, 0, 0, 2].into()), Some([10, 0, 0, 12].into()))
        );
        assert_eq!((hop.vip, hop.backend), (None, None));
    }

    #[test]
    fn what_is_not_known_is_said_by_its_number() {
        let seen = sight(&Event { vip: 9, member: 9, ifindex: 9, verdict: 250, ..Event::zeroed() });
        assert_eq!((seen.vip, seen.backend, seen.source), (None, None, None));
        assert_eq!((seen.interface.as_str(), seen.verdict.as_str()), ("#9", "250"));
    }

    #[test]
    fn it_travels_as_json() {
        let seen = sight(&event());
        let json = serde_json::to_string(&seen).expect("JSON");
        assert!(json.contains(r#""before":{"length":74,"bytes":"0102"}"#), "{json}");
        assert_eq!(serde_json::from_str::<Sight>(&json).expect("a sight"), seen);
    }
}
