use std::fs;
use std::time::UNIX_EPOCH;

use tempfile::TempDir;

use super::*;
use crate::files::Files;
use crate::record::tests::record;

fn at(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

fn bounds(records: usize) -> Bounds {
    Bounds { records, deadline: Instant::now() + Duration::from_secs(60) }
}

/// A log of many files, a record every 100 ms from ports of the same number.
fn log(records: u16) -> TempDir {
    let place = TempDir::new().unwrap();
    let mut files = Files::new(place.path().to_owned(), 1 << 20);
    for n in 0..records {
        let record = Record { time: at(u64::from(n) * 100), source: ([192, 0, 2, 7], n).into(), ..record() };
        files.write(record.time, format!("{}\n", record.line()).as_bytes()).unwrap();
    }
    assert!(files::list(place.path()).unwrap().len() > 3);
    place
}

fn ports(found: &Found) -> Vec<u16> {
    found.records.iter().map(|r| r.source.port()).collect()
}

#[test]
fn the_newest_come_first_and_all_by_asking_again() {
    let place = log(1000);
    let mut filter = Filter { since: Some(at(10_000)), until: Some(at(90_000)), ..Filter::default() };
    let mut all = Vec::new();
    loop {
        let found = search_directory(place.path(), &filter, bounds(300)).unwrap();
        assert!(found.records.len() <= 300);
        let mut page = ports(&found);
        page.extend(&all);
        page.dedup();
        all = page;
        match found.older {
            Some(older) => filter.until = Some(older),
            None => break,
        }
    }
    assert_eq!(all, (100..=900).collect::<Vec<_>>());
}

#[test]
fn a_flow_is_found_wherever_it_is() {
    let place = log(1000);
    for port in [0, 1, 499, 998, 999] {
        let source = format!("192.0.2.7:{port}").parse().unwrap();
        let filter = Filter { source: Some(source), ..Filter::default() };
        let found = search_directory(place.path(), &filter, bounds(10)).unwrap();
        assert_eq!((ports(&found), found.older), (vec![port], None));
    }
    let flows = vec!["tcp 192.0.2.7:5 203.0.113.1:443".parse().unwrap(); 9];
    let found = search_directory(place.path(), &Filter { flows, ..Filter::default() }, bounds(10)).unwrap();
    assert_eq!(ports(&found), [5]);
}

#[test]
fn only_files_of_the_time_are_opened() {
    let place = log(1000);
    // What cannot be read would be an error.
    for file in files::list(place.path()).unwrap() {
        if file.first > at(70_000) {
            fs::remove_file(&file.path).unwrap();
            fs::create_dir(&file.path).unwrap();
        }
    }
    let filter = Filter { since: Some(at(20_000)), until: Some(at(20_000)), ..Filter::default() };
    assert_eq!(ports(&search_directory(place.path(), &filter, bounds(10)).unwrap()), [200]);
}

#[test]
fn what_is_no_line_of_ours_does_not_matter() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("copy");
    let line = record().line();
    let mut bytes = vec![b'x'; 3 * LONGEST_LINE as usize];
    bytes.extend(b"\n\xff\xfe\n\n{}\n");
    bytes.extend(format!("{line}\n{}\n{line}\n{}", &line[..40], &line[..50]).bytes());
    fs::write(&path, bytes).unwrap();
    let found = search_files(std::slice::from_ref(&path), &Filter::default(), bounds(10)).unwrap();
    // The long one, what is no text, what is no record, and two that are cut short.
    assert_eq!(found, Found { records: vec![record(), record()], older: None, unread: 5 });
    let flows = vec!["tcp 192.0.2.9:5 203.0.113.1:443".parse().unwrap()];
    let found = search_files(&[path], &Filter { flows, ..Filter::default() }, bounds(10)).unwrap();
    assert_eq!(
        found,
        Found { records: Vec::new(), older: None, unread: 4 },
        "what has not the word is not read"
    );
}

#[test]
fn all_are_found_although_the_clock_was_set_back() {
    let place = TempDir::new().unwrap();
    let mut files = Files::new(place.path().to_owned(), 1 << 22);
    // It begins ahead, is set right, goes on until long after, and is set back once more.
    let times = (500_000..600_000).step_by(100).chain((100_000..900_000).step_by(200));
    let times: Vec<u64> = times.chain((300_000..310_000).step_by(100)).collect();
    for (n, time) in (0..).zip(&times) {
        let record = Record { time: at(*time), bytes: n, ..record() };
        files.write(record.time, format!("{}\n", record.line()).as_bytes()).unwrap();
    }
    assert!(files::list(place.path()).unwrap().len() > 5);
    for (since, until) in
        [(0, 999_000), (0, 450_000), (550_000, 560_000), (305_000, 305_100), (650_000, 800_000)]
    {
        let mut filter = Filter { since: Some(at(since)), until: Some(at(until)), ..Filter::default() };
        let mut all = HashSet::new();
        loop {
            let found = search_directory(place.path(), &filter, bounds(300)).unwrap();
            assert!(found.records.is_sorted_by_key(|record| record.time));
            all.extend(found.records.iter().map(|record| record.bytes));
            match found.older {
                Some(older) => filter.until = Some(older),
                None => break,
            }
        }
        let wanted: HashSet<u32> =
            (0..).zip(&times).filter(|(_, time)| (since..=until).contains(*time)).map(|(n, _)| n).collect();
        assert!(all == wanted, "{since} {until}: {} of {}", all.len(), wanted.len());
    }
}

#[test]
fn when_time_is_up_it_says_so() {
    let place = log(1000);
    let until = Some(at(50_000));
    let filter = Filter { until, ..Filter::default() };
    let found = search_directory(place.path(), &filter, Bounds { records: 10, deadline: Instant::now() });
    let found = found.unwrap();
    assert!(found.records.is_empty() && found.older.is_some(), "{found:?}");
}

#[test]
fn no_log_is_an_empty_one() {
    let nowhere = Path::new("/nonexistent/flows");
    assert_eq!(search_directory(nowhere, &Filter::default(), bounds(1)).unwrap(), Found::default());
    assert!(search_files(&[nowhere.to_owned()], &Filter::default(), bounds(1)).is_err());
}
