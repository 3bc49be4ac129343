//! Routes about the flow log.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anycast_lb_flowlog::{Bounds, Found, search_directory, stamp};
use axum::Json;
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::{Api, Body, Query, answer};
use crate::control::api::{
    Answer, AtHost, ErrorAnswer, LogHost, LogHosts, LogRecords, MAX_NAMED, MAX_RECORDS, QueryLog,
};
use crate::control::remote_client;
use crate::daemon::{Code, Failure};
use crate::model::{Config, Encapsulation};

/// Files are searched for this long at most.
const SEARCH_TIME: Duration = Duration::from_secs(8);
/// By when another host has answered: it may have to wait for its turn.
const ANSWER_TIME: Duration = Duration::from_secs(20);
/// A search reads up to a gigabyte: so many at once, whoever asks.
static SEARCHING: Semaphore = Semaphore::const_new(2);

pub(super) async fn query_here(State(api): State<Api>, Body(question): Body<QueryLog>) -> Response {
    answer(search(&api, question).await)
}

async fn search(api: &Api, question: QueryLog) -> Result<LogRecords, Failure> {
    let QueryLog { filter, limit } = question;
    if filter.flows.len() > MAX_NAMED {
        let message = format!("{} flows in one question", filter.flows.len());
        return Err(Failure::new(Code::InvalidRequest, message).hint(format!("at most {MAX_NAMED}")));
    }
    if !(1..=MAX_RECORDS).contains(&limit) {
        let message = format!("{limit} records in one answer");
        let hint = format!("from 1 to {MAX_RECORDS}; ask again until the time that `older` names");
        return Err(Failure::new(Code::InvalidRequest, message).hint(hint));
    }
    let node = api.daemon.inspect(|v| v.core.config().node.clone()).await?;
    let Some(directory) = api.flow_log.directory() else {
        return Ok(LogRecords { node, enabled: false, records: Vec::new(), older: None });
    };
    api.flow_log.flush().await;
    let _turn = SEARCHING.acquire().await.map_err(|_| Failure::unavailable())?;
    let bounds = Bounds { records: limit, deadline: Instant::now() + SEARCH_TIME };
    let shown = directory.display().to_string();
    let found = tokio::task::spawn_blocking(move || search_directory(&directory, &filter, bounds)).await;
    let Found { records, older, unread } = found
        .map_err(|_| Failure::unavailable())?
        .map_err(|e| Failure::new(Code::Io, format!("the flow log in {shown}: {e}")))?;
    if unread > 0 {
        tracing::info!(directory = %shown, unread, "lines of the flow log cannot be read: a search leaves them out");
    }
    Ok(LogRecords { node, enabled: true, records, older: older.map(stamp) })
}

/// Here, or at the host that the query names.
pub(super) async fn query(
    State(api): State<Api>,
    Query(at): Query<AtHost>,
    Body(question): Body<QueryLog>,
) -> Response {
    let Some(host) = at.host else { return query_here(State(api), Body(question)).await };
    let known = match api.daemon.inspect(|v| known(v.core.config())).await {
        Ok(known) => known,
        Err(failure) => return answer::<()>(Err(failure)),
    };
    if known.node == host {
        return query_here(State(api), Body(question)).await;
    }
    let Some(there) = known.hosts.into_iter().find(|known| known.host == host) else {
        let failure = Failure::new(Code::NotFound, format!("\"{host}\" is no peer and no backend"));
        return answer::<()>(Err(failure.hint("anycast-lb peer list and backend list show who is")));
    };
    let path = "/v1/log/query";
    let theirs = remote_client::ask_within(
        ANSWER_TIME,
        &api.credentials,
        there.address,
        Method::POST,
        path,
        Some(&question),
    );
    match theirs.await {
        Ok(theirs) => ([(header::CONTENT_TYPE, "application/json")], theirs).into_response(),
        Err(error) => {
            let body = Answer::new(ErrorAnswer { error: error.body(&host) });
            (StatusCode::BAD_GATEWAY, Json(body)).into_response()
        }
    }
}

/// Whom `config` names.
pub(super) fn known(config: &Config) -> LogHosts {
    let peers = config.control.peers.iter().map(|peer| LogHost {
        host: peer.node.clone(),
        kind: "node".to_owned(),
        address: peer.control,
        backend: None,
    });
    // By other encapsulations backends are reached that need not run this program.
    let pools = config.pools.iter().filter(|pool| pool.encapsulation == Encapsulation::Gue);
    let backends: BTreeSet<IpAddr> = pools.flat_map(|pool| &pool.backends).map(|b| b.address).collect();
    let port = config.control.port();
    let backends = backends.into_iter().map(|address| LogHost {
        host: address.to_string(),
        kind: "backend".to_owned(),
        address: SocketAddr::new(address, port),
        backend: Some(address),
    });
    LogHosts { node: config.node.clone(), hosts: peers.chain(backends).collect() }
}
