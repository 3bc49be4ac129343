//! Any sequence of wishes, news and waits.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    State(u8, BackendState),
    Weight(u8, u32),
    Add(u8),
    Remove(u8),
    Health(u8, Health),
    Flows(u8, u64, Others),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let last = 11u8..16;
    let state =
        prop_oneof![Just(BackendState::Active), Just(BackendState::Draining), Just(BackendState::Filling)];
    let health = prop_oneof![Just(Health::Up), Just(Health::Down), Just(Health::Unknown)];
    let others = prop_oneof![Just(Others::MayFeed), Just(Others::Unknown), Just(Others::HaveDrain)];
    prop_oneof![
        (last.clone(), state).prop_map(|(l, s)| Step::State(l, s)),
        (last.clone(), 1u32..5).prop_map(|(l, w)| Step::Weight(l, w * 50)),
        last.clone().prop_map(Step::Add),
        last.clone().prop_map(Step::Remove),
        (last.clone(), health).prop_map(|(l, h)| Step::Health(l, h)),
        (last, 0u64..2, others).prop_map(|(l, n, o)| Step::Flows(l, n, o)),
        (0u64..12).prop_map(Step::Pass),
    ]
}

/// Who has a larger share of the slots than before.
fn gains(before: &[(IpAddr, BackendState, u32)], after: &[(IpAddr, BackendState, u32)]) -> Vec<IpAddr> {
    let weight = |list: &[(IpAddr, BackendState, u32)], a: IpAddr| {
        list.iter().find(|m| m.0 == a && m.1 == BackendState::Active).map_or(0, |m| m.2)
    };
    after.iter().map(|m| m.0).filter(|a| weight(after, *a) > weight(before, *a)).collect()
}

/// Those that new flows go to.
fn serving(bench: &Bench) -> Vec<u8> {
    let report = |last| bench.membership.report(bench.now, "web", backend_address(last));
    (11..16).filter(|last| report(*last).is_some_and(|r| r.serves())).collect()
}

proptest! {
    #[test]
    fn nobody_gains_slots_unannounced_and_all_comes_to_rest(steps in prop::collection::vec(step(), 1..60)) {
        let mut bench = Bench::new();
        for step in steps {
            let before = bench.table();
            let listed: Vec<IpAddr> = before.iter().map(|m| m.0).collect();
            let served = serving(&bench);
            let passes = matches!(step, Step::Pass(_));
            match step {
                Step::State(l, state) => bench.want(|b| {
                    b.iter_mut().filter(|b| b.address == backend_address(l)).for_each(|b| b.state = state);
                }),
                Step::Weight(l, weight) => bench.want(|b| {
                    b.iter_mut().filter(|b| b.address == backend_address(l)).for_each(|b| b.weight = weight);
                }),
                Step::Add(l) => bench.want(|b| {
                    if b.iter().all(|b| b.address != backend_address(l)) {
                        b.push(backend(l));
                    }
                }),
                Step::Remove(l) => bench.want(|b| b.retain(|b| b.address != backend_address(l))),
                Step::Health(l, health) => {
                    bench.membership.set_health(bench.now, None, backend_address(l), health);
                }
                Step::Flows(l, flows, others) => {
                    bench.says(l, flows, others);
                }
                Step::Pass(seconds) => {
                    bench.pass(Duration::from_secs(seconds));
                }
            }
            let after = bench.table();
            if passes {
                // Who owns more was listed before.
                prop_assert!(gains(&before, &after).iter().all(|a| listed.contains(a)));
            } else if serving(&bench).iter().any(|l| served.contains(l)) {
                prop_assert!(gains(&before, &after).is_empty(), "{before:?} {after:?}");
            }
            prop_assert!(bench.membership.deadline().is_none_or(|at| at > bench.now));
        }
        // Nothing that time does is left over at last.
        bench.pass(bench.drain.max(DEAD_HOLD).max(bench.fill));
        prop_assert_eq!(bench.membership.deadline(), None);
    }
}
