//! `GET /metrics`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;

use super::gather::{Check, gather};
use super::text::{Format, encode};
use crate::control::serve::Limits;
use crate::control::server::Api;
use crate::daemon::{Code, Failure};

/// What scrapers may use: each scrape is a connection of its own.
pub const LIMITS: Limits = Limits {
    connections: 16,
    head: Duration::from_secs(5),
    lifetime: Duration::from_secs(30),
    keep_alive: false,
};

/// Why metrics are not served where they should be; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Problem(Arc<Mutex<Option<String>>>);

impl Problem {
    /// It, if there is one.
    pub fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It is this one from now on, or there is none.
    pub fn set(&self, problem: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

#[derive(Clone)]
struct Exporter {
    api: Api,
    check: Check,
    /// Facts are gathered for one scraper at a time, whoever asks.
    turn: Arc<Semaphore>,
}

/// The route, which looks and changes nothing. `check` checks the host.
pub fn router(api: Api, check: Check) -> Router {
    let exporter = Exporter { api, check, turn: Arc::new(Semaphore::new(1)) };
    Router::new().route("/metrics", get(metrics)).fallback(no_route).with_state(exporter)
}

async fn metrics(State(exporter): State<Exporter>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    match exporter.scrape(Format::for_accept(accept)).await {
        Ok(response) => response,
        Err(failure) => (StatusCode::SERVICE_UNAVAILABLE, format!("{failure}\n")).into_response(),
    }
}

impl Exporter {
    async fn scrape(&self, format: Format) -> Result<Response, Failure> {
        let _turn = self.turn.acquire().await.map_err(|_| Failure::unavailable())?;
        let facts = gather(&self.api, self.check).await?;
        let text = tokio::task::spawn_blocking(move || encode(facts, format)).await;
        let text = text.map_err(|_| Failure::unavailable())?;
        let text = text.map_err(|_| Failure::new(Code::Io, "the metrics could not be written"))?;
        Ok(([(header::CONTENT_TYPE, format.content_type())], text).into_response())
    }
}

async fn no_route() -> Response {
    (StatusCode::NOT_FOUND, "there is nothing here but /metrics\n").into_response()
}
