//! The keys at the top of the main file, and the interfaces.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::word;
use super::words::{MODES, ROLES, UNMATCHED};
use crate::config::reader::{Section, label};
use crate::config::report::{At, Spot};
use crate::config::scalar::not_a_host;
use crate::model::{HopLimits, Interface, Role};

/// Longest name of a node, a site or a pool.
pub(super) const LONGEST_NAME: usize = 64;
/// Longest name of an instance; it is a directory under the bpffs.
const LONGEST_INSTANCE: usize = 32;
/// `IFNAMSIZ` without the zero at its end.
const LONGEST_INTERFACE: usize = 15;

/// Most packets a second that a limit can name: times between packets are whole nanoseconds, and
/// beyond this they say little.
const MOST_HOPS: u64 = 100_000_000;

/// Where the seed comes from.
pub(in crate::config) enum SeedSource {
    File(PathBuf),
    Inline(String),
}

/// Top-level values as written.
#[derive(Default)]
pub(in crate::config) struct Global {
    pub role: Option<At<Role>>,
    pub node: Option<String>,
    pub pop: Option<String>,
    pub instance: Option<String>,
    pub bpffs: Option<PathBuf>,
    pub state_dir: Option<PathBuf>,
    pub seed: Option<At<SeedSource>>,
    pub previous_seed: Option<At<PathBuf>>,
    pub drained_pops: Vec<At<String>>,
    pub unmatched_pass: bool,
    pub sources: Vec<At<IpAddr>>,
    pub allowed_senders: Vec<At<IpNet>>,
    pub hop_limits: Option<At<HopLimits>>,
    pub identity_clients: Vec<At<IpNet>>,
}

pub(super) fn read(section: &Section<'_>) -> Global {
    let name = |key, longest, dots| section.field(key).and_then(|f| word(&f, longest, dots)).map(|n| n.value);
    // Checked for its shape here; the files it names have been read before.
    section.list("include", |entry| {
        let path = entry.path_value()?;
        if path.value.to_string_lossy().contains(['[', '{']) {
            entry.problem("only * and ? are wildcards here", "name each file, or use * and ?");
        }
        Some(path)
    });
    Global {
        role: section
            .required("role", "role = \"ingress\" or role = \"backend\"")
            .and_then(|f| f.choice(ROLES)),
        node: name("node", LONGEST_NAME, true),
        pop: name("pop", LONGEST_NAME, true),
        // No dots: a bpffs refuses names that hold one.
        instance: name("instance", LONGEST_INSTANCE, false),
        bpffs: absolute(section, "bpffs"),
        state_dir: absolute(section, "state_dir"),
        seed: seed(section),
        previous_seed: section.path_value("hash_seed_previous_file"),
        drained_pops: section
            .list("drained_pops", |entry| word(entry, LONGEST_NAME, true))
            .map(|l| l.value)
            .unwrap_or_default(),
        unmatched_pass: section.choice("unmatched", UNMATCHED).is_some_and(|u| u.value),
        sources: sources(section),
        allowed_senders: networks(section, "allowed_senders"),
        hop_limits: hop_limits(section),
        identity_clients: networks(section, "identity_clients"),
    }
}

/// A path that does not depend on where the daemon was started.
pub(super) fn absolute(section: &Section<'_>, key: &'static str) -> Option<PathBuf> {
    let field = section.field(key)?;
    let path = field.path_value()?.value;
    if path.is_absolute() {
        return Some(path);
    }
    field.problem(
        format!("`{}` is a relative path", path.display()),
        "write the whole path, beginning with /",
    );
    None
}

fn seed(section: &Section<'_>) -> Option<At<SeedSource>> {
    let file = section.path_value("hash_seed_file");
    let Some(inline) = section.field("hash_seed") else {
        return file.map(|f| At { value: SeedSource::File(f.value), spot: f.spot });
    };
    if file.is_some() {
        inline.problem("the seed is given twice", "keep hash_seed_file and take hash_seed out");
    }
    let text = inline.string()?;
    Some(At { value: SeedSource::Inline(text.value), spot: text.spot })
}

fn sources(section: &Section<'_>) -> Vec<At<IpAddr>> {
    let list = section.list("source", |entry| {
        let address = entry.address("10.0.0.2")?;
        if let Some(reason) = not_a_host(address.value) {
            entry.problem(format!("{} is {reason}", address.value), "write an address of this node");
            return None;
        }
        Some(address)
    });
    list.map(|l| l.value).unwrap_or_default()
}

fn networks(section: &Section<'_>, key: &'static str) -> Vec<At<IpNet>> {
    section.list(key, |entry| entry.network("10.0.0.0/24")).map(|l| l.value).unwrap_or_default()
}

/// `[hop_limits]`.
fn hop_limits(root: &Section<'_>) -> Option<At<HopLimits>> {
    let section = root.table("hop_limits")?;
    let rate = |key, default| {
        let rate = section.integer(
            key,
            0..=MOST_HOPS,
            "packets a second, from 0 (none are sent on) to 100000000; leave the key out for the default",
        );
        rate.and_then(|rate| u32::try_from(rate.value).ok()).unwrap_or(default)
    };
    let default = HopLimits::default();
    let total = rate("total", default.total);
    let limits = HopLimits { per_prefix: rate("per_prefix", default.per_prefix.min(total)), total };
    let spot = section.spot();
    section.finish();
    Some(At { value: limits, spot })
}

/// `[[interface]]`.
pub(super) fn interfaces(root: &Section<'_>, interfaces: &mut Vec<At<Interface>>) {
    for (i, section) in root.tables("interface").into_iter().enumerate() {
        let section = match section.peek("name") {
            Some(name) => section.named(format!("interface {name:?}")),
            None => section.named(label("interface", None::<&str>, i)),
        };
        let name = section.required("name", "name = \"eth0\"").and_then(|field| {
            let name = field.string()?;
            if is_interface_name(&name.value) {
                return Some(name);
            }
            let (message, hint) = if name.value.len() > LONGEST_INTERFACE {
                (
                    format!("is {} characters long", name.value.len()),
                    "write 15 characters at most, as `ip link` shows the name",
                )
            } else {
                ("is no name of an interface".to_owned(), "write the name that `ip link` shows")
            };
            field.problem(message, hint);
            None
        });
        let mode = section.choice("mode", MODES).map(|m| m.value).unwrap_or_default();
        section.finish();
        if let Some(At { value: name, spot }) = name {
            interfaces.push(At { value: Interface { name, mode }, spot });
        }
    }
}

/// The kernel's rule (`dev_valid_name`).
fn is_interface_name(name: &str) -> bool {
    (1..=LONGEST_INTERFACE).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.bytes().any(|b| b == b'/' || b == b':' || b.is_ascii_whitespace() || b == 0)
}

/// Where the first line of the main file is: for what is missing from the whole.
pub(in crate::config) const TOP: Spot = Spot { file: 0, offset: 0 };
