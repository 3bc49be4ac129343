use std::fs;
use std::time::Instant;

use tempfile::TempDir;

use super::*;
use crate::record::tests::record;
use crate::{Bounds, Filter, search_directory};

fn settings(directory: &Path) -> Settings {
    Settings { directory: directory.to_owned(), max_bytes: 1 << 20, ipfix: None }
}

fn in_files(directory: &Path) -> usize {
    let bounds = Bounds { records: 10_000, deadline: Instant::now() + Duration::from_secs(60) };
    search_directory(directory, &Filter::default(), bounds).unwrap().records.len()
}

#[tokio::test]
async fn records_are_in_the_files_when_flushed_and_at_the_end() {
    let place = TempDir::new().unwrap();
    let (sender, records) = mpsc::channel(16);
    let (log, task) = FlowLog::start(Some(settings(place.path())), records);
    for _ in 0..100 {
        sender.send(record()).await.unwrap();
    }
    log.flush().await;
    assert_eq!(in_files(place.path()), 100);
    sender.send(record()).await.unwrap();
    drop(sender);
    task.await.unwrap();
    assert_eq!(in_files(place.path()), 101);
    assert_eq!((log.counts().taken, log.counts().written), (101, 101));
}

#[tokio::test]
async fn off_takes_records_and_keeps_none_and_on_goes_to_the_new_place() {
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (sender, records) = mpsc::channel(16);
    let (log, _task) = FlowLog::start(None, records);
    let send = async |number| {
        for _ in 0..number {
            sender.send(record()).await.unwrap();
        }
        log.flush().await;
    };
    send(50).await;
    assert_eq!((log.counts(), log.directory()), (Counts::default(), None));
    log.set(Some(settings(first.path())));
    send(3).await;
    log.set(Some(settings(second.path())));
    send(4).await;
    log.set(None);
    send(5).await;
    assert_eq!((in_files(first.path()), in_files(second.path())), (3, 4));
}

#[tokio::test]
async fn a_disk_that_fails_loses_records_which_are_counted_and_no_more() {
    let place = TempDir::new().unwrap();
    let directory = place.path().join("flows");
    fs::write(&directory, "in the way").unwrap();
    let (sender, records) = mpsc::channel(16);
    let (log, _task) = FlowLog::start(Some(settings(&directory)), records);
    for _ in 0..2 {
        sender.send(record()).await.unwrap();
        log.flush().await;
    }
    let counts = log.counts();
    assert_eq!((counts.written, counts.failed, counts.errors), (0, 2, 2));
    fs::remove_file(&directory).unwrap();
    sender.send(record()).await.unwrap();
    log.flush().await;
    assert_eq!(log.counts().written, 1);
}

#[test]
fn a_disk_that_hangs_keeps_nobody_waiting() {
    // A thread that takes nothing.
    let (work, _kept) = blocking::sync_channel(1);
    let counters = Arc::new(Counters::default());
    let mut buffer = Buffer { work, counters: counters.clone(), batch: None };
    for _ in 0..5 {
        buffer.put(&settings(Path::new("/nonexistent")), &record());
        buffer.send();
    }
    assert_eq!((counters.taken.load(Relaxed), counters.dropped.load(Relaxed)), (5, 4));
}

#[tokio::test]
async fn a_collector_is_told_and_one_that_is_away_harms_nobody() {
    let place = TempDir::new().unwrap();
    let collector = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let ipfix = collector.local_addr().ok();
    let (sender, records) = mpsc::channel(16);
    let (log, _task) = FlowLog::start(Some(Settings { ipfix, ..settings(place.path()) }), records);
    for _ in 0..3 {
        sender.send(record()).await.unwrap();
    }
    log.flush().await;
    let mut message = [0; 2048];
    // Templates, then records.
    for id in [2_u16, 256] {
        let length = collector.recv(&mut message).await.unwrap();
        assert_eq!(
            (length, &message[16..18]),
            (u16::from_be_bytes([message[2], message[3]]).into(), &id.to_be_bytes()[..])
        );
    }
    assert_eq!((log.counts().exported, log.counts().export_errors), (3, 0));
    drop(collector);
    for _ in 0..20 {
        sender.send(record()).await.unwrap();
        log.flush().await;
    }
    assert!(log.counts().export_errors > 0, "{:?}", log.counts());
    assert_eq!(log.counts().written, 23);
}

#[tokio::test]
async fn what_is_not_sent_does_not_count_as_told() {
    let place = TempDir::new().unwrap();
    let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let ipfix = gone.local_addr().ok();
    drop(gone);
    let (sender, records) = mpsc::channel(16);
    let (log, _task) = FlowLog::start(Some(Settings { ipfix, ..settings(place.path()) }), records);
    // The refusal of one message is the error of the next.
    for _ in 0..20 {
        sender.send(record()).await.unwrap();
        log.flush().await;
    }
    let counts = log.counts();
    assert!(counts.export_errors > 0 && counts.exported < 20, "{counts:?}");
}

#[tokio::test]
async fn a_way_to_the_collector_that_comes_later_is_taken() {
    let counters = Arc::new(Counters::default());
    let mut collector = Collector::new(counters.clone());
    // There is no such interface.
    let nowhere = std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 4739, 0, u32::MAX - 1);
    collector.set(Some(nowhere.into())).await;
    assert!(collector.socket.is_none() && collector.wanted.is_some());
    collector.put(record());
    assert_eq!(counters.export_errors.load(Relaxed), 1, "what is lost meanwhile counts");
    // As if the way had come.
    let there = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    collector.wanted = there.local_addr().ok();
    collector.connect().await;
    collector.put(record());
    collector.send();
    assert_eq!((counters.exported.load(Relaxed), counters.export_errors.load(Relaxed)), (1, 1));
    assert!(there.recv(&mut [0; 2048]).await.unwrap() > 16);
}

#[test]
fn a_clock_that_is_set_back_cuts_a_batch() {
    let (work, taken) = blocking::sync_channel(8);
    let mut buffer = Buffer { work, counters: Arc::default(), batch: None };
    let now = record().time;
    for (back, n) in [(0, 1), (4, 2), (3600, 3), (3600, 4)] {
        let time = now - Duration::from_secs(back);
        buffer.put(&settings(Path::new("/nonexistent")), &Record { time, bytes: n, ..record() });
    }
    buffer.send();
    drop(buffer);
    let numbers = taken.into_iter().map(|work| match work {
        Work::Write(batch) => (batch.first, batch.records),
        Work::Tell(_) => unreachable!("nobody asked"),
    });
    assert_eq!(numbers.collect::<Vec<_>>(), [(now, 2), (now - Duration::from_secs(3600), 2)]);
}
