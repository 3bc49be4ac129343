//! The listener of metrics, by the configuration in force.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::control::serve::serve;
use crate::control::server::Api;
use crate::daemon::{Code, Failure};
use crate::host::check;
use crate::metrics::serve::{LIMITS, router};

/// Serves metrics where the configuration says; clones share it.
#[derive(Clone)]
pub struct Exporter {
    api: Api,
    /// Also keeps two reloads from moving it at once.
    serving: Arc<Mutex<Option<Serving>>>,
}

struct Serving {
    at: SocketAddr,
    task: JoinHandle<()>,
}

/// Takes the address.
///
/// # Errors
/// Somebody else has it, or it is none of this host's.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(Code::Io, format!("metrics.listen = \"{address}\": {error}"))
            .hint("name an address that this host has, and a port that nobody else listens on")
    })
}

impl Exporter {
    /// Serves nothing yet.
    pub fn new(api: Api) -> Self {
        Exporter { api, serving: Arc::default() }
    }

    /// Serves at the address that was taken at the start.
    pub fn start(&self, listener: Option<TcpListener>) {
        let exporter = self.clone();
        tokio::spawn(async move {
            let mut serving = exporter.serving.lock().await;
            *serving = listener.and_then(|l| exporter.serve(l));
        });
    }

    /// The configuration in force may name another address. Returns at once.
    pub fn configure(&self) {
        let exporter = self.clone();
        tokio::spawn(async move {
            let mut serving = exporter.serving.lock().await;
            // The loop, which has called this, answers when the reload is over. If not, the daemon leaves.
            if let Ok(wanted) = exporter.api.daemon.inspect(|v| v.core.config().metrics).await {
                exporter.be_at(wanted, &mut serving).await;
            }
        });
    }

    /// Moves to this address. The old one is given up first, since the new one may contain it
    /// (0.0.0.0 and 127.0.0.1); where the new one cannot be had, the old one is taken again.
    async fn be_at(&self, wanted: Option<SocketAddr>, serving: &mut Option<Serving>) {
        if serving.as_ref().map(|s| s.at) == wanted {
            self.api.metrics.set(None);
            return;
        }
        let before = match serving.take() {
            Some(Serving { at, task }) => {
                task.abort();
                // It ends by being aborted.
                let _ = task.await;
                Some(at)
            }
            None => None,
        };
        let Some(address) = wanted else {
            self.api.metrics.set(None);
            tracing::info!("metrics are no longer served");
            return;
        };
        match bind(address).await {
            Ok(listener) => {
                self.api.metrics.set(None);
                *serving = self.serve(listener);
            }
            Err(failure) => {
                let mut problem = format!("metrics are not served: {failure}; then: anycast-lb reload");
                if let Some(before) = before
                    && let Ok(listener) = bind(before).await
                {
                    problem =
                        format!("metrics are served at {before} still: {failure}; then: anycast-lb reload");
                    *serving = self.serve(listener);
                }
                tracing::error!("{problem}");
                self.api.metrics.set(Some(problem));
            }
        }
    }

    fn serve(&self, listener: TcpListener) -> Option<Serving> {
        let at = listener.local_addr().ok()?;
        tracing::info!("metrics are served at http://{at}/metrics");
        let task = tokio::spawn(serve(listener, router(self.api.clone(), check), LIMITS));
        Some(Serving { at, task })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::daemon::run::Handle;

    fn exporter() -> Exporter {
        // Its loop is never asked.
        Exporter::new(Api::from(Handle::new().0))
    }

    /// An address of this host that nobody has.
    async fn free() -> SocketAddr {
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a port is free");
        listener.local_addr().expect("it is bound")
    }

    #[tokio::test]
    async fn it_moves_to_where_it_is_wanted() {
        let (exporter, mut serving) = (exporter(), None);
        let (first, second) = (free().await, free().await);
        for wanted in [Some(first), Some(first), Some(second), Some(first)] {
            exporter.be_at(wanted, &mut serving).await;
            assert_eq!(serving.as_ref().map(|s| s.at), wanted);
        }
        // The same port on all addresses contains the one that is in use.
        let all = SocketAddr::from((Ipv4Addr::UNSPECIFIED, first.port()));
        exporter.be_at(Some(all), &mut serving).await;
        assert_eq!((serving.as_ref().map(|s| s.at), exporter.api.metrics.get()), (Some(all), None));
        exporter.be_at(None, &mut serving).await;
        assert!(serving.is_none());
        bind(first).await.expect("it was given up");
    }

    #[tokio::test]
    async fn where_it_cannot_be_it_says_why_and_stays_where_it_was() {
        let (exporter, mut serving) = (exporter(), None);
        let taken = bind((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a port is free");
        let taken = (taken.local_addr().expect("it is bound"), taken);
        exporter.be_at(Some(taken.0), &mut serving).await;
        let problem = exporter.api.metrics.get().expect("said");
        assert!(serving.is_none());
        assert!(
            problem.contains(&format!("metrics.listen = \"{}\": Address already in use", taken.0)),
            "{problem}"
        );
        assert!(problem.contains("nobody else listens on"), "{problem}");

        let first = free().await;
        exporter.be_at(Some(first), &mut serving).await;
        assert_eq!(exporter.api.metrics.get(), None);
        exporter.be_at(Some(taken.0), &mut serving).await;
        assert_eq!(serving.as_ref().map(|s| s.at), Some(first), "still there");
        assert!(exporter.api.metrics.get().expect("said").contains(&format!("at {first} still")));
        drop(taken.1);
        exporter.be_at(Some(taken.0), &mut serving).await;
        assert_eq!((serving.map(|s| s.at), exporter.api.metrics.get()), (Some(taken.0), None));
    }
}
