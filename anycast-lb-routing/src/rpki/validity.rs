//! Route origin validation (RFC 6811) over a set of validated ROA payloads (VRPs).

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// How many covering VRPs an [`Answer`] names.
pub const MOST_EVIDENCE: usize = 16;

/// A validated ROA payload: this AS may originate the prefix and its parts up to a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vrp {
    prefix: IpNet,
    max_length: u8,
    origin: u32,
}

impl Vrp {
    /// None, unless the prefix has no host bits and `max_length` lies between its length and its
    /// family's longest.
    pub fn new(prefix: IpNet, max_length: u8, origin: u32) -> Option<Self> {
        let fits =
            prefix.trunc() == prefix && (prefix.prefix_len()..=prefix.max_prefix_len()).contains(&max_length);
        fits.then_some(Vrp { prefix, max_length, origin })
    }

    /// The prefix.
    pub fn prefix(&self) -> IpNet {
        self.prefix
    }

    /// The longest part of it that may be announced.
    pub fn max_length(&self) -> u8 {
        self.max_length
    }

    /// The AS. 0 = nobody (RFC 7607).
    pub fn origin(&self) -> u32 {
        self.origin
    }
}

impl fmt::Display for Vrp {
    /// `203.0.113.0/24-25 AS64500`; without `-25` where no parts are allowed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.prefix)?;
        if self.max_length != self.prefix.prefix_len() {
            write!(f, "-{}", self.max_length)?;
        }
        write!(f, " AS{}", self.origin)
    }
}

/// What validation finds (RFC 6811 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Validity {
    /// A VRP matches: prefix, length and origin.
    Valid,
    /// No VRP covers the prefix.
    NotFound,
    /// VRPs cover the prefix, and none matches.
    Invalid,
}

impl Validity {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Validity::Valid => "valid",
            Validity::NotFound => "not found",
            Validity::Invalid => "invalid",
        }
    }
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What one set of VRPs says about a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The result.
    pub validity: Validity,
    /// VRPs that cover the prefix, the shortest first, at most [`MOST_EVIDENCE`]; of a valid route the one that
    /// matches comes first.
    pub covering: Vec<Vrp>,
}

/// One VRP as it is kept. All of one prefix lie together, ordered by AS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry<A> {
    address: A,
    length: u8,
    origin: u32,
    max_length: u8,
}

/// Of one family.
#[derive(Clone, Debug, Default)]
struct Family<A> {
    entries: BTreeSet<Entry<A>>,
    /// How many entries have each length: a look-up asks only for lengths that there are.
    lengths: Vec<usize>,
}

/// Addresses as numbers that are cut to a length.
trait Address: Copy + Ord {
    fn cut(self, length: u8) -> Self;
}

impl Address for u32 {
    fn cut(self, length: u8) -> Self {
        self & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
    }
}

/// In halves: a `u128` would make each entry a third larger.
impl Address for (u64, u64) {
    fn cut(self, length: u8) -> Self {
        let mask = |bits: u32| u64::MAX.checked_shl(64 - bits.min(64)).unwrap_or(0);
        let length = u32::from(length);
        (self.0 & mask(length), self.1 & mask(length.saturating_sub(64)))
    }
}

impl<A: Address> Family<A> {
    fn insert(&mut self, entry: Entry<A>) -> bool {
        let new = self.entries.insert(entry);
        if new {
            let length = usize::from(entry.length);
            if self.lengths.len() <= length {
                self.lengths.resize(length + 1, 0);
            }
            self.lengths[length] += 1;
        }
        new
    }

    fn remove(&mut self, entry: &Entry<A>) -> bool {
        let was = self.entries.remove(entry);
        if was {
            self.lengths[usize::from(entry.length)] -= 1;
        }
        was
    }

    /// Whether one matches, and what covers.
    fn validate(&self, address: A, length: u8, origin: u32) -> (Option<Entry<A>>, Vec<Entry<A>>) {
        let mut covering = Vec::new();
        for shorter in (0..=length).filter(|l| self.lengths.get(usize::from(*l)).is_some_and(|n| *n > 0)) {
            let entry = |origin, max_length| Entry {
                address: address.cut(shorter),
                length: shorter,
                origin,
                max_length,
            };
            // RFC 7607 and RFC 6483 §4: a VRP of AS 0 matches no route.
            let matching = self.entries.range(entry(origin, length)..=entry(origin, u8::MAX)).next();
            if let Some(matching) = matching.filter(|_| origin != 0) {
                return (Some(*matching), covering);
            }
            let room = MOST_EVIDENCE - covering.len();
            covering.extend(self.entries.range(entry(0, 0)..=entry(u32::MAX, u8::MAX)).take(room));
        }
        (None, covering)
    }
}

/// The data of one validator.
///
/// An entry takes 12 bytes (IPv4) or 24 (IPv6), and the tree about half as much again. A look-up takes a walk down
/// the tree for each length that occurs, up to that of the prefix.
#[derive(Clone, Debug, Default)]
pub struct VrpSet {
    v4: Family<u32>,
    v6: Family<(u64, u64)>,
}

impl VrpSet {
    /// An empty one.
    pub fn new() -> Self {
        VrpSet::default()
    }

    /// How many VRPs it has.
    pub fn len(&self) -> usize {
        self.v4.entries.len() + self.v6.entries.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts one in; false if it was there.
    pub fn insert(&mut self, vrp: Vrp) -> bool {
        match split(vrp) {
            Split::V4(entry) => self.v4.insert(entry),
            Split::V6(entry) => self.v6.insert(entry),
        }
    }

    /// Takes one out; false if it was not there.
    pub fn remove(&mut self, vrp: Vrp) -> bool {
        match split(vrp) {
            Split::V4(entry) => self.v4.remove(&entry),
            Split::V6(entry) => self.v6.remove(&entry),
        }
    }

    /// Validates a route of this prefix and origin AS (RFC 6811 §2). AS 0 never is valid.
    pub fn validate(&self, prefix: IpNet, origin: u32) -> Answer {
        let length = prefix.prefix_len();
        let (matching, covering): (Option<Vrp>, Vec<Vrp>) = match prefix {
            IpNet::V4(net) => {
                let (matching, covering) = self.v4.validate(net.network().to_bits(), length, origin);
                (matching.and_then(join_v4), covering.into_iter().filter_map(join_v4).collect())
            }
            IpNet::V6(net) => {
                let (matching, covering) = self.v6.validate(halves(net.network()), length, origin);
                (matching.and_then(join_v6), covering.into_iter().filter_map(join_v6).collect())
            }
        };
        let validity = match (&matching, covering.is_empty()) {
            (Some(_), _) => Validity::Valid,
            (None, true) => Validity::NotFound,
            (None, false) => Validity::Invalid,
        };
        Answer { validity, covering: matching.into_iter().chain(covering).take(MOST_EVIDENCE).collect() }
    }
}

impl FromIterator<Vrp> for VrpSet {
    fn from_iter<T: IntoIterator<Item = Vrp>>(vrps: T) -> Self {
        let mut set = VrpSet::new();
        for vrp in vrps {
            set.insert(vrp);
        }
        set
    }
}

enum Split {
    V4(Entry<u32>),
    V6(Entry<(u64, u64)>),
}

fn split(vrp: Vrp) -> Split {
    let Vrp { prefix, max_length, origin } = vrp;
    let length = prefix.prefix_len();
    match prefix.network() {
        IpAddr::V4(a) => Split::V4(Entry { address: a.to_bits(), length, origin, max_length }),
        IpAddr::V6(a) => Split::V6(Entry { address: halves(a), length, origin, max_length }),
    }
}

fn halves(address: Ipv6Addr) -> (u64, u64) {
    let bits = address.to_bits();
    ((bits >> 64) as u64, bits as u64)
}

/// What was split is put together again without fail.
fn join_v4(entry: Entry<u32>) -> Option<Vrp> {
    let prefix = Ipv4Net::new(entry.address.into(), entry.length).ok()?;
    Vrp::new(prefix.into(), entry.max_length, entry.origin)
}

fn join_v6(entry: Entry<(u64, u64)>) -> Option<Vrp> {
    let bits = u128::from(entry.address.0) << 64 | u128::from(entry.address.1);
    let prefix = Ipv6Net::new(bits.into(), entry.length).ok()?;
    Vrp::new(prefix.into(), entry.max_length, entry.origin)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    fn vrp(text: &str, max_length: u8, origin: u32) -> Vrp {
        Vrp::new(net(text), max_length, origin).expect("a VRP")
    }

    #[test]
    fn the_three_results_of_rfc_6811() {
        let set = VrpSet::from_iter([
            vrp("203.0.113.0/24", 24, 64500),
            vrp("198.51.0.0/16", 24, 64501),
            vrp("2001:db8::/32", 48, 64500),
        ]);
        let result = |prefix, origin| set.validate(net(prefix), origin).validity;
        assert_eq!(result("203.0.113.0/24", 64500), Validity::Valid);
        // Covered, by another AS or longer than it may be.
        assert_eq!(result("203.0.113.0/24", 64501), Validity::Invalid);
        assert_eq!(result("203.0.113.0/25", 64500), Validity::Invalid);
        assert_eq!(result("198.51.100.0/24", 64501), Validity::Valid);
        assert_eq!(result("198.51.100.0/25", 64501), Validity::Invalid);
        // A VRP says nothing of what is larger than its prefix.
        assert_eq!(result("203.0.112.0/23", 64500), Validity::NotFound);
        assert_eq!(result("192.0.2.0/24", 64500), Validity::NotFound);
        assert_eq!(result("2001:db8:1::/48", 64500), Validity::Valid);
        assert_eq!(result("2001:db8:1::/49", 64500), Validity::Invalid);
        assert_eq!(result("2001:db9::/48", 64500), Validity::NotFound);
    }

    #[test]
    fn the_evidence_names_who_may() {
        let set = VrpSet::from_iter([
            vrp("203.0.0.0/16", 16, 64502),
            vrp("203.0.113.0/24", 25, 64501),
            vrp("192.0.2.0/24", 24, 64503),
        ]);
        let answer = set.validate(net("203.0.113.0/24"), 64500);
        let covering: Vec<String> = answer.covering.iter().map(ToString::to_string).collect();
        assert_eq!(covering, ["203.0.0.0/16 AS64502", "203.0.113.0/24-25 AS64501"]);
        let answer = set.validate(net("203.0.113.0/24"), 64501);
        assert_eq!(answer.validity, Validity::Valid);
        assert_eq!(answer.covering.first().map(Vrp::origin), Some(64501));
    }

    #[test]
    fn a_vrp_of_as_0_forbids_and_allows_nobody() {
        let set = VrpSet::from_iter([vrp("203.0.113.0/24", 24, 0)]);
        assert_eq!(set.validate(net("203.0.113.0/24"), 64500).validity, Validity::Invalid);
        assert_eq!(set.validate(net("203.0.113.0/24"), 0).validity, Validity::Invalid);
    }

    #[test]
    fn evidence_is_bounded_and_hides_no_match() {
        let mut set: VrpSet = (1..=100_000).map(|asn| vrp("203.0.113.0/24", 24, asn)).collect();
        let answer = set.validate(net("203.0.113.0/24"), 200_000);
        assert_eq!((answer.validity, answer.covering.len()), (Validity::Invalid, MOST_EVIDENCE));
        set.insert(vrp("203.0.113.0/24", 24, 200_000));
        assert_eq!(set.validate(net("203.0.113.0/24"), 200_000).validity, Validity::Valid);
    }

    #[test]
    fn what_is_no_vrp_is_refused() {
        assert_eq!(Vrp::new(net("203.0.113.0/24"), 23, 1), None);
        assert_eq!(Vrp::new(net("203.0.113.0/24"), 33, 1), None);
        assert_eq!(Vrp::new(net("203.0.113.1/24"), 24, 1), None);
        assert!(Vrp::new(net("::/0"), 128, 1).is_some());
    }

    /// The definition of RFC 6811 §2, VRP by VRP.
    fn plain(vrps: &[Vrp], prefix: IpNet, origin: u32) -> Validity {
        let covers = |v: &&Vrp| v.prefix().contains(&prefix);
        let matches = |v: &Vrp| v.max_length() >= prefix.prefix_len() && v.origin() == origin && origin != 0;
        match (vrps.iter().filter(covers).any(matches), vrps.iter().any(|v| covers(&v))) {
            (true, _) => Validity::Valid,
            (false, true) => Validity::Invalid,
            (false, false) => Validity::NotFound,
        }
    }

    /// Prefixes that cover each other often.
    fn a_prefix() -> impl Strategy<Value = IpNet> {
        let v4 = (0u32..4, prop_oneof![Just(0u8), 6u8..=10, 31u8..=32]).prop_map(|(bits, length)| {
            IpNet::from(Ipv4Net::new((bits << 22 | bits).into(), length).expect("a length")).trunc()
        });
        let v6 = (0u128..4, prop_oneof![Just(0u8), 62u8..=66, 127u8..=128]).prop_map(|(bits, length)| {
            IpNet::from(Ipv6Net::new((bits << 63 | bits).into(), length).expect("a length")).trunc()
        });
        prop_oneof![v4, v6]
    }

    fn a_vrp() -> impl Strategy<Value = Vrp> {
        (a_prefix(), 0u8..=4, 0u32..4).prop_map(|(prefix, more, origin)| {
            let max = (prefix.prefix_len() + more).min(prefix.max_prefix_len());
            Vrp::new(prefix, max, origin).expect("a VRP")
        })
    }

    proptest! {
        #[test]
        fn validation_is_that_of_the_definition(
            vrps in prop::collection::vec(a_vrp(), 0..40),
            gone in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
            routes in prop::collection::vec((a_prefix(), 0u32..4), 1..20),
        ) {
            let mut set: VrpSet = vrps.iter().copied().collect();
            let mut left = vrps.clone();
            left.sort();
            left.dedup();
            for index in gone.iter().filter(|_| !vrps.is_empty()) {
                let vrp = vrps[index.index(vrps.len())];
                prop_assert_eq!(set.remove(vrp), left.contains(&vrp));
                left.retain(|v| *v != vrp);
            }
            prop_assert_eq!(set.len(), left.len());
            for (prefix, origin) in routes {
                let answer = set.validate(prefix, origin);
                prop_assert_eq!(answer.validity, plain(&left, prefix, origin), "{} AS{}", prefix, origin);
                prop_assert!(answer.covering.iter().all(|v| left.contains(v) && v.prefix().contains(&prefix)));
            }
        }
    }
}
