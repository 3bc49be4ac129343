//! Orders that are not even tried.

use super::*;

#[test]
fn a_storm_of_sighups_is_one_reload() {
    let mut bench = Bench::serving();
    bench.order(1, add(13));
    for _ in 0..1000 {
        bench.feed(Event::Order(Order {
            origin: Origin::Signal,
            change: Change::Reload,
            expect_generation: None,
            dry_run: false,
        }));
    }
    bench.next_hop(13);
    let prepared = bench.calls().iter().filter(|c| *c == "prepare").count();
    assert_eq!(prepared, 2, "the addition and one reload: {:?}", bench.calls());
}

#[test]
fn a_backend_refuses_edits_that_would_mean_nothing_there() {
    let mut config = config();
    config.role = Role::Backend;
    let mut bench = Bench::starting(config);
    bench.feed(Event::Neighbour(NeighbourEvent::Locals(Vec::new())));
    bench.next_hop(11);
    bench.next_hop(12);
    bench.fake.world().calls.clear();
    bench.order(1, drain(11));
    let (1, Err(failure)) = &bench.replies[0] else { panic!("{:?}", bench.replies) };
    assert_eq!(failure.code, Code::InvalidRequest);
    assert_eq!(bench.calls(), Vec::<String>::new());
}

#[test]
fn edits_are_refused_where_somebody_else_owns_the_file() {
    let mut bench = Bench::serving();
    let mut wanted = config();
    wanted.control.write_back = false;
    bench.fake.world().file = Some(wanted);
    bench.order(1, Change::Reload);
    bench.fake.world().calls.clear();
    bench.order(2, drain(11));
    let (2, Err(failure)) = &bench.replies[1] else { panic!("{:?}", bench.replies) };
    assert_eq!(failure.code, Code::WriteBackOff);
    assert_eq!(bench.calls(), Vec::<String>::new());
}

#[test]
fn it_is_counted_how_changes_end() {
    let mut bench = Bench::serving();
    let started = bench.core.tally().last_reload;
    assert!(started.is_some(), "the start has read the files");
    bench.now += Duration::from_secs(5);
    bench.order_with(1, Change::Reload, None, true);
    assert_eq!(bench.core.tally().reloads, Ended::default(), "a dry run is no reload");

    bench.fake.world().failing = vec!["prepare"];
    bench.order(2, Change::Reload);
    let tally = bench.core.tally();
    assert_eq!(tally.reloads, Ended { accepted: 0, refused: 1 });
    assert!(tally.last_reload_refused && tally.last_reload == started);

    bench.order(3, Change::Reload);
    let tally = bench.core.tally();
    assert_eq!(tally.reloads, Ended { accepted: 1, refused: 1 });
    assert!(!tally.last_reload_refused && tally.last_reload > started);

    bench.fake.world().failing = vec!["commit"];
    bench.order(4, drain(11));
    bench.order(5, drain(11));
    assert_eq!(bench.core.tally().commands, Ended { accepted: 1, refused: 1 });
}
