use std::os::unix::fs::PermissionsExt;
use std::time::UNIX_EPOCH;

use tempfile::TempDir;

use super::*;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn line(fill: char) -> Vec<u8> {
    let mut line = vec![fill as u8; 1023];
    line.push(b'\n');
    line
}

fn content(directory: &Path) -> Vec<u8> {
    list(directory).unwrap().iter().flat_map(|file| fs::read(&file.path).unwrap()).collect()
}

#[test]
fn files_and_directory_are_for_their_owner_alone() {
    let place = TempDir::new().unwrap();
    let directory = place.path().join("a/flows");
    Files::new(directory.clone(), 1 << 30).write(at(5), b"{}\n").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let files = list(&directory).unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!((files[0].first, mode(&files[0].path)), (at(5), 0o600));
}

#[test]
fn space_is_bounded_and_the_newest_is_kept() {
    let place = TempDir::new().unwrap();
    let max = 20 * SMALLEST;
    let mut files = Files::new(place.path().to_owned(), max);
    for second in 0..3000 {
        files.write(at(second), &line('x')).unwrap();
        let total: u64 = list(place.path()).unwrap().iter().map(|file| file.bytes).sum();
        assert!(total <= max, "{total} bytes after {second}");
    }
    let left = list(place.path()).unwrap();
    assert!(left.len() > 10 && left[0].first > at(1000), "{left:?}");
    assert!(left.iter().map(|file| file.bytes).sum::<u64>() > max / 2);
}

#[test]
fn a_restart_goes_on_behind_a_cut_line() {
    let place = TempDir::new().unwrap();
    Files::new(place.path().to_owned(), 1 << 30).write(at(1), b"{\"cut\":").unwrap();
    Files::new(place.path().to_owned(), 1 << 30).write(at(2), b"{\"whole\":1}\n").unwrap();
    Files::new(place.path().to_owned(), 1 << 30).write(at(3), b"{\"whole\":2}\n").unwrap();
    assert_eq!(list(place.path()).unwrap().len(), 1);
    assert_eq!(content(place.path()), b"{\"cut\":\n{\"whole\":1}\n{\"whole\":2}\n");
}

#[test]
fn a_file_that_was_moved_away_is_left_alone() {
    let place = TempDir::new().unwrap();
    let mut files = Files::new(place.path().to_owned(), 1 << 30);
    files.write(at(1), b"{\"n\":1}\n").unwrap();
    let moved = place.path().join("moved");
    fs::rename(&list(place.path()).unwrap()[0].path, &moved).unwrap();
    files.write(at(2), b"{\"n\":2}\n").unwrap();
    assert_eq!(fs::read(&moved).unwrap(), b"{\"n\":1}\n");
    assert_eq!(content(place.path()), b"{\"n\":2}\n");
}

#[test]
fn names_sort_although_the_clock_was_set_back() {
    let place = TempDir::new().unwrap();
    let mut files = Files::new(place.path().to_owned(), 0);
    for (second, fill) in [(9, 'a'), (8, 'b')] {
        for _ in 0..=SMALLEST / 1024 {
            files.write(at(second), &line(fill)).unwrap();
        }
    }
    let left = list(place.path()).unwrap();
    let last = fs::read(&left.last().unwrap().path).unwrap();
    assert_eq!(last[0], b'b', "{left:?}");
}

#[test]
fn a_clock_that_is_set_back_begins_another_round() {
    let place = TempDir::new().unwrap();
    let line = |second| {
        format!("{}\n", Record { time: at(second), ..crate::record::tests::record() }.line()).into_bytes()
    };
    let mut files = Files::new(place.path().to_owned(), 1 << 30);
    for second in [1000, 1100, 1096, 500, 501] {
        files.write(at(second), &line(second)).unwrap();
    }
    // What a daemon finds that begins tells, too: the last file ends at 501.
    for second in [502, 300, 1200] {
        Files::new(place.path().to_owned(), 1 << 30).write(at(second), &line(second)).unwrap();
    }
    let left = list(place.path()).unwrap();
    let all: Vec<_> =
        left.iter().map(|file| (file.round, file.first, last_time(&file.path).unwrap())).collect();
    assert_eq!(
        all,
        [(0, at(1000), Some(at(1100))), (1, at(500), Some(at(502))), (2, at(300), Some(at(1200)))]
    );
    for wrong in ["flows-0-19700101T000005.000000000Z.jsonl", "flows-01-19700101T000005.000000000Z.jsonl"] {
        assert_eq!(parse_name(wrong), None);
    }
}

#[test]
fn the_file_that_is_written_is_never_the_one_that_is_removed() {
    let place = TempDir::new().unwrap();
    let max = 4 * SMALLEST;
    let mut files = Files::new(place.path().to_owned(), max);
    for second in (0..1000).rev() {
        files.write(at(10 * second), &line('x')).unwrap();
        let total: u64 = list(place.path()).unwrap().iter().map(|file| file.bytes).sum();
        assert!(total <= max, "{total} bytes at {second}");
        assert!(files.open.as_ref().is_some_and(Open::is_there));
    }
}

#[test]
fn what_cannot_be_removed_is_tried_again() {
    let place = TempDir::new().unwrap();
    let max = 2 * SMALLEST;
    let mut files = Files::new(place.path().to_owned(), max);
    let total = || list(place.path()).unwrap().iter().map(|file| file.bytes).sum::<u64>();
    files.remove = |_| Err(io::ErrorKind::PermissionDenied.into());
    let refused = (0..400).filter(|second| files.write(at(*second), &line('x')).is_err()).count();
    assert!(refused > 200 && total() <= max, "{refused} {}", total());
    files.remove = |path| fs::remove_file(path);
    files.write(at(400), &line('y')).unwrap();
    assert!(total() < max);
}

#[test]
fn what_a_failed_write_left_counts() {
    let place = TempDir::new().unwrap();
    let mut files = Files::new(place.path().to_owned(), 1 << 30);
    files.write(at(1), b"{\"cut\":").unwrap();
    let path = list(place.path()).unwrap()[0].path.clone();
    let open = files.open.as_mut().unwrap();
    // It can be read only; meanwhile there is more in it than is known.
    open.file = File::open(&path).unwrap();
    fs::write(&path, b"{\"cut\":1,").unwrap();
    assert!(files.write(at(2), b"{}\n").is_err());
    assert_eq!(files.open.as_ref().unwrap().named.bytes, 9);
    files.open = None;
    files.write(at(3), b"{}\n").unwrap();
    assert_eq!(content(place.path()), b"{\"cut\":1,\n{}\n");
    assert_eq!(files.open.as_ref().unwrap().named.bytes, 13);
}

#[test]
fn errors_are_told_and_the_next_write_works_again() {
    let place = TempDir::new().unwrap();
    let directory = place.path().join("flows");
    fs::write(&directory, "no directory").unwrap();
    let mut files = Files::new(directory.clone(), 1 << 30);
    assert!(files.write(at(1), b"{}\n").is_err());
    fs::remove_file(&directory).unwrap();
    files.write(at(1), b"{}\n").unwrap();
    assert_eq!(content(&directory), b"{}\n");
}
