//! What differs between two configurations, in the operator's words.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use anycast_lb_routing::announce::gate::Require;
use anycast_lb_routing::bgp::driver::Neighbour;

use super::{Code, Failure};
use crate::model::{
    AnnouncedPrefix, Backend, BackendState, Config, Encapsulation, Pool, Quic, TableKind, Vip,
};

/// What happened to a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has other properties.
    Changed,
}

impl What {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            What::Added => "added",
            What::Removed => "removed",
            What::Changed => "changed",
        }
    }
}

/// One difference; displays as `backend web 10.0.0.13 changed: weight 100 -> 50`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Kind of thing: `vip`, `pool`, `backend`, `interface`, `prefix`, `route origin`, `rtr`, `peer`, `setting`.
    pub subject: &'static str,
    /// Which one.
    pub name: String,
    /// What happened to it.
    pub what: What,
    /// How it is now, or what changed; may be empty.
    pub detail: String,
}

impl Difference {
    /// Says it in the log: `generation` it belongs to, and whose wish it was.
    pub fn log(&self, generation: Option<u64>, cause: &str) {
        let (pool, backend) = match (self.subject, self.name.split_once(' ')) {
            ("backend", Some((pool, backend))) => (Some(pool), Some(backend)),
            ("pool", _) => (Some(self.name.as_str()), None),
            _ => (None, None),
        };
        tracing::info!(generation, subject = self.subject, name = self.name, pool, backend, cause, "{self}");
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.subject, self.name, self.what.name())?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

/// All that differs from `old` to `new`: settings, interfaces, prefixes, VIPs, then pools with
/// their backends. The order of entries in the files is no difference.
pub fn differences(old: &Config, new: &Config) -> Vec<Difference> {
    let mut out = Vec::new();
    settings(old, new, &mut out);
    keyed(
        "interface",
        old.interfaces.iter().map(|i| (i.name.clone(), i)),
        new.interfaces.iter().map(|i| (i.name.clone(), i)),
        |i| format!("mode {}", format!("{:?}", i.mode).to_lowercase()),
        &mut out,
    );
    keyed(
        "prefix",
        old.prefixes.iter().map(|p| (p.to_string(), p)),
        new.prefixes.iter().map(|p| (p.to_string(), p)),
        |_| String::new(),
        &mut out,
    );
    let announced = |c: &Config| c.announcing.prefixes.clone().into_iter().map(|p| (p.prefix, p));
    keyed("announcement", announced(old), announced(new), announcement_detail, &mut out);
    let neighbours =
        |c: &Config| c.announcing.settings.neighbours.clone().into_iter().map(|n| (n.address, n));
    keyed("neighbor", neighbours(old), neighbours(new), neighbour_detail, &mut out);
    keyed(
        "route origin",
        old.rpki.routes.iter().map(|r| (r.prefix.to_string(), r)),
        new.rpki.routes.iter().map(|r| (r.prefix.to_string(), r)),
        |r| format!("origin_as {}, rpki {}, rpki_hold {:?}", r.origin, r.mode.word(), r.hold),
        &mut out,
    );
    keyed(
        "rtr",
        old.rpki.validators.iter().map(|v| (v.name.clone(), v)),
        new.rpki.validators.iter().map(|v| (v.name.clone(), v)),
        |v| format!("address {}", v.address),
        &mut out,
    );
    keyed(
        "allowed sender",
        old.allowed_senders.iter().map(|p| (p.to_string(), p)),
        new.allowed_senders.iter().map(|p| (p.to_string(), p)),
        |_| String::new(),
        &mut out,
    );
    keyed(
        "peer",
        old.control.peers.iter().map(|p| (p.node.clone(), p)),
        new.control.peers.iter().map(|p| (p.node.clone(), p)),
        |p| format!("pop {}, control {}", p.pop, p.control),
        &mut out,
    );
    keyed(
        "vip",
        old.vips.iter().map(|v| (v.key.to_string(), v)),
        new.vips.iter().map(|v| (v.key.to_string(), v)),
        vip_detail,
        &mut out,
    );
    keyed(
        "pool",
        old.pools.iter().map(|p| (p.name.clone(), PoolProperties(p))),
        new.pools.iter().map(|p| (p.name.clone(), PoolProperties(p))),
        |p| pool_detail(p.0),
        &mut out,
    );
    keyed("backend", members(old), members(new), backend_detail, &mut out);
    out
}

fn announcement_detail(p: &AnnouncedPrefix) -> String {
    let require = match p.require {
        Require::AnyVip => "any-vip".to_owned(),
        Require::AllVips => "all-vips".to_owned(),
        Require::AtLeast(number) => number.to_string(),
    };
    format!("by {}, require {require}", p.method.name())
}

/// What a neighbour is told and how; that a key is another one is all that is said of it.
fn neighbour_detail(n: &Neighbour) -> String {
    let communities: Vec<String> = n.attributes.communities.iter().map(ToString::to_string).collect();
    let med = n.attributes.med.map_or("none".to_owned(), |med| med.to_string());
    format!(
        "AS {}, hold {} s, prepend {}, med {med}, communities {}, signed {}",
        n.settings.remote_as,
        n.settings.hold_time,
        n.attributes.prepend,
        if communities.is_empty() { "none".to_owned() } else { communities.join("+") },
        if n.key.is_some() { "yes" } else { "no" },
    )
}

/// Refuses a change of what is fixed while the daemon runs.
///
/// # Errors
/// Names each such key.
pub fn fixed(old: &Config, new: &Config) -> Result<(), Failure> {
    let keys: Vec<&str> = [
        ("role", old.role != new.role),
        ("instance", old.instance != new.instance),
        ("bpffs", old.bpffs != new.bpffs),
        ("state_dir", old.state_dir != new.state_dir),
        ("source", old.sources != new.sources),
        ("control.socket", old.control.socket != new.control.socket),
        ("control.group", old.control.group != new.control.group),
        ("control.listen", old.control.listen != new.control.listen),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect();
    if keys.is_empty() {
        return Ok(());
    }
    let verb = if keys.len() == 1 { "takes" } else { "take" };
    Err(Failure::new(Code::NeedsRestart, format!("{} {verb} effect only at a start", keys.join(", ")))
        .hint("restart the daemon; the pinned data plane goes on forwarding meanwhile"))
}

/// A pool without its members, which are compared one by one.
struct PoolProperties<'a>(&'a Pool);

impl PartialEq for PoolProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        let without = |p: &Pool| Pool { backends: Vec::new(), quic: None, ..p.clone() };
        let ids = |p: &Pool| p.quic.as_ref().map(|quic| quic.ids);
        without(self.0) == without(other.0) && ids(self.0) == ids(other.0)
    }
}

fn settings(old: &Config, new: &Config, out: &mut Vec<Difference>) {
    let mut setting = |name: &str, differs: bool, detail: String| {
        if differs {
            out.push(Difference { subject: "setting", name: name.to_owned(), what: What::Changed, detail });
        }
    };
    let arrow = |a: &str, b: &str| format!("{a} -> {b}");
    setting("node", old.node != new.node, arrow(&old.node, &new.node));
    setting("pop", old.pop != new.pop, arrow(&old.pop, &new.pop));
    // The seed is secret: that it changed is all that is said.
    let listed = new.seed_previous.is_some() && new.seed_previous == old.seed;
    let seed = if listed { "every flow may move, its old owner is listed" } else { "every flow may move" };
    setting("hash_seed", old.seed != new.seed, seed.to_owned());
    setting(
        "hash_seed_previous",
        old.seed_previous != new.seed_previous,
        if new.seed_previous.is_some() { "the owner under it is listed" } else { "no longer listed" }
            .to_owned(),
    );
    let drained = |c: &Config| {
        if c.drained_pops.is_empty() { "-".to_owned() } else { c.drained_pops.join("+") }
    };
    setting("drained_pops", old.drained_pops != new.drained_pops, arrow(&drained(old), &drained(new)));
    let hops = |c: &Config| {
        format!(
            "{} packets a second of a client prefix, {} of all",
            c.hop_limits.per_prefix, c.hop_limits.total
        )
    };
    setting("hop_limits", old.hop_limits != new.hop_limits, arrow(&hops(old), &hops(new)));
    let clients = |c: &Config| {
        let clients: Vec<String> = c.identity_clients.iter().map(ToString::to_string).collect();
        if clients.is_empty() { "-".to_owned() } else { clients.join("+") }
    };
    setting(
        "identity_clients",
        old.identity_clients != new.identity_clients,
        arrow(&clients(old), &clients(new)),
    );
    let unmatched = |c: &Config| if c.unmatched_pass { "pass" } else { "drop" };
    setting("unmatched", old.unmatched_pass != new.unmatched_pass, arrow(unmatched(old), unmatched(new)));
    setting(
        "control.write_back",
        old.control.write_back != new.control.write_back,
        arrow(&old.control.write_back.to_string(), &new.control.write_back.to_string()),
    );
    let drain = |c: &Config| {
        let marks = &c.announcing.settings.drain;
        let wait = c.announcing.drain_wait.as_secs();
        format!(
            "graceful shutdown {}, prepend {}, med {:?}, wait {wait} s",
            marks.graceful_shutdown, marks.prepend, marks.med
        )
    };
    setting("bgp.drain", drain(old) != drain(new), arrow(&drain(old), &drain(new)));
    let bird = |c: &Config| c.announcing.settings.bird.clone();
    setting("bird", bird(old) != bird(new), "another file or socket".to_owned());
    let command = |c: &Config| c.announcing.settings.command.clone();
    setting("command", command(old) != command(new), "another command announces".to_owned());
    setting("bmp", old.bmp != new.bmp, arrow(&bmp_detail(old), &bmp_detail(new)));
    let metrics = |c: &Config| c.metrics.map_or("-".to_owned(), |listen| listen.to_string());
    setting("metrics.listen", old.metrics != new.metrics, arrow(&metrics(old), &metrics(new)));
    let page = |c: &Config| c.page.map_or_else(|| "-".to_owned(), |listen| format!("listen {listen}"));
    setting("page", old.page != new.page, arrow(&page(old), &page(new)));
    setting("control.tls", old.control.tls != new.control.tls, "other certificate files".to_owned());
}

fn bmp_detail(config: &Config) -> String {
    let Some(bmp) = &config.bmp else { return "-".to_owned() };
    let joined = |words: Vec<String>| if words.is_empty() { "-".to_owned() } else { words.join("+") };
    let allowed = joined(bmp.allowed.iter().map(ToString::to_string).collect());
    let own_as = joined(bmp.own_as.iter().map(ToString::to_string).collect());
    format!("listen {} allowed {allowed} own_as {own_as}", bmp.listen)
}

/// Compares two sets of named things.
fn keyed<K: Ord + fmt::Display, T: PartialEq>(
    subject: &'static str,
    old: impl Iterator<Item = (K, T)>,
    new: impl Iterator<Item = (K, T)>,
    describe: impl Fn(&T) -> String,
    out: &mut Vec<Difference>,
) {
    let mut old: BTreeMap<K, T> = old.collect();
    let mut difference = |name: String, what, detail| out.push(Difference { subject, name, what, detail });
    for (key, now) in new {
        match old.remove(&key) {
            None => difference(key.to_string(), What::Added, describe(&now)),
            Some(before) if before != now => {
                let (a, b) = (describe(&before), describe(&now));
                difference(key.to_string(), What::Changed, changed_words(&a, &b));
            }
            Some(_) => {}
        }
    }
    for (key, before) in old {
        difference(key.to_string(), What::Removed, describe(&before));
    }
}

/// Of two lists of properties (`weight 100, state active`), those that differ, as `weight 100 -> 50`.
fn changed_words(before: &str, now: &str) -> String {
    let differing: Vec<String> = before
        .split(", ")
        .zip(now.split(", "))
        .filter(|(a, b)| a != b)
        .map(|(a, b)| format!("{a} -> {}", b.split_once(' ').map_or(b, |(_, value)| value)))
        .collect();
    differing.join(", ")
}

/// Backends, with the server ID where connection IDs name them.
fn members(config: &Config) -> impl Iterator<Item = (String, (&Backend, Option<String>))> {
    config.pools.iter().flat_map(|p| {
        p.backends.iter().map(|b| {
            let server_id = p.quic.as_ref().and_then(|quic| quic.server_id(b.address));
            (member_name(&p.name, b.address), (b, server_id))
        })
    })
}

fn member_name(pool: &str, address: IpAddr) -> String {
    format!("{pool} {address}")
}

fn vip_detail(vip: &&Vip) -> String {
    let pool = if vip.pool.is_empty() { "-" } else { &vip.pool };
    let quic = if vip.quic { ", quic" } else { "" };
    format!(
        "pool {pool}, second_chance {}, hash {}, mss_clamp {}, identity {}{quic}",
        vip.second_chance, vip.hash, vip.mss_clamp, vip.identity
    )
}

fn pool_detail(pool: &Pool) -> String {
    let rescue = if pool.rescue.is_empty() { "-".to_owned() } else { pool.rescue.join("+") };
    format!(
        "encapsulation {}, table {}, slots {}, margin {}, hops {}, rescue {rescue}, fill_time {:?}, drain_timeout {:?}, \
         all_down {}, minimum_healthy {}, health {}",
        encapsulation_name(pool.encapsulation),
        table_name(pool.table),
        pool.slots,
        f64::from(pool.margin_ppm) / 1e6,
        pool.hops,
        pool.fill_time,
        pool.drain_timeout,
        pool.health.all_down.word(),
        pool.health.minimum,
        pool.health.check.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
    ) + &pool.quic.as_ref().map_or_else(String::new, quic_detail)
}

fn quic_detail(quic: &Quic) -> String {
    format!(", quic config {}, server_id_length {}", quic.ids.config, quic.ids.len)
}

fn backend_detail((backend, server_id): &(&Backend, Option<String>)) -> String {
    let detail = format!(
        "weight {}, state {}, pop {}",
        backend.weight,
        state_name(backend.state),
        backend.pop.as_deref().unwrap_or("-")
    );
    detail + &server_id.as_ref().map_or_else(String::new, |id| format!(", server_id {id}"))
}

/// The word of the configuration language.
pub const fn state_name(state: BackendState) -> &'static str {
    match state {
        BackendState::Filling => "filling",
        BackendState::Active => "active",
        BackendState::Draining => "draining",
    }
}

/// The word of the configuration language.
pub const fn encapsulation_name(encapsulation: Encapsulation) -> &'static str {
    match encapsulation {
        Encapsulation::Gue => "gue",
        Encapsulation::Ipip => "ipip",
        Encapsulation::L2 => "l2",
    }
}

/// The word of the configuration language.
pub const fn table_name(table: TableKind) -> &'static str {
    match table {
        TableKind::Rendezvous => "rendezvous",
        TableKind::Maglev => "maglev",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::testing;

    fn lines(old: &Config, new: &Config) -> Vec<String> {
        differences(old, new).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn equal_configurations_and_reordered_entries_have_no_differences() {
        let old = testing::config();
        let mut new = old.clone();
        new.pools[0].backends.reverse();
        new.vips.reverse();
        assert_eq!(lines(&old, &new), Vec::<String>::new());
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        let old = testing::config();
        let mut new = old.clone();
        new.pools[0].backends[0].weight = 50;
        new.pools[0].backends.remove(1);
        new.pools[0].slots = 2048;
        new.vips.clear();
        new.unmatched_pass = true;
        new.hop_limits.total = 0;
        assert_eq!(
            lines(&old, &new),
            [
                "setting hop_limits changed: 50000 packets a second of a client prefix, 500000 of all -> \
                 50000 packets a second of a client prefix, 0 of all",
                "setting unmatched changed: drop -> pass",
                "vip 203.0.113.1:443/tcp removed: pool web, second_chance true, hash 5-tuple, mss_clamp false, \
                 identity off",
                "pool web changed: slots 1024 -> 2048",
                "backend web 10.0.0.11 changed: weight 100 -> 50",
                "backend web 10.0.0.12 removed: weight 100, state active, pop -",
            ]
        );
    }

    #[test]
    fn a_new_seed_is_reported_without_being_told() {
        let old = testing::config();
        let mut new = old.clone();
        new.seed = Some(crate::model::Seed([0xab; 16]));
        assert_eq!(lines(&old, &new), ["setting hash_seed changed: every flow may move"]);
        new.seed_previous = old.seed.clone();
        new.drained_pops = vec!["fra1".to_owned(), "sin1".to_owned()];
        assert_eq!(
            lines(&old, &new),
            [
                "setting hash_seed changed: every flow may move, its old owner is listed",
                "setting hash_seed_previous changed: the owner under it is listed",
                "setting drained_pops changed: - -> fra1+sin1",
            ]
        );
    }

    #[test]
    fn what_is_fixed_at_start_is_refused_by_name() {
        let old = testing::config();
        let mut new = old.clone();
        new.instance = "other".to_owned();
        new.bpffs = "/elsewhere".into();
        let failure = fixed(&old, &new).expect_err("must be refused");
        assert_eq!(failure.code, Code::NeedsRestart);
        assert!(failure.message.starts_with("instance, bpffs take effect"), "{}", failure.message);
        assert_eq!(fixed(&old, &old), Ok(()));
    }
}
