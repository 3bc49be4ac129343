//! Routes about other hosts, and what other hosts want to know.

use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use tokio::sync::Semaphore;

use super::{Api, Daemon, answer};
use crate::control::api;
use crate::control::view;
use crate::daemon::run::View;
use crate::daemon::{Code, Failure};
use crate::flows::count;
use crate::model::{Role, VipKey};

pub(super) async fn peers(State(api): State<Api>) -> Response {
    answer(Ok(api::Peers { peers: api.peers.lock().rows(Instant::now()) }))
}

/// Sockets are walked through by one at a time, whoever asks.
static COUNTING: Semaphore = Semaphore::const_new(1);

pub(super) async fn flows(State(daemon): Daemon) -> Response {
    let counted = async {
        let vips = daemon.inspect(|v| held_vips(v)).await??;
        let _turn = COUNTING.acquire().await.map_err(|_| Failure::unavailable())?;
        let counted = tokio::task::spawn_blocking(move || count(&vips)).await;
        counted
            .map_err(|_| Failure::unavailable())?
            .map_err(|e| Failure::new(Code::Io, e.to_string()))
            .map(view::flows)
    };
    answer(counted.await)
}

/// The VIPs whose flows this host holds.
fn held_vips(view: &View<'_>) -> Result<Vec<VipKey>, Failure> {
    let config = view.core.config();
    if config.role == Role::Ingress {
        let message = "this node is an ingress node: it holds no flows";
        return Err(Failure::new(Code::InvalidRequest, message).hint(
            "ask a backend, on its host: anycast-lb flows; anycast-lb backend list names the backends",
        ));
    }
    Ok(config.vips.iter().map(|v| v.key).collect())
}
