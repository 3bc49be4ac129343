//! What is said of RPKI and of hijacks.

use std::time::Instant;

use anycast_lb_routing::bmp::message::View;
use anycast_lb_routing::bmp::station;
use anycast_lb_routing::bmp::watch::{Alarm as Hijack, Sight};
use anycast_lb_routing::rpki::guard::{Alarm, RouteStatus, Severity, Verdict};
use anycast_lb_routing::rpki::watch::Followee;
use anycast_lb_routing::rpki::{Answer, Permission, Rpki};
use ipnet::IpNet;

use super::whole_seconds;
use crate::control::api::{
    AlarmRow, AnswerRow, HijackRow, Hijacks, OriginRow, RouterRow, RpkiCheck, RpkiState, SightRow,
    ValidatorRow,
};

/// Places of a hijack that an answer names.
const MOST_SIGHTINGS: usize = 20;

/// The RPKI guard.
pub fn rpki(rpki: &Rpki) -> RpkiState {
    RpkiState {
        validators: rpki.validators().into_iter().map(validator).collect(),
        prefixes: rpki.routes().into_iter().map(origin).collect(),
        alarms: rpki.alarms().iter().map(rpki_alarm).collect(),
    }
}

/// What validators say to a route.
pub fn check(prefix: IpNet, origin_as: u32, answers: Vec<(String, Option<Answer>)>) -> RpkiCheck {
    let verdict = Verdict::of(answers.iter().filter_map(|(_, a)| Some(a.as_ref()?.validity)));
    let answers = answers.into_iter().map(|(name, a)| answer(name, a.as_ref())).collect();
    RpkiCheck { prefix, origin_as, verdict: verdict.word().to_owned(), answers }
}

/// The hijack watch.
pub fn hijacks(status: station::Status) -> Hijacks {
    let now = Instant::now();
    Hijacks {
        listen: status.listen,
        problem: status.problem,
        prefixes: status.own.iter().map(|own| own.prefix).collect(),
        routers: status
            .routers
            .into_iter()
            .map(|r| RouterRow {
                address: r.address.ip(),
                name: r.name,
                peers: r.peers,
                unkept: r.unkept,
                unread: r.unread,
            })
            .collect(),
        hijacks: status.alarms.into_iter().map(|(alarm, sights)| hijack(now, &alarm, &sights)).collect(),
    }
}

/// All that is wrong, for `status`. `metrics`: why they are not served, though they should be.
pub fn alarms(rpki: &Rpki, station: &station::Status, metrics: Option<String>) -> Vec<AlarmRow> {
    let row = |kind: &str, severity: &str, text| AlarmRow {
        kind: kind.to_owned(),
        severity: severity.to_owned(),
        text,
    };
    let hijack = |text: String| row("hijack", "error", text);
    let rpki = rpki.alarms();
    let rpki = rpki.iter().map(rpki_alarm);
    let hijacks = station.problem.iter().cloned().chain(station.alarms.iter().map(|(a, _)| a.to_string()));
    let metrics = metrics.map(|text| row("metrics", "warning", text));
    rpki.chain(hijacks.map(hijack)).chain(metrics).collect()
}

fn rpki_alarm(alarm: &Alarm) -> AlarmRow {
    let severity = match alarm.severity {
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    AlarmRow { kind: "rpki".to_owned(), severity: severity.to_owned(), text: alarm.text.clone() }
}

fn validator(followee: Followee) -> ValidatorRow {
    let Followee { address, status, synced } = followee;
    ValidatorRow {
        name: status.name,
        address,
        live: status.live,
        reason: status.reason,
        vrps: synced.map(|(s, _)| s.vrps),
        serial: synced.map(|(s, _)| s.serial),
        confirmed_seconds_ago: synced.map(|(_, at)| at.elapsed().as_secs()),
        expires_in_seconds: status.expires_in.map(whole_seconds),
    }
}

fn origin(status: RouteStatus) -> OriginRow {
    let reason = match status.permission {
        Permission::Permit => None,
        Permission::Withhold(reason) => Some(reason),
    };
    OriginRow {
        prefix: status.route.prefix,
        origin_as: status.route.origin,
        rpki: status.route.mode.word().to_owned(),
        verdict: status.verdict.word().to_owned(),
        permitted: reason.is_none(),
        reason,
        withheld_in_seconds: status.withheld_in.map(whole_seconds),
        answers: status.answers.into_iter().map(|(name, a)| answer(name, Some(&a))).collect(),
    }
}

fn answer(validator: String, answer: Option<&Answer>) -> AnswerRow {
    AnswerRow {
        validator,
        validity: answer.map(|a| a.validity.word().to_owned()),
        covering: answer.iter().flat_map(|a| &a.covering).map(ToString::to_string).collect(),
    }
}

fn hijack(now: Instant, alarm: &Hijack, sights: &[Sight]) -> HijackRow {
    HijackRow {
        prefix: alarm.prefix,
        origin: alarm.origin.to_string(),
        own_prefix: alarm.own.prefix,
        own_as: alarm.own.origin,
        seen: sights.len(),
        sightings: sights.iter().take(MOST_SIGHTINGS).map(|sight| sight_row(now, sight)).collect(),
    }
}

fn sight_row(now: Instant, sight: &Sight) -> SightRow {
    SightRow {
        router: sight.router.ip(),
        router_name: sight.router_name.clone(),
        peer: Some(sight.peer.address).filter(|_| sight.view != View::Local),
        peer_as: sight.peer_as,
        table: sight.view.to_string(),
        as_path: sight.path.clone(),
        since_seconds: now.saturating_duration_since(sight.since).as_secs(),
    }
}
