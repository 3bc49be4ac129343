//! The service manager and the API as a port.

use sd_notify::NotifyState;
use tokio::net::UnixListener;

use crate::control::serve::{Limits, serve};
use crate::control::server;
use crate::daemon::ports::HostPort;
use crate::daemon::run::Handle;
use crate::host::{Finding, check};
use crate::model::Config;

/// Tells systemd (`NOTIFY_SOCKET`), and serves the API from the first readiness on.
pub struct Host {
    /// Until it is served.
    waiting: Option<(UnixListener, Handle)>,
}

impl Host {
    /// Will serve requests to `handle`.
    pub fn new(listener: UnixListener, handle: Handle) -> Self {
        Host { waiting: Some((listener, handle)) }
    }
}

impl HostPort for Host {
    fn ready(&mut self) {
        if let Some((listener, handle)) = self.waiting.take() {
            tokio::spawn(serve(listener, server::router(handle), Limits::default()));
        }
        tracing::info!("ready");
        notify(&[NotifyState::Ready]);
    }

    fn reloading(&mut self, begins: bool) {
        if !begins {
            notify(&[NotifyState::Ready]);
            return;
        }
        // systemd wants the moment, to tell this reload's end from an earlier one's.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "no monotonic clock"),
        }
    }

    fn stopping(&mut self) {
        notify(&[NotifyState::Stopping]);
    }

    fn findings(&self, config: &Config) -> Vec<Finding> {
        check(config)
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
