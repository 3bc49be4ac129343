//! The API from one end to the other: client, socket, server, loop, fakes.

mod log;
mod remote;
mod routes;

use anycast_lb_flowlog::{FlowLog, Record};
use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::client::{Client, ClientError, quote};
use super::serve::{Limits, serve};
use super::server::{Api, router};
use super::socket::Socket;
use crate::daemon::core::Core;
use crate::daemon::run::{Daemon, Drivers, Handle, Signal};
use crate::daemon::testing::{Fake, backend_address, config, resolved};
use crate::daemon::wiring::flows::Others;
use crate::dataplane::Start;
use crate::model::Config;
use crate::neighbour::Event;

/// A daemon on fakes with a real socket.
struct Running {
    client: Client,
    api: Api,
    fake: Fake,
    signals: mpsc::Sender<Signal>,
    neighbours: mpsc::Sender<Event>,
    records: mpsc::Sender<Record>,
    _socket: Socket,
    _directory: tempfile::TempDir,
}

async fn running() -> Running {
    running_as(config(), Limits::default()).await
}

async fn running_within(limits: Limits) -> Running {
    running_as(config(), limits).await
}

async fn running_with(config: Config) -> Running {
    running_as(config, Limits::default()).await
}

async fn running_as(config: Config, limits: Limits) -> Running {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("control.sock");
    let (socket, listener) = Socket::claim(&path, None).expect("claims");
    let fake = Fake::new(&config);
    let (handle, requests) = Handle::new();
    let (signals, signal_events) = mpsc::channel(1);
    let (neighbours, neighbour_events) = mpsc::channel(8);
    for last in [11, 12] {
        let event = Event::NextHop { backend: backend_address(last), resolution: resolved(last) };
        neighbours.send(event).await.expect("there is room");
    }
    neighbours.send(Event::Locals(Vec::new())).await.expect("there is room");
    let (records, recorded) = mpsc::channel(64);
    let (flow_log, _) = FlowLog::start(None, recorded);
    let api = Api { flow_log, ..Api::from(handle) };
    let drivers = Drivers { flows: Box::new(Others(api.peers.clone())), ..fake.drivers() };
    let daemon = Daemon::new(Core::new(config), drivers, Start::Adopted);
    tokio::spawn(daemon.run(requests, neighbour_events, signal_events));
    tokio::spawn(serve(listener, router(api.clone()), limits));
    Running {
        client: Client::new(&path),
        api,
        fake,
        signals,
        neighbours,
        records,
        _socket: socket,
        _directory: directory,
    }
}

impl Running {
    async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(path).await.expect("an answer");
        serde_json::from_str(&answer).expect("JSON")
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Result<Value, ClientError> {
        let answer = self.client.ask(method, path, Some(&body)).await?;
        Ok(serde_json::from_str(&answer).expect("JSON"))
    }

    async fn refused(&self, method: Method, path: &str, body: Value) -> String {
        match self.ask(method, path, body).await {
            Err(ClientError::Refused(body)) => body.code,
            other => panic!("not refused: {other:?}"),
        }
    }
}

#[tokio::test]
async fn every_answer_is_one_object_with_its_schema() {
    let running = running().await;
    for path in ["status", "stats", "vips", "pools", "pools/web", "backends", "pops", "bgp"] {
        assert_eq!(running.get(&format!("/v1/{path}")).await["schema"], 1, "{path}");
    }
}

#[tokio::test]
async fn status_tells_who_and_how() {
    let running = running().await;
    let status = running.get("/v1/status").await;
    assert_eq!(status["node"], "lb1");
    assert_eq!(status["start"], "adopted");
    assert_eq!(status["generation"], 1);
    assert_eq!(status["interfaces"][0]["mode"], "native");
    assert_eq!(status["unresolved"], json!([]));
    assert_eq!(status["pools"][0]["owners"], "00c0ffee00c0ffee");
    assert_eq!(status["findings"][0]["what"], "this host is a fake");
    let mut quick = running.get("/v1/status?findings=false").await;
    assert_eq!(quick["findings"], json!([]));
    (quick["findings"], quick["uptime_seconds"]) =
        (status["findings"].clone(), status["uptime_seconds"].clone());
    assert_eq!(quick, status);
    let refused = running.client.get("/v1/status?fndings=false").await;
    assert!(matches!(refused, Err(ClientError::Refused(body)) if body.code == "invalid_request"));
    assert!(!status.to_string().contains(&"07".repeat(16)), "the seed must not be in there");
}

#[tokio::test]
async fn a_pool_is_shown_with_shares_counters_and_next_hops() {
    let running = running().await;
    let pool = running.get("/v1/pools/web").await;
    assert_eq!(pool["slots"], 1024);
    assert_eq!(
        pool["members"][0],
        json!({
            "pool": "web", "address": "10.0.0.11", "weight": 100, "weight_in_force": 100,
            "state": "active", "configured": "active", "seconds_left": null, "health": "unknown", "remaining": null,
            "owned_slots": 512, "share_ppm": 500_000, "packets": 6, "bytes": 600,
            "next_hop": {"state": "resolved", "interface": "eth0", "mac": "02:00:00:00:00:0b", "mtu": 1500},
        })
    );
}

#[tokio::test]
async fn stats_show_the_verdicts_of_the_role_alone() {
    let running = running().await;
    let stats = running.get("/v1/stats").await;
    let verdicts = stats["verdicts"].as_array().expect("a list");
    assert_eq!(verdicts[0]["verdict"], "forwarded_gue");
    assert_eq!(verdicts[0]["packets"], 10);
    assert!(verdicts.iter().all(|v| v["verdict"] != "decap_gue"));
    assert_eq!(stats["vips"], json!([{"vip": "203.0.113.1:443/tcp", "packets": 10, "bytes": 1000}]));
}

#[tokio::test]
async fn a_backend_is_drained_by_patch() {
    let running = running().await;
    let body = json!({"state": "draining", "expect_generation": 1});
    let changed = running.ask(Method::PATCH, "/v1/backends/10.0.0.11", body).await.expect("changes");
    assert_eq!(
        changed,
        json!({
            "schema": 1, "generation": 2, "dry_run": false,
            "changes": [{"subject": "backend", "name": "web 10.0.0.11", "what": "changed",
                         "detail": "state active -> draining"}],
            "files": ["/etc/anycast-lb/config.toml"],
            "warnings": [],
        })
    );
    assert_eq!(running.get("/v1/backends").await["backends"][0]["state"], "draining");
}

#[tokio::test]
async fn what_is_wanted_and_what_is_in_force_are_told_apart() {
    let running = running().await;
    let body = json!({"pool": "web", "address": "10.0.0.13"});
    let added = running.ask(Method::POST, "/v1/backends", body);
    let event = Event::NextHop { backend: backend_address(13), resolution: resolved(13) };
    let (added, sent) = tokio::join!(added, running.neighbours.send(event));
    added.expect("it is added");
    sent.expect("it listens");
    let row = &running.get("/v1/pools/web").await["members"][2];
    assert_eq!((&row["state"], &row["configured"]), (&json!("filling"), &json!("active")));
    assert!(row["seconds_left"].as_u64().is_some_and(|s| (1..=10).contains(&s)), "{row}");
    let status = running.get("/v1/status").await;
    assert_eq!(status["members"][0]["address"], "10.0.0.13");
    assert_eq!(running.get("/v1/pools").await["pools"][0]["active"], 2);
}

#[tokio::test]
async fn health_is_told_by_patch_and_is_no_change_of_the_configuration() {
    let running = running().await;
    let told = running.ask(Method::PATCH, "/v1/backends/10.0.0.11", json!({"health": "down"})).await;
    assert_eq!(
        told.expect("it is taken"),
        json!({
            "schema": 1, "generation": 1, "dry_run": false,
            "changes": [{"subject": "backend", "name": "web 10.0.0.11", "what": "changed",
                         "detail": "health unknown -> down"}],
            "files": [], "warnings": [],
        })
    );
    let row = &running.get("/v1/backends").await["backends"][0];
    assert_eq!((&row["health"], &row["state"]), (&json!("down"), &json!("active")));
    assert_eq!(running.get("/v1/pools").await["pools"][0]["active"], 1);
    assert_eq!(running.fake.world().file, Some(config()));
}

#[tokio::test]
async fn a_pop_is_drained_by_patch() {
    let running = running().await;
    let body = json!({"state": "drained", "expect_generation": 1});
    let changed = running.ask(Method::PATCH, "/v1/pops/fra1", body).await.expect("changes");
    let row = json!({"subject": "setting", "name": "drained_pops", "what": "changed", "detail": "- -> fra1"});
    assert_eq!(changed["changes"], json!([row]));
    assert_eq!(
        running.get("/v1/pops").await["pops"],
        json!([{"pop": "fra1", "own": true, "state": "drained", "backends": 2, "active": 2, "rescues": 0}])
    );
    running.ask(Method::PATCH, "/v1/pops/fra1", json!({"state": "active"})).await.expect("changes");
    assert_eq!(running.get("/v1/pops").await["pops"][0]["state"], "active");
}

#[tokio::test]
async fn a_backend_is_removed_by_its_quoted_path() {
    let running = running().await;
    let path = format!("/v1/backends/{}?pool=web&expect_generation=1", quote("10.0.0.12"));
    let refused = running.client.ask::<()>(Method::DELETE, &path, None).await;
    let Err(ClientError::Refused(body)) = refused else { panic!("it is active: {refused:?}") };
    assert_eq!(body.code, "backend_active");
    assert!(body.hint.is_some_and(|h| h.contains("drain 10.0.0.12 --wait") && h.contains("--now")));
    let path = path + "&now=true";
    let answer = running.client.ask::<()>(Method::DELETE, &path, None).await.expect("changes");
    assert!(answer.contains("\"removed\""), "{answer}");
}

#[tokio::test]
async fn refusals_carry_a_code_and_the_right_status() {
    let running = running().await;
    for (method, path, body, code) in [
        (
            Method::PATCH,
            "/v1/backends/10.0.0.11",
            json!({"weight": 5, "expect_generation": 9}),
            "generation_mismatch",
        ),
        (Method::PATCH, "/v1/backends/10.0.0.11", json!({}), "invalid_request"),
        (Method::PATCH, "/v1/backends/10.0.0.11", json!({"state": "asleep"}), "invalid_request"),
        (Method::PATCH, "/v1/backends/10.0.0.11", json!({"health": "sick"}), "invalid_request"),
        (Method::PATCH, "/v1/backends/10.0.0.11", json!({"health": "up", "weight": 5}), "invalid_request"),
        (Method::PATCH, "/v1/backends/10.0.0.99", json!({"health": "up"}), "not_found"),
        (Method::PATCH, "/v1/backends/nonsense", json!({"weight": 5}), "invalid_request"),
        (Method::POST, "/v1/pools", json!({"pool": "x", "encapsulation": "pigeon"}), "invalid_request"),
        (Method::POST, "/v1/reload", json!({"dryrun": true}), "invalid_request"),
        (Method::PATCH, "/v1/pops/fra1", json!({"state": "gone"}), "invalid_request"),
        (Method::GET, "/v1/pools/none", json!(null), "not_found"),
        (Method::GET, "/v1/nothing", json!(null), "not_found"),
        (Method::PUT, "/v1/status", json!(null), "invalid_request"),
    ] {
        assert_eq!(running.refused(method.clone(), path, body).await, code, "{method} {path}");
    }
    running.fake.world().failing.push("apply");
    let code = running.refused(Method::PATCH, "/v1/backends/10.0.0.11", json!({"weight": 5})).await;
    assert_eq!(code, "dataplane");
}

#[tokio::test]
async fn an_ingress_node_that_is_asked_for_flows_says_whom_to_ask() {
    let running = running().await;
    let refused = running.client.get("/v1/flows").await;
    let Err(ClientError::Refused(body)) = refused else { panic!("it holds none: {refused:?}") };
    assert_eq!((body.code.as_str(), body.message.contains("ingress node")), ("invalid_request", true));
    assert!(body.hint.is_some_and(|hint| hint.contains("ask a backend")));
}

#[tokio::test]
async fn a_node_is_drained_by_patch() {
    let mut config = config();
    let prefix: ipnet::IpNet = "203.0.113.0/24".parse().expect("a prefix");
    config.prefixes = vec![prefix];
    config.announcing.prefixes = vec![crate::model::AnnouncedPrefix {
        prefix,
        method: anycast_lb_routing::announce::driver::Method::Bgp,
        require: Default::default(),
    }];
    let running = running_with(config).await;
    running.get("/v1/status").await;
    let bgp = running.get("/v1/bgp").await;
    assert_eq!((&bgp["maintenance"], &bgp["seconds_left"]), (&json!("in-service"), &json!(null)));
    assert_eq!(
        bgp["prefixes"],
        json!([{"prefix": "203.0.113.0/24", "method": "bgp", "state": "announced",
                "reason": "1 of 1 VIPs can be served"}])
    );
    let changed = running.ask(Method::PATCH, "/v1/node", json!({"state": "drained"})).await.expect("done");
    assert_eq!(changed["changes"][0]["detail"], "in-service -> draining");
    let bgp = running.get("/v1/bgp").await;
    assert_eq!((&bgp["maintenance"], &bgp["prefixes"][0]["state"]), (&json!("draining"), &json!("draining")));
    assert!(bgp["seconds_left"].as_u64().is_some_and(|left| (1..=60).contains(&left)), "{bgp}");
    let changed = running.ask(Method::PATCH, "/v1/node", json!({"state": "in-service"})).await.expect("done");
    assert_eq!(changed["changes"][0]["detail"], "draining -> in-service");
    assert_eq!(
        running.refused(Method::PATCH, "/v1/node", json!({"state": "tired"})).await,
        "invalid_request"
    );
}

#[tokio::test]
async fn flows_are_traced_in_the_order_of_the_question() {
    let running = running().await;
    let flow = |port: u16| json!({"protocol": "tcp", "source": format!("192.0.2.7:{port}"), "destination": "203.0.113.1:443"});
    let body = json!({"flows": [flow(1), flow(2)]});
    let answer = running.ask(Method::POST, "/v1/trace", body).await.expect("traces");
    assert_eq!(answer["traces"][1]["source"], "192.0.2.7:2");
    assert_eq!(answer["traces"][0]["backend"], "10.0.0.11");
    assert_eq!(answer["traces"][0]["verdict"], "forwarded_gue");
    let mixed = json!({"flows": [{"protocol": "tcp", "source": "[2001:db8::7]:1", "destination": "203.0.113.1:443"}]});
    assert_eq!(running.refused(Method::POST, "/v1/trace", mixed).await, "invalid_request");
    let many = json!({"flows": vec![flow(1); super::api::MAX_FLOWS + 1]});
    assert_eq!(running.refused(Method::POST, "/v1/trace", many).await, "invalid_request");
}

#[tokio::test]
async fn frames_are_explained_within_limits() {
    let running = running().await;
    let frame = format!("020000000002020000000001 0800{}", "45".repeat(20));
    let body = json!({"frames": [frame, "0x".to_owned() + &"02".repeat(60)]});
    let answer = running.ask(Method::POST, "/v1/explain", body).await.expect("explanations");
    assert_eq!((&answer["schema"], &answer["packets"][1]["number"]), (&json!(1), &json!(2)));
    let row = &answer["packets"][0];
    assert_eq!(
        (&row["bytes"], &row["verdict"], &row["backend"]),
        (&json!(34), &json!("forwarded_gue"), &json!("10.0.0.11"))
    );
    assert!(row["parsed"].as_str().is_some_and(|p| p.starts_with("02:00:00:00:00:01 >")), "{row}");
    for frames in [
        json!(["45xy"]),
        json!(["450"]),
        json!([""]),
        json!(["02".repeat(13)]),
        json!(["02".repeat(3521)]),
        json!(vec!["02".repeat(60); super::api::MAX_FRAMES + 1]),
    ] {
        let code = running.refused(Method::POST, "/v1/explain", json!({"frames": frames})).await;
        assert_eq!(code, "invalid_request");
    }
}

#[tokio::test]
async fn a_stopped_daemon_answers_no_more() {
    let running = running().await;
    running.get("/v1/status").await;
    running.signals.send(Signal::Terminate).await.expect("it listens");
    running.signals.closed().await;
    assert_eq!(running.refused(Method::GET, "/v1/status", json!(null)).await, "unavailable");
    assert!(running.fake.world().calls.contains(&"stopping".to_owned()));
}

#[test]
fn every_code_has_its_own_word() {
    use crate::daemon::Code;
    let words: std::collections::HashSet<_> = Code::ALL.iter().map(|c| c.name()).collect();
    assert_eq!(words.len(), Code::ALL.len());
}

/// A caller that says nothing, or half a sentence, or does not listen, keeps nobody else out.
#[tokio::test]
async fn callers_that_hang_do_not_keep_others_out() {
    let moment = std::time::Duration::from_millis(50);
    let limits = Limits { connections: 2, head: moment, lifetime: 4 * moment, keep_alive: true };
    let running = running_within(limits).await;
    let mut hanging = Vec::new();
    for said in ["", "GET /v1/st", "POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"] {
        let stream = tokio::net::UnixStream::connect(running.client.socket()).await.expect("connects");
        stream.writable().await.expect("writable");
        stream.try_write(said.as_bytes()).expect("writes");
        hanging.push(stream);
    }
    assert_eq!(running.get("/v1/status").await["schema"], 1);
    drop(hanging);
}

#[tokio::test]
async fn a_daemon_that_does_not_answer_is_said_to_hang() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("control.sock");
    // Callers may connect, but nobody serves them: as with a stopped process.
    let (_socket, _listener) = Socket::claim(&path, None).expect("claims");
    let client = Client::with_patience(&path, std::time::Duration::from_millis(50));
    let error = client.get("/v1/status").await.expect_err("no answer");
    assert!(matches!(error, ClientError::Silent(..)), "{error:?}");
    assert_eq!(error.body().code, "timeout");
}

#[tokio::test]
async fn what_cannot_be_read_in_a_path_is_an_error_of_our_form() {
    let running = running().await;
    assert_eq!(running.refused(Method::DELETE, "/v1/pools/%ff", json!({})).await, "invalid_request");
    assert_eq!(running.refused(Method::DELETE, "/v1/vips/%2e%2e", json!({})).await, "invalid_request");
}
