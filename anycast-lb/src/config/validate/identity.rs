//! Who may be asked for the name of the server, and who is told the backend.

use crate::config::report::Report;
use crate::config::schema::{Draft, VipDraft};
use crate::model::{Identity, Protocol, Role};

pub(super) fn check(draft: &Draft, role: Option<Role>, report: &Report<'_>) {
    if role != Some(Role::Ingress) {
        return;
    }
    for vip in &draft.vips {
        answerable(vip, report);
    }
    let naming = |vip: &&VipDraft| vip.identity.as_ref().is_some_and(|i| i.value == Identity::Backend);
    let first = draft.vips.iter().find(naming);
    match (first, draft.global.identity_clients.first()) {
        (Some(vip), None) => report.notice(
            vip.identity.as_ref().map_or(vip.spot, |i| i.spot),
            &format!("{} identity", vip.path),
            "backends are named to nobody: identity_clients has no prefix".to_owned(),
        ),
        (None, Some(client)) => report.notice(
            client.spot,
            "identity_clients",
            "has no effect: no VIP has identity = \"backend\"".to_owned(),
        ),
        _ => {}
    }
}

/// Questions come by UDP, and to a VIP that may understand them otherwise.
fn answerable(vip: &VipDraft, report: &Report<'_>) {
    let Some(identity) = vip.identity.as_ref().filter(|i| i.value != Identity::Off) else { return };
    let key = format!("{} identity", vip.path);
    if vip.key.protocol == Protocol::Tcp {
        report.problem(
            identity.spot,
            &key,
            "questions for the name of the server come by UDP, this VIP is tcp",
            "write identity on a VIP with protocol = \"udp\"",
        );
    } else if vip.quic.is_some() {
        report.problem(
            identity.spot,
            &key,
            "and quic = true exclude one another: what speaks QUIC is not asked by DNS",
            "take one of the two out",
        );
    }
}
