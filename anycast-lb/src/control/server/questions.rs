//! Routes that ask what becomes of packets, here or at another node, and what became of them.

use axum::Json;
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::{Api, Body, Daemon, Query, answer, look, then};
use crate::control::api::{
    Answer, AtNode, ErrorAnswer, ExplainFrames, IdentityCount, MAX_FLOWS, Stats, TraceFlows,
};
use crate::control::{remote_client, view};
use crate::daemon::run::View;
use crate::daemon::{Code, Failure};
use crate::model::Role;

pub(super) async fn stats(State(api): State<Api>) -> Response {
    let counted = api.identity.read();
    let counted = IdentityCount {
        answered: counted.answered,
        odd: counted.odd,
        limited: counted.limited,
        unsent: counted.unsent,
    };
    let stats = move |view: &mut View<'_>| {
        let is_asked = view.core.config().role == Role::Ingress;
        view::stats(view).map(|stats| Stats { identity: is_asked.then_some(counted), ..stats })
    };
    look(State(api.daemon), stats).await
}

pub(super) async fn trace_here(daemon: Daemon, Body(question): Body<TraceFlows>) -> Response {
    if question.flows.len() > MAX_FLOWS {
        let message = format!("{} flows in one question", question.flows.len());
        return answer::<()>(Err(Failure::new(Code::InvalidRequest, message)
            .hint(format!("at most {MAX_FLOWS}: ask again for the rest"))));
    }
    if let Some(at) = question.at {
        return answer(then::trace(&daemon.0, question.flows, &at).await);
    }
    look(daemon, move |v| view::trace(v, question.flows)).await
}

pub(super) async fn explain_here(daemon: Daemon, Body(question): Body<ExplainFrames>) -> Response {
    look(daemon, move |v| view::explain(v, &question)).await
}

/// Here, or at the node that the query names.
pub(super) async fn trace(
    State(api): State<Api>,
    Query(at): Query<AtNode>,
    Body(question): Body<TraceFlows>,
) -> Response {
    match other(&api, at).await {
        Ok(Some(node)) => ask_there(&api, &node, "/v1/trace", &question).await,
        Ok(None) => trace_here(State(api.daemon), Body(question)).await,
        Err(failure) => answer::<()>(Err(failure)),
    }
}

/// Here, or at the node that the query names.
pub(super) async fn explain(
    State(api): State<Api>,
    Query(at): Query<AtNode>,
    Body(question): Body<ExplainFrames>,
) -> Response {
    match other(&api, at).await {
        Ok(Some(node)) => ask_there(&api, &node, "/v1/explain", &question).await,
        Ok(None) => explain_here(State(api.daemon), Body(question)).await,
        Err(failure) => answer::<()>(Err(failure)),
    }
}

/// The node that is meant, if it is not this one.
async fn other(api: &Api, at: AtNode) -> Result<Option<String>, Failure> {
    let own = api.daemon.inspect(|v| v.core.config().node.clone()).await?;
    Ok(at.node.filter(|node| *node != own))
}

async fn ask_there<Q: Serialize>(api: &Api, node: &str, path: &str, question: &Q) -> Response {
    let Some(address) = api.peers.lock().address(node) else {
        let failure = Failure::new(Code::NotFound, format!("there is no peer \"{node}\""))
            .hint("anycast-lb peer list shows those of the configuration");
        return answer::<()>(Err(failure));
    };
    match remote_client::ask(&api.credentials, address, Method::POST, path, Some(question)).await {
        Ok(theirs) => ([(header::CONTENT_TYPE, "application/json")], theirs).into_response(),
        Err(error) => {
            let body = Answer::new(ErrorAnswer { error: error.body(node) });
            (StatusCode::BAD_GATEWAY, Json(body)).into_response()
        }
    }
}
