//! Random changes, one after the other, against a model that has no text.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Pools with their backends' weights and states, VIPs with their pools.
type Pools = BTreeMap<String, BTreeMap<IpAddr, (u32, BackendState)>>;
type Vips = BTreeMap<VipKey, String>;

type Drained = BTreeSet<String>;

fn model(config: &Config) -> (Pools, Vips, Drained) {
    let backends = |pool: &crate::model::Pool| {
        pool.backends.iter().map(|b| (b.address, (b.weight, b.state))).collect::<BTreeMap<_, _>>()
    };
    let pools = config.pools.iter().map(|pool| (pool.name.clone(), backends(pool))).collect();
    let vips = config.vips.iter().map(|vip| (vip.key, vip.pool.clone())).collect();
    (pools, vips, config.drained_pops.iter().cloned().collect())
}

/// Makes the change in the model, if it is possible.
fn apply(edit: &Edit, (pools, vips, drained): &mut (Pools, Vips, Drained)) -> bool {
    let chosen = |pools: &Pools, pool: &Option<String>, address: &IpAddr| -> Option<Vec<String>> {
        let named =
            |name: &&String| pool.as_ref().is_none_or(|p| p == *name) && pools[*name].contains_key(address);
        Some(pools.keys().filter(named).cloned().collect::<Vec<_>>()).filter(|names| !names.is_empty())
    };
    match edit {
        Edit::AddVip { key, pool, .. } => {
            pools.contains_key(pool) && !vips.contains_key(key) && vips.insert(*key, pool.clone()).is_none()
        }
        Edit::RemoveVip { key } => vips.remove(key).is_some(),
        Edit::AddPool { name, .. } => {
            !pools.contains_key(name) && pools.insert(name.clone(), BTreeMap::new()).is_none()
        }
        Edit::RemovePool { name } => !vips.values().any(|p| p == name) && pools.remove(name).is_some(),
        Edit::AddBackend { pool, address, weight, .. } => pools.get_mut(pool).is_some_and(|backends| {
            let new = !backends.contains_key(address);
            backends.entry(*address).or_insert((weight.unwrap_or(100), BackendState::Active));
            new
        }),
        Edit::RemoveBackend { pool, address } => {
            let names = chosen(pools, pool, address);
            names.iter().flatten().for_each(|name| {
                pools.entry(name.clone()).or_default().remove(address);
            });
            names.is_some()
        }
        Edit::SetState { pool, address, state } => {
            let names = chosen(pools, pool, address);
            names.iter().flatten().for_each(|name| {
                pools.entry(name.clone()).or_default().entry(*address).and_modify(|b| b.1 = *state);
            });
            names.is_some()
        }
        // The node's own is the only one that is named, and drained ones are.
        Edit::SetPop { pop, drained: wanted } => {
            if *wanted && pop == "default" {
                drained.insert(pop.clone());
            } else {
                drained.remove(pop);
            }
            pop == "default"
        }
        Edit::SetWeight { pool, address, weight } => {
            let names = chosen(pools, pool, address);
            names.iter().flatten().for_each(|name| {
                pools.entry(name.clone()).or_default().entry(*address).and_modify(|b| b.0 = *weight);
            });
            names.is_some()
        }
    }
}

fn edits() -> impl Strategy<Value = Edit> {
    let name = || prop::sample::select(vec!["web", "dns", "a", "b"]).prop_map(str::to_owned);
    let some_pool = move || prop::option::of(name());
    let host = || (1..6u8).prop_map(|n| IpAddr::from([10, 0, 0, n]));
    let vip = || (1..4u16).prop_map(|port| VipKey { port: Some(port), ..key("203.0.113.1:1/tcp") });
    let states = vec![BackendState::Filling, BackendState::Active, BackendState::Draining];
    prop_oneof![
        (vip(), name()).prop_map(|(key, pool)| Edit::AddVip {
            key,
            pool,
            hash: None,
            quic: false,
            mss_clamp: false,
            identity: None,
        }),
        vip().prop_map(|key| Edit::RemoveVip { key }),
        name().prop_map(|name| add_pool(&name)),
        name().prop_map(|name| Edit::RemovePool { name }),
        (name(), host(), prop::option::of(1..9u32)).prop_map(|(pool, address, weight)| Edit::AddBackend {
            pool,
            address,
            weight,
            pop: None,
            server_id: None,
        }),
        (some_pool(), host()).prop_map(|(pool, address)| Edit::RemoveBackend { pool, address }),
        (some_pool(), host(), prop::sample::select(states))
            .prop_map(|(pool, address, state)| Edit::SetState { pool, address, state }),
        (prop::sample::select(vec!["default", "nowhere"]), any::<bool>())
            .prop_map(|(pop, drained)| Edit::SetPop { pop: pop.to_owned(), drained }),
        (some_pool(), host(), 1..9u32).prop_map(|(pool, address, weight)| Edit::SetWeight {
            pool,
            address,
            weight
        }),
    ]
}

/// The same entries in different notations.
const NOTATIONS: [&str; 3] = [
    "
# Web.
[[pool]]
name = \"web\"
# First.
[[pool.backend]]
address = \"10.0.0.1\"
# Second.
[[pool.backend]]
address = \"10.0.0.2\" # two
weight = 5

[[vip]]
address = \"203.0.113.1\"
port = 1
protocol = \"tcp\"
pool = \"web\"
# Late.
[[pool.backend]]
address = \"10.0.0.3\"
# The end.",
    "[[pool]]
name = \"web\"
backend = [
  { address = \"10.0.0.1\" }, # one
  # Second.
  { address = \"10.0.0.2\", weight = 5 } # two
]
[[vip]]
address = \"203.0.113.1\"
protocol = \"tcp\"
port = 1
pool = \"web\"
",
    "",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn texts_follow_the_model(edits in prop::collection::vec(edits(), 1..24), start in 0..NOTATIONS.len()) {
        let dir = Dir::new();
        let loaded = dir.load(&(ingress("") + NOTATIONS[start])).expect("valid");
        let mut expected = model(&loaded.config);
        let mut sources = loaded.sources;
        for edit in &edits {
            let before = expected.clone();
            let possible = apply(edit, &mut expected);
            match prepare(&sources, std::slice::from_ref(edit)) {
                Ok(prepared) => {
                    prop_assert!(possible, "{edit:?} was accepted");
                    prop_assert_eq!(&model(prepared.config()), &expected, "{:?}", edit);
                    sources.files = prepared.files;
                }
                Err(error) => {
                    prop_assert!(!possible, "{edit:?}: {error}\n{}", sources.files[0].text);
                    prop_assert!(!matches!(error, EditError::Invalid(_)), "{error}");
                    expected = before;
                }
            }
            prop_assert!(!sources.files[0].text.contains("\n\n\n"), "{}", sources.files[0].text);
        }
    }
}
