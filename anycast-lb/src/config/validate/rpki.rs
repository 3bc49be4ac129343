//! Validators that are told apart, and prefixes of which enough is said.

use std::collections::HashMap;

use crate::config::report::Report;
use crate::config::schema::{DEFAULT_HOLD, Draft, OriginDraft};
use crate::model::{Bmp, Role, Route, Rpki, RpkiMode, Validator};

/// Each is followed by a task of its own, with all that it has in memory.
const MOST_VALIDATORS: usize = 16;

/// Validators and origins, on an ingress node; the same file may stand on a backend, which has no use for them.
pub(super) fn rpki(draft: &Draft, role: Option<Role>, report: &Report<'_>) -> Rpki {
    let validators = validators(draft, report);
    let mut routes = Vec::new();
    for origin in &draft.origins {
        complete(origin, draft, role, report);
        let Some(asn) = origin.origin else { continue };
        routes.push(Route {
            prefix: origin.prefix,
            origin: asn,
            mode: origin.mode.as_ref().map(|m| m.value).unwrap_or_default(),
            hold: origin.hold.as_ref().map_or(DEFAULT_HOLD, |h| h.value),
        });
    }
    match role {
        Some(Role::Ingress) => Rpki { validators, routes },
        _ => Rpki::default(),
    }
}

/// The BMP station, on an ingress node.
pub(super) fn bmp(draft: &Draft, role: Option<Role>, report: &Report<'_>) -> Option<Bmp> {
    let bmp = draft.bmp.as_ref().filter(|_| role == Some(Role::Ingress))?;
    if !draft.origins.iter().any(|o| o.origin.is_some()) && !report.is_incomplete() {
        let what = "watches nothing: no prefix has an origin_as, by which others' announcements are known";
        report.notice(bmp.spot, "bmp", what);
    }
    Some(bmp.value.clone())
}

fn validators(draft: &Draft, report: &Report<'_>) -> Vec<Validator> {
    let (mut names, mut addresses) = (HashMap::new(), HashMap::new());
    let mut out = Vec::new();
    for validator in &draft.validators {
        let key = format!("rtr {}", validator.address);
        let name = validator.name.clone().unwrap_or_else(|| validator.address.to_string());
        let first = addresses
            .insert(validator.address, validator.spot)
            .or(names.insert(name.clone(), validator.spot));
        if let Some(first) = first {
            let message = format!("is named already at {}", report.place(first));
            report.problem(validator.spot, &key, message, "take one of the two out, or give it another name");
        }
        out.push(Validator { name, address: validator.address });
    }
    if let Some(one_too_many) = draft.validators.get(MOST_VALIDATORS) {
        report.problem(
            one_too_many.spot,
            &format!("rtr {}", one_too_many.address),
            format!("{} validators, a node asks {MOST_VALIDATORS}", draft.validators.len()),
            "take some out: two or three are enough",
        );
    }
    out
}

/// Whether what is asked for can be done.
fn complete(origin: &OriginDraft, draft: &Draft, role: Option<Role>, report: &Report<'_>) {
    let OriginDraft { path, spot, mode, .. } = origin;
    let wanted = mode.as_ref().filter(|m| m.value != RpkiMode::Off);
    let off = mode.as_ref().is_some_and(|m| m.value == RpkiMode::Off);
    if report.has_problem(|key| key.starts_with(path.as_str())) || role != Some(Role::Ingress) {
        return;
    }
    match (origin.origin, wanted) {
        (None, Some(wanted)) => report.problem(
            wanted.spot,
            &format!("{path} rpki"),
            "asks about an origin that is not given",
            "write origin_as = 64500, the AS that the world sees the prefix come from, below it",
        ),
        (None, None) => {
            let idle = draft.bmp.is_none() && (off || draft.validators.is_empty());
            if !idle {
                let what = "has no origin_as: it is neither looked up in RPKI nor watched for hijacks";
                report.notice(*spot, path, what);
            }
        }
        (Some(_), Some(wanted)) if draft.validators.is_empty() && !report.is_incomplete() => {
            let what = "has no effect: there is no [[rtr]] to ask";
            report.notice(wanted.spot, &format!("{path} rpki"), what);
        }
        (Some(_), _) => {}
    }
    if let Some(hold) = &origin.hold
        && mode.as_ref().is_none_or(|m| m.value != RpkiMode::Enforce)
    {
        let what = "has no effect: only rpki = \"enforce\" withholds";
        report.notice(hold.spot, &format!("{path} rpki_hold"), what);
    }
}
