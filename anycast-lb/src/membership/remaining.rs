//! What is known of a draining backend's flows, and from when on it tells that its drain is over.

use std::time::{Duration, Instant};

/// After all other nodes have the drain, what was on its way to the backend arrives for at most so long.
/// Where `fill_time` is shorter, that is taken.
pub const SETTLE: Duration = Duration::from_secs(2);

/// How many flows a draining backend has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// So many.
    pub flows: u64,
    /// When it was asked.
    pub asked: Instant,
    /// Whether there will be more.
    pub others: Others,
}

/// What the other ingress nodes do about a drain here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Others {
    /// One of them gives the backend new flows, or does not say whether it does.
    MayFeed,
    /// Nothing is known of some or all of them: they have the drain, if at all, after `fill_time`.
    #[default]
    Unknown,
    /// All of them have it.
    HaveDrain,
}

/// When a question must have been asked so that no flow in its answer ends the drain; none: not yet.
///
/// `since` is when the drain began here, `everywhere_since` when it was first known that all others have it.
pub(super) fn settled(
    others: Others,
    since: Instant,
    everywhere_since: Option<Instant>,
    fill_time: Duration,
) -> Option<Instant> {
    match others {
        Others::MayFeed => None,
        Others::Unknown => Some(since + fill_time),
        Others::HaveDrain => Some(everywhere_since? + SETTLE.min(fill_time)),
    }
}
