//! Which records somebody asks for.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::record::{Record, protocol_name, protocol_number};

/// A flow, by what its packets have in common; `tcp 192.0.2.7:40000 203.0.113.1:443` in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// Protocol, by its number.
    pub protocol: u8,
    /// Client.
    pub source: SocketAddr,
    /// Service.
    pub destination: SocketAddr,
}

impl FlowKey {
    /// The flow of a record.
    pub const fn of(record: &Record) -> Self {
        FlowKey { protocol: record.protocol, source: record.source, destination: record.destination }
    }
}

impl fmt::Display for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", protocol_name(self.protocol), self.source, self.destination)
    }
}

/// A text names no flow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no flow: write PROTOCOL SOURCE DESTINATION, like: tcp 192.0.2.7:40000 203.0.113.1:443")]
pub struct NotAFlow(String);

impl FromStr for FlowKey {
    type Err = NotAFlow;

    fn from_str(text: &str) -> Result<Self, NotAFlow> {
        let mut words = text.split_whitespace();
        let mut read = || {
            let protocol = protocol_number(words.next()?)?;
            let source = words.next()?.parse().ok()?;
            let destination = words.next()?.parse().ok()?;
            words.next().is_none().then_some(FlowKey { protocol, source, destination })
        };
        read().ok_or_else(|| NotAFlow(text.to_owned()))
    }
}

/// An address, with or without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The port; none = all.
    pub port: Option<u16>,
}

impl Endpoint {
    fn takes(&self, socket: SocketAddr) -> bool {
        self.address == socket.ip() && self.port.is_none_or(|port| port == socket.port())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

/// A text names no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is neither ADDRESS nor ADDRESS:PORT (IPv6: [ADDRESS]:PORT)")]
pub struct NotAnEndpoint(String);

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        if let Ok(address) = text.parse() {
            return Ok(Endpoint { address, port: None });
        }
        let socket = text.parse::<SocketAddr>().map_err(|_| NotAnEndpoint(text.to_owned()))?;
        Ok(Endpoint { address: socket.ip(), port: Some(socket.port()) })
    }
}

macro_rules! as_text {
    ($($kind:ty)*) => { $(
        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )* };
}

as_text!(FlowKey Endpoint);

/// Records that meet all that is said; what is none or empty is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// From this time on.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_time")]
    pub since: Option<SystemTime>,
    /// Up to this time, itself included.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_time")]
    pub until: Option<SystemTime>,
    /// Client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Endpoint>,
    /// Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Endpoint>,
    /// Any of these flows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<FlowKey>,
    /// The VIP, as the log names it. Records of backends have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip: Option<String>,
    /// Sent, or sent on, to this backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<IpAddr>,
    /// The name of the verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
}

impl Filter {
    /// Whether it asks for `record`.
    pub fn takes(&self, record: &Record) -> bool {
        self.since.is_none_or(|since| record.time >= since)
            && self.until.is_none_or(|until| record.time <= until)
            && self.source.is_none_or(|source| source.takes(record.source))
            && self.destination.is_none_or(|destination| destination.takes(record.destination))
            && (self.flows.is_empty() || self.flows.contains(&FlowKey::of(record)))
            && self.vip.as_ref().is_none_or(|vip| record.vip.as_ref() == Some(vip))
            && self.backend.is_none_or(|backend| [record.backend, record.next].contains(&Some(backend)))
            && self.verdict.as_ref().is_none_or(|verdict| record.verdict == *verdict)
    }

    /// Whether it asks for some records of a flow and not for others, but for their time.
    pub const fn splits_flows(&self) -> bool {
        self.vip.is_some() || self.backend.is_some() || self.verdict.is_some()
    }

    /// The words of which a line that it asks for has at least one; none = any line may be asked for. To look for
    /// them is much faster than to read a line.
    pub(crate) fn words(&self) -> Vec<String> {
        if let Some(source) = &self.source {
            return vec![source.address.to_string()];
        }
        // For many flows it no longer pays.
        if (1..=4).contains(&self.flows.len()) {
            return self.flows.iter().map(|flow| flow.source.to_string()).collect();
        }
        self.destination.iter().map(|destination| destination.address.to_string()).collect()
    }
}

pub(crate) mod optional_time {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::stamp::{parse_stamp, stamp};

    pub fn serialize<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(stamp).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let time = parse_stamp(&text);
        time.map(Some).ok_or_else(|| serde::de::Error::custom(format!("\"{text}\" is no time of RFC 3339")))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::tests::record;

    #[test]
    fn flows_and_endpoints_are_read_as_they_are_written() {
        for text in ["tcp 192.0.2.7:40000 203.0.113.1:443", "47 [2001:db8::7]:0 [2001:db8::1]:0"] {
            assert_eq!(text.parse::<FlowKey>().unwrap().to_string(), text);
        }
        for text in ["192.0.2.7", "192.0.2.7:40000", "2001:db8::7", "[2001:db8::7]:40000"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "tcp",
            "tcp 192.0.2.7 203.0.113.1:443",
            "tcp 192.0.2.7:1 203.0.113.1:443 x",
            "x 1.1.1.1:1 1.1.1.1:1",
        ] {
            assert!(wrong.parse::<FlowKey>().is_err(), "{wrong}");
        }
        assert!("192.0.2.7:99999".parse::<Endpoint>().is_err());
    }

    #[test]
    fn every_part_of_a_filter_counts() {
        let record = record();
        let other = |text: &str| Some(text.parse().unwrap());
        let later = record.time + Duration::from_nanos(1);
        let earlier = record.time - Duration::from_nanos(1);
        let all = Filter {
            since: Some(record.time),
            until: Some(record.time),
            source: other("192.0.2.7:40000"),
            destination: other("203.0.113.1"),
            flows: vec!["udp 1.1.1.1:1 2.2.2.2:2".parse().unwrap(), FlowKey::of(&record)],
            vip: record.vip.clone(),
            backend: record.backend,
            verdict: Some(record.verdict.clone()),
        };
        assert!(all.takes(&record) && Filter::default().takes(&record));
        for wrong in [
            Filter { since: Some(later), ..all.clone() },
            Filter { until: Some(earlier), ..all.clone() },
            Filter { source: other("192.0.2.7:40001"), ..all.clone() },
            Filter { destination: other("203.0.113.2"), ..all.clone() },
            Filter { flows: all.flows[..1].to_vec(), ..all.clone() },
            Filter { vip: Some("203.0.113.1:80/tcp".into()), ..all.clone() },
            Filter { backend: Some("10.0.0.12".parse().unwrap()), ..all.clone() },
            Filter { verdict: Some("hop".into()), ..all.clone() },
        ] {
            assert!(!wrong.takes(&record), "{wrong:?}");
        }
        let hop = Record { backend: None, next: record.backend, ..record };
        assert!(Filter { backend: hop.next, ..Filter::default() }.takes(&hop));
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Filter>(&text).unwrap(), all);
        assert_eq!(serde_json::from_str::<Filter>("{}").unwrap(), Filter::default());
    }
}
