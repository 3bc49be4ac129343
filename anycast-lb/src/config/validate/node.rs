//! The node itself: its names, interfaces, secret, addresses and prefixes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::Surroundings;
use crate::config::report::{At, Report};
use crate::config::scalar::family;
use crate::config::schema::{Draft, Global, SeedSource, TOP};
use crate::config::secret::{SecretError, parse_seed, read_seed};
use crate::config::source::{MAIN, SourceFile, beside};
use crate::model::{Encapsulation, HopLimits, Interface, Role, Seed};

/// Site of a node that names none.
const DEFAULT_POP: &str = "default";

/// Names of node and site: the command line, else the file, else the host's name.
pub(super) fn names(global: &Global, surroundings: &Surroundings, report: &Report<'_>) -> (String, String) {
    let Surroundings { overrides, host, .. } = surroundings;
    for (option, value) in [("--node", &overrides.node), ("--pop", &overrides.pop)] {
        if let Some(value) = value
            && !is_word(value)
        {
            report.problem(
                TOP,
                option,
                format!("`{value}` is not a plain word"),
                "use letters, digits, `-`, `_` and `.`",
            );
        }
    }
    let node = overrides.node.clone().or_else(|| global.node.clone()).unwrap_or_else(|| {
        if !is_word(host) {
            report.problem(
                TOP,
                "node",
                "is missing, and the host's name does not serve",
                "write node = \"fra1-lb1\"",
            );
        }
        host.clone()
    });
    let pop = overrides.pop.clone().or_else(|| global.pop.clone());
    (node, pop.unwrap_or_else(|| DEFAULT_POP.to_owned()))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Instances besides the default one have sockets of their own.
pub(super) fn default_socket(instance: &str) -> PathBuf {
    let run = Path::new("/run/anycast-lb");
    if instance == "default" { run.join("control.sock") } else { run.join(instance).join("control.sock") }
}

pub(super) fn interfaces(interfaces: &[At<Interface>], report: &Report<'_>) {
    let refused = report.has_problem(|key| key.starts_with("interface"));
    if interfaces.is_empty() && !refused && !report.is_incomplete() {
        report.problem(
            TOP,
            "interface",
            "there is no interface",
            "write [[interface]] and below it name = \"eth0\", the NIC that packets come in by",
        );
    }
    let mut seen = HashMap::new();
    for At { value, spot } in interfaces {
        if let Some(first) = seen.insert(&value.name, *spot) {
            let key = format!("interface {:?}", value.name);
            report.problem(
                *spot,
                &key,
                format!("is named already at {}", report.place(first)),
                "take one of the two out",
            );
        }
    }
}

/// The seed, which an ingress node must have and a backend does not look at.
pub(super) fn seed(
    global: &Global,
    role: Option<Role>,
    files: &[SourceFile],
    surroundings: &Surroundings,
    report: &Report<'_>,
) -> Option<Seed> {
    inline_seed_is_private(global, files, report);
    if role != Some(Role::Ingress) {
        return None;
    }
    let Some(source) = &global.seed else {
        if report.has_problem(|key| key == "hash_seed" || key == "hash_seed_file") {
            return None;
        }
        report.problem(
            TOP,
            "hash_seed_file",
            "is missing: nodes must share a secret to place flows alike",
            "write hash_seed_file = \"/etc/anycast-lb/seed\"; make the file with \
             (umask 077; openssl rand -hex 16 > /etc/anycast-lb/seed)",
        );
        return None;
    };
    match &source.value {
        SeedSource::Inline(text) => seed_or_problem(parse_seed(text), source, "hash_seed", report),
        SeedSource::File(path) => match &surroundings.seed {
            Some(seed) => Some(seed.clone()),
            None => {
                seed_or_problem(read_seed(&beside(&files[MAIN].path, path)), source, "hash_seed_file", report)
            }
        },
    }
}

/// The seed before `seed`, which an ingress node lists the owner of while the seed is being changed.
pub(super) fn seed_previous(
    global: &Global,
    role: Option<Role>,
    seed: Option<&Seed>,
    files: &[SourceFile],
    surroundings: &Surroundings,
    report: &Report<'_>,
) -> Option<Seed> {
    const KEY: &str = "hash_seed_previous_file";
    let source = global.previous_seed.as_ref().filter(|_| role == Some(Role::Ingress))?;
    // What was read with the seed in force belongs to it; a file that was replaced since does not.
    let previous = match &surroundings.seed {
        Some(_) => surroundings.seed_previous.clone()?,
        None => {
            let read = read_seed(&beside(&files[MAIN].path, &source.value));
            let hint = match &read {
                Err(e) if e.is_missing() => {
                    "copy the seed that was in force there, or take the key out".to_owned()
                }
                Err(e) => e.hint(),
                Ok(_) => String::new(),
            };
            read.map_err(|e| report.problem(source.spot, KEY, e.to_string(), hint)).ok()?
        }
    };
    if seed == Some(&previous) {
        report.notice(
            source.spot,
            KEY,
            "holds the seed that is in force: there is no change, take the key out",
        );
        return None;
    }
    Some(previous)
}

fn seed_or_problem<T>(
    read: Result<Seed, SecretError>,
    at: &At<T>,
    key: &str,
    report: &Report<'_>,
) -> Option<Seed> {
    read.map_err(|e| report.problem(at.spot, key, e.to_string(), e.hint())).ok()
}

fn inline_seed_is_private(global: &Global, files: &[SourceFile], report: &Report<'_>) {
    let Some(At { value: SeedSource::Inline(_), spot }) = &global.seed else { return };
    let file = &files[spot.file];
    if file.world_readable {
        report.problem(
            *spot,
            "hash_seed",
            "is a secret in a file that everybody can read",
            format!(
                "run: chmod 600 {} (and make a new seed if strangers have been here)",
                file.path.display()
            ),
        );
    }
}

pub(super) fn allowed_senders(global: &Global, role: Option<Role>, report: &Report<'_>) {
    let refused = report.has_problem(|key| key == "allowed_senders");
    if role == Some(Role::Backend) && global.allowed_senders.is_empty() && !refused {
        report.problem(
            TOP,
            "allowed_senders",
            "is missing: a backend takes tunnelled packets only from those it knows",
            "write allowed_senders = [\"10.0.0.0/24\"] with the addresses of the ingress nodes",
        );
    }
    unique(&global.allowed_senders, "allowed_senders", report);
}

/// Limits of a backend; an ingress node, which sends nothing on, does not look at them.
pub(super) fn hop_limits(global: &Global, role: Option<Role>, report: &Report<'_>) -> HopLimits {
    let Some(At { value: limits, spot }) = global.hop_limits else { return HopLimits::default() };
    if role != Some(Role::Backend) {
        return limits;
    }
    if limits.per_prefix == 0 || limits.total == 0 {
        report.notice(
            spot,
            "hop_limits",
            "lets nothing be sent on: flows whose backend another node does not list first will break",
        );
    } else if limits.per_prefix > limits.total {
        report.notice(
            spot,
            "hop_limits",
            format!(
                "per_prefix = {} limits nothing beyond total = {}: one client prefix can use up all of it",
                limits.per_prefix, limits.total
            ),
        );
    }
    limits
}

pub(super) fn prefixes(draft: &Draft, role: Option<Role>, report: &Report<'_>) {
    let prefixes: Vec<_> =
        draft.prefixes.iter().map(|p| At { value: p.prefix.value, spot: p.prefix.spot }).collect();
    unique(&prefixes, "prefix", report);
    if role != Some(Role::Ingress) || draft.global.unmatched_pass {
        return;
    }
    for At { value: source, spot } in &draft.global.sources {
        if let Some(prefix) = prefixes.iter().find(|prefix| prefix.value.contains(source)) {
            report.problem(
                *spot,
                "source",
                format!(
                    "{source} lies in the prefix {}: packets to this node itself would be dropped as \
                     unmatched_prefix",
                    prefix.value
                ),
                "give the node an address outside of its prefixes, or write unmatched = \"pass\"",
            );
        }
    }
}

fn unique(networks: &[At<IpNet>], key: &str, report: &Report<'_>) {
    let mut seen = HashMap::new();
    for At { value, spot } in networks {
        if let Some(first) = seen.insert(value, *spot) {
            report.problem(
                *spot,
                key,
                format!("{value} stands already at {}", report.place(first)),
                "take one of the two out",
            );
        }
    }
}

/// Outer source addresses: one a family at most, none of them a VIP, and where there are any, one
/// for the family of every tunnelled pool.
pub(super) fn sources(draft: &Draft, role: Option<Role>, report: &Report<'_>) {
    let sources = &draft.global.sources;
    let of_family = |address: IpAddr| move |s: &&At<IpAddr>| s.value.is_ipv4() == address.is_ipv4();
    for (i, source) in sources.iter().enumerate() {
        if let Some(first) = sources[..i].iter().find(of_family(source.value)) {
            report.problem(
                source.spot,
                "source",
                format!(
                    "{} is a second {} address after {}",
                    source.value,
                    family(source.value),
                    first.value
                ),
                "keep one address of each family",
            );
        }
        if draft.vips.iter().any(|vip| vip.key.address == source.value) {
            report.problem(
                source.spot,
                "source",
                format!("{} is a VIP", source.value),
                "write an address that only this node has",
            );
        }
    }
    if sources.is_empty() || role != Some(Role::Ingress) {
        return;
    }
    for pool in draft.pools.iter().filter(|p| p.encapsulation != Encapsulation::L2) {
        let Some(first) = pool.backends.first() else { continue };
        let address = first.backend.address;
        if !sources.iter().any(|s| of_family(address)(&s)) {
            report.problem(
                first.spot,
                &pool.path,
                format!("has {} backends, but `source` has no {0} address", family(address)),
                format!(
                    "add an {} address to `source`, or leave `source` out: the interface's own is used",
                    family(address)
                ),
            );
        }
    }
}
