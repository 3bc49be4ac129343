//! What several values say together: names that must exist, entries that must be unique, families
//! that must fit. The result obeys every rule of the language.

mod announce;
mod control;
mod health;
mod identity;
mod limits;
mod node;
mod pools;
mod pops;
mod quic;
mod rpki;
mod vips;

use super::Overrides;
use super::report::Report;
use super::schema::Draft;
use super::source::SourceFile;
use crate::model::{Config, Control, Pool, Role, Seed, Vip};

/// What a configuration depends on besides its files.
pub(super) struct Surroundings {
    /// The command line.
    pub overrides: Overrides,
    /// The host's name.
    pub host: String,
    /// A seed that was read before, which is then not read again.
    pub seed: Option<Seed>,
    /// The previous seed that was read together with it.
    pub seed_previous: Option<Seed>,
    /// Whether the certificates were read before, and found good.
    pub certificates_read: bool,
}

/// Checks the draft; none where something is wrong, which is then in the report.
pub(super) fn validate(
    draft: Draft,
    files: &[SourceFile],
    surroundings: &Surroundings,
    report: &Report<'_>,
) -> Option<Config> {
    let global = &draft.global;
    let role = global.role.as_ref().map(|r| r.value);
    let (node, pop) = node::names(global, surroundings, report);
    node::interfaces(&draft.interfaces, report);
    let seed = node::seed(global, role, files, surroundings, report);
    let seed_previous = node::seed_previous(global, role, seed.as_ref(), files, surroundings, report);
    node::allowed_senders(global, role, report);
    let hop_limits = node::hop_limits(global, role, report);
    node::sources(&draft, role, report);
    node::prefixes(&draft, role, report);
    pools::check(&draft.pools, &pop, report);
    if role == Some(Role::Ingress) {
        pops::check(&draft, &pop, report);
        health::check(&draft, files, surroundings, report);
    }
    vips::check(&draft, role, report);
    quic::check(&draft, role, report);
    identity::check(&draft, role, report);
    limits::check(&draft, report);
    let rpki = rpki::rpki(&draft, role, report);
    let bmp = rpki::bmp(&draft, role, report);
    let tls = control::tls(&draft.control, files, surroundings, report);
    let peers = control::peers(&draft.control, &node, &pop, report);
    let announcing = announce::announcing(&draft, role, files, report);

    let instance = global.instance.clone().unwrap_or_else(|| "default".to_owned());
    let role = role?;
    Some(Config {
        role,
        node,
        pop,
        bpffs: global.bpffs.clone().unwrap_or_else(|| "/sys/fs/bpf".into()),
        state_dir: global.state_dir.clone().unwrap_or_else(|| "/var/lib/anycast-lb".into()),
        seed,
        seed_previous,
        drained_pops: pops::distinct(&global.drained_pops),
        unmatched_pass: global.unmatched_pass,
        sources: global.sources.iter().map(|s| s.value).collect(),
        interfaces: draft.interfaces.into_iter().map(|i| i.value).collect(),
        control: Control {
            socket: draft.control.socket.unwrap_or_else(|| node::default_socket(&instance)),
            group: draft.control.group,
            write_back: draft.control.write_back.unwrap_or(true),
            listen: draft.control.listen.map(|l| l.value),
            tls,
            peers,
        },
        instance,
        pools: match role {
            Role::Ingress => {
                draft.pools.into_iter().map(|pool| finished_pool(pool, &draft.vips, files)).collect()
            }
            Role::Backend => Vec::new(),
        },
        vips: draft.vips.into_iter().map(|vip| finished_vip(vip, role)).collect(),
        identity_clients: draft.global.identity_clients.iter().map(|n| n.value).collect(),
        prefixes: draft.prefixes.into_iter().map(|p| p.prefix.value).collect(),
        announcing,
        allowed_senders: draft.global.allowed_senders.into_iter().map(|n| n.value).collect(),
        hop_limits,
        rpki,
        bmp,
        metrics: draft.metrics,
        page: draft.page,
        flow_log: draft.flow_log,
    })
}

fn finished_pool(
    pool: super::schema::PoolDraft,
    vips: &[super::schema::VipDraft],
    files: &[SourceFile],
) -> Pool {
    Pool {
        quic: quic::finished(&pool, vips),
        health: health::finished(&pool, files),
        name: pool.name,
        encapsulation: pool.encapsulation,
        table: pool.table,
        slots: pool.slots.value,
        margin_ppm: pool.margin_ppm,
        hops: pool.hops,
        rescue: pool.rescue.into_iter().map(|r| r.value).collect(),
        fill_time: pool.fill_time,
        drain_timeout: pool.drain_timeout,
        backends: pool.backends.into_iter().map(|b| b.backend).collect(),
    }
}

fn finished_vip(vip: super::schema::VipDraft, role: Role) -> Vip {
    let pool = vip.pool.filter(|_| role == Role::Ingress).map(|p| p.value).unwrap_or_default();
    let quic = vip.quic.is_some();
    Vip {
        key: vip.key,
        pool,
        second_chance: vip.second_chance,
        hash: vip.hash,
        quic,
        mss_clamp: vip.mss_clamp,
        identity: vip.identity.filter(|_| role == Role::Ingress).map(|i| i.value).unwrap_or_default(),
    }
}
