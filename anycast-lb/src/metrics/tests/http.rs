//! `GET /metrics` over TCP, from a daemon on fakes.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::series;
use crate::control::serve::{Limits, serve};
use crate::control::server::Api;
use crate::daemon::core::Core;
use crate::daemon::run::{Daemon, Handle, Signal};
use crate::daemon::testing::{Fake, backend_address, config, resolved};
use crate::dataplane::Start;
use crate::host::{Finding, Severity};
use crate::metrics::serve::{LIMITS, router};
use crate::model::Config;
use crate::neighbour::Event;

struct Running {
    at: std::net::SocketAddr,
    signals: mpsc::Sender<Signal>,
    _neighbours: mpsc::Sender<Event>,
}

fn one_finding(_: &Config) -> Vec<Finding> {
    vec![Finding { severity: Severity::Error, what: "w".into(), why: "y".into(), fix: None }]
}

async fn running(limits: Limits) -> Running {
    let config = config();
    let fake = Fake::new(&config);
    let (handle, requests) = Handle::new();
    let (signals, signal_events) = mpsc::channel(1);
    let (neighbours, neighbour_events) = mpsc::channel(8);
    for last in [11, 12] {
        let event = Event::NextHop { backend: backend_address(last), resolution: resolved(last) };
        neighbours.send(event).await.expect("there is room");
    }
    let daemon = Daemon::new(Core::new(config), fake.drivers(), Start::Adopted);
    tokio::spawn(daemon.run(requests, neighbour_events, signal_events));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let at = listener.local_addr().expect("bound");
    tokio::spawn(serve(listener, router(Api::from(handle), one_finding), limits));
    Running { at, signals, _neighbours: neighbours }
}

impl Running {
    /// What is answered to this, up to the end of the connection.
    async fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.at).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }
}

#[tokio::test]
async fn a_scrape_is_answered_in_the_format_that_is_asked_for_and_ends_its_connection() {
    let running = running(LIMITS).await;
    let answer = running.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    let all = series(body);
    let of = |name: &str| all.iter().filter(|(n, ..)| n == name).map(|(.., v)| *v).collect::<Vec<_>>();
    assert_eq!(of("anycast_lb_vip_packets_total"), [10.0]);
    assert_eq!(of("anycast_lb_backend_packets_total"), [6.0, 4.0]);
    assert_eq!(of("anycast_lb_verdict_packets_total").iter().sum::<f64>(), 11.0);
    assert_eq!(of("anycast_lb_map_max_entries"), [4095.0]);
    assert_eq!(of("anycast_lb_host_findings"), [1.0, 0.0, 0.0]);
    assert!(
        body.contains("anycast_lb_pool_owners_info{pool=\"web\",pop=\"fra1\",owners=\"00c0ffee00c0ffee\"} 1")
    );
    assert!(!body.contains(&"07".repeat(16)), "the seed must not be in there");

    let open =
        running.ask("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text\r\n\r\n").await;
    assert!(open.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(open.contains("# EOF"));
}

#[tokio::test]
async fn nothing_else_is_there_and_nothing_can_be_changed() {
    let running = running(LIMITS).await;
    for (request, status) in [
        ("GET / HTTP/1.1", "404"),
        ("GET /v1/status HTTP/1.1", "404"),
        ("POST /metrics HTTP/1.1", "405"),
        ("DELETE /metrics HTTP/1.1", "405"),
        ("HEAD /metrics HTTP/1.1", "200"),
    ] {
        let answer = running.ask(&format!("{request}\r\nHost: x\r\nContent-Length: 0\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
    }
}

#[tokio::test]
async fn who_says_nothing_is_let_go() {
    let moment = Duration::from_millis(200);
    let running = running(Limits { connections: 1, head: moment, lifetime: 10 * moment, ..LIMITS }).await;
    let mut silent = TcpStream::connect(running.at).await.expect("it listens");
    // There is one place: this waits until the other one has lost it.
    let answer = running.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).await.expect("closed");
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_daemon_that_stops_says_so() {
    let running = running(LIMITS).await;
    running.signals.send(Signal::Terminate).await.expect("it runs");
    running.signals.closed().await;
    let answer = running.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("stopping"), "{answer}");
}
