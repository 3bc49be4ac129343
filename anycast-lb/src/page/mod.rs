//! The status page: the node at a glance, in a browser, read-only.
//!
//! [`sampler`] asks the daemon once a second, whoever looks, and keeps what is served; [`history`] is the last five
//! minutes of it; [`routes`] answers from there, so that readers cost the daemon nothing; [`guard`] says whose questions
//! are answered and how browsers are to treat the answers; [`limit`] is for the one question that is passed on, where a
//! flow goes; [`listener`] takes connections. The page itself is in `assets`.

pub mod guard;
pub mod history;
pub mod limit;
mod listener;
pub mod routes;
pub mod sampler;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::control::server::Api;
use sampler::Samples;

/// Before another attempt to listen.
const RETRY: Duration = Duration::from_secs(5);

/// Serves the page where the configuration wants it.
#[derive(Clone)]
pub struct Page {
    api: Api,
    running: Arc<Mutex<Running>>,
    /// One at a time follows the configuration, so that the last one has seen the newest.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Running {
    listen: Option<SocketAddr>,
    task: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Page {
    /// Serves nothing yet.
    pub fn new(api: Api) -> Self {
        Page { api, running: Arc::default(), turn: Arc::default() }
    }

    /// The configuration in force may be another one. Returns at once; must be called within a runtime.
    pub fn follow(&self) {
        let page = self.clone();
        tokio::spawn(async move {
            let _turn = page.turn.lock().await;
            // The loop, which has called this, answers when it is done. If not, the daemon leaves.
            if let Ok(listen) = page.api.daemon.inspect(|v| v.core.config().page).await {
                page.configure(listen);
            }
        });
    }

    /// Serves here from now on; none = nowhere. To be called within a runtime. Where it is served already it goes on.
    pub fn configure(&self, listen: Option<SocketAddr>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.listen == listen {
            return;
        }
        running.listen = listen;
        let before = running.task.take();
        let api = self.api.clone();
        running.task = Some(tokio::spawn(async move {
            // Its port may be the same.
            if let Some(before) = before {
                before.abort();
                let _ = before.await;
            }
            match listen {
                Some(listen) => run(api, listen).await,
                None => tracing::info!("the status page is not served any more"),
            }
        }));
    }
}

/// Samples and serves, until it is aborted.
async fn run(api: Api, listen: SocketAddr) {
    let samples = Samples::new();
    let serving = async {
        let listener = bound(listen).await;
        tracing::info!(%listen, "serving the status page");
        listener::serve(listener, routes::router(api.clone(), samples.clone())).await;
    };
    // Plots are not empty when the port is free at last.
    tokio::join!(serving, sampler::run(api.clone(), samples.clone()));
}

async fn bound(listen: SocketAddr) -> TcpListener {
    let mut said = None;
    loop {
        match TcpListener::bind(listen).await {
            Ok(listener) => return listener,
            Err(error) => {
                let text = error.to_string();
                if said.as_ref() != Some(&text) {
                    tracing::error!(%listen, %error, "cannot listen: no status page is served");
                    said = Some(text);
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
