//! How a change ends.

use std::time::Instant;

use super::{Action, Core, Order, Origin, Outcome};
use crate::daemon::Failure;
use crate::daemon::ports::Change;

impl Core {
    /// Ends an order: answers, or says so in the log.
    pub(super) fn finish(
        &mut self,
        now: Instant,
        order: &Order,
        result: Result<Outcome, Failure>,
        out: &mut Vec<Action>,
    ) {
        self.tally.ended(now, order, result.is_ok());
        if order.change == Change::Reload && !order.dry_run && order.origin != Origin::Start {
            out.push(Action::Reloading(false));
        }
        if let Err(failure) = &result {
            tracing::warn!(code = failure.code.name(), cause = cause(order), "change refused: {failure}");
        }
        if let Origin::Caller(ticket) = order.origin {
            out.push(Action::Reply(ticket, result));
        }
    }
}

/// Whose wish it was, for the log.
pub(super) fn cause(order: &Order) -> &'static str {
    match (order.origin, &order.change) {
        (Origin::Start, _) => "start",
        (Origin::Signal, _) => "SIGHUP",
        (Origin::Caller(_), Change::Reload) => "reload",
        (Origin::Caller(_), Change::Edits(_)) => "command",
    }
}

/// A failure after which a second one kept the old state from being put back.
pub(super) fn not_rolled_back(cause: Failure, second: &Failure) -> Failure {
    Failure {
        message: format!("{}; and the old state could not be put back: {}", cause.message, second.message),
        hint: Some("restart the daemon: it puts in force what the file says".to_owned()),
        ..cause
    }
}
