//! What is said of what happens: one line each, with its cause.

use std::io::{self, Write};
use std::sync::Mutex;

use anycast_lb_health::Health as Checked;
use anycast_lb_routing::announce::driver::Method;
use anycast_lb_routing::announce::gate::Require;
use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

use super::health::check;
use super::*;
use crate::membership::Health;
use crate::model::AnnouncedPrefix;

/// Lines of the log as they are written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Lines;

    fn make_writer(&self) -> Lines {
        self.clone()
    }
}

/// What is logged while `act` acts, from `info` on.
fn logged(act: impl FnOnce()) -> Vec<Value> {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(lines.clone()).finish();
    tracing::subscriber::with_default(subscriber, act);
    let bytes = lines.0.lock().expect("nobody panics").clone();
    let text = String::from_utf8(bytes).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn checked_and_announcing() -> Config {
    let mut config = config();
    config.pools[0].health.check = Some(check());
    let prefix = "203.0.113.0/24".parse().expect("a prefix");
    config.prefixes = vec![prefix];
    config.announcing.prefixes =
        vec![AnnouncedPrefix { prefix, method: Method::Bgp, require: Require::AnyVip }];
    config
}

/// What happens, what is said of it, and the cause.
type Case = (&'static str, fn(&mut Bench), &'static str, &'static str);

const CASES: &[Case] = &[
    (
        "a drain",
        |b| b.order(1, drain(11)),
        "backend web 10.0.0.11 changed: state active -> draining",
        "command",
    ),
    ("a reload of nothing new", |b| b.order(1, Change::Reload), "nothing changes", "reload"),
    ("a refused change", |b| b.order_with(1, drain(11), Some(99), false), "change refused: ", "command"),
    (
        "health by command",
        |b| {
            let report =
                HealthReport { ticket: None, pool: None, address: backend_address(11), health: Health::Down };
            b.feed(Event::Health(report));
        },
        "backend web 10.0.0.11 changed: health unknown -> down",
        "command",
    ),
    (
        "a failed check",
        |b| b.checks_say(&[(11, Checked::Down)]),
        "backend web 10.0.0.11 is down: status 503",
        "status 503",
    ),
    ("a check", |b| b.checks_say(&[(12, Checked::Up)]), "backend web 10.0.0.12 is up", "health checks"),
    (
        "a neighbour that is lost",
        |b| {
            let resolution = Resolution::Unresolved("no route".to_owned());
            let backend = backend_address(11);
            b.feed(Event::Neighbour(NeighbourEvent::NextHop { backend, resolution }));
        },
        "backend is not reachable",
        "no route",
    ),
    (
        "a link",
        |b| b.feed(Event::Neighbour(NeighbourEvent::LinkDown { interface: "eth0".to_owned() })),
        "link down",
        "the kernel",
    ),
    (
        "a link that is back",
        |b| {
            b.feed(Event::Neighbour(NeighbourEvent::LinkUp { interface: "eth9".to_owned() }));
        },
        "link up",
        "the kernel",
    ),
    ("the end", |b| b.feed(Event::Terminate), "stopping", "signal"),
];

#[test]
fn each_thing_that_happens_is_one_line_with_its_cause() {
    for (what, act, message, cause) in CASES {
        let mut config = config();
        config.pools[0].health.check = Some(check());
        let mut bench = Bench::serving_with(config);
        let lines = logged(|| act(&mut bench));
        assert_eq!(lines.len(), 1, "{what}: {lines:#?}");
        let said = lines[0]["message"].as_str().unwrap_or_default();
        assert!(said.starts_with(message), "{what}: {said}");
        assert_eq!(lines[0]["cause"], *cause, "{what}: {said}");
    }
}

#[test]
fn an_addition_is_said_when_the_way_there_is_known() {
    let mut bench = Bench::serving_with(config());
    assert_eq!(logged(|| bench.order(1, add(13))), [] as [Value; 0]);
    let lines = logged(|| bench.next_hop(13));
    let said: Vec<_> = lines.iter().map(|line| (line["message"].as_str(), line["cause"].as_str())).collect();
    assert_eq!(said.len(), 2, "{lines:#?}");
    assert_eq!(said[0], (Some("backend is reachable"), Some("next hop found")));
    assert!(said[1].0.is_some_and(|m| m.starts_with("backend web 10.0.0.13 added")), "{said:?}");
    assert_eq!(said[1].1, Some("command"));
}

#[test]
fn fields_say_which_backend_of_which_pool() {
    let mut config = config();
    config.pools[0].health.check = Some(check());
    let mut bench = Bench::serving_with(config);
    for lines in [logged(|| bench.checks_say(&[(11, Checked::Down)])), logged(|| bench.order(1, drain(12)))] {
        assert_eq!(lines[0]["pool"], "web", "{lines:#?}");
        assert!(lines[0]["backend"].as_str().is_some_and(|b| b.starts_with("10.0.0.1")), "{lines:#?}");
    }
}

#[test]
fn what_is_announced_is_said_when_it_begins_and_when_it_ends() {
    let mut bench = Bench::starting(checked_and_announcing());
    bench.next_hop(11);
    bench.next_hop(12);
    let about = |lines: Vec<Value>| -> Vec<(String, String)> {
        let prefix = |line: &&Value| line["prefix"] == "203.0.113.0/24";
        let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
        lines.iter().filter(prefix).map(|line| (text(line, "message"), text(line, "cause"))).collect()
    };
    let up = about(logged(|| bench.checks_say(&[(11, Checked::Up), (12, Checked::Up)])));
    assert!(
        matches!(&up[..], [(said, cause)] if said.starts_with("announced: ") && !cause.is_empty()),
        "{up:?}"
    );
    let down = about(logged(|| bench.checks_say(&[(11, Checked::Down), (12, Checked::Down)])));
    assert!(
        matches!(&down[..], [(said, cause)] if said.starts_with("withdrawn: ") && !cause.is_empty()),
        "{down:?}"
    );
}
