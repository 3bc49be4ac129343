//! Announcing: keys of `[[prefix]]`, `[bgp]` with its neighbours, `[bird]`, `[command]`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use anycast_lb_routing::announce::driver::Method;
use anycast_lb_routing::announce::gate::Require;
use anycast_lb_routing::bgp::route::{Community, DrainMarks};
use anycast_lb_routing::bgp::session::SHORTEST_HOLD;
use anycast_lb_routing::bgp::{self};
use ipnet::IpNet;

use super::{ASN, ASN_HINT};
use crate::config::reader::{Field, Section, Words, label};
use crate::config::report::{At, Spot};
use crate::config::scalar::{family, not_a_host};

/// Hold time in seconds where nobody says otherwise: what RFC 4271 §10 suggests.
const DEFAULT_HOLD: u16 = 90;
/// How long the command may take where nobody says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Communities of a neighbour: with more of them a message has no room for prefixes.
const MOST_COMMUNITIES: usize = 64;

const METHODS: &Words<Method> = &[
    (Method::Bgp.name(), Method::Bgp),
    (Method::Bird.name(), Method::Bird),
    (Method::Exabgp.name(), Method::Exabgp),
    (Method::Command.name(), Method::Command),
];
const REQUIREMENTS: &Words<Require> = &[("any-vip", Require::AnyVip), ("all-vips", Require::AllVips)];

/// What a `[[prefix]]` says about announcing.
pub(in crate::config) struct PrefixDraft {
    pub prefix: At<IpNet>,
    /// None = somebody else announces it.
    pub method: Option<At<Method>>,
    pub require: At<Require>,
}

/// Everything else about it.
#[derive(Default)]
pub(in crate::config) struct AnnounceDraft {
    pub bgp: Option<BgpDraft>,
    pub bird: Option<At<BirdDraft>>,
    pub command: Option<At<CommandDraft>>,
}

/// `[bgp]`.
pub(in crate::config) struct BgpDraft {
    pub spot: Spot,
    pub local_as: Option<u32>,
    pub router_id: Option<At<Ipv4Addr>>,
    pub drain: DrainMarks,
    pub drain_wait: Option<Duration>,
    pub neighbours: Vec<At<NeighbourDraft>>,
}

/// A `[[bgp.neighbor]]`.
pub(in crate::config) struct NeighbourDraft {
    pub name: String,
    pub address: IpAddr,
    pub port: u16,
    pub remote_as: u32,
    pub source: Option<At<IpAddr>>,
    pub md5_file: Option<At<PathBuf>>,
    pub gtsm: bool,
    pub ttl: Option<At<u8>>,
    pub hold_time: u16,
    pub next_hops: Vec<At<IpAddr>>,
    pub prepend: u8,
    pub med: Option<u32>,
    pub local_pref: Option<u32>,
    pub communities: Vec<Community>,
}

/// `[bird]`.
pub(in crate::config) struct BirdDraft {
    pub file: PathBuf,
    pub socket: PathBuf,
}

/// `[command]`.
pub(in crate::config) struct CommandDraft {
    pub run: Vec<String>,
    pub timeout: Duration,
}

/// What of a `[[prefix]]` is about announcing.
pub(super) fn prefix(section: &Section<'_>) -> Option<PrefixDraft> {
    let method = section.choice("announce", METHODS);
    let require = section.field("require").and_then(|field| {
        if field.is_integer() {
            let number =
                field.integer(1..=u64::from(u16::MAX), "\"any-vip\", \"all-vips\" or how many VIPs")?;
            Some(At { value: Require::AtLeast(narrow(number.value)), spot: number.spot })
        } else {
            field.choice(REQUIREMENTS)
        }
    });
    let prefix = section.required("prefix", "prefix = \"203.0.113.0/24\"")?.network("203.0.113.0/24")?;
    let require = require.unwrap_or(At { value: Require::default(), spot: prefix.spot });
    Some(PrefixDraft { prefix, method, require })
}

/// `[bgp]`, `[bird]` and `[command]` of the main file.
pub(super) fn read(root: &Section<'_>) -> AnnounceDraft {
    AnnounceDraft { bgp: bgp(root), bird: bird(root), command: command(root) }
}

fn bgp(root: &Section<'_>) -> Option<BgpDraft> {
    let section = root.table("bgp")?;
    let local_as = section.required("local_as", "local_as = 64500");
    let local_as = local_as.and_then(|field| field.integer(ASN, ASN_HINT)).map(|asn| narrow(asn.value));
    let router_id = section.field("router_id").and_then(|field| router_id(&field));
    let mut draft = BgpDraft {
        spot: section.spot(),
        local_as,
        router_id,
        drain: DrainMarks::default(),
        drain_wait: None,
        neighbours: Vec::new(),
    };
    if let Some(drain) = section.table("drain") {
        if let Some(on) = drain.boolean("graceful_shutdown") {
            draft.drain.graceful_shutdown = on.value;
        }
        draft.drain.prepend = prepend(&drain);
        draft.drain.med = med(&drain);
        draft.drain_wait = drain.duration("wait").map(|wait| wait.value);
        drain.finish();
    }
    for (i, neighbour) in section.tables("neighbor").into_iter().enumerate() {
        let name = format!("bgp {}", label("neighbor", neighbour.peek("address"), i));
        let section = neighbour.named(name.clone());
        if let Some(value) = self::neighbour(name, &section) {
            draft.neighbours.push(At { value, spot: section.spot() });
        }
        section.finish();
    }
    section.finish();
    Some(draft)
}

fn router_id(field: &Field<'_>) -> Option<At<Ipv4Addr>> {
    let id = field.parsed::<Ipv4Addr>("a router ID", "10.0.0.2")?;
    if id.value.is_unspecified() {
        field.problem("0.0.0.0 identifies nobody", "write an IPv4 address of this node");
        return None;
    }
    Some(id)
}

fn neighbour(name: String, section: &Section<'_>) -> Option<NeighbourDraft> {
    let address = section.required("address", "address = \"10.0.0.1\"").and_then(|field| {
        let address = field.address("10.0.0.1")?;
        // A routing daemon on this host is one.
        if let Some(reason) = not_a_host(address.value).filter(|_| !address.value.is_loopback()) {
            field.problem(
                format!("{} is {reason}", address.value),
                "write an address of the router that is not bound to a link",
            );
            return None;
        }
        Some(address.value)
    });
    let remote_as = section.required("remote_as", "remote_as = 64500");
    let remote_as = remote_as.and_then(|field| field.integer(ASN, ASN_HINT)).map(|asn| narrow(asn.value));
    let port = section.integer("port", 1..=u64::from(u16::MAX), "a port, from 1; 179 is the default");
    let source = section.field("source").and_then(|field| field.address("10.0.0.2"));
    let md5_file = section.path_value("md5_file");
    let gtsm = section.boolean("gtsm").is_some_and(|on| on.value);
    let ttl = section.integer("ttl", 1..=255, "how many routers may be between, and one more: 1 to 255");
    let next_hops = section.list("next_hop", |entry| {
        let address = entry.address("10.0.0.2")?;
        if let Some(reason) = not_a_host(address.value) {
            entry.problem(format!("{} is {reason}", address.value), "write an address of this node");
            return None;
        }
        Some(address)
    });
    let communities = section.field("communities").and_then(|field| {
        let list = field.list(community)?;
        if list.value.len() > MOST_COMMUNITIES {
            field.problem(
                format!("has {} communities", list.value.len()),
                format!("write {MOST_COMMUNITIES} at most"),
            );
        }
        Some(list.value)
    });
    let draft = NeighbourDraft {
        name,
        address: address?,
        port: port.map_or(bgp::PORT, |port| narrow(port.value)),
        remote_as: remote_as?,
        source,
        md5_file,
        gtsm,
        ttl: ttl.map(|ttl| At { value: narrow(ttl.value), spot: ttl.spot }),
        hold_time: section.field("hold_time").and_then(|field| hold_time(&field)).unwrap_or(DEFAULT_HOLD),
        next_hops: next_hops.map(|list| list.value).unwrap_or_default(),
        prepend: prepend(section),
        med: med(section),
        local_pref: section
            .integer("local_pref", 0..=u64::from(u32::MAX), "a preference, from 0; 100 is the default")
            .map(|preference| narrow(preference.value)),
        communities: communities.unwrap_or_default(),
    };
    let strange = draft.source.as_ref().filter(|s| s.value.is_ipv4() != draft.address.is_ipv4());
    if let Some(source) = strange
        && let Some(field) = section.field("source")
    {
        field.problem(
            format!("{} cannot speak with {}", family(source.value), draft.address),
            "write an address of the neighbour's family",
        );
    }
    Some(draft)
}

fn hold_time(field: &Field<'_>) -> Option<u16> {
    let time = field.duration()?.value;
    let seconds =
        u16::try_from(time.as_secs()).ok().filter(|s| *s >= SHORTEST_HOLD && time.subsec_nanos() == 0);
    if seconds.is_none() {
        field.problem(
            "is no hold time of BGP",
            "write whole seconds, from \"3s\" on; the route is gone that long after this node hangs",
        );
    }
    seconds
}

fn prepend(section: &Section<'_>) -> u8 {
    section.integer("prepend", 0..=255, "how many times, from 0").map_or(0, |times| narrow(times.value))
}

fn med(section: &Section<'_>) -> Option<u32> {
    section.integer("med", 0..=u64::from(u32::MAX), "a metric, from 0").map(|med| narrow(med.value))
}

/// `64500:100` (RFC 1997) or `64500:1:2` (RFC 8092).
fn community(entry: &Field<'_>) -> Option<Community> {
    let text = entry.string()?.value;
    let parsed = text.parse();
    if parsed.is_err() {
        entry.problem(
            format!("`{text}` is no community"),
            "write two numbers up to 65535, \"64500:100\", or three for a large community, \"64500:1:2\"",
        );
    }
    parsed.ok()
}

fn bird(root: &Section<'_>) -> Option<At<BirdDraft>> {
    let section = root.table("bird")?;
    let file = section.required("file", "file = \"/run/anycast-lb-bird/prefixes.conf\"");
    let file = file.and_then(|field| absolute(&field));
    let socket = match section.field("socket") {
        Some(field) => absolute(&field),
        None => Some("/run/bird/bird.ctl".into()),
    };
    let spot = section.spot();
    section.finish();
    Some(At { value: BirdDraft { file: file?, socket: socket? }, spot })
}

fn command(root: &Section<'_>) -> Option<At<CommandDraft>> {
    let section = root.table("command")?;
    let example = "run = [\"/usr/local/sbin/announce\"]";
    let run = section.required("run", example).and_then(|field| {
        let words = field.list(|entry| entry.string().map(|word| word.value))?.value;
        if words.first().is_none_or(|program| !program.starts_with('/')) {
            field.problem("does not begin with a program's whole path", format!("write {example}"));
            return None;
        }
        Some(words)
    });
    let timeout = section.field("timeout").and_then(|field| {
        let timeout = field.duration()?.value;
        if timeout.is_zero() {
            field.problem("gives the command no time", "write \"10s\" or how long it may take");
        }
        Some(timeout)
    });
    let spot = section.spot();
    section.finish();
    Some(At { value: CommandDraft { run: run?, timeout: timeout.unwrap_or(DEFAULT_TIMEOUT) }, spot })
}

fn absolute(field: &Field<'_>) -> Option<PathBuf> {
    let path = field.path_value()?.value;
    if !path.is_absolute() {
        field.problem("is no whole path", "begin it with /");
        return None;
    }
    Some(path)
}

/// A number whose range was checked.
fn narrow<T: TryFrom<u64> + Default>(number: u64) -> T {
    T::try_from(number).unwrap_or_default()
}
