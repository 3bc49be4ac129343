//! Changes that are refused, with what to do instead.

use super::*;
use crate::config::tests::{INGRESS, INTERFACE};

const FILE: &str = "[[pool]]
name = \"web\"
backend = [{ address = \"10.0.0.1\" }]
[[pool]]
name = \"six\"
encapsulation = \"l2\"
backend = [{ address = \"fd00::1\" }]
[[vip]]
address = \"203.0.113.1\"
port = 443
protocol = \"tcp\"
pool = \"web\"
[[vip]]
address = \"203.0.113.1\"
port = 80
protocol = \"tcp\"
pool = \"web\"
";

fn says(edits: &[Edit], code: &str, message: &str, hint: &str) {
    let error = refused(FILE, edits);
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(message), "{error}");
    assert!(error.hint().contains(hint), "{}", error.hint());
}

#[test]
fn what_is_there_already() {
    says(&[add_vip("203.0.113.1:443/tcp", "web")], "exists", "vip 203.0.113.1:443/tcp exists", "nothing");
    says(
        &[add_vip("203.0.113.1:443/tcp", "six")],
        "exists",
        "exists already",
        "vip remove 203.0.113.1:443/tcp",
    );
    says(&[add_pool("web")], "exists", "pool \"web\" exists", "pool show web");
    says(
        &[add_backend("10.0.0.1", "web")],
        "exists",
        "backend 10.0.0.1 of pool \"web\"",
        "backend weight 10.0.0.1",
    );
}

#[test]
fn what_is_not_there() {
    says(
        &[remove_vip("203.0.113.1:81/tcp")],
        "not_found",
        "no vip 203.0.113.1:81/tcp",
        "203.0.113.1:443/tcp, 203.0.113.1:80/tcp",
    );
    says(&[remove_vip("203.0.113.9/any")], "not_found", "no vip", "vip list");
    says(&[Edit::RemovePool { name: "wbe".into() }], "not_found", "no pool \"wbe\"", "did you mean web?");
    says(
        &[add_vip("203.0.113.2/any", "mail")],
        "not_found",
        "no pool \"mail\"",
        "there are: web, six; add one",
    );
    says(&[add_backend("10.0.0.2", "wbe")], "not_found", "no pool \"wbe\"", "did you mean web?");
    says(&[remove_backend("10.0.0.9", None)], "not_found", "backend 10.0.0.9 in any pool", "backend list");
    says(&[remove_backend("fd00::1", Some("web"))], "not_found", "fd00::1 in pool \"web\"", "it is in: six");
    says(&[set_weight("10.0.0.9", Some("web"), 1)], "not_found", "no backend 10.0.0.9", "");
    says(&[set_state("10.0.0.9", None, BackendState::Draining)], "not_found", "no backend 10.0.0.9", "");
}

#[test]
fn a_pool_in_use_stays() {
    says(
        &[Edit::RemovePool { name: "web".into() }],
        "pool_in_use",
        "pool \"web\" is in use by 203.0.113.1:443/tcp, 203.0.113.1:80/tcp",
        "vip remove 203.0.113.1:443/tcp",
    );
    // One after the other it may go.
    let text = edited(
        FILE,
        &[
            remove_vip("203.0.113.1:443/tcp"),
            remove_vip("203.0.113.1:80/tcp"),
            Edit::RemovePool { name: "web".into() },
        ],
    );
    assert!(!text.contains("web") && text.contains("six"));
}

#[test]
fn what_would_break_a_rule() {
    says(&[add_backend("fd00::2", "web")], "invalid", "is IPv6", "a pool for each family");
    says(&[add_backend("203.0.113.1", "web")], "invalid", "is the address of a VIP", "");
    says(&[add_vip("203.0.113.2/any", "six")], "invalid", "cannot be carried", "");
    says(&[set_weight("10.0.0.1", None, 0)], "invalid", "0 is out of range", "draining");
    says(&[add_pool("two words")], "invalid", "not a plain word", "");
    says(&[add_pool("a\"\nrole = \"x")], "invalid", "not a plain word", "");
    let slots = Edit::AddPool { name: "a".into(), encapsulation: None, table: None, slots: Some(3) };
    says(&[slots], "invalid", "not a power of two", "");
}

#[test]
fn all_or_none() {
    let error = refused(FILE, &[add_pool("new"), remove_backend("10.0.0.9", None)]);
    assert_eq!(error.code(), "not_found");
}

#[test]
fn write_back_off() {
    let dir = Dir::new();
    let loaded = dir.load(&format!("{INGRESS}{INTERFACE}[control]\nwrite_back = false\n")).expect("valid");
    let error = prepare(&loaded.sources, &[add_pool("web")]).expect_err("refused");
    assert_eq!(error.code(), "write_back_off");
    assert!(error.to_string().contains("write_back = false"), "{error}");
    assert!(error.hint().contains("anycast-lb reload"));
}

#[test]
fn a_pop_that_nothing_names() {
    let pool = "[[pool]]\nname = \"web\"\nrescue = [\"sin1\"]\n";
    let error = refused(pool, &[Edit::SetPop { pop: "sim1".into(), drained: true }]);
    assert_eq!((error.code(), error.to_string().as_str()), ("not_found", "there is no PoP \"sim1\""));
    assert_eq!(error.hint(), "did you mean sin1?");
}
