//! Announcing: that somebody is there to do it, and what is said to whom.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use anycast_lb_routing::announce::bird::Bird;
use anycast_lb_routing::announce::command::Hook;
use anycast_lb_routing::announce::driver::{Method, Settings as Outlets};
use anycast_lb_routing::announce::gate::Require;
use anycast_lb_routing::bgp::driver::Neighbour;
use anycast_lb_routing::bgp::message::NextHops;
use anycast_lb_routing::bgp::route::Attributes;
use anycast_lb_routing::bgp::session::Settings;
use anycast_lb_routing::bgp::socket::{Distance, Md5Key};

use crate::config::report::{At, Report};
use crate::config::schema::{BgpDraft, Draft, NeighbourDraft, PrefixDraft};
use crate::config::secret::{SecretError, read_private};
use crate::config::source::{MAIN, SourceFile, beside};
use crate::model::{AnnouncedPrefix, Announcing, DEFAULT_DRAIN_WAIT, Role};

/// Bytes of a file with a key: the longest key and some white space.
const LONGEST_FILE: u64 = 256;
/// Prefixes shorter than these are none of one site's: they are typing errors that would draw the world in.
const SHORTEST_V4: u8 = 8;
const SHORTEST_V6: u8 = 16;

/// All that is announced, and by whom.
pub(super) fn announcing(
    draft: &Draft,
    role: Option<Role>,
    files: &[SourceFile],
    report: &Report<'_>,
) -> Announcing {
    let announce = &draft.announce;
    if role != Some(Role::Ingress) {
        return Announcing::default();
    }
    let mut settings = Outlets::default();
    if let Some(bgp) = &announce.bgp {
        settings.neighbours = neighbours(bgp, draft, files, report);
        settings.drain = bgp.drain.clone();
        settings.local_as = bgp.local_as;
    }
    let wanted = |method| draft.prefixes.iter().any(|p| p.method.as_ref().is_some_and(|m| m.value == method));
    if let Some(bird) = announce.bird.as_ref().filter(|_| wanted(Method::Bird)) {
        settings.bird = Some(Bird { file: bird.value.file.clone(), socket: bird.value.socket.clone() });
    }
    if let Some(command) = announce.command.as_ref().filter(|_| wanted(Method::Command)) {
        settings.command = Some(Hook { argv: command.value.run.clone(), timeout: command.value.timeout });
    }
    for prefix in &draft.prefixes {
        check(prefix, draft, report);
    }
    let prefixes = draft.prefixes.iter().filter_map(|prefix| {
        let method = prefix.method.as_ref()?.value;
        Some(AnnouncedPrefix { prefix: prefix.prefix.value, method, require: prefix.require.value })
    });
    Announcing {
        prefixes: prefixes.collect(),
        settings,
        drain_wait: announce.bgp.as_ref().and_then(|bgp| bgp.drain_wait).unwrap_or(DEFAULT_DRAIN_WAIT),
    }
}

fn check(draft: &PrefixDraft, all: &Draft, report: &Report<'_>) {
    let Some(method) = &draft.method else { return };
    let key = |key: &str| format!("prefix {} {key}", draft.prefix.value);
    let missing = |section: &str, example: &str| {
        if !report.has_problem(|key| key.starts_with(section)) {
            report.problem(
                method.spot,
                &key("announce"),
                format!("nobody would announce it: there is no [{section}]"),
                example,
            );
        }
    };
    match method.value {
        Method::Bgp if all.announce.bgp.as_ref().is_none_or(|bgp| bgp.neighbours.is_empty()) => {
            missing("bgp", "write [bgp] with local_as, and [[bgp.neighbor]] with address and remote_as");
        }
        Method::Bird if all.announce.bird.is_none() => {
            missing(
                "bird",
                "write [bird] with file = \"/run/anycast-lb-bird/prefixes.conf\", which BIRD includes",
            );
        }
        Method::Command if all.announce.command.is_none() => {
            missing("command", "write [command] with run = [\"/usr/local/sbin/announce\"]");
        }
        _ => {}
    }
    let prefix = draft.prefix.value;
    let shortest = if prefix.addr().is_ipv4() { SHORTEST_V4 } else { SHORTEST_V6 };
    let wrong = match prefix {
        _ if prefix.prefix_len() < shortest => Some(format!("is shorter than /{shortest}")),
        _ if prefix.addr().is_multicast() => Some("is one of multicast addresses".to_owned()),
        _ if prefix.addr().is_loopback() => Some("is one of loopback addresses".to_owned()),
        _ => None,
    };
    if let Some(wrong) = wrong {
        report.problem(draft.prefix.spot, &key("prefix"), wrong, "announce a prefix that is yours");
    }
    let vips = all.vips.iter().filter(|vip| prefix.contains(&vip.key.address)).count();
    if let Require::AtLeast(number) = draft.require.value
        && usize::from(number) > vips
    {
        let what = format!("is never met: {vips} VIPs lie in the prefix");
        report.notice(draft.require.spot, &key("require"), what);
    } else if vips == 0 {
        report.notice(method.spot, &key("announce"), "no VIP lies in the prefix: it will not be announced");
    }
}

fn neighbours(bgp: &BgpDraft, draft: &Draft, files: &[SourceFile], report: &Report<'_>) -> Vec<Neighbour> {
    let own = draft.global.sources.iter().find_map(|source| match source.value {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    });
    let router_id = bgp.router_id.as_ref().map(|id| id.value).or(own);
    if router_id.is_none() && !bgp.neighbours.is_empty() && !report.has_problem(|key| key == "bgp.router_id")
    {
        report.problem(
            bgp.spot,
            "bgp.router_id",
            "is missing, and no IPv4 address in `source` could stand for it",
            "write router_id = \"10.0.0.2\" with an IPv4 address of this node, of no other",
        );
    }
    let mut seen = HashMap::new();
    let mut list = Vec::new();
    for At { value: neighbour, spot } in &bgp.neighbours {
        let address = SocketAddr::new(neighbour.address, neighbour.port);
        if let Some(first) = seen.insert(address, *spot) {
            let message = format!("stands already at {}", report.place(first));
            report.problem(*spot, &neighbour.name, message, "take one of the two out");
        }
        let key = md5(neighbour, files, report);
        let (Some(local_as), Some(router_id)) = (bgp.local_as, router_id) else { continue };
        list.push(Neighbour {
            address,
            source: neighbour.source.as_ref().map(|source| source.value),
            settings: Settings {
                local_as,
                remote_as: neighbour.remote_as,
                router_id,
                hold_time: neighbour.hold_time,
                next_hops: next_hops(neighbour, report),
            },
            key,
            distance: distance(neighbour, report),
            attributes: Attributes {
                prepend: neighbour.prepend,
                med: neighbour.med,
                local_pref: neighbour.local_pref,
                communities: neighbour.communities.clone(),
            },
            drain: bgp.drain.clone(),
        });
    }
    list
}

fn distance(neighbour: &NeighbourDraft, report: &Report<'_>) -> Distance {
    match &neighbour.ttl {
        Some(ttl) if neighbour.gtsm => {
            report.problem(
                ttl.spot,
                &format!("{} ttl", neighbour.name),
                "is given together with gtsm = true, which takes 255",
                "take one of the two out: gtsm for a neighbour on the same link",
            );
            Distance::Security
        }
        Some(ttl) => Distance::Ttl(ttl.value),
        None if neighbour.gtsm => Distance::Security,
        None => Distance::Any,
    }
}

/// One of each family; where there is none, the session's own address is the next hop of its family.
fn next_hops(neighbour: &NeighbourDraft, report: &Report<'_>) -> NextHops {
    let mut hops = NextHops::default();
    for At { value, spot } in &neighbour.next_hops {
        let twice = match *value {
            IpAddr::V4(v4) => hops.v4.replace(v4).is_some(),
            IpAddr::V6(v6) => hops.v6.replace(v6).is_some(),
        };
        if twice {
            report.problem(
                *spot,
                &format!("{} next_hop", neighbour.name),
                "is the second of its family",
                "keep one IPv4 and one IPv6 address",
            );
        }
    }
    hops
}

fn md5(neighbour: &NeighbourDraft, files: &[SourceFile], report: &Report<'_>) -> Option<Md5Key> {
    let file = neighbour.md5_file.as_ref()?;
    let refuse = |message: String, hint: String| {
        report.problem(file.spot, &format!("{} md5_file", neighbour.name), message, hint);
    };
    match read_private(&beside(&files[MAIN].path, &file.value), LONGEST_FILE) {
        Ok(bytes) => match Md5Key::new(bytes.trim_ascii()) {
            Ok(key) => Some(key),
            Err(error) => {
                refuse(error.to_string(), "write the key that the neighbour has, in one line".to_owned());
                None
            }
        },
        Err(error) => {
            let hint = match &error {
                SecretError::Read { .. } if error.is_missing() => {
                    "write the key that the neighbour has into it, and chmod 600 it".to_owned()
                }
                _ => error.hint(),
            };
            refuse(error.to_string(), hint);
            None
        }
    }
}
