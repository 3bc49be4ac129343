//! Which orders are taken, and which are refused before anything is tried.

use super::{Core, Order, Origin};
use crate::config::edit::Edit;
use crate::daemon::ports::Change;
use crate::daemon::{Code, Failure};
use crate::model::Role;

impl Core {
    /// Puts an order in the queue. A reload by signal that waits there already will read what a
    /// second one would, so a storm of SIGHUPs is one reload.
    pub(super) fn enqueue(&mut self, order: Order) {
        let waits = order.origin == Origin::Signal && self.queue.iter().any(|o| o.origin == Origin::Signal);
        if !waits {
            self.queue.push_back(order);
        }
    }

    /// Whether the order may be tried at all, as things stand now.
    pub(super) fn admissible(&self, order: &Order) -> Result<(), Failure> {
        if let Some(expected) = order.expect_generation
            && expected != self.generation
        {
            return Err(Failure::new(
                Code::GenerationMismatch,
                format!("the configuration is at generation {}, not {expected}", self.generation),
            )
            .hint("look at what changed, then repeat the command"));
        }
        if matches!(order.change, Change::Edits(_)) && !self.config.control.write_back {
            return Err(Failure::new(
                Code::WriteBackOff,
                "changes by command are refused: write_back = false in [control]",
            )
            .hint("change the file where it is kept, then: anycast-lb reload"));
        }
        if self.config.role == Role::Backend && changes_pools(&order.change) {
            return Err(Failure::new(
                Code::InvalidRequest,
                "this node is a backend: pools and their backends are of no effect here",
            )
            .hint("change them on the ingress nodes: anycast-lb --socket PATH backend ..."));
        }
        Ok(())
    }
}

/// Whether some edit is about pools or their backends; VIPs are for both roles.
fn changes_pools(change: &Change) -> bool {
    match change {
        Change::Reload => false,
        Change::Edits(edits) => {
            edits.iter().any(|e| !matches!(e, Edit::AddVip { .. } | Edit::RemoveVip { .. }))
        }
    }
}
