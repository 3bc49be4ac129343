//! How changes of the configuration ended, for those who watch the daemon.

use std::time::Instant;

use super::{Order, Origin};
use crate::daemon::ports::Change;

/// How many changes of one kind were taken and refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Those that are in force and written, or changed nothing.
    pub accepted: u64,
    /// Those that were refused or failed.
    pub refused: u64,
}

/// How changes of the configuration ended since this daemon started. Dry runs do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Edits by command.
    pub commands: Ended,
    /// Readings of the files, by command or SIGHUP. The start is none.
    pub reloads: Ended,
    /// Whether the last reading of the files succeeded; the start counts as one that did.
    pub last_reload_refused: bool,
    /// When the files were last read with success, the start included; none = it is still starting.
    pub last_reload: Option<Instant>,
}

impl Tally {
    /// The start is over, and what the files said is in force.
    pub(super) fn started(&mut self, now: Instant) {
        self.last_reload = Some(now);
    }

    /// An order has ended.
    pub(super) fn ended(&mut self, now: Instant, order: &Order, accepted: bool) {
        if order.dry_run || order.origin == Origin::Start {
            return;
        }
        let ended = match order.change {
            Change::Edits(_) => &mut self.commands,
            Change::Reload => {
                self.last_reload_refused = !accepted;
                self.last_reload = if accepted { Some(now) } else { self.last_reload };
                &mut self.reloads
            }
        };
        if accepted {
            ended.accepted += 1;
        } else {
            ended.refused += 1;
        }
    }
}
