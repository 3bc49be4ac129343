mod history;
mod membership;
mod quic;
mod width;

use super::*;
use crate::model::{
    Announcing, Backend, BackendState, Control, Encapsulation, FlowHash, Interface, Pool, Protocol,
    TableKind, Vip, XdpMode,
};
use proptest::prelude::*;
use std::time::{Duration, SystemTime};

pub(super) fn config(pools: Vec<Pool>, vips: Vec<Vip>) -> Config {
    Config {
        role: Role::Ingress,
        node: "lb1".into(),
        pop: "fra1".into(),
        instance: "default".into(),
        bpffs: "/sys/fs/bpf".into(),
        state_dir: "/var/lib/anycast-lb".into(),
        seed: Some(Seed([7; 16])),
        unmatched_pass: false,
        sources: Vec::new(),
        interfaces: vec![Interface { name: "eth0".into(), mode: XdpMode::Auto }],
        control: Control::on_socket("/run/s"),
        pools,
        vips,
        prefixes: Vec::new(),
        allowed_senders: Vec::new(),
        hop_limits: model::HopLimits::default(),
        identity_clients: Vec::new(),
        rpki: Default::default(),
        bmp: None,
        metrics: None,
        page: None,
        flow_log: None,
        seed_previous: None,
        drained_pops: Vec::new(),
        announcing: Announcing::default(),
    }
}

pub(super) fn backend(n: u8) -> Backend {
    Backend { address: IpAddr::from([10, 0, 0, n]), weight: 100, state: BackendState::Active, pop: None }
}

pub(super) fn pool(name: &str, backends: impl IntoIterator<Item = u8>) -> Pool {
    Pool {
        name: name.into(),
        encapsulation: Encapsulation::Gue,
        table: TableKind::Rendezvous,
        slots: 64,
        margin_ppm: 30_000,
        hops: 3,
        rescue: Vec::new(),
        fill_time: Duration::ZERO,
        drain_timeout: Duration::ZERO,
        backends: backends.into_iter().map(backend).collect(),
        quic: None,
        health: Default::default(),
    }
}

fn vip(n: u8, pool: &str) -> Vip {
    let key = VipKey { address: IpAddr::from([203, 0, 113, n]), port: Some(80), protocol: Protocol::Tcp };
    let (pool, hash) = (pool.into(), FlowHash::default());
    Vip { key, pool, second_chance: true, hash, quic: false, mss_clamp: false, identity: Default::default() }
}

/// The maps as far as planning sees them.
pub(super) struct Maps {
    previous: Previous,
    tables: HashMap<u32, Vec<Slot>>,
    memo: Memo,
    history: History,
    now: SystemTime,
}

impl Default for Maps {
    fn default() -> Self {
        Maps {
            previous: Previous::default(),
            tables: HashMap::new(),
            memo: Memo::default(),
            history: History::default(),
            now: SystemTime::UNIX_EPOCH,
        }
    }
}

impl Maps {
    pub(super) fn apply(&mut self, config: &Config) -> Result<Plan, PlanError> {
        self.apply_in_force(&InForce::from(config.clone()))
    }

    pub(super) fn apply_in_force(&mut self, in_force: &InForce) -> Result<Plan, PlanError> {
        let tables = &self.tables;
        let plan = plan(
            in_force,
            (&self.history, self.now),
            &[],
            &self.previous,
            &|at| tables[&at.base].clone(),
            &mut self.memo,
        )?;
        for pool in &plan.pools {
            for table in [&pool.table, &pool.previous] {
                if let PlannedTable::Write { at, slots } = table {
                    self.tables.insert(at.base, slots.clone());
                }
            }
        }
        let (vips, addresses) = Services::read_back(
            plan.services.addresses.iter().copied(),
            plan.services.services.iter().copied(),
        );
        self.previous = Previous {
            vips,
            addresses,
            pools: plan.pools.iter().map(|p| (p.number, p.identity)).collect(),
            tables: plan.pools.iter().map(|p| (p.number, p.table.location())).collect(),
            previous_tables: plan.pools.iter().map(|p| (p.number, p.previous.location())).collect(),
            members: plan.members.iter().map(|m| (m.number, m.identity)).collect(),
        };
        self.history.note(self.now, in_force);
        Ok(plan)
    }
}

#[test]
fn the_same_configuration_again_changes_nothing() {
    let config = config(vec![pool("web", 1..4), pool("dns", 2..3)], vec![vip(1, "web"), vip(2, "dns")]);
    let mut maps = Maps::default();
    let first = maps.apply(&config).expect("plan");
    assert!(first.pools.iter().all(|p| matches!(p.table, PlannedTable::Write { .. })));
    assert!(first.members.iter().all(|m| m.new) && first.vips.iter().all(|v| v.new));
    maps.memo = Memo::default();
    let again = maps.apply(&config).expect("plan");
    assert!(again.pools.iter().all(|p| matches!(p.table, PlannedTable::Keep(_))));
    assert!(!again.members.iter().any(|m| m.new) && !again.vips.iter().any(|v| v.new));
    assert_eq!(first.services, again.services);
}

#[test]
fn only_active_backends_of_this_site_own_slots() {
    let mut web = pool("web", 1..6);
    web.backends[1].state = BackendState::Draining;
    web.backends[2].state = BackendState::Filling;
    web.backends[3].pop = Some("sin1".into());
    web.backends[4].pop = Some("fra1".into());
    let plan = Maps::default().apply(&config(vec![web], vec![])).expect("plan");
    let PlannedTable::Write { slots, at } = &plan.pools[0].table else { panic!("a table") };
    assert_eq!((slots.len(), at.bits), (64, 6));
    let owners: BTreeSet<_> = slots.iter().map(|s| s.member(0)).collect();
    assert_eq!(owners, BTreeSet::from([plan.members[0].number, plan.members[4].number]));
    // The draining and the filling one are listed; the other site's is not.
    let listed: BTreeSet<_> = slots.iter().flat_map(|s| (1..4).map(|i| s.member(i))).collect();
    for (i, member) in plan.members.iter().enumerate() {
        assert_eq!(listed.contains(&member.number), i != 3, "backend {i}");
    }
}

#[test]
fn a_pool_without_active_backends_lists_those_that_hold_flows() {
    let mut web = pool("web", 1..3);
    let mut maps = Maps::default();
    maps.apply(&config(vec![web.clone()], vec![])).expect("plan");
    for backend in &mut web.backends {
        backend.state = BackendState::Draining;
    }
    let plan = maps.apply(&config(vec![web], vec![])).expect("plan");
    let PlannedTable::Write { slots, .. } = &plan.pools[0].table else { panic!("a table") };
    for slot in slots {
        let listed = BTreeSet::from([slot.member(1), slot.member(2)]);
        assert_eq!(listed, BTreeSet::from_iter(plan.members.iter().map(|m| m.number)));
        assert_eq!((slot.member(0), slot.member(3)), (0, 0));
    }
}

#[test]
fn what_carries_no_list_has_no_table_without_active_backends() {
    let mut web = Pool { encapsulation: Encapsulation::Ipip, ..pool("web", 1..3) };
    for backend in &mut web.backends {
        backend.state = BackendState::Draining;
    }
    let plan = Maps::default().apply(&config(vec![web], vec![])).expect("plan");
    assert_eq!(plan.pools[0].table, PlannedTable::Empty);
    assert_eq!(plan.members.len(), 2, "packets under way may still name them");
}

#[test]
fn another_encapsulation_makes_other_members() {
    let mut web = pool("web", 1..3);
    let mut maps = Maps::default();
    let before = maps.apply(&config(vec![web.clone()], vec![])).expect("plan");
    web.encapsulation = Encapsulation::Ipip;
    let after = maps.apply(&config(vec![web], vec![])).expect("plan");
    assert!(after.members.iter().all(|m| m.new));
    let old: BTreeSet<_> = before.members.iter().map(|m| m.number).collect();
    assert!(after.members.iter().all(|m| !old.contains(&m.number)));
    assert_eq!(before.pools[0].number, after.pools[0].number);
    assert!(matches!(after.pools[0].table, PlannedTable::Write { .. }));
}

/// Addresses of the members that own the slots of a table.
fn owner_addresses(plan: &Plan, slots: &[Slot]) -> Vec<IpAddr> {
    let addresses: HashMap<_, _> = plan.members.iter().map(|m| (m.number, m.address)).collect();
    slots.iter().map(|s| addresses[&s.member(0)]).collect()
}

#[test]
fn a_seed_change_lists_the_owners_under_the_old_seed() {
    let mut config = config(
        vec![pool("web", 1..6), Pool { encapsulation: Encapsulation::Ipip, ..pool("plain", 1..3) }],
        vec![],
    );
    let mut maps = Maps::default();
    let before = maps.apply(&config).expect("plan");
    assert!(before.previous_keys.is_none() && before.pools[0].previous == PlannedTable::Empty);
    let PlannedTable::Write { slots, .. } = &before.pools[0].table else { panic!("a table") };
    let old_owners = owner_addresses(&before, slots);

    config.seed_previous = config.seed.replace(Seed([8; 16]));
    let during = maps.apply(&config).expect("plan");
    assert_eq!(during.previous_keys, Some(before.keys));
    assert_ne!(during.keys, before.keys);
    let PlannedTable::Write { slots, at } = &during.pools[0].previous else { panic!("a table") };
    assert_eq!((slots.len(), at.bits, at.words), (64, 6, 1));
    assert_eq!(owner_addresses(&during, slots), old_owners);
    assert!(slots.iter().all(|s| (1..4).all(|i| s.member(i) == 0)), "owners alone");
    let PlannedTable::Write { slots, .. } = &during.pools[0].table else { panic!("a table") };
    assert_ne!(owner_addresses(&during, slots), old_owners);
    assert_eq!(during.pools[1].previous, PlannedTable::Empty, "it carries no list");

    // Nothing that comes later takes its place in the arena, until the change is over.
    let again = maps.apply(&config).expect("plan");
    assert!(matches!(again.pools[0].previous, PlannedTable::Keep(kept) if kept == *at));
    for n in 10..20 {
        config.pools.push(pool(&format!("p{n}"), [n]));
        let plan = maps.apply(&config).expect("plan");
        assert_eq!(plan.pools[0].previous, PlannedTable::Keep(*at));
        let mut places: Vec<_> =
            plan.pools.iter().flat_map(|p| [p.table.location(), p.previous.location()]).collect();
        places.retain(|t| t.bits != 0);
        places.sort_by_key(|t| t.base);
        assert!(places.windows(2).all(|w| u64::from(w[0].base) + words(w[0]) <= u64::from(w[1].base)));
    }
    config.seed_previous = None;
    let after = maps.apply(&config).expect("plan");
    assert!(after.previous_keys.is_none() && after.pools.iter().all(|p| p.previous == PlannedTable::Empty));
    assert!(matches!(after.pools[0].table, PlannedTable::Keep(_)));
    assert!(maps.previous.previous_tables.values().all(|t| t.bits == 0), "the room is free again");
}

#[test]
fn limits_are_named() {
    let many = |n: u32| (0..n).map(|i| pool(&format!("p{i}"), [1])).collect::<Vec<_>>();
    let refused = Maps::default().apply(&config(many(MAX_POOLS + 1), vec![]));
    let error = refused.expect_err("too many");
    assert_eq!(error, PlanError::TooMany { what: "pools", needed: 1025, free: 1024, limit: MAX_POOLS });
    let mut large = many(5);
    for pool in &mut large {
        pool.slots = 1 << 20;
    }
    let error = Maps::default().apply(&config(large, vec![])).expect_err("too large");
    assert_eq!(error, PlanError::ArenaFull { pool: "p4".into(), needed: 1 << 20, free: 0 });
}

#[test]
fn a_backend_host_knows_vips_senders_and_itself() {
    let mut config = config(vec![], vec![Vip { pool: String::new(), ..vip(1, "") }]);
    config.role = Role::Backend;
    config.seed = None;
    config.allowed_senders = vec!["10.0.0.0/24".parse().expect("net"), "fd00::/64".parse().expect("net")];
    let own: IpAddr = "10.0.0.11".parse().expect("address");
    let in_force = InForce::from(config.clone());
    let plan = plan(
        &in_force,
        (&History::default(), SystemTime::UNIX_EPOCH),
        &[own],
        &Previous::default(),
        &|_| vec![],
        &mut Memo::default(),
    )
    .expect("plan");
    assert!(plan.prefixes[0].contains(bytemuck::cast(mapped(own))));
    assert!(!plan.prefixes[1].contains(bytemuck::cast(mapped(own))));
    assert!(!plan.prefixes[0].contains(bytemuck::cast(mapped("10.0.1.1".parse().expect("address")))));
    assert_eq!(plan.services.addresses.iter().filter(|e| e.flags != 0).count(), 2);
    assert_eq!(plan.services.find(config.vips[0].key.address, 6, Some(80)), Some(1));
}

#[test]
fn limits_on_hops_are_times_between_packets() {
    let planned = |per_prefix, total| {
        let mut config = config(vec![], vec![]);
        config.role = Role::Backend;
        config.hop_limits = model::HopLimits { per_prefix, total };
        let in_force = InForce::from(config);
        let plan = plan(
            &in_force,
            (&History::default(), SystemTime::UNIX_EPOCH),
            &[],
            &Previous::default(),
            &|_| vec![],
            &mut Memo::default(),
        );
        plan.expect("plan").hop_limits
    };
    let limits = planned(1000, 50_000);
    assert_eq!((limits.prefix_interval, limits.total_interval), (1_000_000, 20_000));
    assert_eq!(limits, HopLimits::per_second(1000, 50_000));
    assert_ne!(planned(100_000_000, 100_000_000).total_interval, 0, "0 would be no limit");
    for (per_prefix, total) in [(0, 1000), (1000, 0), (0, 0)] {
        assert_eq!(planned(per_prefix, total).total_interval, HopLimits::NEVER);
    }
}

proptest! {
    #[test]
    fn no_sequence_of_configurations_reuses_what_is_named(
        steps in proptest::collection::vec(
            proptest::collection::btree_map(0u8..6, (proptest::collection::btree_set(0u8..20, 0..6), 0u8..8), 0..6),
            1..12,
        ),
    ) {
        let mut maps = Maps::default();
        for step in steps {
            let mut vips = Vec::new();
            let mut pools = Vec::new();
            for (name, (backends, vip_number)) in step {
                let name = format!("pool{name}");
                vips.push(vip(vip_number, &name));
                pools.push(pool(&name, backends));
            }
            vips.sort_by_key(|v| v.key);
            vips.dedup_by_key(|v| v.key);
            let config = config(pools, vips);
            let before = maps.previous.clone();
            let plan = maps.apply(&config).expect("plan");

            for vip in &plan.vips {
                prop_assert!(before.vips.get(&vip.number).is_none_or(|key| *key == vip.key));
                prop_assert_eq!(plan.services.find(vip.key.address, 6, Some(80)), Some(vip.number));
            }
            for pool in &plan.pools {
                prop_assert!(before.pools.get(&pool.number).is_none_or(|i| *i == pool.identity));
                let PlannedTable::Write { at, slots } = &pool.table else { continue };
                prop_assert_eq!(slots.len() as u64, words(*at));
                for other in before.tables.values().filter(|t| t.bits != 0) {
                    let (from, to) = (u64::from(at.base), u64::from(other.base));
                    prop_assert!(from + words(*at) <= to || to + words(*other) <= from);
                }
            }
            let members: HashMap<_, _> = plan.members.iter().map(|m| (m.number, m.pool_number)).collect();
            prop_assert_eq!(members.len(), plan.members.len());
            for member in &plan.members {
                prop_assert!(before.members.get(&member.number).is_none_or(|i| *i == member.identity));
            }
            for pool in &plan.pools {
                let at = pool.table.location();
                if at.bits != 0 {
                    // The first word of each slot has the owner.
                    for slot in maps.tables[&at.base].iter().step_by(at.words.into()) {
                        prop_assert_eq!(members.get(&slot.member(0)), Some(&pool.number));
                    }
                }
            }
        }
    }
}
