//! How answers spread over servers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Named, Outcome, Reply};

/// Who answered how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// Servers, or their backends, the most frequent first.
    pub groups: Vec<Group>,
    /// Ports from where no answer came.
    pub silent: usize,
    /// Answers without a name by what they said instead.
    pub nameless: BTreeMap<String, usize>,
    /// Questions that could not be put, by why.
    pub failed: BTreeMap<String, usize>,
}

/// Answers of one server, or with one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Who it is.
    pub name: Named,
    /// How many ports it answered.
    pub count: usize,
    /// How long answers took.
    pub latency: Latency,
}

/// How long answers took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// The shortest.
    pub least: Duration,
    /// The one in the middle.
    pub median: Duration,
}

impl Spread {
    /// Counts.
    pub fn of(replies: &[Reply]) -> Self {
        let mut spread = Spread::default();
        let mut named: BTreeMap<&Named, Vec<Duration>> = BTreeMap::new();
        for reply in replies {
            match &reply.outcome {
                Outcome::Named { name, latency } => named.entry(name).or_default().push(*latency),
                Outcome::Nameless(code) => *spread.nameless.entry(code.clone()).or_default() += 1,
                Outcome::Silent => spread.silent += 1,
                Outcome::Failed(why) => *spread.failed.entry(why.clone()).or_default() += 1,
            }
        }
        spread.groups = named
            .into_iter()
            .filter_map(|(name, mut times)| {
                let latency = Latency::of(&mut times)?;
                Some(Group { name: name.clone(), count: times.len(), latency })
            })
            .collect();
        spread.groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        spread
    }

    /// Ports that were answered with a name.
    pub fn named(&self) -> usize {
        self.groups.iter().map(|group| group.count).sum()
    }
}

impl Latency {
    /// Of these times; none of none.
    pub fn of(times: &mut [Duration]) -> Option<Self> {
        times.sort_unstable();
        Some(Latency { least: *times.first()?, median: *times.get((times.len() - 1) / 2)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_counted_and_ordered() {
        let reply = |text: &str, ms| Reply {
            port: Some(1),
            outcome: Outcome::Named {
                name: Named::read(text.as_bytes()),
                latency: Duration::from_millis(ms),
            },
        };
        let mut replies =
            vec![reply("a pop=x", 5), reply("b pop=x", 9), reply("b pop=x", 1), reply("b pop=x", 2)];
        for outcome in [
            Outcome::Silent,
            Outcome::Silent,
            Outcome::Nameless("REFUSED".to_owned()),
            Outcome::Failed("no".to_owned()),
        ] {
            replies.push(Reply { port: None, outcome });
        }
        let spread = Spread::of(&replies);
        let found: Vec<_> = spread.groups.iter().map(|g| (g.name.text.as_str(), g.count)).collect();
        assert_eq!(found, [("b pop=x", 3), ("a pop=x", 1)]);
        let ms = Duration::from_millis;
        assert_eq!(spread.groups[0].latency, Latency { least: ms(1), median: ms(2) });
        assert_eq!((spread.silent, spread.named()), (2, 4));
        assert_eq!((spread.nameless["REFUSED"], spread.failed["no"]), (1, 1));
        assert_eq!(Latency::of(&mut []), None);
    }
}
