//! The example that ships with the project.

use std::sync::LazyLock;

use anycast_lb_routing::announce::driver::Method;
use anycast_lb_routing::announce::gate::Require;
use anycast_lb_routing::bgp::socket::Distance;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{Dir, SEED};
use crate::config::testing::Authority;
use crate::config::{Loaded, Problems};
use crate::model::{BackendState, Identity, TableKind};

const EXAMPLE: &str = include_str!("../../../../config.example.toml");

/// The example with seeds and certificates that exist.
fn example() -> String {
    ["seed.old", "seed", "bgp.md5", "ca.pem", "cert.pem", "key.pem"].iter().fold(
        EXAMPLE.to_owned(),
        |text, name| {
            let named = name.replace("cert.", "node.").replace("key.pem", "node.key");
            text.replace(&format!("/etc/anycast-lb/{named}\""), &format!("{name}\""))
        },
    )
}

fn dir() -> Dir {
    static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::found);
    let dir = Dir::new();
    dir.put("seed.old", &SEED.replace("00", "ff"), 0o600);
    dir.put("bgp.md5", "secret\n", 0o600);
    AUTHORITY.write(&dir.path(""), &[]);
    dir
}

fn load_example() -> Loaded {
    dir().load(&example()).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn it_is_valid() {
    let config = load_example().config;
    assert_eq!((config.node.as_str(), config.pop.as_str()), ("fra1-lb1", "fra1"));
    assert_eq!(config.sources.len(), 2);
    assert_eq!(config.control.group.as_deref(), Some("anycast-lb"));
    let web = &config.pools[0];
    assert_eq!((web.name.as_str(), web.slots, web.margin_ppm), ("web", 16384, 30_000));
    assert_eq!(web.table, TableKind::Rendezvous);
    assert_eq!(web.rescue, ["sin1", "gru1"]);
    assert!(config.drained_pops.is_empty());
    assert_eq!(config.seed_previous.map(|seed| seed.0[0]), Some(0xff));
    assert_eq!(web.backends.len(), 2);
    assert_eq!(web.backends[0].state, BackendState::Active);
    assert_eq!(web.backends[1].pop.as_deref(), Some("sin1"));
    let vips: Vec<_> = config.vips.iter().map(|v| v.key.to_string()).collect();
    assert_eq!(vips, ["203.0.113.1:443/tcp", "203.0.113.1:443/udp", "203.0.113.53:53/udp"]);
    assert_eq!(config.vips[2].identity, Identity::Node);
    assert_eq!(config.prefixes[0].to_string(), "203.0.113.0/24");
    let announced = &config.announcing.prefixes[0];
    assert_eq!((announced.method, announced.require), (Method::Bgp, Require::AnyVip));
    let settings = &config.announcing.settings;
    assert_eq!(settings.neighbours[0].address.to_string(), "10.0.0.1:179");
    assert_eq!(settings.neighbours[0].distance, Distance::Security);
    assert!(settings.neighbours[0].key.is_some());
    assert_eq!(settings.neighbours[0].attributes.communities, ["64500:100".parse().expect("a community")]);
    assert_eq!(settings.drain.prepend, 3);
    let rpki = &config.rpki;
    assert_eq!(
        (rpki.validators.len(), rpki.routes[0].origin, rpki.routes[0].hold.as_secs()),
        (1, 64500, 300)
    );
    assert_eq!(config.bmp.map(|b| b.listen.port()), Some(11019));
    assert_eq!(config.metrics.map(|m| m.port()), Some(9524));
    let log = config.flow_log.expect("a flow log");
    assert_eq!((log.sample, log.ipfix.map(|c| c.port())), (1000, Some(4739)));
}

#[test]
fn as_a_backends_file_it_asks_for_senders() {
    let text = example().replacen("role = \"ingress\"", "role = \"backend\"", 1);
    let Err(Problems(problems)) = dir().load(&text) else { panic!("accepted") };
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].key, "allowed_senders");
}

/// What a slip of the editor may do to a text.
#[derive(Clone, Debug)]
enum Slip {
    Delete(Index, usize),
    Insert(Index, String),
    Move(Index, Index),
}

fn slips() -> impl Strategy<Value = Vec<Slip>> {
    let piece = prop_oneof![
        "[ -~]{1,6}".boxed(),
        prop::sample::select(vec![
            "[",
            "]",
            "[[",
            "]]",
            "{",
            "}",
            "\"",
            "\"\"\"",
            "'",
            "=",
            ".",
            ",",
            "\n",
            "\r\n",
            "#",
            "é",
            "\0",
            "-1",
            "0",
            "1e999",
            "nan",
            "99999999999999999999",
            "[[pool]]\n",
            "[[vip]]\n",
            "[pool]\n",
            "[a.b]\n",
            "a.b = 1\n",
            "1979-05-27",
            "true",
            "[]\n",
            "[[]]\n",
            "= 1\n",
            "\u{feff}",
        ])
        .prop_map(str::to_owned)
        .boxed(),
    ];
    let slip = prop_oneof![
        (any::<Index>(), 1..40usize).prop_map(|(at, n)| Slip::Delete(at, n)),
        (any::<Index>(), piece).prop_map(|(at, piece)| Slip::Insert(at, piece)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Slip::Move(from, to)),
    ];
    prop::collection::vec(slip, 1..6)
}

fn slipped(text: &str, slips: &[Slip]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for slip in slips {
        let len = chars.len().max(1);
        match slip {
            Slip::Delete(at, n) => {
                let at = at.index(len).min(chars.len());
                chars.drain(at..(at + n).min(chars.len()));
            }
            Slip::Insert(at, piece) => {
                let at = at.index(len).min(chars.len());
                chars.splice(at..at, piece.chars());
            }
            Slip::Move(from, to) => {
                let mut lines: Vec<String> =
                    chars.iter().collect::<String>().lines().map(str::to_owned).collect();
                if !lines.is_empty() {
                    let line = lines.remove(from.index(lines.len()));
                    lines.insert(to.index(lines.len() + 1), line);
                }
                chars = lines.join("\n").chars().collect();
            }
        }
    }
    chars.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn slips_of_the_editor_are_accepted_or_reported_never_a_panic(slips in slips()) {
        let text = slipped(&example(), &slips);
        let lines = text.split('\n').count();
        if let Err(Problems(problems)) = dir().load(&text) {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                prop_assert!(problem.line <= lines && !problem.hint.is_empty(), "{problem}");
            }
        }
    }
}
