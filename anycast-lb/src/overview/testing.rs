//! Facts for tests.

use std::net::IpAddr;

use super::facts::Facts;
use crate::control::api::{
    AlarmRow, BackendRow, Bgp, DrainRow, HijackRow, Hijacks, HostFinding, InterfaceStatus, NeighborRow,
    NextHopStatus, OriginRow, PeerRow, PoolRow, PrefixRow, RouterRow, RpkiState, Status, Unresolved,
    ValidatorRow, VerdictCount, VipRow,
};

/// A name that tries all that a terminal or a browser might take for more than text.
pub const HOSTILE: &str = "\u{1b}[31mred\u{1b}]0;title\u{7}\r\n<img src=x onerror=alert(1)></script>\u{202e}gnol\u{200b}\u{9b}2J 漢字漢字";

/// A verdict.
pub fn verdict(name: &str, kind: &str, packets: u64) -> VerdictCount {
    VerdictCount {
        verdict: name.into(),
        kind: kind.into(),
        packets,
        bytes: packets * 100,
        explanation: "A VIP's address, but no VIP for this protocol and port.".into(),
    }
}

/// A VIP.
pub fn vip(key: &str, pool: &str, packets: u64) -> VipRow {
    VipRow {
        vip: key.parse().expect("a VIP"),
        pool: Some(pool.into()),
        second_chance: true,
        hash: "5-tuple".into(),
        quic: false,
        mss_clamp: true,
        packets,
        bytes: packets * 100,
    }
}

/// A pool.
pub fn pool(name: &str, backends: usize) -> PoolRow {
    PoolRow {
        pool: name.into(),
        encapsulation: "gue".into(),
        table: "rendezvous".into(),
        slots: 1024,
        vips: 1,
        backends,
        active: backends,
        service: "healthy".into(),
        minimum_healthy: 1,
        check: Some("http GET /healthz every 2 s".into()),
        owners: "00c0ffee00c0ffee".into(),
    }
}

/// A backend.
pub fn backend(pool: &str, address: &str, weight: u32, owned_slots: u32) -> BackendRow {
    BackendRow {
        pool: pool.into(),
        address: address.parse::<IpAddr>().expect("an address"),
        weight,
        weight_in_force: weight,
        state: "active".into(),
        configured: "active".into(),
        seconds_left: None,
        health: "up".into(),
        health_by: Some("check".into()),
        health_seconds: Some(3700),
        last_failure: None,
        remaining: None,
        pop: None,
        server_id: None,
        owned_slots,
        share_ppm: owned_slots * 1_000_000 / 1024,
        packets: 1000,
        bytes: 100_000,
        next_hop: NextHopStatus::Resolved {
            interface: "eth0".into(),
            mac: "02:00:00:00:00:0b".into(),
            mtu: 1500,
        },
    }
}

/// A node with two pools, a drain, a session, a validator and a peer.
pub fn facts() -> Facts {
    let draining = BackendRow {
        state: "draining".into(),
        configured: "draining".into(),
        seconds_left: Some(1790),
        remaining: Some(12),
        ..backend("web", "10.0.0.13", 100, 0)
    };
    let down = BackendRow {
        health: "down".into(),
        last_failure: Some("connect: connection refused".into()),
        ..backend("dns", "2001:db8:ffff:ffff:ffff:ffff:ffff:5353", 100, 1024)
    };
    Facts {
        status: status(),
        verdicts: vec![
            verdict("forwarded_gue", "transmit", 123_456_789),
            verdict("not_vip", "pass", 99),
            verdict("unmatched_service", "drop", 4321),
            verdict("malformed_ipv4", "drop", 0),
            verdict("too_big_limited", "drop", 7),
        ],
        vips: vec![
            vip("203.0.113.1:443/tcp", "web", 100_000),
            vip("[2001:db8:ffff:ffff:ffff:ffff:ffff:1]:443/tcp", "web", 20),
            vip("203.0.113.53/any", "dns", 5),
        ],
        pools: vec![pool("web", 3), pool("dns", 1)],
        backends: vec![
            backend("web", "10.0.0.11", 100, 256),
            backend("web", "10.0.0.12", 300, 768),
            draining,
            down,
        ],
        bgp: bgp(),
        rpki: rpki(),
        peers: vec![peer("sin1-lb1", Some(true), Some(true)), peer("gru1-lb1", Some(false), None)],
        hijacks: hijacks("router-1"),
    }
}

fn status() -> Status {
    Status {
        role: "ingress".into(),
        node: "fra1-lb1".into(),
        pop: "fra1".into(),
        instance: "default".into(),
        version: "0.1.0".into(),
        abi: 1,
        placement: 1,
        generation: 7,
        uptime_seconds: 273_840,
        start: "fresh".into(),
        seed_fingerprint: None,
        interfaces: vec![InterfaceStatus {
            interface: "eth0".into(),
            ifindex: 2,
            mode: Some("native".into()),
            reason: None,
            program_id: 5,
        }],
        config_files: vec!["/etc/anycast-lb/config.toml".into()],
        notices: Vec::new(),
        pools: Vec::new(),
        members: Vec::new(),
        unresolved: vec![Unresolved {
            backend: [10, 0, 0, 12].into(),
            reason: "no answer to neighbour solicitations".into(),
        }],
        findings: vec![HostFinding {
            severity: "warning".into(),
            what: "rp_filter is strict on eth0".into(),
            why: "answers of health checks are dropped".into(),
            fix: Some("sysctl -w net.ipv4.conf.eth0.rp_filter=2".into()),
        }],
        alarms: vec![AlarmRow {
            kind: "hijack".into(),
            severity: "error".into(),
            text: "203.0.113.0/25 is announced from AS64666".into(),
        }],
    }
}

fn bgp() -> Bgp {
    Bgp {
        maintenance: "in-service".into(),
        seconds_left: None,
        prefixes: vec![PrefixRow {
            prefix: "203.0.113.0/24".parse().expect("a prefix"),
            method: "bgp".into(),
            state: "announced".into(),
            reason: "a VIP can be served".into(),
        }],
        neighbors: vec![NeighborRow {
            neighbor: "10.0.0.1:179".parse().expect("an address"),
            remote_as: 64_501,
            source: None,
            state: "Established".into(),
            since_seconds: Some(86_460),
            hold_time: Some(9),
            announced: vec!["203.0.113.0/24".parse().expect("a prefix")],
            unannounced: Vec::new(),
            last_error: None,
            established: 1,
            skipped_updates: 0,
        }],
        outlets: Vec::new(),
        drain: DrainRow { graceful_shutdown: true, prepend: 0, med: None },
        local_as: Some(64_500),
    }
}

fn rpki() -> RpkiState {
    RpkiState {
        validators: vec![ValidatorRow {
            name: "rtr1".into(),
            address: "127.0.0.1:8282".parse().expect("an address"),
            live: Some(true),
            reason: None,
            vrps: Some(412_345),
            serial: Some(17),
            confirmed_seconds_ago: Some(61),
            expires_in_seconds: Some(7000),
        }],
        prefixes: vec![OriginRow {
            prefix: "203.0.113.0/24".parse().expect("a prefix"),
            origin_as: 64_500,
            rpki: "warn".into(),
            verdict: "valid".into(),
            permitted: true,
            reason: None,
            withheld_in_seconds: None,
            answers: Vec::new(),
        }],
        alarms: Vec::new(),
    }
}

/// A peer.
pub fn peer(node: &str, reachable: Option<bool>, agrees: Option<bool>) -> PeerRow {
    PeerRow {
        node: node.into(),
        pop: "sin1".into(),
        address: "10.1.0.2:19524".parse().expect("an address"),
        reachable,
        reason: (reachable == Some(false)).then(|| "connection refused".into()),
        seen_seconds_ago: Some(1),
        generation: Some(7),
        agrees,
        differing: Vec::new(),
    }
}

/// What a router of this name sees.
pub fn hijacks(router: &str) -> Hijacks {
    Hijacks {
        listen: "10.0.0.2:11019".parse().ok(),
        problem: None,
        prefixes: vec!["203.0.113.0/24".parse().expect("a prefix")],
        routers: vec![RouterRow {
            address: [10, 0, 0, 1].into(),
            name: Some(router.into()),
            peers: 2,
            unkept: 0,
            unread: 0,
        }],
        hijacks: vec![HijackRow {
            prefix: "203.0.113.0/25".parse().expect("a prefix"),
            origin: "AS64666".into(),
            own_prefix: "203.0.113.0/24".parse().expect("a prefix"),
            own_as: 64_500,
            seen: 1,
            sightings: Vec::new(),
        }],
    }
}

/// The same with hostile text wherever somebody else chooses it.
pub fn hostile() -> Facts {
    let mut facts = facts();
    facts.status.node = HOSTILE.into();
    facts.status.pop = HOSTILE.into();
    facts.status.findings[0].what = HOSTILE.into();
    facts.status.alarms[0].text = HOSTILE.into();
    facts.status.unresolved[0].reason = HOSTILE.into();
    facts.pools[0].pool = HOSTILE.into();
    for backend in &mut facts.backends {
        backend.pool = HOSTILE.into();
        backend.state = HOSTILE.into();
        backend.health = "down".into();
        backend.last_failure = Some(HOSTILE.repeat(20));
        backend.pop = Some(HOSTILE.into());
        backend.next_hop = NextHopStatus::Unresolved { reason: HOSTILE.into() };
    }
    for vip in &mut facts.vips {
        vip.pool = Some(HOSTILE.into());
    }
    facts.verdicts[2].explanation = HOSTILE.into();
    facts.bgp.neighbors[0].last_error = Some(HOSTILE.into());
    facts.bgp.neighbors[0].state = HOSTILE.into();
    facts.bgp.prefixes[0].reason = HOSTILE.into();
    facts.rpki.validators[0].name = HOSTILE.into();
    facts.rpki.validators[0].reason = Some(HOSTILE.into());
    facts.peers[0].node = HOSTILE.into();
    facts.peers[0].differing = vec![HOSTILE.into()];
    facts.hijacks = hijacks(HOSTILE);
    facts.hijacks.hijacks[0].origin = HOSTILE.into();
    facts
}
