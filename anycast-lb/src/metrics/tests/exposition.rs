//! The text.

use std::collections::{BTreeMap, BTreeSet};

use super::sample::facts;
use super::{Series, series};
use crate::metrics::table::metrics;
use crate::metrics::{Facts, Format, encode};
use crate::model::Role;

fn text(facts: Facts, format: Format) -> String {
    encode(facts, format).expect("written")
}

/// The value of the one series of this name with these labels.
fn value(all: &[Series], name: &str, labels: &[(&str, &str)]) -> f64 {
    let has = |l: &BTreeMap<String, String>| labels.iter().all(|(k, v)| l.get(*k).is_some_and(|x| x == v));
    let found: Vec<_> = all.iter().filter(|(n, l, _)| n == name && has(l)).collect();
    assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
    found[0].2
}

#[test]
fn every_metric_is_told_with_its_labels_and_nothing_else_is() {
    let all = series(&text(facts(), Format::Prometheus));
    for m in metrics() {
        let mine: Vec<_> = all.iter().filter(|(name, ..)| name == m.name).collect();
        assert!(!mine.is_empty(), "{} has no sample", m.name);
        for (_, labels, _) in mine {
            let mut expected: Vec<_> = m.labels.to_vec();
            expected.sort_unstable();
            assert_eq!(labels.keys().collect::<Vec<_>>(), expected, "{}", m.name);
        }
    }
    let known: BTreeSet<_> = metrics().map(|m| m.name).collect();
    assert!(all.iter().all(|(name, ..)| known.contains(name.as_str())));
    let distinct: BTreeSet<_> = all.iter().map(|(name, labels, _)| (name, labels)).collect();
    assert_eq!(distinct.len(), all.len(), "a series is there twice");
}

#[test]
fn both_formats_tell_the_same() {
    let open = text(facts(), Format::OpenMetrics);
    assert!(open.ends_with("\n# EOF\n") || open.ends_with("\n# EOF"), "{}", &open[open.len() - 40..]);
    assert_eq!(series(&open), series(&text(facts(), Format::Prometheus)));
    assert!(
        open.contains("# TYPE anycast_lb_verdict_bytes counter\n# UNIT anycast_lb_verdict_bytes bytes\n")
    );
    assert!(open.contains("# TYPE anycast_lb_node info\n"));
    let own = text(facts(), Format::Prometheus);
    assert!(own.contains("# TYPE anycast_lb_verdict_bytes_total counter\n"));
    assert!(own.contains("# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1.5\n"));
}

#[test]
fn who_accepts_open_metrics_gets_it() {
    let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
                      q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    assert_eq!(Format::for_accept(Some(prometheus)), Format::OpenMetrics);
    assert_eq!(Format::for_accept(Some("*/*")), Format::Prometheus);
    assert_eq!(Format::for_accept(None), Format::Prometheus);
}

#[test]
fn the_values_are_those_of_the_facts() {
    let all = series(&text(facts(), Format::OpenMetrics));
    let of = |name: &str, labels: &[(&str, &str)]| value(&all, name, labels);
    assert_eq!(of("anycast_lb_verdict_packets_total", &[("verdict", "forwarded_gue")]), 10.0);
    assert_eq!(of("anycast_lb_vip_bytes_total", &[("vip", "203.0.113.1:443/tcp"), ("pool", "web")]), 1000.0);
    // The node's own PoP, where a backend has none of its own.
    assert_eq!(of("anycast_lb_backend_packets_total", &[("backend", "10.0.0.11"), ("pop", "fra1")]), 6.0);
    assert_eq!(of("anycast_lb_backend_packets_total", &[("backend", "10.0.0.12"), ("pop", "sin1")]), 6.0);
    assert_eq!(of("anycast_lb_pool_service", &[("service", "kept")]), 1.0);
    assert_eq!(of("anycast_lb_pool_service", &[("service", "healthy")]), 0.0);
    assert_eq!(of("anycast_lb_pool_owners_info", &[("owners", "00c0ffee00c0ffee"), ("pop", "fra1")]), 1.0);
    assert_eq!(of("anycast_lb_backend_weight_in_force", &[("backend", "10.0.0.11")]), 50.0);
    assert_eq!(of("anycast_lb_backend_next_hop_resolved", &[("backend", "10.0.0.11")]), 0.0);
    assert_eq!(of("anycast_lb_interface_attached", &[("interface", "eth0"), ("mode", "native")]), 1.0);
    assert_eq!(of("anycast_lb_interface_attached", &[("interface", "eth1"), ("mode", "native")]), 0.0);
    assert_eq!(of("anycast_lb_config_changes_total", &[("change", "reload"), ("result", "refused")]), 1.0);
    assert_eq!(of("anycast_lb_config_last_reload_successful", &[]), 0.0);
    assert_eq!(of("anycast_lb_config_last_reload_success_timestamp_seconds", &[]), 1_699_999_960.25);
    assert_eq!(of("anycast_lb_start_time_seconds", &[]), 1_699_999_900.5);
    assert_eq!(of("anycast_lb_hijacks", &[("prefix", "203.0.113.0/24")]), 2.0);
    assert_eq!(of("anycast_lb_hijack_sightings", &[("prefix", "203.0.113.0/24")]), 4.0);
    assert_eq!(of("anycast_lb_hijacks", &[("prefix", "198.51.100.0/24")]), 0.0);
    assert_eq!(of("anycast_lb_bmp_routers", &[]), 2.0);
    assert_eq!(of("anycast_lb_bmp_router_peers", &[("router", "10.0.0.5")]), 4.0);
    assert_eq!(of("anycast_lb_rpki_prefix_verdict", &[("verdict", "invalid")]), 1.0);
    assert_eq!(of("anycast_lb_peer_agrees", &[("peer", "lb2")]), 0.0);
    assert_eq!(of("anycast_lb_host_findings", &[("severity", "warning")]), 1.0);
}

#[test]
fn what_is_not_known_is_not_told() {
    let mut facts = facts();
    for backend in &mut facts.backends {
        (backend.remaining, backend.seconds_left, backend.health_seconds) = (None, None, None);
    }
    facts.rpki.validators[0].live = None;
    facts.hijacks.listen = None;
    facts.peers[0].agrees = None;
    facts.process = None;
    let all = series(&text(facts, Format::Prometheus));
    for name in [
        "anycast_lb_backend_remaining_flows",
        "anycast_lb_backend_transition_seconds",
        "anycast_lb_backend_health_seconds",
        "anycast_lb_rpki_validator_up",
        "anycast_lb_bmp_listening",
        "anycast_lb_peer_agrees",
        "process_cpu_seconds_total",
    ] {
        assert!(!all.iter().any(|(n, ..)| n == name), "{name}");
    }
}

#[test]
fn hostile_names_stay_inside_their_quotes() {
    let hostile = "a\"} 666\nanycast_lb_pool_slots{pool=\"evil\\\"}\\ 1 # EOF\n\u{2028}ü,=";
    for format in [Format::Prometheus, Format::OpenMetrics] {
        let plain = series(&text(facts(), format));
        let mut facts = facts();
        facts.pools[0].pool = hostile.into();
        facts.peers[0].node = hostile.into();
        facts.status.interfaces[0].interface = hostile.into();
        facts.status.node = hostile.into();
        facts.rpki.validators[0].name = hostile.into();
        let all = series(&text(facts, format));
        assert_eq!(all.len(), plain.len());
        assert_eq!(value(&all, "anycast_lb_pool_slots", &[("pool", hostile)]), 1024.0);
        assert_eq!(value(&all, "anycast_lb_node_info", &[("node", hostile)]), 1.0);
        assert_eq!(value(&all, "anycast_lb_peer_generation", &[("peer", hostile)]), 5.0);
    }
}

#[test]
fn a_backend_tells_what_backends_have() {
    let mut facts = facts();
    facts.role = Role::Backend;
    let text = text(facts, Format::Prometheus);
    let names: BTreeSet<String> = series(&text).into_iter().map(|(name, ..)| name).collect();
    let expected: BTreeSet<String> =
        metrics().filter(|m| m.roles.have(Role::Backend)).map(|m| m.name.to_owned()).collect();
    assert_eq!(names, expected);
    assert!(names.contains("anycast_lb_verdict_packets_total") && !names.contains("anycast_lb_pool_slots"));
    assert!(!text.contains("pool_slots"), "not even described");
}
