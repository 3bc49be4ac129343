//! The checks of the backends' health as a port.

use anycast_lb_health::checker::{Checker, Subject};
use anycast_lb_health::schedule::Wanted;

use crate::daemon::ports::HealthPort;
use crate::daemon::run::Handle;
use crate::membership::Key;

/// The task that makes the checks.
pub struct Checks(Checker<Key>);

impl Checks {
    /// Starts the task, which tells the loop what it finds. It takes the next verdicts when the loop has taken
    /// those before: while tables are being written, they gather, and are one step together.
    pub fn start(daemon: Handle) -> Self {
        let (checker, mut verdicts) = Checker::start();
        tokio::spawn(async move {
            while let Some(batch) = verdicts.recv().await {
                if daemon.checked(batch).await.is_err() {
                    return;
                }
            }
        });
        Checks(checker)
    }
}

impl HealthPort for Checks {
    fn set_checks(&mut self, checks: Vec<Wanted<Key, Subject>>) {
        self.0.set(checks);
    }
}
