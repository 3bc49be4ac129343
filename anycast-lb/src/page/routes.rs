//! What is asked and answered: files of the page, its state and history, and where a flow goes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::{Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

use super::limit::Bucket;
use super::sampler::Samples;
use crate::control::api::{Answer, FlowSpec};
use crate::control::server::{Api, error_answer};
use crate::control::view;
use crate::daemon::run::Handle;
use crate::daemon::{Code, Failure};

/// Traces at once, and a second in the long run, of all readers together: each is a run of the program.
const TRACES: (u32, u32) = (10, 5);

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const ICON: &str = "image/svg+xml";
const JSON: &str = "application/json";

/// How old the state is when it is given out, in milliseconds.
const AGE: HeaderName = HeaderName::from_static("x-age-ms");

#[derive(Clone)]
struct Shared {
    daemon: Handle,
    samples: Samples,
    traces: Arc<Mutex<Bucket>>,
}

/// All routes; GET and HEAD alone.
pub fn router(api: Api, samples: Samples) -> Router {
    let traces = Arc::new(Mutex::new(Bucket::new(Instant::now(), TRACES.0, TRACES.1)));
    Router::new()
        .route("/", get(async || file(HTML, include_str!("assets/index.html"))))
        .route("/app.js", get(async || file(SCRIPT, include_str!("assets/app.js"))))
        .route("/plot.js", get(async || file(SCRIPT, include_str!("assets/plot.js"))))
        .route("/table.js", get(async || file(SCRIPT, include_str!("assets/table.js"))))
        .route("/text.js", get(async || file(SCRIPT, include_str!("assets/text.js"))))
        .route("/style.css", get(async || file(STYLE, include_str!("assets/style.css"))))
        .route("/icon.svg", get(async || file(ICON, include_str!("assets/icon.svg"))))
        .route("/api/state", get(state))
        .route("/api/history", get(history))
        .route("/api/trace", get(trace))
        .fallback(async || (StatusCode::NOT_FOUND, "there is no such page\n"))
        .method_not_allowed_fallback(async || {
            (StatusCode::METHOD_NOT_ALLOWED, "this page can only be read\n")
        })
        .with_state(Shared { daemon: api.daemon, samples, traces })
}

fn file(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn state(State(shared): State<Shared>) -> Response {
    match shared.samples.state() {
        Some((age, text)) => {
            let headers = [(header::CONTENT_TYPE, JSON.to_owned()), (AGE, age.as_millis().to_string())];
            (headers, text.to_string()).into_response()
        }
        None => refused(&Failure::unavailable(), StatusCode::SERVICE_UNAVAILABLE),
    }
}

async fn history(State(shared): State<Shared>) -> Response {
    match shared.samples.history() {
        Some(text) => ([(header::CONTENT_TYPE, JSON)], text.to_string()).into_response(),
        None => refused(&Failure::unavailable(), StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// As it is typed.
#[derive(Deserialize)]
struct Asked {
    protocol: String,
    source: String,
    destination: String,
}

async fn trace(State(shared): State<Shared>, Query(asked): Query<Asked>) -> Response {
    let flow = match flow(&asked) {
        Ok(flow) => flow,
        Err(failure) => return refused(&failure, StatusCode::BAD_REQUEST),
    };
    if !shared.traces.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now()) {
        let message = "too many flows were traced from this page";
        let failure = Failure::new(Code::Unavailable, message)
            .hint("wait a second; anycast-lb trace takes as many as you like");
        return refused(&failure, StatusCode::TOO_MANY_REQUESTS);
    }
    match shared.daemon.inspect(move |v| view::trace(v, vec![flow])).await.and_then(|inner| inner) {
        Ok(traces) => Json(Answer::new(traces)).into_response(),
        Err(failure) if failure.code == Code::InvalidRequest => refused(&failure, StatusCode::BAD_REQUEST),
        Err(failure) => refused(&failure, StatusCode::SERVICE_UNAVAILABLE),
    }
}

fn flow(asked: &Asked) -> Result<FlowSpec, Failure> {
    let address = |text: &str, what: &str, example: &str| {
        text.trim().parse().map_err(|_| {
            Failure::new(Code::InvalidRequest, format!("the {what} is not an address with a port"))
                .hint(format!("it looks like {example} or [2001:db8::7]:443"))
        })
    };
    Ok(FlowSpec {
        protocol: asked.protocol.clone(),
        source: address(&asked.source, "source", "192.0.2.7:51234")?,
        destination: address(&asked.destination, "destination", "203.0.113.1:443")?,
    })
}

fn refused(failure: &Failure, status: StatusCode) -> Response {
    (status, Json(error_answer(failure))).into_response()
}
