//! Random changes, each of which is valid after those before it. The same in every run.

use anycast_lb_tests::random::Random;

use super::super::address;

/// All backends: more than a slot of one word lists, so that lists must grow as several drain at once.
pub(super) const BACKENDS: usize = 6;
/// From this one on, backends are removed and added again.
const MORTAL: usize = 3;
/// This one always takes new flows: where nobody does, a join does not wait for the other nodes.
pub(super) const NEVER_DRAINED: usize = 0;
/// Weights; the default is the one in the middle.
const WEIGHTS: [u32; 5] = [50, 70, 100, 140, 200];

/// A change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) backend: usize,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Add(u32),
    Weight(u32),
    Drain,
    Undrain,
    Remove,
}

impl Change {
    /// The command that makes it.
    pub(super) fn words(&self) -> Vec<String> {
        let address = address(self.backend);
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        match self.what {
            What::Add(weight) => {
                words(&["backend", "add", &address, "--pool", "web", "--weight", &weight.to_string()])
            }
            What::Weight(weight) => words(&["backend", "weight", &address, &weight.to_string()]),
            What::Drain => words(&["backend", "drain", &address]),
            What::Undrain => words(&["backend", "undrain", &address]),
            What::Remove => words(&["backend", "remove", &address, "--now"]),
        }
    }

    /// The backend whose flows end with it.
    pub(super) fn removes(&self) -> Option<String> {
        matches!(self.what, What::Remove).then(|| format!("be{}", self.backend))
    }
}

/// What is wanted of a backend.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Absent,
    Active(u32),
    Draining(u32),
}

/// So many changes.
pub(super) fn changes(random: &mut Random, count: usize) -> Vec<Change> {
    let mut wishes = [Wish::Active(100); BACKENDS];
    let mut changes = Vec::new();
    while changes.len() < count {
        let backend = random.below(BACKENDS as u32) as usize;
        let weight = WEIGHTS[random.below(WEIGHTS.len() as u32) as usize];
        let (what, wish) = match (wishes[backend], random.below(2)) {
            (Wish::Absent, _) => (What::Add(weight), Wish::Active(weight)),
            (Wish::Active(old), 0) if old != weight => (What::Weight(weight), Wish::Active(weight)),
            (Wish::Active(old), 1) if backend != NEVER_DRAINED => (What::Drain, Wish::Draining(old)),
            (Wish::Draining(_), 0) if backend >= MORTAL => (What::Remove, Wish::Absent),
            (Wish::Draining(old), _) => (What::Undrain, Wish::Active(old)),
            _ => continue,
        };
        wishes[backend] = wish;
        changes.push(Change { backend, what });
    }
    changes
}
