//! `[pool.health]`: what it means, and what is refused.

use std::time::Duration;

use anycast_lb_health::probe::{Check, CommandCheck, DnsCheck, HttpCheck, UdpCheck, Verify};

use super::*;
use crate::config::testing::Authority;
use crate::model::{AllDown, HealthCheck, PoolHealth, Via};

/// A file with one pool of this health and a VIP of this protocol.
fn file(health: &str, protocol: &str) -> String {
    ingress(&format!(
        "[[pool]]\nname = \"web\"\nbackend = [{{ address = \"10.0.0.1\" }}, {{ address = \"10.0.0.2\" }}]\n{health}\n\
         [[vip]]\naddress = \"203.0.113.1\"\nprotocol = \"{protocol}\"\nport = 443\npool = \"web\"\n"
    ))
}

fn health(text: &str) -> PoolHealth {
    loaded(&file(text, "tcp")).config.pools[0].health.clone()
}

fn check(text: &str) -> HealthCheck {
    health(text).check.expect("a check")
}

#[test]
fn without_a_word_nothing_is_checked() {
    assert_eq!(health(""), PoolHealth { check: None, all_down: AllDown::Withdraw, minimum: 1 });
}

#[test]
fn what_is_not_said_has_a_sensible_value() {
    let short = check("[pool.health]\ntype = \"tcp\"");
    assert_eq!((&short.check, short.via, short.port), (&Check::Tcp, Via::Tunnel, None));
    let timing = short.timing;
    assert_eq!((timing.interval, timing.timeout), (Duration::from_secs(2), Duration::from_secs(1)));
    assert_eq!((timing.rise, timing.fall), (2, 3));
    let quick = check("[pool.health]\ntype = \"tcp\"\ninterval = \"400ms\"").timing;
    assert_eq!((quick.interval, quick.timeout), (Duration::from_millis(400), Duration::from_millis(400)));
    let Check::Http(http) = check("[pool.health]\ntype = \"https\"").check else { panic!("no HTTP") };
    let expected = HttpCheck {
        method: "GET".to_owned(),
        path: "/".to_owned(),
        host: None,
        expect: vec![200],
        body: None,
        tls: Some(Verify::System),
    };
    assert_eq!(http, expected);
}

#[test]
fn all_of_it_can_be_said() {
    let whole = health(
        "all_down = \"keep_serving\"\nminimum_healthy = 2\n[pool.health]\ntype = \"http\"\nvia = \"direct\"\n\
         interval = \"5s\"\ntimeout = \"3s\"\nrise = 4\nfall = 1\nport = 8080\nmethod = \"HEAD\"\n\
         path = \"/a?b=c\"\nhost = \"www.example\"\nexpect = [200, 204]\nbody = \"well\"",
    );
    assert_eq!((whole.all_down, whole.minimum), (AllDown::KeepServing, 2));
    let check = whole.check.expect("a check");
    assert_eq!(check.to_string(), "http via direct every 5s within 3s rise 4 fall 1 port 8080");
    let Check::Http(http) = check.check else { panic!("no HTTP") };
    assert_eq!((http.method.as_str(), http.path.as_str(), http.expect), ("HEAD", "/a?b=c", vec![200, 204]));
    assert_eq!((http.host.as_deref(), http.body.as_deref()), (Some("www.example"), Some("well")));
}

#[test]
fn every_type_has_its_own_keys() {
    let of = |text: &str| loaded(&file(&format!("[pool.health]\n{text}"), "any").replace("port = 443\n", ""));
    let kind = |text: &str| of(text).config.pools[0].health.check.clone().expect("a check").check;
    assert_eq!(
        kind("type = \"dns\"\nquery = \"www.example\"\nrecord = \"SOA\""),
        Check::Dns(DnsCheck { name: "www.example".to_owned(), record: "SOA".to_owned() })
    );
    assert_eq!(
        kind("type = \"udp\"\nport = 1\npayload = \"ping\"\nanswer_hex = \"00fF\""),
        Check::Udp(UdpCheck { payload: b"ping".to_vec(), answer: vec![0, 0xff] })
    );
    assert_eq!(kind("type = \"icmp\""), Check::Icmp);
    assert_eq!(
        kind("type = \"command\"\ncommand = [\"/bin/true\", \"-x\"]"),
        Check::Command(CommandCheck {
            command: vec!["/bin/true".to_owned(), "-x".to_owned()],
            user: "nobody".to_owned()
        })
    );
}

#[test]
fn certificates_lie_beside_the_file_and_are_read() {
    let dir = Dir::new();
    let text = file("[pool.health]\ntype = \"https\"\nca = \"ca.pem\"", "tcp");
    let problems = dir.load(&text).expect_err("no such file").0;
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].key, "pool \"web\" health.ca");
    dir.put("ca.pem", &Authority::found().pem(), 0o644);
    let config = dir.load(&text).expect("valid").config;
    let Some(HealthCheck { check: Check::Http(http), .. }) = &config.pools[0].health.check else {
        panic!("no HTTP")
    };
    assert_eq!(http.tls, Some(Verify::Ca(dir.path("ca.pem"))));
}

#[test]
fn mistakes_are_found() {
    assert_mistakes(&ingress(
        "[[pool]]
         name = \"a\"
         all_down = \"serve\" #~ pool \"a\" all_down | keep_serving
         minimum_healthy = 0 #~ minimum_healthy: 0 is out of range | keep_serving
         [pool.health]
         type = \"htp\" #~ did you mean \"http\"?
         path = 3
         [[pool]]
         name = \"b\"
         [pool.health] #~ pool \"b\" health.type | is missing
         [[pool]]
         name = \"c\"
         [pool.health]
         type = \"http\"
         interval = \"1s\"
         timeout = \"2s\" #~ timeout: 2s is longer than the interval
         rise = 0 #~ rise: 0 is out of range
         method = \"G T\" #~ no method
         path = \"/a b\" #~ no path of a URL
         host = \"a/b\" #~ no host
         expect = [] #~ is empty
         body = \"\" #~ empty or too long
         verify = false #~ verify | unknown key
         [[pool]]
         name = \"d\"
         [pool.health]
         type = \"tcp\"
         interval = \"10ms\" #~ interval: 10ms is out of range
         port = 0 #~ port: 0 is out of range
         path = \"/\" #~ path | unknown key
         [[pool]]
         name = \"e\"
         [pool.health] #~ health.query | is missing
         type = \"dns\"
         record = \"XYZ\" #~ no record type
         [[pool]]
         name = \"f\"
         [pool.health] #~ health.payload | is missing
         type = \"udp\"
         answer = \"a\"
         answer_hex = \"61\" #~ same thing twice
         [[pool]]
         name = \"g\"
         [pool.health]
         type = \"udp\"
         payload_hex = \"123\" #~ no hexadecimal digits
         [[pool]]
         name = \"h\"
         [pool.health]
         type = \"command\"
         command = [\"check\"] #~ `check` is no whole path
         user = \"root\" #~ `root` runs no checks
         [[pool]]
         name = \"i\"
         [pool.health] #~ health.command: user `no-such-user` does not exist
         type = \"command\"
         command = [\"/bin/true\"]
         user = \"no-such-user\"
         [[pool]]
         name = \"j\"
         [pool.health]
         type = \"https\"
         verify = false
         ca = \"ca.pem\" #~ of no use with verify = false
         ",
    ));
}

#[test]
fn a_vip_of_every_port_wants_one_named() {
    let text = file("[pool.health] #~ health.port | is missing | every port\ntype = \"tcp\"", "tcp");
    assert_mistakes(&text.replace("port = 443\n", ""));
}
