//! What is said without being a mistake.

use super::{backend, ingress, loaded};

/// Lines and keys of the notices of a text.
fn notices(text: &str) -> Vec<String> {
    loaded(text).notices.into_iter().map(|n| format!("{} {}: {}", n.line, n.key, n.message)).collect()
}

/// The notices of a text whose lines are marked with `#~`, as [`super::assert_mistakes`] does it.
pub(super) fn assert_notices(text: &str) {
    let found = notices(text);
    let expected: Vec<_> = super::marks(text).collect();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (notice, (line, mark)) in found.iter().zip(expected) {
        assert!(notice.starts_with(&format!("{line} ")), "{notice:?} is not at {line}");
        for part in mark.trim().split(" | ") {
            assert!(notice.contains(part), "{part:?} is not in {notice:?}");
        }
    }
}

#[test]
fn what_has_no_effect_yet_is_said() {
    assert_notices(&ingress(
        "[[peer]] #~ peer \"sin1-lb1\": has no effect | TLS only
         node = \"sin1-lb1\"
         control = \"10.1.0.2:19524\"
         [[pool]]
         name = \"web\"
         hops = 3
         all_down = \"withdraw\"
         minimum_healthy = 2 #~ pool \"web\" minimum_healthy: 2 healthy backends are never there | has 1
         fill_time = \"10s\"
         drain_timeout = \"30m\"
         backend = [{ address = \"10.0.0.1\" }]
         [pool.health] #~ pool \"web\" health: its backends are not checked: no VIP of this pool takes tcp
         type = \"tcp\"
         [[vip]]
         address = \"203.0.113.1\"
         protocol = \"udp\"
         pool = \"web\"
         mss_clamp = true #~ vip 203.0.113.1:*/udp mss_clamp: has no effect: only TCP has an MSS
         quic = true
         [[prefix]]
         prefix = \"203.0.113.0/24\"
         [metrics]
         listen = \"127.0.0.1:9524\"
         [page]
         enabled = true
         listen = \"10.0.0.2:9525\" #~ page.listen: everyone who reaches this address can read the page
         [flow_log]
         sample = 1000
         ",
    ));
}

#[test]
fn a_prefix_that_is_never_announced_is_said() {
    let with = |prefix: &str| {
        ingress(&format!(
            "[[pool]]
             name = \"web\"
             backend = [{{ address = \"10.0.0.1\" }}]
             [[vip]]
             address = \"203.0.113.1\"
             protocol = \"tcp\"
             pool = \"web\"
             [bgp]
             local_as = 64500
             router_id = \"10.0.0.2\"
             [[bgp.neighbor]]
             address = \"10.0.0.9\"
             remote_as = 64501
             [[prefix]]
             {prefix}
             "
        ))
    };
    assert_notices(&with("prefix = \"203.0.113.0/24\"\nannounce = \"bgp\"\nrequire = 1"));
    assert_notices(&with(
        "prefix = \"203.0.113.0/24\"\nannounce = \"bgp\"\nrequire = 2 #~ require: is never met: 1 VIPs",
    ));
    assert_notices(&with(
        "prefix = \"198.51.100.0/24\"\nannounce = \"bgp\" #~ announce: no VIP lies in the prefix",
    ));
}

#[test]
fn what_asks_for_nothing_is_not_worth_a_word() {
    assert_notices(&ingress(
        "[[pool]]
         name = \"web\"
         hops = 0
         rescue = []
         backend = [{ address = \"10.0.0.1\" }]
         [[vip]]
         address = \"203.0.113.1\"
         protocol = \"udp\"
         pool = \"web\"
         mss_clamp = false
         quic = false
         hash = \"5-tuple\"
         second_chance = false
         identity = \"off\"
         [[prefix]]
         prefix = \"203.0.113.0/24\"
         rpki = \"off\"
         [page]
         enabled = false
         [log]
         format = \"json\"
         ",
    ));
}

#[test]
fn what_rescues_nothing_is_said() {
    let pool = "[[pool]]
         name = \"web\"
         backend = [{ address = \"10.0.0.1\" }]
         [[vip]]
         address = \"203.0.113.1\"
         protocol = \"tcp\"
         pool = \"web\"
         ";
    let with = |keys: &str| ingress(&pool.replacen("backend", &format!("{keys}\nbackend"), 1));
    assert_notices(&with("rescue = [\"a\", \"default\", \"b\", \"c\"]"));
    assert_notices(&with(
        "rescue = [\"a\", \"default\", \"b\", \"c\", \"d\"] #~ pool \"web\" rescue: from \"d\" on",
    ));
    assert_notices(&with(
        "encapsulation = \"ipip\"\nrescue = [\"a\"] #~ pool \"web\" rescue: rescues no flow",
    ));
    let drained = |names: &str, mark: &str, keys: &str| {
        with(keys).replacen('\n', &format!("\ndrained_pops = [{names}] {mark}\n"), 1)
    };
    assert_notices(&drained("\"default\"", "", "rescue = [\"a\"]"));
    assert_notices(&drained("\"default\"", "#~ drained_pops: pool \"web\" has no `rescue` PoP", ""));
    let mark = "#~ drained_pops: pool \"web\" has no `rescue` PoP";
    assert_notices(&drained("\"default\", \"a\"", mark, "rescue = [\"a\"]"));
    assert_notices(&drained(
        "\"nrt1\"",
        "#~ drained_pops: no backend and no `rescue` names the PoP \"nrt1\"",
        "",
    ));
}

#[test]
fn nothing_to_balance() {
    assert_notices(&backend("").replacen('\n', " #~ vip: there is no VIP\n", 1));
    let text = ingress("[[pool]]\nname = \"web\" #~ pool \"web\": has no backends\n");
    assert_notices(&text.replacen('\n', " #~ vip: there is no VIP\n", 1));
}

/// A pool of `n` backends of weight 100 and one of weight `last`.
fn pool_of(n: usize, last: u32, slots: &str) -> String {
    let mut text = format!("[[pool]]\nname = \"web\"\n{slots}\n");
    for i in 0..n {
        text.push_str(&format!("[[pool.backend]]\naddress = \"10.0.{}.{}\"\n", i / 250, i % 250 + 1));
    }
    text.push_str(&format!("[[pool.backend]]\naddress = \"10.9.0.1\"\nweight = {last}\n"));
    text
}

#[test]
fn too_few_slots_for_a_pool() {
    let about_slots = |rest: &str| {
        notices(&ingress(rest)).into_iter().filter(|n| n.contains("\"web\" slots:")).collect::<Vec<_>>()
    };
    assert_eq!(about_slots(&pool_of(255, 100, "")), Vec::<String>::new());
    let found = about_slots(&pool_of(256, 100, ""));
    assert!(found[0].contains("16384 slots are few for 257 active backends"), "{found:?}");
    assert!(found[0].contains("slots = 32768"), "{found:?}");
    // The lightest counts: 1 of 1001.
    let found = about_slots(&pool_of(10, 1, "slots = 8192"));
    assert!(found[0].starts_with("6 ") && found[0].contains("gets 8; slots = 65536"), "{found:?}");
}

#[test]
fn each_pop_has_a_table_of_its_own() {
    let pool = |pops: &[(&str, u8, u32)]| {
        let mut text = "[[pool]]\nname = \"web\"\nslots = 4096\n".to_owned();
        for (third, (pop, backends, last)) in pops.iter().enumerate() {
            for i in 1..=*backends {
                let weight = if i == *backends { *last } else { 100 };
                text.push_str(&format!(
                    "[[pool.backend]]\naddress = \"10.0.{third}.{i}\"\nweight = {weight}\n{pop}\n"
                ));
            }
        }
        let found = notices(&ingress(&text));
        found.into_iter().filter(|n| n.contains("\"web\" slots:")).collect::<Vec<_>>()
    };
    let (sin1, gru1) = ("pop = \"sin1\"", "pop = \"gru1\"");
    // 150 backends, and none has less than 64 slots of its PoP's table.
    assert_eq!(pool(&[("", 50, 100), (sin1, 50, 100), (gru1, 50, 100)]), Vec::<String>::new());
    let found = pool(&[("", 50, 100), (sin1, 50, 10), (gru1, 50, 20)]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("4096 slots are few for 50 active backends of PoP \"sin1\""), "{found:?}");
    assert!(found[0].contains("gets 8; slots = 32768"), "{found:?}");
}

#[test]
fn a_second_chance_that_nothing_carries_is_said() {
    let text = |protocol: &str, encapsulation: &str, chance: &str| {
        ingress(&format!(
            "[[pool]]
             name = \"web\"
             encapsulation = \"{encapsulation}\"
             backend = [{{ address = \"10.0.0.1\" }}]
             [[vip]]
             address = \"203.0.113.1\"
             protocol = \"{protocol}\"
             {chance}
             pool = \"web\"
             "
        ))
    };
    for protocol in ["tcp", "udp", "any"] {
        for encapsulation in ["ipip", "l2"] {
            let mark = "second_chance = true #~ second_chance: has no effect: only encapsulation \"gue\"";
            assert_notices(&text(protocol, encapsulation, mark));
            assert_notices(&text(protocol, encapsulation, "second_chance = false"));
            // Nobody has asked for it.
            assert_notices(&text(protocol, encapsulation, ""));
        }
        assert_notices(&text(protocol, "gue", "second_chance = true"));
    }
}

#[test]
fn limits_on_hops_that_do_what_one_may_not_mean() {
    let vip = "[[vip]]\naddress = \"203.0.113.1\"\nprotocol = \"any\"\n";
    let limits = |limits: &str| backend(&format!("[hop_limits]{limits}\n{vip}"));
    assert_notices(&limits(" #~ hop_limits: lets nothing be sent on\ntotal = 0"));
    assert_notices(&limits(" #~ hop_limits: lets nothing be sent on\nper_prefix = 0"));
    assert_notices(&limits(
        " #~ per_prefix = 1000 limits nothing | total = 999\nper_prefix = 1000\ntotal = 999",
    ));
    assert_notices(&limits("\nper_prefix = 1000\ntotal = 1000"));
    // On an ingress node it is of no concern.
    let found = notices(&ingress("[hop_limits]\ntotal = 0\n"));
    assert!(!found.iter().any(|notice| notice.contains("hop_limits")), "{found:?}");
}
