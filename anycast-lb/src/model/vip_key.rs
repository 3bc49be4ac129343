//! How a VIP is written: `203.0.113.1:443/tcp`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Protocol, VipKey};

/// Why a text is not a VIP; the message says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VipKeyError {
    /// There is no `/protocol` at the end.
    #[error("`{0}` has no protocol; write ADDRESS:PORT/PROTOCOL, for example 203.0.113.1:443/tcp")]
    NoProtocol(String),
    /// The protocol is none of ours.
    #[error("`{0}` is no protocol; write tcp, udp or any")]
    Protocol(String),
    /// A TCP or UDP VIP without a port.
    #[error("`{0}` has no port; write ADDRESS:PORT/{1}, or ADDRESS:*/{1} for every port")]
    NoPort(String, Protocol),
    /// A port where the protocol has none.
    #[error("protocol any has no port; write {0}/any")]
    PortOfAny(String),
    /// The port is no number from 1 to 65535.
    #[error("`{0}` is no port; write a number from 1 to 65535, or * for every port")]
    Port(String),
    /// The address is no IP address, or an IPv6 address before a port without brackets.
    #[error("`{0}` is no address; write 203.0.113.1, or [2001:db8::1] in brackets")]
    Address(String),
}

impl Protocol {
    /// The word in files and on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Any => "any",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Protocol {
    type Err = VipKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            "any" => Ok(Protocol::Any),
            _ => Err(VipKeyError::Protocol(text.to_owned())),
        }
    }
}

impl fmt::Display for VipKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = match self.address {
            IpAddr::V4(a) => a.to_string(),
            IpAddr::V6(a) => format!("[{a}]"),
        };
        let text = match (self.protocol, self.port) {
            (Protocol::Any, _) => format!("{address}/any"),
            (protocol, Some(port)) => format!("{address}:{port}/{protocol}"),
            (protocol, None) => format!("{address}:*/{protocol}"),
        };
        f.pad(&text)
    }
}

impl FromStr for VipKey {
    type Err = VipKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (place, protocol) =
            text.rsplit_once('/').ok_or_else(|| VipKeyError::NoProtocol(text.to_owned()))?;
        let protocol: Protocol = protocol.parse()?;
        if let Some(address) = whole_address(place) {
            return match protocol {
                Protocol::Any => Ok(VipKey { address, port: None, protocol }),
                _ => Err(VipKeyError::NoPort(place.to_owned(), protocol)),
            };
        }
        let (address, port) = place.rsplit_once(':').ok_or_else(|| VipKeyError::Address(place.to_owned()))?;
        let address = bracketed(address).ok_or_else(|| VipKeyError::Address(address.to_owned()))?;
        if protocol == Protocol::Any {
            return Err(VipKeyError::PortOfAny(
                place.trim_end_matches(port).trim_end_matches(':').to_owned(),
            ));
        }
        Ok(VipKey { address, port: parse_port(port)?, protocol })
    }
}

/// An address alone, IPv6 with or without brackets.
fn whole_address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| bracketed(text))
}

/// An address as it stands before a port: IPv6 in brackets.
fn bracketed(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok().filter(IpAddr::is_ipv4),
    }
}

/// `*` or a number without sign and leading zeros, so that a VIP is written in one way only.
fn parse_port(text: &str) -> Result<Option<u16>, VipKeyError> {
    if text == "*" {
        return Ok(None);
    }
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    match text.parse() {
        Ok(port) if plain => Ok(Some(port)),
        _ => Err(VipKeyError::Port(text.to_owned())),
    }
}

impl Serialize for VipKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VipKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> Result<VipKey, VipKeyError> {
        text.parse()
    }

    #[test]
    fn the_four_shapes() {
        for text in [
            "203.0.113.1:443/tcp",
            "[2001:db8::1]:443/tcp",
            "203.0.113.1:*/udp",
            "[2001:db8::1]:*/udp",
            "203.0.113.1/any",
            "[2001:db8::1]/any",
        ] {
            assert_eq!(key(text).map(|k| k.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(key("2001:db8::1/any"), key("[2001:db8::1]/any"));
    }

    #[test]
    fn mistakes_say_what_to_write() {
        let message = |text| key(text).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message("203.0.113.1:443").contains("203.0.113.1:443/tcp"));
        assert!(message("203.0.113.1:443/sctp").contains("tcp, udp or any"));
        assert!(message("203.0.113.1/tcp").contains(":*/tcp"));
        assert_eq!(message("203.0.113.1:443/any"), "protocol any has no port; write 203.0.113.1/any");
        assert_eq!(message("203.0.113.1:*/any"), "protocol any has no port; write 203.0.113.1/any");
        for port in ["0", "65536", "+80", "080", "", "http"] {
            assert_eq!(key(&format!("203.0.113.1:{port}/tcp")), Err(VipKeyError::Port(port.into())));
        }
        // 2001:db8::1:443 is itself an address, so there is no port.
        assert!(message("2001:db8::1:443/tcp").contains("has no port"));
        assert!(message("2001:db8:0:0:0:0:0:1:443/tcp").contains("in brackets"));
        for text in ["[203.0.113.1]:443/tcp", "example:443/tcp", "/any", ":443/tcp", "[]:1/tcp"] {
            assert!(matches!(key(text), Err(VipKeyError::Address(_))), "{text}");
        }
    }

    #[test]
    fn json_is_the_same_text() {
        let k = key("203.0.113.1:443/tcp").ok();
        let json = serde_json::to_string(&k).unwrap_or_default();
        assert_eq!(json, "\"203.0.113.1:443/tcp\"");
        assert_eq!(serde_json::from_str::<VipKey>(&json).ok(), k);
        assert!(serde_json::from_str::<VipKey>("\"x\"").is_err());
    }

    fn keys() -> impl Strategy<Value = VipKey> {
        let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Any)];
        (any::<IpAddr>(), proptest::option::of(1..=u16::MAX), protocol).prop_map(
            |(address, port, protocol)| {
                let port = port.filter(|_| protocol != Protocol::Any);
                VipKey { address, port, protocol }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_displayed_parses_back(k in keys()) {
            prop_assert_eq!(key(&k.to_string()), Ok(k));
        }

        #[test]
        fn what_parses_displays_to_itself_again(text in "[0-9a-f:.\\[\\]*]{0,24}/(tcp|udp|any)") {
            if let Ok(k) = key(&text) {
                prop_assert_eq!(key(&k.to_string()), Ok(k));
            }
        }
    }
}
