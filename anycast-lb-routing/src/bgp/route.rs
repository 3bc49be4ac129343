//! What is announced, and with which attributes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;

/// GRACEFUL_SHUTDOWN (RFC 8326 §5): whoever honours it prefers every other route.
pub const GRACEFUL_SHUTDOWN: Community = Community::Standard(65535, 0);

/// A community. Displays, and is parsed, as `64500:100` or `64500:1:2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Community {
    /// Two numbers of 16 bits (RFC 1997).
    Standard(u16, u16),
    /// Three of 32 bits (RFC 8092).
    Large(u32, u32, u32),
}

/// What is no community.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no community: write two numbers up to 65535, `64500:100`, or three for a large one, `64500:1:2`"
)]
pub struct NoCommunity(String);

impl FromStr for Community {
    type Err = NoCommunity;

    fn from_str(text: &str) -> Result<Self, NoCommunity> {
        let wrong = || NoCommunity(text.to_owned());
        fn number<T: FromStr>(part: &str) -> Option<T> {
            // `+1` is a number to the standard library.
            part.parse().ok().filter(|_| part.bytes().all(|b| b.is_ascii_digit()))
        }
        let parts: Vec<&str> = text.split(':').collect();
        match parts[..] {
            [a, b] => number(a).zip(number(b)).map(|(a, b)| Community::Standard(a, b)),
            [a, b, c] => number(a).zip(number(b)).zip(number(c)).map(|((a, b), c)| Community::Large(a, b, c)),
            _ => None,
        }
        .ok_or_else(wrong)
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Community::Standard(a, b) => write!(f, "{a}:{b}"),
            Community::Large(a, b, c) => write!(f, "{a}:{b}:{c}"),
        }
    }
}

/// What a route carries besides origin and next hop.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attributes {
    /// How many times the own AS stands in the path before the one that eBGP demands. To neighbours of the
    /// own AS it is not said: they would take the route for a loop.
    pub prepend: u8,
    /// MULTI_EXIT_DISC; none = not sent.
    pub med: Option<u32>,
    /// LOCAL_PREF, for neighbours of the own AS alone; none = 100.
    pub local_pref: Option<u32>,
    /// Communities of both kinds.
    pub communities: Vec<Community>,
}

/// What a node says while it is being drained, so that routers prefer others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainMarks {
    /// Send the community GRACEFUL_SHUTDOWN (RFC 8326), and LOCAL_PREF 0 to neighbours of the own AS.
    pub graceful_shutdown: bool,
    /// This much longer an AS path.
    pub prepend: u8,
    /// This MED.
    pub med: Option<u32>,
}

impl Default for DrainMarks {
    fn default() -> Self {
        DrainMarks { graceful_shutdown: true, prepend: 0, med: None }
    }
}

impl DrainMarks {
    /// The attributes of a route of which a router shall prefer every other.
    pub fn applied(&self, to: &Attributes) -> Attributes {
        let mut marked = Attributes {
            prepend: to.prepend.saturating_add(self.prepend),
            med: self.med.or(to.med),
            ..to.clone()
        };
        if self.graceful_shutdown {
            marked.local_pref = Some(0);
            if !marked.communities.contains(&GRACEFUL_SHUTDOWN) {
                marked.communities.push(GRACEFUL_SHUTDOWN);
            }
        } else if self.prepend > 0 {
            // A path cannot be made longer within an AS.
            marked.local_pref = Some(0);
        }
        marked
    }
}

/// The routes to be announced.
pub type Routes = BTreeMap<IpNet, Attributes>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_are_read_as_they_are_written() {
        for text in ["64500:100", "0:0", "65535:65535", "4294967295:1:2"] {
            assert_eq!(text.parse::<Community>().map(|c| c.to_string()).as_deref(), Ok(text));
        }
        for text in
            ["", "1", "65536:1", "1:65536", "1:2:3:4", "4294967296:1:2", "+1:2", "a:b", "1:-1", "1: 2"]
        {
            assert!(text.parse::<Community>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_drain_marks_what_is_there_and_keeps_the_rest() {
        let plain = Attributes {
            prepend: 1,
            med: Some(5),
            local_pref: Some(200),
            communities: vec![Community::Standard(64500, 100)],
        };
        let marks = DrainMarks { graceful_shutdown: true, prepend: 3, med: None };
        let marked = marks.applied(&plain);
        assert_eq!((marked.prepend, marked.med, marked.local_pref), (4, Some(5), Some(0)));
        assert_eq!(marked.communities, [Community::Standard(64500, 100), GRACEFUL_SHUTDOWN]);
        assert_eq!(marks.applied(&marked).communities, marked.communities, "it is said once");

        let quiet = DrainMarks { graceful_shutdown: false, prepend: 0, med: Some(100) };
        let marked = quiet.applied(&plain);
        assert_eq!(marked, Attributes { med: Some(100), ..plain });
    }
}
