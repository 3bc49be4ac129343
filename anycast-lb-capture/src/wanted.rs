//! Which packets somebody wants.

use std::net::{IpAddr, SocketAddr};

use anycast_lb_common::abi::{Filter, MAX_SNAP, VERDICTS, VipNumber, address_key};
use serde::{Deserialize, Serialize};

/// Longest time that packets are reported for, in seconds.
pub const MOST_SECONDS: u64 = 3600;
/// Most packets that are reported.
pub const MOST_PACKETS: u64 = 1_000_000;

/// Protocols that have a name, and their numbers.
const PROTOCOLS: &[(&str, u8)] = &[("tcp", 6), ("udp", 17), ("icmp", 1), ("icmpv6", 58)];

/// Which packets are wanted, and how many: those that match in all that is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Of this flow, as far as it is said.
    #[serde(default)]
    pub flow: Flow,
    /// To this VIP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<String>,
    /// With one of these verdicts; none = all.
    #[serde(default)]
    pub verdicts: Vec<String>,
    /// One of so many, 1 = each.
    pub sample: u32,
    /// Bytes to keep of a packet as it came and as it left each.
    pub snap: u32,
    /// After so many it is over.
    pub packets: u64,
    /// After so many seconds it is over.
    pub seconds: u64,
}

/// A flow, or many: what is none is not looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Number of the protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// Client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// Its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<IpAddr>,
    /// Its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
}

/// What is no flow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    /// Not three words.
    #[error("a flow is three words: PROTOCOL SOURCE DESTINATION, as in: tcp 192.0.2.7:51234 203.0.113.1:443")]
    Words,
    /// No protocol.
    #[error("\"{0}\" is no protocol: write tcp, udp, icmp, icmpv6 or any")]
    Protocol(String),
    /// No end of a flow.
    #[error("\"{0}\" is neither ADDRESS:PORT (IPv6: [ADDRESS]:PORT) nor ADDRESS nor * for all")]
    End(String),
    /// The two ends do not fit.
    #[error("{0} and {1} are of different families")]
    Families(IpAddr, IpAddr),
}

/// What cannot be wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WantedError {
    /// A number out of its range.
    #[error("{0} is out of range: from 1 to {1}")]
    Range(&'static str, u64),
    /// More of a packet than is ever kept.
    #[error("{0} bytes of a packet are more than is kept: at most {MAX_SNAP}")]
    Snap(u32),
    /// No such verdict.
    #[error("there is no verdict \"{0}\": anycast-lb stats --all shows all of them")]
    Verdict(String),
}

impl Wanted {
    /// The filter of the programs; `vip`: the number of the VIP where there is one.
    ///
    /// # Errors
    /// Something is out of range, or there is no such verdict.
    pub fn filter(&self, vip: Option<VipNumber>) -> Result<Filter, WantedError> {
        let within = |what, number: u64, most| match (1..=most).contains(&number) {
            true => Ok(()),
            false => Err(WantedError::Range(what, most)),
        };
        within("sample", self.sample.into(), u32::MAX.into())?;
        within("packets", self.packets, MOST_PACKETS)?;
        within("seconds", self.seconds, MOST_SECONDS)?;
        if self.snap as usize > MAX_SNAP {
            return Err(WantedError::Snap(self.snap));
        }
        let mut verdicts = 0;
        for name in &self.verdicts {
            let number = VERDICTS.iter().position(|verdict| verdict.name() == name);
            verdicts |= 1 << number.ok_or_else(|| WantedError::Verdict(name.clone()))?;
        }
        let Flow { protocol, source, source_port, destination, destination_port } = self.flow;
        Ok(Filter {
            flags: Filter::ON,
            sample: self.sample,
            verdicts,
            source: source.map(key).unwrap_or_default(),
            destination: destination.map(key).unwrap_or_default(),
            source_port: source_port.unwrap_or(0),
            destination_port: destination_port.unwrap_or(0),
            protocol: protocol.unwrap_or(0).into(),
            vip: vip.unwrap_or(0),
        })
    }
}

impl Flow {
    /// Reads `tcp 192.0.2.7:51234 203.0.113.1:443`; a port may be left out, and `*` stands for every end.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, FlowError> {
        let mut words = text.split_whitespace();
        let (Some(protocol), Some(source), Some(destination), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(FlowError::Words);
        };
        let protocol = parse_protocol(protocol)?;
        let (source, source_port) = end(source)?;
        let (destination, destination_port) = end(destination)?;
        if let (Some(source), Some(destination)) = (source, destination)
            && source.is_ipv4() != destination.is_ipv4()
        {
            return Err(FlowError::Families(source, destination));
        }
        Ok(Flow { protocol, source, source_port, destination, destination_port })
    }

    /// Whether more than one flow may match.
    pub fn is_open(&self) -> bool {
        self.protocol.is_none()
            || self.source.is_none()
            || self.source_port.is_none()
            || self.destination.is_none()
            || self.destination_port.is_none()
    }
}

/// Reads a protocol's name; none of `any`.
fn parse_protocol(word: &str) -> Result<Option<u8>, FlowError> {
    if word == "any" {
        return Ok(None);
    }
    let known = PROTOCOLS.iter().find(|(name, _)| *name == word);
    known.map(|(_, number)| Some(*number)).ok_or_else(|| FlowError::Protocol(word.to_owned()))
}

/// The name of a protocol, its number where it has none here.
pub(crate) fn protocol_name(number: u8) -> String {
    let known = PROTOCOLS.iter().find(|(_, known)| *known == number);
    known.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

/// Reads one end of a flow. Port 0 is none that packets have, and is not asked for.
pub(crate) fn end(word: &str) -> Result<(Option<IpAddr>, Option<u16>), FlowError> {
    if word == "*" {
        return Ok((None, None));
    }
    let refused = || FlowError::End(word.to_owned());
    if let Ok(address) = word.parse::<IpAddr>() {
        return Ok((Some(address), None));
    }
    if let Some(port) = word.strip_prefix("*:") {
        let port = port.parse().ok().filter(|port| *port != 0);
        return Ok((None, Some(port.ok_or_else(refused)?)));
    }
    let address: SocketAddr = word.parse().map_err(|_| refused())?;
    if address.port() == 0 {
        return Err(refused());
    }
    Ok((Some(address.ip()), Some(address.port())))
}

fn key(address: IpAddr) -> [u64; 2] {
    address_key(match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anycast_lb_common::abi::{Event, Observer, Reasons, Verdict};
    use anycast_lb_common::observe;
    use bytemuck::Zeroable;

    fn wanted() -> Wanted {
        Wanted {
            flow: Flow::default(),
            vip: None,
            verdicts: Vec::new(),
            sample: 1,
            snap: 128,
            packets: 100,
            seconds: 10,
        }
    }

    /// Whether a program that has this filter reports a packet of a flow.
    fn reports(flow: &str, event: &Event) -> bool {
        let flow = Flow::parse(flow).expect("a flow");
        let filter = Wanted { flow, ..wanted() }.filter(None).expect("a filter");
        let mut observer = Observer { filters: 1, ..Observer::default() };
        observer.filter[0] = filter;
        observe::filters(&observer, event, || 0) == Reasons::FILTER
    }

    #[test]
    fn a_flow_matches_in_what_it_says() {
        let event = Event {
            source: key([192, 0, 2, 7].into()),
            destination: key([203, 0, 113, 1].into()),
            source_port: 51234,
            destination_port: 443,
            protocol: 6,
            ..Event::zeroed()
        };
        for flow in [
            "tcp 192.0.2.7:51234 203.0.113.1:443",
            "tcp 192.0.2.7 203.0.113.1:443",
            "tcp * 203.0.113.1:443",
            "any 192.0.2.7 *",
            "any * *:443",
            "tcp *:51234 203.0.113.1",
            "any * *",
        ] {
            assert!(reports(flow, &event), "{flow}");
        }
        for flow in [
            "udp 192.0.2.7:51234 203.0.113.1:443",
            "tcp 192.0.2.8 203.0.113.1:443",
            "tcp 192.0.2.7:51235 203.0.113.1:443",
            "tcp 192.0.2.7 203.0.113.2",
            "any * *:444",
            "tcp ::1 ::2",
        ] {
            assert!(!reports(flow, &event), "{flow}");
        }
        let v6 = Event {
            source: key("2001:db8::7".parse().expect("an address")),
            destination: key("2001:db8::1".parse().expect("an address")),
            destination_port: 53,
            protocol: 17,
            ..Event::zeroed()
        };
        assert!(reports("udp 2001:db8::7 [2001:db8::1]:53", &v6));
    }

    #[test]
    fn what_is_no_flow_is_refused_with_its_reason() {
        for (text, reason) in [
            ("tcp 192.0.2.7:1", "three words"),
            ("tcp 192.0.2.7:1 203.0.113.1:443 x", "three words"),
            ("sctp 192.0.2.7:1 203.0.113.1:443", "\"sctp\" is no protocol"),
            ("tcp 192.0.2:1 203.0.113.1:443", "\"192.0.2:1\" is neither"),
            ("tcp 192.0.2.7:0 203.0.113.1:443", "\"192.0.2.7:0\" is neither"),
            ("tcp * *:x", "\"*:x\" is neither"),
            ("tcp 192.0.2.7:1 [2001:db8::1]:443", "different families"),
        ] {
            let error = Flow::parse(text).expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(Flow::parse("tcp 192.0.2.7 203.0.113.1:443").is_ok_and(|flow| flow.is_open()));
        assert!(Flow::parse("tcp 192.0.2.7:1 203.0.113.1:443").is_ok_and(|flow| !flow.is_open()));
    }

    #[test]
    fn verdicts_are_named_and_numbers_within_bounds() {
        let verdicts = ["forwarded_gue", "hop"].map(str::to_owned).to_vec();
        let filter = Wanted { verdicts, ..wanted() }.filter(Some(3)).expect("a filter");
        assert_eq!(filter.verdicts, 1 << Verdict::ForwardedGue as u64 | 1 << Verdict::Hop as u64);
        assert_eq!((filter.vip, filter.sample, filter.flags), (3, 1, Filter::ON));
        for wrong in [
            Wanted { verdicts: vec!["accepted".to_owned()], ..wanted() },
            Wanted { sample: 0, ..wanted() },
            Wanted { packets: 0, ..wanted() },
            Wanted { packets: MOST_PACKETS + 1, ..wanted() },
            Wanted { seconds: 0, ..wanted() },
            Wanted { seconds: MOST_SECONDS + 1, ..wanted() },
            Wanted { snap: MAX_SNAP as u32 + 1, ..wanted() },
        ] {
            assert!(wrong.filter(None).is_err(), "{wrong:?}");
        }
    }
}
