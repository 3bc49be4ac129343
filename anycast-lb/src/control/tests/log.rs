//! What is remembered, over the API: the flow log, and tables of a time.

use std::time::{Duration, SystemTime};

use anycast_lb_common::abi::Buffer;
use anycast_lb_flowlog::{Event, Events, Program, Record, Settings, stamp};
use anycast_lb_kept::{Keeper, Limits, Snapshot};
use bytemuck::Zeroable;
use hyper::Method;
use serde_json::{Value, json};

use super::{running, running_with};
use crate::control::api::{MAX_NAMED, MAX_RECORDS};
use crate::daemon::testing::config;
use crate::daemon::wiring::kept_tables;
use crate::model::Peer;

fn record(port: u16) -> Record {
    Record {
        time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + u64::from(port)),
        node: "lb1".into(),
        pop: None,
        program: Program::Ingress,
        event: Events::default().with(Event::Begin),
        protocol: 6,
        source: ([192, 0, 2, 7], port).into(),
        destination: ([203, 0, 113, 1], 443).into(),
        tcp_flags: 2,
        verdict: "forwarded_gue".into(),
        vip: Some("203.0.113.1:443/tcp".into()),
        pool: Some("web".into()),
        slot: Some(7),
        backend: Some([10, 0, 0, 11].into()),
        table_version: 3,
        sender: None,
        next: None,
        bytes: 74,
    }
}

const QUERY: &str = "/v1/log/query";

#[tokio::test]
async fn records_are_found_page_by_page_as_soon_as_they_came() {
    let running = running().await;
    let question = |filter: Value, limit: usize| json!({"filter": filter, "limit": limit});
    let off = running.ask(Method::POST, QUERY, question(json!({}), 10)).await.expect("an answer");
    assert_eq!((&off["enabled"], &off["records"], &off["node"]), (&json!(false), &json!([]), &json!("lb1")));

    let place = tempfile::tempdir().expect("a directory");
    let settings = Settings { directory: place.path().join("flows"), max_bytes: 1 << 20, ipfix: None };
    running.api.flow_log.set(Some(settings));
    for port in 1..=20 {
        running.records.send(record(port)).await.expect("it is taken");
    }
    let ask = async |filter, limit| {
        running.ask(Method::POST, QUERY, question(filter, limit)).await.expect("an answer")
    };
    let all = ask(json!({}), 100).await;
    assert_eq!((all["records"].as_array().map(Vec::len), &all["older"]), (Some(20), &Value::Null));
    let page = ask(json!({}), 5).await;
    assert_eq!(page["older"], json!(stamp(record(16).time)));
    let page = ask(json!({"until": page["older"]}), 100).await;
    assert_eq!(page["records"].as_array().map(Vec::len), Some(16));
    let one = ask(json!({"flows": ["tcp 192.0.2.7:3 203.0.113.1:443"]}), 5).await;
    assert_eq!((&one["records"][0]["source"], &one["records"][1]), (&json!("192.0.2.7:3"), &Value::Null));

    let many = vec!["tcp 192.0.2.7:3 203.0.113.1:443"; MAX_NAMED + 1];
    for wrong in [
        question(json!({}), 0),
        question(json!({}), MAX_RECORDS + 1),
        question(json!({"flows": many}), 1),
        question(json!({"source": "nobody"}), 1),
        question(json!({"sauce": "192.0.2.7"}), 1),
        json!({}),
    ] {
        assert_eq!(running.refused(Method::POST, QUERY, wrong).await, "invalid_request");
    }
}

#[tokio::test]
async fn all_who_may_have_a_log_are_named_and_asked() {
    let mut config = config();
    config.control.peers =
        vec![Peer { node: "sin1-lb1".into(), pop: "sin1".into(), control: ([127, 0, 0, 1], 1).into() }];
    let running = running_with(config).await;
    let hosts = running.get("/v1/log/hosts").await;
    let names: Vec<&str> =
        hosts["hosts"].as_array().expect("hosts").iter().filter_map(|h| h["host"].as_str()).collect();
    assert_eq!((&hosts["node"], names), (&json!("lb1"), vec!["sin1-lb1", "10.0.0.11", "10.0.0.12"]));
    assert_eq!(hosts["hosts"][1]["address"], "10.0.0.11:19524");
    let question = json!({"filter": {}, "limit": 1});
    let ask = async |host: &str| {
        running.refused(Method::POST, &format!("{QUERY}?host={host}"), question.clone()).await
    };
    // This node has no certificates.
    assert_eq!((ask("sin1-lb1").await, ask("10.0.0.12").await), ("unreachable".into(), "unreachable".into()));
    assert_eq!(ask("10.0.0.99").await, "not_found");
    assert!(running.ask(Method::POST, &format!("{QUERY}?host=lb1"), question.clone()).await.is_ok());
}

#[tokio::test]
async fn a_trace_of_a_time_is_told_by_what_is_kept() {
    let state = tempfile::tempdir().expect("a directory");
    let mut config = config();
    config.state_dir = state.path().to_owned();
    let directory = kept_tables(&config);
    let running = running_with(config).await;
    let flow = json!({"protocol": "tcp", "source": "192.0.2.7:1", "destination": "203.0.113.1:443"});
    let question = |at: &str| json!({"flows": [flow.clone()], "at": at});
    let refused = async |at: &str| running.refused(Method::POST, "/v1/trace", question(at)).await;
    assert_eq!(refused("2020-01-01T00:00:00Z").await, "not_found");
    assert_eq!(refused("2999-01-01T00:00:00Z").await, "invalid_request");
    assert_eq!(refused("noon").await, "invalid_request");

    let time = record(1).time;
    let keeper = Keeper::start(directory, Limits::default()).expect("a thread");
    keeper.in_force(Snapshot {
        time,
        version: 7,
        beginning: None,
        last_sign: None,
        active: 0,
        header: Buffer::zeroed(),
        addresses: Vec::new(),
        services: Vec::new(),
        prefixes: Vec::new(),
        vips: Vec::new(),
        pools: Vec::new(),
        members: Vec::new(),
    });
    keeper.settle(Duration::from_secs(60));
    let answer = running.ask(Method::POST, "/v1/trace", question(&stamp(time))).await.expect("a trace");
    assert_eq!((&answer["then"]["table_version"], &answer["then"]["until"]), (&json!(7), &Value::Null));
    assert_eq!(answer["traces"][0]["verdict"], "not_vip");
    let before = stamp(time - Duration::from_nanos(1));
    assert_eq!(refused(&before).await, "not_found");
}
