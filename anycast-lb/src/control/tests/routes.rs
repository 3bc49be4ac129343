//! What validators and routers say, over the API.

use std::net::SocketAddr;
use std::time::Duration;

use anycast_lb_routing::bmp::{Own, Settings};
use anycast_lb_routing::rpki::{Mode, Route, Validator};
use hyper::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::running;

#[tokio::test]
async fn without_validators_and_routers_there_is_nothing_to_tell() {
    let running = running().await;
    let rpki = running.get("/v1/rpki").await;
    assert_eq!(
        (&rpki["validators"], &rpki["prefixes"], &rpki["alarms"]),
        (&json!([]), &json!([]), &json!([]))
    );
    let hijacks = running.get("/v1/hijacks").await;
    assert_eq!((&hijacks["listen"], &hijacks["hijacks"]), (&Value::Null, &json!([])));
    assert_eq!(running.get("/v1/status").await["alarms"], json!([]));
    let check = |query: &str| format!("/v1/rpki/check?{query}");
    let good = check("prefix=203.0.113.0%2F24&origin_as=64500");
    assert_eq!(running.refused(Method::GET, &good, Value::Null).await, "not_found");
    for query in
        ["prefix=203.0.113.0%2F24", "prefix=x&origin_as=64500", "prefix=203.0.113.0%2F24&origin_as=-1"]
    {
        assert_eq!(
            running.refused(Method::GET, &check(query), Value::Null).await,
            "invalid_request",
            "{query}"
        );
    }
}

#[tokio::test]
async fn what_is_wrong_stands_in_status() {
    let running = running().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let listen: SocketAddr = taken.local_addr().expect("an address");
    let prefix = "203.0.113.0/24".parse().expect("a prefix");
    let own = vec![Own { prefix, origin: 64500 }];
    running.api.station.configure(&Settings { listen: Some(listen), own, ..Settings::default() });
    // Nobody speaks RTR there.
    let validator = Validator { name: "a".into(), address: ([127, 0, 0, 1], 1).into() };
    let route = Route { prefix, origin: 64500, mode: Mode::Enforce, hold: Duration::from_secs(1) };
    running.api.rpki.configure(&[validator], &[route]);
    let alarms = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let alarms = running.get("/v1/status").await["alarms"].clone();
            if alarms.as_array().is_some_and(|a| a.len() == 2) {
                return alarms;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let alarms = alarms.await.expect("two alarms");
    assert_eq!((&alarms[0]["kind"], &alarms[0]["severity"]), (&json!("rpki"), &json!("warning")));
    assert!(
        alarms[0]["text"].as_str().is_some_and(|t| t.starts_with("no validator answers (a: cannot connect"))
    );
    assert_eq!((&alarms[1]["kind"], &alarms[1]["severity"]), (&json!("hijack"), &json!("error")));
    assert!(alarms[1]["text"].as_str().is_some_and(|t| t.contains(&listen.to_string())));
    let rpki = running.get("/v1/rpki").await;
    assert_eq!(
        (&rpki["validators"][0]["live"], &rpki["prefixes"][0]["verdict"]),
        (&json!(false), &json!("unknown"))
    );
    assert_eq!(rpki["prefixes"][0]["permitted"], true);
    let check = running.get("/v1/rpki/check?prefix=203.0.113.0%2F24&origin_as=64500").await;
    assert_eq!((&check["verdict"], &check["answers"][0]["validity"]), (&json!("unknown"), &Value::Null));
}
