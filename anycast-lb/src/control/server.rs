//! The API's routes.

mod elsewhere;
mod log;
mod observe;
mod questions;
mod routes;
mod then;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anycast_lb_flowlog::FlowLog;
use anycast_lb_identity::Counts;
use anycast_lb_routing::bmp::Station;
use anycast_lb_routing::rpki::Rpki;
use axum::extract::{DefaultBodyLimit, FromRef, FromRequest, FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};
use axum::{Json, Router};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::api::{
    AddBackend, AddPool, AddVip, Answer, BackendCondition, Condition, ErrorAnswer, ErrorBody, PatchBackend,
    PatchNode, PatchPop, Reload,
};
use super::serve::Problem;
use super::tls::Credentials;
use super::view;
use crate::config::edit::Edit;
use crate::daemon::diff::{encapsulation_name, state_name, table_name};
use crate::daemon::ports::Change;
use crate::daemon::run::{Handle, View};
use crate::daemon::{Code, Failure};
use crate::membership::Health;
use crate::model::{BackendState, Encapsulation, FlowHash, Identity, TableKind};
use crate::observe::Hub;
use crate::peers::Peers;

/// For a request's body to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// Whom the routes ask.
#[derive(Clone)]
pub struct Api {
    /// The daemon.
    pub daemon: Handle,
    /// What is known of other hosts.
    pub peers: Peers,
    /// By what they are asked.
    pub credentials: Credentials,
    /// What validators say.
    pub rpki: Rpki,
    /// What routers see.
    pub station: Station,
    /// What is remembered of flows.
    pub flow_log: FlowLog,
    /// Questions for the node's name.
    pub identity: Arc<Counts>,
    /// Who is told of packets.
    pub hub: Hub,
    /// Why metrics are not served, though they should be.
    pub metrics: Problem,
}

impl From<Handle> for Api {
    /// A daemon that talks to nobody.
    fn from(daemon: Handle) -> Self {
        Api {
            daemon,
            peers: Peers::default(),
            credentials: Credentials::default(),
            rpki: Rpki::default(),
            station: Station::default(),
            flow_log: FlowLog::default(),
            identity: Arc::default(),
            hub: Hub::default(),
            metrics: Problem::default(),
        }
    }
}

impl FromRef<Api> for Handle {
    fn from_ref(api: &Api) -> Self {
        api.daemon.clone()
    }
}

/// All routes, for the command line.
pub fn router(api: Api) -> Router {
    readable()
        .route("/v1/vips", post(add_vip))
        .route("/v1/vips/{vip}", delete(remove_vip))
        .route("/v1/pools", post(add_pool))
        .route("/v1/pools/{name}", delete(remove_pool))
        .route("/v1/backends", post(add_backend))
        .route("/v1/backends/{address}", delete(remove_backend).patch(patch_backend))
        .route("/v1/pops/{name}", patch(patch_pop))
        .route("/v1/node", patch(patch_node))
        .route("/v1/reload", post(reload))
        .route("/v1/trace", post(questions::trace))
        .route("/v1/explain", post(questions::explain))
        .route("/v1/log/query", post(log::query))
        .route("/v1/log/hosts", get(|daemon| look(daemon, |v| Ok(log::known(v.core.config())))))
        .route("/v1/observe", post(observe::observe))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .with_state(api)
}

/// The routes for other hosts: they look, and change nothing.
pub fn remote_router(api: Api) -> Router {
    readable()
        .route("/v1/trace", post(questions::trace_here))
        .route("/v1/explain", post(questions::explain_here))
        .route("/v1/log/query", post(log::query_here))
        .route("/v1/observe", post(observe::observe_for_others))
        .fallback(no_route)
        .method_not_allowed_fallback(read_only)
        .layer(DefaultBodyLimit::max(REMOTE_BODY))
        .with_state(api)
}

/// Bytes of another host's question: as many flows as it may have, or some dozens of large frames.
const REMOTE_BODY: usize = 256 * 1024;

fn readable() -> Router<Api> {
    Router::new()
        .route("/v1/status", get(routes::status))
        .route("/v1/stats", get(questions::stats))
        .route("/v1/vips", get(|daemon| look(daemon, |v| view::vips(v))))
        .route("/v1/pools", get(|daemon| look(daemon, |v| view::pools(v))))
        .route("/v1/pools/{name}", get(show_pool))
        .route("/v1/backends", get(|daemon| look(daemon, |v| view::backends(v))))
        .route("/v1/node", get(|daemon| look(daemon, |v| view::node(v))))
        .route("/v1/bgp", get(|daemon| look(daemon, |v| Ok(view::bgp(v)))))
        .route("/v1/peers", get(elsewhere::peers))
        .route("/v1/flows", get(elsewhere::flows))
        .route("/v1/rpki", get(routes::rpki))
        .route("/v1/rpki/check", get(routes::check))
        .route("/v1/hijacks", get(routes::hijacks))
        .route("/v1/pops", get(|daemon| look(daemon, |v| Ok(view::pops(v.core.config())))))
}

type Daemon = State<Handle>;

async fn look<T: Serialize + Send + 'static>(
    State(daemon): Daemon,
    look: impl FnOnce(&mut View<'_>) -> Result<T, Failure> + Send + 'static,
) -> Response {
    answer(daemon.inspect(look).await.and_then(|inner| inner))
}

async fn show_pool(daemon: Daemon, Path(name): Path<String>) -> Response {
    look(daemon, move |v| view::pool(v, &name)).await
}

async fn add_vip(State(daemon): Daemon, Body(body): Body<AddVip>) -> Response {
    let expect_generation = body.expect_generation;
    match vip_edit(body) {
        Ok(add) => edit(&daemon, expect_generation, vec![add]).await,
        Err(failure) => answer::<()>(Err(failure)),
    }
}

fn vip_edit(body: AddVip) -> Result<Edit, Failure> {
    let identity = |word: &str| word_of(word, "identity", Identity::ALL, Identity::word);
    Ok(Edit::AddVip {
        key: body.vip,
        pool: body.pool,
        hash: body.hash.as_deref().map(flow_hash).transpose()?,
        quic: body.quic,
        mss_clamp: body.mss_clamp,
        identity: body.identity.as_deref().map(identity).transpose()?,
    })
}

async fn remove_vip(
    State(daemon): Daemon,
    Path(vip): Path<String>,
    Query(condition): Query<Condition>,
) -> Response {
    match parse(&vip, "a VIP looks like 203.0.113.1:443/tcp") {
        Ok(key) => edit(&daemon, condition.expect_generation, vec![Edit::RemoveVip { key }]).await,
        Err(failure) => answer::<()>(Err(failure)),
    }
}

async fn add_pool(State(daemon): Daemon, Body(body): Body<AddPool>) -> Response {
    let expect_generation = body.expect_generation;
    match pool_edit(body) {
        Ok(add) => edit(&daemon, expect_generation, vec![add]).await,
        Err(failure) => answer::<()>(Err(failure)),
    }
}

fn pool_edit(body: AddPool) -> Result<Edit, Failure> {
    Ok(Edit::AddPool {
        name: body.pool,
        encapsulation: body.encapsulation.as_deref().map(encapsulation).transpose()?,
        table: body.table.as_deref().map(table_kind).transpose()?,
        slots: body.slots,
    })
}

async fn remove_pool(
    State(daemon): Daemon,
    Path(name): Path<String>,
    Query(condition): Query<Condition>,
) -> Response {
    edit(&daemon, condition.expect_generation, vec![Edit::RemovePool { name }]).await
}

async fn add_backend(State(daemon): Daemon, Body(body): Body<AddBackend>) -> Response {
    let AddBackend { pool, address, weight, pop, server_id, expect_generation } = body;
    let add = Edit::AddBackend { pool, address, weight, pop, server_id };
    edit(&daemon, expect_generation, vec![add]).await
}

async fn remove_backend(
    State(daemon): Daemon,
    Path(address): Path<String>,
    Query(condition): Query<BackendCondition>,
) -> Response {
    match parse(&address, "a backend is named by its IP address") {
        Ok(address) => match removable(&daemon, &condition, address).await {
            Ok(()) => {
                let edits = vec![Edit::RemoveBackend { pool: condition.pool, address }];
                edit(&daemon, condition.expect_generation, edits).await
            }
            Err(failure) => answer::<()>(Err(failure)),
        },
        Err(failure) => answer::<()>(Err(failure)),
    }
}

/// What holds no flows now gets some no sooner than it is active, and that no sooner than a join takes: it
/// is still right when the removal that follows is made.
async fn removable(daemon: &Handle, condition: &BackendCondition, address: IpAddr) -> Result<(), Failure> {
    if condition.now {
        return Ok(());
    }
    let pool = condition.pool.clone();
    daemon.inspect(move |v| v.core.removable(pool.as_deref(), address)).await?
}

async fn patch_backend(
    State(daemon): Daemon,
    Path(address): Path<String>,
    Body(body): Body<PatchBackend>,
) -> Response {
    if let Some(word) = &body.health {
        return match health_report(&address, word, &body) {
            Ok((address, health)) => {
                answer(daemon.health(body.pool, address, health).await.map(|o| view::changed(o, false)))
            }
            Err(failure) => answer::<()>(Err(failure)),
        };
    }
    match backend_edits(&address, &body) {
        Ok(edits) => edit(&daemon, body.expect_generation, edits).await,
        Err(failure) => answer::<()>(Err(failure)),
    }
}

fn health_report(address: &str, word: &str, body: &PatchBackend) -> Result<(IpAddr, Health), Failure> {
    let address = parse(address, "a backend is named by its IP address")?;
    let health = word_of(word, "health of a backend", Health::ALL, Health::name)?;
    if body.state.is_some() || body.weight.is_some() || body.expect_generation.is_some() {
        return Err(Failure::new(Code::InvalidRequest, "health is no part of the configuration")
            .hint("tell it by a request of its own, with nothing but the pool beside it"));
    }
    Ok((address, health))
}

fn backend_edits(address: &str, body: &PatchBackend) -> Result<Vec<Edit>, Failure> {
    let address = parse(address, "a backend is named by its IP address")?;
    let state = body.state.as_deref().map(backend_state).transpose()?;
    let state = state.map(|state| Edit::SetState { pool: body.pool.clone(), address, state });
    let weight = body.weight.map(|weight| Edit::SetWeight { pool: body.pool.clone(), address, weight });
    let edits: Vec<Edit> = state.into_iter().chain(weight).collect();
    if edits.is_empty() {
        return Err(
            Failure::new(Code::InvalidRequest, "nothing to change").hint("give state, weight or health")
        );
    }
    Ok(edits)
}

async fn patch_pop(State(daemon): Daemon, Path(pop): Path<String>, Body(body): Body<PatchPop>) -> Response {
    let state_word = |drained| if drained { "drained" } else { "active" };
    match word_of(&body.state, "state of a PoP", [false, true], state_word) {
        Ok(drained) => edit(&daemon, body.expect_generation, vec![Edit::SetPop { pop, drained }]).await,
        Err(failure) => answer::<()>(Err(failure)),
    }
}

async fn patch_node(State(daemon): Daemon, Body(body): Body<PatchNode>) -> Response {
    let state_word = |drained| if drained { "drained" } else { "in-service" };
    match word_of(&body.state, "state of a node", [false, true], state_word) {
        Ok(drained) => answer(daemon.maintenance(drained).await.map(|o| view::changed(o, false))),
        Err(failure) => answer::<()>(Err(failure)),
    }
}

async fn reload(State(daemon): Daemon, Body(body): Body<Reload>) -> Response {
    let outcome = daemon.change(Change::Reload, body.expect_generation, body.dry_run).await;
    answer(outcome.map(|o| view::changed(o, body.dry_run)))
}

async fn edit(daemon: &Handle, expect_generation: Option<u64>, edits: Vec<Edit>) -> Response {
    let outcome = daemon.change(Change::Edits(edits), expect_generation, false).await;
    answer(outcome.map(|o| view::changed(o, false)))
}

async fn no_route() -> Response {
    answer::<()>(Err(Failure::new(Code::NotFound, "there is no such path")
        .hint("client and daemon may be of different releases")))
}

async fn no_method() -> Response {
    let failure = Failure::new(Code::InvalidRequest, "this path does not take this method");
    let mut response = answer::<()>(Err(failure));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

async fn read_only() -> Response {
    answer::<()>(Err(Failure::new(Code::ReadOnly, "other hosts may look here and change nothing")
        .hint("give the command on the node itself")))
}

fn answer<T: Serialize>(result: Result<T, Failure>) -> Response {
    match result {
        Ok(body) => Json(Answer::new(body)).into_response(),
        Err(failure) => (http_status(failure.code), Json(error_answer(&failure))).into_response(),
    }
}

/// A failure as it travels.
pub fn error_answer(failure: &Failure) -> Answer<ErrorAnswer> {
    Answer::new(ErrorAnswer {
        error: ErrorBody {
            code: failure.code.name().to_owned(),
            message: failure.message.clone(),
            hint: failure.hint.clone(),
        },
    })
}

const fn http_status(code: Code) -> StatusCode {
    match code {
        Code::InvalidRequest => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Exists
        | Code::PoolInUse
        | Code::BackendActive
        | Code::GenerationMismatch
        | Code::FileChanged
        | Code::NeedsRestart => StatusCode::CONFLICT,
        Code::ReadOnly | Code::WriteBackOff => StatusCode::FORBIDDEN,
        Code::InvalidConfig => StatusCode::UNPROCESSABLE_ENTITY,
        Code::Dataplane | Code::Io => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Busy => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str, hint: &str) -> Result<T, Failure> {
    text.parse().map_err(|e| Failure::new(Code::InvalidRequest, format!("\"{text}\": {e}")).hint(hint))
}

fn backend_state(word: &str) -> Result<BackendState, Failure> {
    word_of(
        word,
        "state of a backend",
        [BackendState::Filling, BackendState::Active, BackendState::Draining],
        state_name,
    )
}

fn encapsulation(word: &str) -> Result<Encapsulation, Failure> {
    word_of(
        word,
        "encapsulation",
        [Encapsulation::Gue, Encapsulation::Ipip, Encapsulation::L2],
        encapsulation_name,
    )
}

fn table_kind(word: &str) -> Result<TableKind, Failure> {
    word_of(word, "table", [TableKind::Rendezvous, TableKind::Maglev], table_name)
}

fn flow_hash(word: &str) -> Result<FlowHash, Failure> {
    word_of(word, "hash", FlowHash::ALL, FlowHash::word)
}

/// The value whose name is `word`.
fn word_of<T: Copy, const N: usize>(
    word: &str,
    what: &str,
    values: [T; N],
    name: fn(T) -> &'static str,
) -> Result<T, Failure> {
    values.into_iter().find(|v| name(*v) == word).ok_or_else(|| {
        Failure::new(Code::InvalidRequest, format!("\"{word}\" is no {what}"))
            .hint(format!("one of: {}", values.map(name).join(", ")))
    })
}

/// axum's JSON body, with errors of our form.
struct Body<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Rejected;

    async fn from_request(request: Request, state: &S) -> Result<Self, Rejected> {
        match tokio::time::timeout(BODY_PATIENCE, Json::from_request(request, state)).await {
            Ok(Ok(Json(body))) => Ok(Body(body)),
            Ok(Err(rejection)) => Err(Rejected(rejection.body_text())),
            Err(_) => Err(Rejected("the request's body did not arrive in time".to_owned())),
        }
    }
}

/// axum's query, with errors of our form.
struct Query<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Rejected;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejected> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Query(query)),
            Err(rejection) => Err(Rejected(rejection.body_text())),
        }
    }
}

/// axum's path parameter, with errors of our form.
struct Path<T>(T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Rejected;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejected> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Path(value)),
            Err(rejection) => Err(Rejected(rejection.body_text())),
        }
    }
}

/// A request whose path, body or query is not understood.
struct Rejected(String);

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        answer::<()>(Err(Failure::new(Code::InvalidRequest, self.0)))
    }
}
