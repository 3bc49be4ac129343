//! Routes about how our prefixes are announced, and what validators and routers say to it.

use axum::extract::State;
use axum::response::Response;

use super::{Api, Query, answer};
use crate::control::api::{CheckQuery, StatusQuery};
use crate::control::view;
use crate::daemon::run::View;
use crate::daemon::{Code, Failure};

pub(super) async fn status(State(api): State<Api>, Query(query): Query<StatusQuery>) -> Response {
    let look = move |v: &mut View<'_>| if query.findings { view::status(v) } else { view::condition(v) };
    let status = api.daemon.inspect(look).await.and_then(|inner| inner);
    answer(status.map(|mut status| {
        status.alarms = view::alarms(&api.rpki, &api.station.status(), api.metrics.get());
        status
    }))
}

pub(super) async fn rpki(State(api): State<Api>) -> Response {
    answer(Ok(view::rpki(&api.rpki)))
}

pub(super) async fn check(State(api): State<Api>, Query(query): Query<CheckQuery>) -> Response {
    let CheckQuery { prefix, origin_as } = query;
    let answers = api.rpki.check(prefix.trunc(), origin_as);
    if answers.is_empty() {
        return answer::<()>(Err(Failure::new(Code::NotFound, "there is no validator to ask").hint(
            "write [[rtr]] with its address, or name one: anycast-lb rpki check --rtr 127.0.0.1:8282 PREFIX ASN",
        )));
    }
    answer(Ok(view::check(prefix.trunc(), origin_as, answers)))
}

pub(super) async fn hijacks(State(api): State<Api>) -> Response {
    answer(Ok(view::hijacks(api.station.status())))
}
