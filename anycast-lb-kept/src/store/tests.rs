use tempfile::TempDir;

use super::*;
use crate::snapshot::tests::{at, snapshot};

/// The time of what is found, or none.
fn found(place: &TempDir, time: SystemTime) -> Option<SystemTime> {
    super::at(place.path(), time).ok().map(|then| then.snapshot.time)
}

fn files(place: &TempDir, suffix: &str) -> usize {
    let names = fs::read_dir(place.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(suffix)).count()
}

#[test]
fn each_moment_has_what_was_in_force() {
    let place = TempDir::new().unwrap();
    let mut store = Store::open(place.path(), Limits::default()).unwrap();
    let all = [snapshot(10, &[1, 2]), snapshot(20, &[2, 2]), snapshot(30, &[1, 2])];
    all.iter().for_each(|snapshot| store.put(snapshot, None).unwrap());
    assert!(matches!(super::at(place.path(), at(9)), Err(NotKept::Before(Some(first))) if first == at(10)));
    for (time, which) in [(10, 0), (19, 0), (20, 1), (29, 1), (30, 2), (99, 2)] {
        let then = super::at(place.path(), at(time)).unwrap();
        assert_eq!((&then.snapshot, then.gap), (&all[which], None), "{time}");
        assert_eq!(then.until, all.get(which + 1).map(|next| next.time));
    }
    assert_eq!((files(&place, SNAPSHOT), files(&place, TABLE)), (3, 2), "what is the same is there once");
}

#[test]
fn it_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let place = TempDir::new().unwrap();
    let directory = place.path().join("tables");
    Store::open(&directory, Limits::default()).unwrap().put(&snapshot(1, &[1, 2]), None).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for entry in fs::read_dir(&directory).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[test]
fn age_number_and_bytes_are_bounded_and_what_is_in_force_stays() {
    let age = Limits { age: Duration::from_secs(19), ..Limits::default() };
    let number = Limits { number: 3, ..Limits::default() };
    let one = (snapshot(0, &[1, 2]).to_bytes().len() + 16) as u64;
    let bytes = Limits { bytes: 3 * one, ..Limits::default() };
    for limits in [age, number, bytes] {
        let place = TempDir::new().unwrap();
        // A restart in between forgets nothing of what is to be forgotten.
        for time in 1..=10_u64 {
            Store::open(place.path(), limits).unwrap().put(&snapshot(10 * time, &[1, time]), None).unwrap();
        }
        let left = (files(&place, SNAPSHOT), files(&place, TABLE));
        // The one of 80 was in force until 90.
        assert_eq!(left, (3, 3), "{limits:?}");
        assert_eq!((found(&place, at(79)), found(&place, at(80))), (None, Some(at(80))));
    }
    let place = TempDir::new().unwrap();
    let none = Limits { bytes: 0, age: Duration::ZERO, number: 0 };
    Store::open(place.path(), none).unwrap().put(&snapshot(1, &[1, 2]), None).unwrap();
    assert_eq!(found(&place, at(1_000_000)), Some(at(1)));
}

#[test]
fn a_crash_in_between_leaves_nothing_behind() {
    let place = TempDir::new().unwrap();
    let mut store = Store::open(place.path(), Limits::default()).unwrap();
    store.put(&snapshot(1, &[1, 2]), None).unwrap();
    fs::write(place.path().join(format!("{}{UNFINISHED}", snapshot_name((2, at(2))))), b"half").unwrap();
    fs::write(place.path().join(table_name([1, 2])), b"nobody names it").unwrap();
    let mut store = Store::open(place.path(), Limits::default()).unwrap();
    store.put(&snapshot(3, &[1, 2]), None).unwrap();
    assert_eq!((files(&place, UNFINISHED), files(&place, TABLE)), (0, 1));
    assert_eq!(found(&place, at(2)), Some(at(1)));
}

#[test]
fn a_time_without_a_daemon_is_told() {
    for (beginning, lost) in [(Beginning::Adopted, false), (Beginning::Fresh, true)] {
        let place = TempDir::new().unwrap();
        let mut first = Store::open(place.path(), Limits::default()).unwrap();
        first.put(&snapshot(10, &[1, 2]), None).unwrap();
        first.alive(at(20)).unwrap();
        let gap = |time| super::at(place.path(), at(time)).unwrap().gap;
        assert_eq!((gap(15), gap(40)), (None, None), "a sign may be late");
        assert_eq!(gap(60), Some(Gap { since: at(20), until: None, lost: false }));
        let mut second = Store::open(place.path(), Limits::default()).unwrap();
        second.put(&Snapshot { beginning: Some(beginning), ..snapshot(70, &[1, 2]) }, None).unwrap();
        assert_eq!(gap(20), None);
        assert_eq!(gap(21), Some(Gap { since: at(20), until: Some(at(70)), lost }));
    }
}

#[test]
fn what_is_damaged_says_which_file() {
    let place = TempDir::new().unwrap();
    Store::open(place.path(), Limits::default()).unwrap().put(&snapshot(1, &[1, 2]), None).unwrap();
    let table = table_name(snapshot(1, &[1, 2]).tables().next().unwrap().id());
    fs::remove_file(place.path().join(table)).unwrap();
    let error = super::at(place.path(), at(1)).unwrap_err().to_string();
    assert_eq!(error, format!("{}: a table that it names is missing or damaged", snapshot_name((1, at(1)))));
    assert!(matches!(super::at(Path::new("/nonexistent"), at(1)), Err(NotKept::Before(None))));
}

#[test]
fn a_clock_that_is_set_back_confuses_nothing() {
    let place = TempDir::new().unwrap();
    let mut first = Store::open(place.path(), Limits::default()).unwrap();
    first.put(&snapshot(300, &[1, 2]), None).unwrap();
    first.alive(at(400)).unwrap();
    // The host begins with a clock that is ahead, which is set right soon.
    let mut second = Store::open(place.path(), Limits::default()).unwrap();
    second.put(&Snapshot { beginning: Some(Beginning::Fresh), ..snapshot(1000, &[2, 2]) }, None).unwrap();
    second.put(&snapshot(500, &[2, 1]), None).unwrap();
    second.put(&snapshot(700, &[1, 1]), None).unwrap();
    for (time, since) in
        [(300, 300), (499, 300), (500, 500), (699, 500), (700, 700), (1000, 700), (5000, 700)]
    {
        assert_eq!(found(&place, at(time)), Some(at(since)), "{time}");
    }
    let gap = super::at(place.path(), at(450)).unwrap().gap;
    assert_eq!(gap, Some(Gap { since: at(400), until: Some(at(500)), lost: true }));
    assert_eq!(super::at(place.path(), at(600)).unwrap().until, Some(at(700)));
}

#[test]
fn what_is_put_last_stays_whatever_the_clock_says() {
    let place = TempDir::new().unwrap();
    let limits = Limits { number: 2, ..Limits::default() };
    for time in (1..=5).rev() {
        Store::open(place.path(), limits).unwrap().put(&snapshot(100 * time, &[1, time]), None).unwrap();
        assert_eq!(found(&place, at(100 * time)), Some(at(100 * time)));
    }
    assert_eq!(files(&place, SNAPSHOT), 2);
    // What only a wrong clock says is still to come is forgotten with the rest.
    let age = Limits { age: Duration::from_secs(50), ..Limits::default() };
    Store::open(place.path(), age).unwrap().put(&snapshot(300, &[1, 2]), None).unwrap();
    assert_eq!((files(&place, SNAPSHOT), found(&place, at(250))), (2, Some(at(100))));
    Store::open(place.path(), age).unwrap().put(&snapshot(400, &[1, 2]), None).unwrap();
    assert_eq!((files(&place, SNAPSHOT), found(&place, at(299))), (2, None));
}

#[test]
fn a_clock_that_was_ahead_for_a_while_keeps_nothing_from_being_forgotten() {
    let place = TempDir::new().unwrap();
    let age = Limits { age: Duration::from_secs(150), ..Limits::default() };
    for time in [100, 2000, 500, 700] {
        Store::open(place.path(), age).unwrap().put(&snapshot(time, &[1, 2]), None).unwrap();
    }
    // The one of 100 was in force until 500, and the one of 2000 as well, as clocks went.
    assert_eq!((files(&place, SNAPSHOT), found(&place, at(2000))), (2, Some(at(700))));
}

#[test]
fn files_of_an_earlier_release_come_first() {
    let place = TempDir::new().unwrap();
    Store::open(place.path(), Limits::default()).unwrap().put(&snapshot(1, &[1, 2]), None).unwrap();
    let path = |name| place.path().join(name);
    fs::rename(path(snapshot_name((1, at(1)))), path(snapshot_name((0, at(1))))).unwrap();
    assert!(path(format!("{:020}{SNAPSHOT}", 1_000_001_000_000_000_u64)).exists());
    Store::open(place.path(), Limits::default()).unwrap().put(&snapshot(2, &[1, 2]), None).unwrap();
    assert_eq!((found(&place, at(1)), found(&place, at(2))), (Some(at(1)), Some(at(2))));
}

#[test]
fn what_could_not_be_written_is_told_until_and_after_it_is() {
    let place = TempDir::new().unwrap();
    let mut store = Store::open(place.path(), Limits::default()).unwrap();
    store.put(&snapshot(10, &[1, 2]), None).unwrap();
    store.alive(at(19)).unwrap();
    store.unwritten(at(20)).unwrap();
    let gap = |time| super::at(place.path(), at(time)).unwrap().gap;
    let unknown = Some(Gap { since: at(20), until: None, lost: false });
    assert_eq!((gap(19), gap(20), gap(90)), (None, unknown, unknown));
    store.put(&snapshot(30, &[2, 2]), Some(at(20))).unwrap();
    store.alive(at(90)).unwrap();
    assert_eq!((gap(19), gap(20), gap(29), gap(30), gap(90)), (None, unknown, unknown, None, None));
    // A daemon that leaves so was last there, with all written, when it said so.
    store.unwritten(at(95)).unwrap();
    let mut next = Store::open(place.path(), Limits::default()).unwrap();
    next.put(&Snapshot { beginning: Some(Beginning::Adopted), ..snapshot(200, &[1, 2]) }, None).unwrap();
    assert_eq!(gap(150), Some(Gap { since: at(90), until: Some(at(200)), lost: false }));
    next.alive(at(210)).unwrap();
    assert_eq!(gap(220), None, "all is written again");
}

#[test]
fn room_is_made_before_it_is_needed() {
    let place = TempDir::new().unwrap();
    let one = snapshot(0, &[1, 2]).to_bytes().len() as u64 + 16;
    let limits = Limits { bytes: 3 * one, ..Limits::default() };
    let mut store = Store::open(place.path(), limits).unwrap();
    (1..=3).for_each(|time| store.put(&snapshot(10 * time, &[1, time]), None).unwrap());
    // The next one cannot be written: what is too much with it has gone all the same, and what it needs has not.
    let next = snapshot(40, &[1, 3]);
    fs::create_dir(place.path().join(format!("{}{UNFINISHED}", snapshot_name((4, at(40)))))).unwrap();
    assert!(store.put(&next, None).is_err());
    assert_eq!((files(&place, SNAPSHOT), files(&place, TABLE)), (2, 2));
    fs::remove_dir(place.path().join(format!("{}{UNFINISHED}", snapshot_name((4, at(40)))))).unwrap();
    store.put(&next, None).unwrap();
    assert_eq!(super::at(place.path(), at(40)).unwrap().snapshot, next);
    assert_eq!((files(&place, SNAPSHOT), files(&place, TABLE)), (3, 2));
    let on_disk =
        fs::read_dir(place.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum::<u64>();
    assert_eq!(store.bytes, on_disk);
}
