//! The page of a daemon on fakes, over a real port.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::guard::POLICY;
use super::{Page, listener, routes, sampler};
use crate::control::server::Api;
use crate::daemon::core::Core;
use crate::daemon::run::{Daemon, Handle, Signal};
use crate::daemon::testing::{Fake, backend_address, config, resolved};
use crate::dataplane::Start;
use crate::neighbour::Event;

const DEADLINE: Duration = Duration::from_secs(30);
const ANY_PORT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

struct Running {
    api: Api,
    _signals: mpsc::Sender<Signal>,
    _neighbours: mpsc::Sender<Event>,
}

async fn running() -> Running {
    let config = config();
    let fake = Fake::new(&config);
    let (handle, requests) = Handle::new();
    let (signals, signal_events) = mpsc::channel(1);
    let (neighbours, neighbour_events) = mpsc::channel(8);
    for last in [11, 12] {
        let event = Event::NextHop { backend: backend_address(last), resolution: resolved(last) };
        neighbours.send(event).await.expect("there is room");
    }
    neighbours.send(Event::Locals(Vec::new())).await.expect("there is room");
    let daemon = Daemon::new(Core::new(config), fake.drivers(), Start::Adopted);
    tokio::spawn(daemon.run(requests, neighbour_events, signal_events));
    Running { api: Api::from(handle), _signals: signals, _neighbours: neighbours }
}

/// A served page, and where.
async fn served() -> (Running, SocketAddr) {
    let running = running().await;
    let samples = sampler::Samples::new();
    let listener = TcpListener::bind(ANY_PORT).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(listener::serve(listener, routes::router(running.api.clone(), samples.clone())));
    tokio::spawn(sampler::run(running.api.clone(), samples.clone()));
    let began = Instant::now();
    while samples.state().is_none() {
        assert!(began.elapsed() < DEADLINE, "no sample");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (running, address)
}

/// Head in small letters, and body.
async fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("it answers in UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    (head.to_lowercase(), body.to_owned())
}

async fn get(address: SocketAddr, path: &str) -> (String, String) {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
}

fn json(body: &str) -> Value {
    serde_json::from_str(body).expect("JSON")
}

#[tokio::test]
async fn files_are_served_with_their_types_and_nothing_is_inline() {
    let (_running, address) = served().await;
    for (path, kind) in [
        ("/", "text/html"),
        ("/app.js", "text/javascript"),
        ("/plot.js", "text/javascript"),
        ("/table.js", "text/javascript"),
        ("/text.js", "text/javascript"),
        ("/style.css", "text/css"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let (head, body) = get(address, path).await;
        assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
        assert!(head.contains(&format!("content-type: {kind}")), "{path}: {head}");
        assert!(!body.is_empty(), "{path}");
        // Nothing from elsewhere but names of namespaces, and no way to make text markup.
        let elsewhere = body.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains("http:") && !elsewhere.contains("https:"), "{path}");
        for forbidden in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "style="] {
            assert!(!body.contains(forbidden), "{path}: {forbidden}");
        }
    }
}

#[tokio::test]
async fn every_answer_tells_browsers_how_to_treat_it() {
    let (_running, address) = served().await;
    let elsewhere = "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    let post = "POST /api/trace HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let other_site = "GET /api/state HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n\r\n";
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "200"),
        ("GET /no/such HTTP/1.1\r\nHost: localhost\r\n\r\n", "404"),
        ("GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", "404"),
        (elsewhere, "421"),
        (post, "405"),
        (other_site, "403"),
    ] {
        let (head, _) = ask(address, request).await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{request}: {head}");
        for header in [
            &format!("content-security-policy: {}", POLICY.to_lowercase()),
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "x-frame-options: deny",
            "cache-control: no-store",
        ] {
            assert!(head.contains(header), "{request}: no {header} in {head}");
        }
        assert!(!head.contains("access-control"), "{head}");
    }
    let (head, body) = ask(address, "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(head.starts_with("http/1.1 200") && body.is_empty());
}

#[tokio::test]
async fn state_and_history_are_of_one_row_of_samples() {
    let (_running, address) = served().await;
    let (head, body) = get(address, "/api/state").await;
    assert!(head.contains("x-age-ms: "), "{head}");
    let state = json(&body);
    assert_eq!(state["node"]["node"], "lb1");
    assert_eq!(state["vips"][0]["vip"], "203.0.113.1:443/tcp");
    assert_eq!(state["backends"][0]["asked_ppm"], 500_000);
    assert_eq!(state["pools"][0]["pool"], "web");
    assert!(!body.contains(&"07".repeat(16)) && !body.contains("control.sock"), "{body}");
    let (_, body) = get(address, "/api/history").await;
    let history = json(&body);
    assert_eq!(history["begun"], state["begun"]);
    assert!(history["sequence"].as_u64() >= state["sequence"].as_u64());
    assert_eq!(history["times"].as_array().map(Vec::len), history["packets"].as_array().map(Vec::len));
}

#[tokio::test]
async fn flows_are_traced_and_not_too_many() {
    let (_running, address) = served().await;
    let trace = async |query: &str| get(address, &format!("/api/trace?{query}")).await;
    let flow = "protocol=tcp&source=192.0.2.7:51234&destination=203.0.113.1:443";
    let (head, body) = trace(flow).await;
    assert!(head.starts_with("http/1.1 200"), "{head} {body}");
    assert!(json(&body)["traces"][0]["verdict"].is_string(), "{body}");
    for (query, word) in [
        ("protocol=tcp&source=192.0.2.7&destination=203.0.113.1:443", "source"),
        ("protocol=tcp&source=192.0.2.7:1&destination=x", "destination"),
        ("protocol=icmp&source=192.0.2.7:1&destination=203.0.113.1:443", "icmp"),
        ("protocol=tcp&source=[2001:db8::7]:1&destination=203.0.113.1:443", "families"),
    ] {
        let (head, body) = trace(query).await;
        assert!(head.starts_with("http/1.1 400"), "{query}: {head}");
        assert!(body.contains(word), "{query}: {body}");
    }
    let mut statuses = Vec::new();
    for _ in 0..30 {
        statuses.push(trace(flow).await.0[9..12].to_owned());
    }
    assert!(statuses.contains(&"429".to_owned()), "{statuses:?}");
}

#[tokio::test]
async fn it_moves_and_ends_as_the_configuration_says() {
    let running = running().await;
    let page = Page::new(running.api.clone());
    let free = async || {
        let listener = TcpListener::bind(ANY_PORT).await.expect("a port");
        listener.local_addr().expect("an address")
    };
    let until = async |address: SocketAddr, listens: bool| {
        let began = Instant::now();
        while TcpStream::connect(address).await.is_ok() != listens {
            assert!(began.elapsed() < DEADLINE, "{address}: {listens} is never true");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (first, second) = (free().await, free().await);
    page.configure(Some(first));
    until(first, true).await;
    page.configure(Some(first));
    page.configure(Some(second));
    until(second, true).await;
    until(first, false).await;
    page.configure(None);
    until(second, false).await;
    page.configure(Some(first));
    until(first, true).await;
    // The configuration in force wants none.
    page.follow();
    until(first, false).await;
}
