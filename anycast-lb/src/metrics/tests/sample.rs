//! Facts in which every metric has a sample.

use crate::control::api::*;
use crate::daemon::core::Ended;
use crate::daemon::testing::vip_key;
use crate::dataplane::Occupancy;
use crate::metrics::Facts;
use crate::metrics::facts::{Changes, Fingerprints};
use crate::metrics::process::Process;
use crate::model::Role;

/// An ingress node to which everything happens.
pub fn facts() -> Facts {
    Facts {
        started: 1_699_999_900.5,
        role: Role::Ingress,
        program: "ingress",
        status: status(),
        verdicts: vec![VerdictCount {
            verdict: "forwarded_gue".into(),
            kind: "transmit".into(),
            packets: 10,
            bytes: 1000,
            explanation: String::new(),
        }],
        vips: vec![VipRow {
            vip: vip_key(),
            pool: Some("web".into()),
            second_chance: true,
            hash: "5-tuple".into(),
            quic: false,
            mss_clamp: false,
            packets: 10,
            bytes: 1000,
        }],
        pools: vec![PoolRow {
            pool: "web".into(),
            encapsulation: "gue".into(),
            table: "rendezvous".into(),
            slots: 1024,
            vips: 1,
            backends: 2,
            active: 1,
            service: "kept".into(),
            minimum_healthy: 2,
            check: None,
            owners: "00c0ffee00c0ffee".into(),
        }],
        tables: vec![Fingerprints {
            pool: "web".into(),
            owners: "00c0ffee00c0ffee".into(),
            hops: "0ddba110ddba1100".into(),
        }],
        backends: vec![backend("10.0.0.11", None), backend("10.0.0.12", Some("sin1"))],
        occupancy: vec![Occupancy { table: "vips", used: 1, capacity: 4095 }],
        changes: Changes {
            commands: Ended { accepted: 3, refused: 1 },
            reloads: Ended { accepted: 2, refused: 1 },
            last_reload_refused: true,
            last_reload: Some(1_699_999_960.25),
        },
        bgp: bgp(),
        rpki: rpki(),
        hijacks: hijacks(),
        peers: vec![PeerRow {
            node: "lb2".into(),
            pop: "fra1".into(),
            address: "10.0.0.3:19524".parse().expect("an address"),
            reachable: Some(true),
            reason: None,
            seen_seconds_ago: Some(2),
            generation: Some(5),
            agrees: Some(false),
            differing: vec!["web".into()],
        }],
        findings: vec![HostFinding {
            severity: "warning".into(),
            what: "rp_filter".into(),
            why: "it drops".into(),
            fix: None,
        }],
        process: Some(Process {
            cpu_seconds: 1.5,
            resident_bytes: 4096,
            virtual_bytes: 8192,
            threads: 3,
            open_files: 12,
            most_files: Some(1024),
            started: 1_699_999_000.0,
        }),
    }
}

fn status() -> Status {
    Status {
        role: "ingress".into(),
        node: "lb1".into(),
        pop: "fra1".into(),
        instance: "default".into(),
        version: "0.1.0".into(),
        abi: 3,
        placement: 1,
        generation: 7,
        uptime_seconds: 100,
        start: "adopted".into(),
        seed_fingerprint: Some("0badcafe".into()),
        interfaces: vec![
            InterfaceStatus {
                interface: "eth0".into(),
                ifindex: 2,
                mode: Some("native".into()),
                reason: None,
                program_id: 17,
            },
            InterfaceStatus {
                interface: "eth1".into(),
                ifindex: 3,
                mode: None,
                reason: Some("it is gone".into()),
                program_id: 17,
            },
        ],
        config_files: Vec::new(),
        notices: vec!["a notice".into()],
        pools: Vec::new(),
        members: Vec::new(),
        unresolved: vec![Unresolved { backend: [10, 0, 0, 12].into(), reason: "no route".into() }],
        findings: Vec::new(),
        alarms: Vec::new(),
    }
}

fn backend(address: &str, pop: Option<&str>) -> BackendRow {
    BackendRow {
        pool: "web".into(),
        address: address.parse().expect("an address"),
        weight: 100,
        weight_in_force: 50,
        state: "draining".into(),
        configured: "draining".into(),
        seconds_left: Some(30),
        health: "down".into(),
        health_by: Some("hand".into()),
        health_seconds: Some(12),
        last_failure: Some("connection refused".into()),
        remaining: Some(4),
        pop: pop.map(str::to_owned),
        server_id: None,
        owned_slots: 512,
        share_ppm: 500_000,
        packets: 6,
        bytes: 600,
        next_hop: NextHopStatus::Unresolved { reason: "no route".into() },
    }
}

fn bgp() -> Bgp {
    Bgp {
        maintenance: "draining".into(),
        seconds_left: Some(20),
        prefixes: vec![PrefixRow {
            prefix: "203.0.113.0/24".parse().expect("a prefix"),
            method: "bgp".into(),
            state: "draining".into(),
            reason: "maintenance".into(),
        }],
        neighbors: vec![NeighborRow {
            neighbor: "10.0.0.9:179".parse().expect("an address"),
            remote_as: 64501,
            source: None,
            state: "Established".into(),
            since_seconds: Some(60),
            hold_time: Some(9),
            announced: vec!["203.0.113.0/24".parse().expect("a prefix")],
            unannounced: Vec::new(),
            last_error: None,
            established: 2,
            skipped_updates: 1,
        }],
        outlets: vec![OutletRow { method: "bird".into(), done: false, last_error: Some("no socket".into()) }],
        drain: DrainRow { graceful_shutdown: true, prepend: 0, med: None },
        local_as: Some(64500),
    }
}

fn rpki() -> RpkiState {
    RpkiState {
        validators: vec![ValidatorRow {
            name: "routinator".into(),
            address: "127.0.0.1:8282".parse().expect("an address"),
            live: Some(false),
            reason: Some("refused".into()),
            vrps: Some(2),
            serial: Some(3),
            confirmed_seconds_ago: Some(5),
            expires_in_seconds: Some(600),
        }],
        prefixes: vec![OriginRow {
            prefix: "203.0.113.0/24".parse().expect("a prefix"),
            origin_as: 64500,
            rpki: "enforce".into(),
            verdict: "invalid".into(),
            permitted: false,
            reason: Some("invalid".into()),
            withheld_in_seconds: Some(9),
            answers: Vec::new(),
        }],
        alarms: vec![AlarmRow { kind: "rpki".into(), severity: "error".into(), text: "invalid".into() }],
    }
}

fn hijacks() -> Hijacks {
    let router = |last: u8| RouterRow {
        address: [10, 0, 0, last].into(),
        name: Some("r\"1\"".into()),
        peers: 2,
        unkept: 1,
        unread: 3,
    };
    let hijack = |prefix: &str| HijackRow {
        prefix: prefix.parse().expect("a prefix"),
        origin: "AS64666".into(),
        own_prefix: "203.0.113.0/24".parse().expect("a prefix"),
        own_as: 64500,
        seen: 2,
        sightings: Vec::new(),
    };
    Hijacks {
        listen: Some("10.0.0.2:11019".parse().expect("an address")),
        problem: None,
        prefixes: vec![
            "203.0.113.0/24".parse().expect("a prefix"),
            "198.51.100.0/24".parse().expect("a prefix"),
        ],
        // Two sessions of one router.
        routers: vec![router(5), router(5)],
        hijacks: vec![hijack("203.0.113.0/25"), hijack("203.0.113.128/25")],
    }
}
