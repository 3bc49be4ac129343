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
    all.iter().for_each(|snapshot| store.put(snapshot).unwrap());
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
    Store::open(&directory, Limits::default()).unwrap().put(&snapshot(1, &[1, 2])).unwrap();
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
            Store::open(place.path(), limits).unwrap().put(&snapshot(10 * time, &[1, time])).unwrap();
        }
        let left = (files(&place, SNAPSHOT), files(&place, TABLE));
        // The one of 80 was in force until 90.
        assert_eq!(left, (3, 3), "{limits:?}");
        assert_eq!((found(&place, at(79)), found(&place, at(80))), (None, Some(at(80))));
    }
    let place = TempDir::new().unwrap();
    let none = Limits { bytes: 0, age: Duration::ZERO, number: 0 };
    Store::open(place.path(), none).unwrap().put(&snapshot(1, &[1, 2])).unwrap();
    assert_eq!(found(&place, at(1_000_000)), Some(at(1)));
}

#[test]
fn a_crash_in_between_leaves_nothing_behind() {
    let place = TempDir::new().unwrap();
    let mut store = Store::open(place.path(), Limits::default()).unwrap();
    store.put(&snapshot(1, &[1, 2])).unwrap();
    fs::write(place.path().join(format!("{}{UNFINISHED}", snapshot_name(at(2)))), b"half").unwrap();
    fs::write(place.path().join(table_name([1, 2])), b"nobody names it").unwrap();
    let mut store = Store::open(place.path(), Limits::default()).unwrap();
    store.put(&snapshot(3, &[1, 2])).unwrap();
    assert_eq!((files(&place, UNFINISHED), files(&place, TABLE)), (0, 1));
    assert_eq!(found(&place, at(2)), Some(at(1)));
}

#[test]
fn a_time_without_a_daemon_is_told() {
    let place = TempDir::new().unwrap();
    let mut first = Store::open(place.path(), Limits::default()).unwrap();
    first.put(&snapshot(10, &[1, 2])).unwrap();
    first.alive(at(20)).unwrap();
    let gap = |time| super::at(place.path(), at(time)).unwrap().gap;
    assert_eq!((gap(15), gap(40)), (None, None), "a sign may be late");
    assert_eq!(gap(60), Some(Gap { since: at(20), until: None, lost: false }));
    for (beginning, lost) in [(Beginning::Adopted, false), (Beginning::Fresh, true)] {
        let mut second = Store::open(place.path(), Limits::default()).unwrap();
        second.put(&Snapshot { beginning: Some(beginning), ..snapshot(70, &[1, 2]) }).unwrap();
        assert_eq!(gap(20), None);
        assert_eq!(gap(21), Some(Gap { since: at(20), until: Some(at(70)), lost }));
    }
}

#[test]
fn what_is_damaged_says_which_file() {
    let place = TempDir::new().unwrap();
    Store::open(place.path(), Limits::default()).unwrap().put(&snapshot(1, &[1, 2])).unwrap();
    let table = table_name(snapshot(1, &[1, 2]).tables().next().unwrap().id());
    fs::remove_file(place.path().join(table)).unwrap();
    let error = super::at(place.path(), at(1)).unwrap_err().to_string();
    assert_eq!(error, format!("{}: a table that it names is missing or damaged", snapshot_name(at(1))));
    assert!(matches!(super::at(Path::new("/nonexistent"), at(1)), Err(NotKept::Before(None))));
}
