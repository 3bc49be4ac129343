use std::net::IpAddr;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::snapshot::tests::{at, snapshot};
use crate::{Decider, store};

const PATIENCE: Duration = Duration::from_secs(60);

/// Where a packet of the client 192.0.2.`last` goes by `snapshot`.
fn backend(snapshot: &Snapshot, last: u8) -> Option<IpAddr> {
    #[rustfmt::skip]
    let frame = [
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0,
        0x45, 0, 0, 20, 0, 0, 0, 0, 64, 47, 0, 0, 192, 0, 2, last, 203, 0, 113, 1,
    ];
    let decision = Decider::new(snapshot).decide(
        &frame,
        47,
        ([192, 0, 2, last], 0).into(),
        ([203, 0, 113, 1], 0).into(),
    );
    let forwarded = decision.verdict.name() == "forwarded_l2";
    decision.backend().filter(|_| forwarded)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_moment_decides_as_it_did(
        changes in prop::collection::vec((prop::collection::vec(1..=2_u64, 16), 1..=9_u64, any::<bool>()), 1..12),
        clients in prop::collection::vec(any::<u8>(), 8),
    ) {
        let place = TempDir::new().unwrap();
        let keeper = Keeper::start(place.path().to_owned(), Limits::default()).unwrap();
        let mut then = Vec::new();
        let mut now = 0;
        for (slots, pause, is_way) in &changes {
            now += pause;
            let mut new = match then.last() {
                // The way to a backend is lost, or found again.
                Some((_, last)) if *is_way => Snapshot { time: at(now), ..Snapshot::clone(last) },
                _ => snapshot(now, slots),
            };
            if *is_way && !then.is_empty() {
                new.members[0].1.flags ^= 1;
                keeper.members(at(now), new.members.clone());
                keeper.settle(PATIENCE);
            } else {
                keeper.in_force(new.clone());
            }
            then.push((now, new));
        }
        keeper.settle(PATIENCE);
        prop_assert_eq!(keeper.counts(), KeeperCounts { written: changes.len() as u64, lost: 0 });
        for (i, (from, was)) in then.iter().enumerate() {
            let until = then.get(i + 1).map_or(from + 5, |(next, _)| *next);
            for moment in *from..until {
                let kept = store::at(place.path(), at(moment)).unwrap().snapshot;
                for client in &clients {
                    prop_assert_eq!(backend(&kept, *client), backend(was, *client));
                }
            }
        }
    }
}

#[test]
fn ways_that_change_together_are_one_snapshot() {
    let place = TempDir::new().unwrap();
    let keeper = Keeper::start(place.path().to_owned(), Limits::default()).unwrap();
    let mut members = snapshot(1, &[1, 2]).members;
    keeper.members(at(0), members.clone());
    keeper.in_force(snapshot(1, &[1, 2]));
    for mtu in 1000..1020 {
        members[1].1.mtu = mtu;
        keeper.members(at(2), vec![members[1]]);
    }
    keeper.settle(PATIENCE);
    assert!((2..=21).contains(&keeper.counts().written));
    // What is no news is none.
    let before = keeper.counts();
    keeper.members(at(3), members);
    keeper.settle(PATIENCE);
    assert_eq!(keeper.counts(), before);
    let kept = store::at(place.path(), at(9)).unwrap().snapshot;
    assert_eq!(kept.members[1].1.mtu, 1019);
}

#[test]
fn a_disk_that_refuses_keeps_nobody_waiting() {
    let place = TempDir::new().unwrap();
    let directory = place.path().join("tables");
    std::fs::write(&directory, "in the way").unwrap();
    let keeper = Keeper::start(directory.clone(), Limits::default()).unwrap();
    let beginning = Some(crate::Beginning::Fresh);
    keeper.in_force(Snapshot { beginning, ..snapshot(1, &[1, 2]) });
    keeper.settle(PATIENCE);
    assert_eq!(keeper.counts(), KeeperCounts { written: 0, lost: 1 });
    std::fs::remove_file(&directory).unwrap();
    keeper.in_force(snapshot(2, &[1, 2]));
    drop(keeper);
    let kept = store::at(&directory, at(2)).unwrap().snapshot;
    assert_eq!(
        kept,
        Snapshot { beginning, ..snapshot(2, &[1, 2]) },
        "what it said of its beginning is not lost"
    );
}

#[test]
fn what_a_disk_refused_is_written_when_it_does_no_more() {
    let place = TempDir::new().unwrap();
    let keeper = Keeper::start(place.path().to_owned(), Limits::default()).unwrap();
    keeper.in_force(snapshot(1, &[1, 2]));
    keeper.settle(PATIENCE);
    // The table of the next one, and of the one after, finds something in its way.
    let in_the_way = snapshot(2, &[2, 2]).tables().next().map(|table| {
        let [one, two] = table.id();
        place.path().join(format!("{one:016x}{two:016x}.table.new"))
    });
    let in_the_way = in_the_way.unwrap();
    std::fs::create_dir(&in_the_way).unwrap();
    keeper.in_force(snapshot(2, &[2, 2]));
    keeper.in_force(snapshot(4, &[2, 2]));
    keeper.settle(PATIENCE);
    assert_eq!(keeper.counts(), KeeperCounts { written: 1, lost: 2 });
    let then = |time| store::at(place.path(), at(time)).unwrap();
    assert_eq!((then(1).gap, then(3).gap.map(|gap| gap.since)), (None, Some(at(2))), "it is not known");
    std::fs::remove_dir(&in_the_way).unwrap();
    // Nothing else is put in force.
    let deadline = Instant::now() + PATIENCE;
    while keeper.counts().written == 1 {
        assert!(Instant::now() < deadline, "there is no other attempt");
        std::thread::sleep(Duration::from_millis(20));
    }
    keeper.settle(PATIENCE);
    assert_eq!(keeper.counts(), KeeperCounts { written: 2, lost: 2 });
    let kept = then(5);
    assert_eq!((kept.snapshot.time, kept.gap), (at(4), None));
    assert_eq!(then(3).gap.map(|gap| gap.since), Some(at(2)), "nor is it now");
}

#[test]
fn a_clock_that_was_ahead_does_not_hide_what_is_in_force() {
    let place = TempDir::new().unwrap();
    let seconds = Arc::new(AtomicU64::new(1000));
    let told = seconds.clone();
    let clock = move || at(told.load(Relaxed));
    let keeper = Keeper::start_by(clock, place.path().to_owned(), Limits::default()).unwrap();
    keeper.in_force(snapshot(990, &[1, 2]));
    keeper.settle(PATIENCE);
    // What is new after the clock was set back is so from then on.
    seconds.store(500, Relaxed);
    let mut members = snapshot(1, &[1, 2]).members;
    members[1].1.mtu = 1400;
    keeper.members(at(490), members.clone());
    keeper.settle(PATIENCE);
    let then = store::at(place.path(), at(500)).unwrap();
    assert_eq!((then.snapshot.time, then.snapshot.members, then.until), (at(490), members, None));
    // So is what is not.
    seconds.store(100, Relaxed);
    keeper.settle(PATIENCE);
    for time in [100, 490, 990] {
        assert_eq!(store::at(place.path(), at(time)).unwrap().snapshot.time, at(100));
    }
    assert_eq!(keeper.counts(), KeeperCounts { written: 3, lost: 0 });
}
