//! Routes about other hosts, and what other hosts want to know.

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::{Api, Body, Daemon, Query, answer, trace_here};
use crate::control::api::{self, Answer, AtNode, ErrorAnswer, TraceFlows};
use crate::control::{remote_client, view};
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

/// Here, or at the node that the query names.
pub(super) async fn trace(
    State(api): State<Api>,
    Query(at): Query<AtNode>,
    Body(question): Body<TraceFlows>,
) -> Response {
    let own = api.daemon.inspect(|v| v.core.config().node.clone()).await;
    match (at.node, own) {
        (_, Err(failure)) => answer::<()>(Err(failure)),
        (Some(node), Ok(own)) if node != own => trace_there(&api, &node, &question).await,
        _ => trace_here(State(api.daemon), Body(question)).await,
    }
}

async fn trace_there(api: &Api, node: &str, question: &TraceFlows) -> Response {
    let Some(address) = api.peers.lock().address(node) else {
        let failure = Failure::new(Code::NotFound, format!("there is no peer \"{node}\""))
            .hint("anycast-lb peer list shows those of the configuration");
        return answer::<()>(Err(failure));
    };
    match remote_client::ask(&api.credentials, address, Method::POST, "/v1/trace", Some(question)).await {
        Ok(theirs) => ([(header::CONTENT_TYPE, "application/json")], theirs).into_response(),
        Err(error) => {
            let body = Answer::new(ErrorAnswer { error: error.body(node) });
            (StatusCode::BAD_GATEWAY, Json(body)).into_response()
        }
    }
}
