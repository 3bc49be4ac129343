//! QUIC: each server of a pool is named by an ID of its own.

use std::collections::HashMap;

use crate::config::report::Report;
use crate::config::schema::{Draft, PoolDraft, VipDraft};
use crate::model::{Protocol, Quic, Role, ServerId, default_server_id};

pub(super) fn check(draft: &Draft, role: Option<Role>, report: &Report<'_>) {
    for vip in &draft.vips {
        let Some(spot) = vip.quic else { continue };
        let key = format!("{} quic", vip.path);
        if vip.key.protocol != Protocol::Udp {
            report.problem(
                spot,
                &key,
                format!("QUIC is UDP, this VIP is {}", vip.key.protocol.word()),
                "write quic = true on a VIP with protocol = \"udp\"",
            );
        }
        if let Some(spot) = vip.chance_wanted {
            report.problem(
                spot,
                &format!("{} second_chance", vip.path),
                "and quic = true exclude one another: a connection ID names one backend, and no other is asked",
                "take one of the two out",
            );
        }
    }
    if role == Some(Role::Ingress) {
        draft
            .pools
            .iter()
            .filter(|pool| takes_quic(pool, &draft.vips))
            .for_each(|pool| servers(pool, report));
    }
}

fn takes_quic(pool: &PoolDraft, vips: &[VipDraft]) -> bool {
    let leads_here = |vip: &VipDraft| vip.pool.as_ref().is_some_and(|name| name.value == pool.name);
    vips.iter().any(|vip| vip.quic.is_some() && leads_here(vip))
}

fn servers(pool: &PoolDraft, report: &Report<'_>) {
    let len = pool.quic.ids.len;
    let mut seen = HashMap::new();
    for draft in &pool.backends {
        let key = format!("{} server_id", draft.path);
        if let Some(written) = draft.server_id.as_ref().filter(|id| id.value.len != len) {
            report.problem(
                written.spot,
                &key,
                format!("has {} octets, server IDs of {} have {len}", written.value.len, pool.path),
                format!(
                    "write {} hexadecimal digits, or quic = {{ server_id_length = {} }} in the pool",
                    2 * len,
                    written.value.len
                ),
            );
            continue;
        }
        let id = draft
            .server_id
            .as_ref()
            .map_or_else(|| default_server_id(draft.backend.address, len), |id| id.value.id);
        if let Some(other) = seen.insert(id, draft.backend.address) {
            report.problem(
                draft.server_id.as_ref().map_or(draft.spot, |id| id.spot),
                &key,
                format!("{} is the server ID of {other}, too", ServerId { id, len }),
                format!(
                    "give one of them another: server_id = \"…\" with {} hexadecimal digits, as its QUIC server has it",
                    2 * len
                ),
            );
        }
    }
}

/// How connection IDs name the servers of a pool that was checked.
pub(super) fn finished(pool: &PoolDraft, vips: &[VipDraft]) -> Option<Quic> {
    let ids = pool.quic.ids;
    let server = |draft: &crate::config::schema::BackendDraft| {
        let address = draft.backend.address;
        let id =
            draft.server_id.as_ref().map_or_else(|| default_server_id(address, ids.len), |id| id.value.id);
        (address, id)
    };
    takes_quic(pool, vips).then(|| Quic { ids, servers: pool.backends.iter().map(server).collect() })
}
