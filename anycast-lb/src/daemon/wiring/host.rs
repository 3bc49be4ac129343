//! The service manager and the API as a port.

use sd_notify::NotifyState;
use tokio::net::{TcpListener, UnixListener};

use super::exporter::Exporter;
use super::flow_log::Logging;
use super::identity::Answers;
use super::routes::Watches;
use crate::control::remote;
use crate::control::serve::{Limits, serve};
use crate::control::server::{self, Api};
use crate::daemon::ports::HostPort;
use crate::host::{Finding, check};
use crate::model::{Config, Role};
use crate::page::Page;
use crate::peers::driver;

/// Tells systemd (`NOTIFY_SOCKET`), and serves the API and metrics from the first readiness on.
pub struct Host {
    api: Api,
    watches: Watches,
    exporter: Exporter,
    page: Page,
    logging: Logging,
    answers: Answers,
    /// Until it is served.
    waiting: Option<Served>,
}

/// Where the API and metrics are served.
pub struct Served {
    /// To the command line.
    pub socket: UnixListener,
    /// To other hosts.
    pub remote: Option<TcpListener>,
    /// Metrics.
    pub metrics: Option<TcpListener>,
    /// An ingress node asks others, too.
    pub role: Role,
}

impl Host {
    /// Will serve this.
    pub fn new(api: Api, answers: Answers, served: Served) -> Self {
        let watches = Watches::new(api.daemon.clone(), api.rpki.clone(), api.station.clone());
        let exporter = Exporter::new(api.clone());
        let page = Page::new(api.clone());
        let logging = Logging::new(api.daemon.clone(), api.hub.clone(), api.flow_log.clone());
        Host { api, watches, exporter, page, logging, answers, waiting: Some(served) }
    }

    /// New files under the names in force, or new names: connections made from now on use them.
    fn read_certificates_again(&self) {
        let Api { daemon, credentials, .. } = self.api.clone();
        tokio::spawn(async move {
            // The loop, which has called this, answers when the reload is over.
            let Ok(tls) = daemon.inspect(|v| v.core.config().control.tls.clone()).await else { return };
            match credentials.reload(tls.as_ref()) {
                Ok(()) if tls.is_some() => tracing::info!(cause = "reload", "certificates read again"),
                Ok(()) => {}
                Err(error) => tracing::error!(cause = %error, "the certificates in force stay"),
            }
        });
    }
}

impl HostPort for Host {
    fn ready(&mut self) {
        if let Some(Served { socket, remote, metrics, role }) = self.waiting.take() {
            tokio::spawn(serve(socket, server::router(self.api.clone()), Limits::default()));
            let Api { daemon, peers, credentials, .. } = self.api.clone();
            if let Some(listener) = remote {
                let router = server::remote_router(self.api.clone());
                tokio::spawn(remote::serve(listener, credentials.clone(), router));
            }
            self.exporter.start(metrics);
            if role == Role::Ingress {
                tokio::spawn(driver::run(peers, credentials, daemon));
                self.watches.configure();
            }
            self.page.follow();
        }
        self.logging.configure();
        tracing::info!(cause = "the data plane is in force", "ready");
        notify(&[NotifyState::Ready]);
    }

    fn reloading(&mut self, begins: bool) {
        if !begins {
            self.read_certificates_again();
            self.watches.configure();
            self.exporter.configure();
            self.page.follow();
            self.logging.configure();
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

    fn in_force(&mut self, config: &Config) {
        self.answers.configure(config);
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
