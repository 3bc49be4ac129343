use super::*;
use std::time::Duration;

const TIMING: Timing =
    Timing { interval: Duration::from_secs(2), timeout: Duration::from_secs(1), rise: 1, fall: 1 };

fn wanted(keys: impl IntoIterator<Item = u32>, subject: &'static str) -> Vec<Wanted<u32, &'static str>> {
    keys.into_iter().map(|key| Wanted { key, timing: TIMING, subject }).collect()
}

/// The probes due now.
fn probes(schedule: &mut Schedule<u32, &'static str>, now: Instant) -> Vec<(u32, u64)> {
    std::iter::from_fn(|| schedule.due(now))
        .map(|due| match due {
            Due::Probe { key, probe, .. } => (key, probe.number),
            Due::Change(..) => panic!("{due:?}"),
        })
        .collect()
}

fn failure() -> Result<(), Reason> {
    Err(Reason::new("refused"))
}

#[test]
fn a_thousand_backends_are_spread_over_the_interval() {
    let start = Instant::now();
    let mut schedule = Schedule::new(2000, 1);
    schedule.set(start, wanted(0..1000, "tcp"));
    let mut seen = 0;
    for step in 0..10 {
        let count = probes(&mut schedule, start + TIMING.interval / 20 * step).len();
        assert!(count <= 51, "{count} at step {step}");
        seen += count;
    }
    assert!((450..=510).contains(&seen), "{seen} in half an interval");
}

#[test]
fn one_that_is_added_is_probed_at_once_and_the_others_go_on() {
    let start = Instant::now();
    let mut schedule = Schedule::new(100, 1);
    schedule.set(start, wanted(0..2, "tcp"));
    assert_eq!(probes(&mut schedule, start), [(0, 1)]);
    let later = start + Duration::from_millis(10);
    schedule.set(later, wanted(0..3, "tcp"));
    assert_eq!(probes(&mut schedule, later), [(2, 1)]);
    assert_eq!(schedule.finished(later, &0, 1, Ok(())).map(|c| c.health), Some(Health::Up), "undisturbed");
    assert_eq!(schedule.health(&0), Some(Health::Up));
}

#[test]
fn what_is_removed_or_changed_does_not_hear_its_old_probe() {
    let now = Instant::now();
    let mut schedule = Schedule::new(100, 1);
    schedule.set(now, wanted([1], "tcp"));
    assert_eq!(probes(&mut schedule, now), [(1, 1)]);
    assert_eq!(schedule.finished(now, &1, 1, Ok(())).map(|c| c.health), Some(Health::Up));
    let next = schedule.deadline().expect("a probe");
    assert_eq!(probes(&mut schedule, next), [(1, 2)]);
    schedule.set(next, wanted([1], "http"));
    assert_eq!(schedule.finished(next, &1, 2, failure()), None);
    assert_eq!(schedule.health(&1), Some(Health::Up), "what is known stays");
    assert_eq!(probes(&mut schedule, next), [(1, 3)], "at once");
    schedule.set(next, Vec::new());
    assert_eq!(schedule.finished(next, &1, 3, failure()), None);
    assert!(schedule.is_empty() && schedule.deadline().is_none());
    schedule.set(next, wanted([1], "http"));
    assert_eq!(schedule.health(&1), Some(Health::Unknown), "another backend of that name");
}

#[test]
fn only_so_many_are_under_way_and_the_longest_waiting_comes_next() {
    let start = Instant::now();
    let mut schedule = Schedule::new(2, 1);
    schedule.set(start, wanted(0..4, "tcp"));
    let now = start + TIMING.interval;
    assert_eq!(probes(&mut schedule, now), [(0, 1), (1, 1)]);
    assert_eq!(schedule.due(now), None);
    let net = now + TIMING.timeout + crate::machine::GRACE;
    assert_eq!(schedule.deadline(), Some(net), "nothing before one of these is over");
    schedule.finished(now, &1, 1, Ok(()));
    assert_eq!(schedule.deadline(), Some(start + TIMING.interval / 2));
    assert_eq!(probes(&mut schedule, now), [(2, 1)]);
    // A check that is gone gives its place back when its driver does.
    schedule.set(now, wanted([3], "tcp"));
    assert_eq!(schedule.due(now), None);
    schedule.finished(now, &0, 1, Ok(()));
    assert_eq!(probes(&mut schedule, now), [(3, 1)]);
}

#[test]
fn a_driver_that_never_comes_back_is_a_failed_check() {
    let start = Instant::now();
    let mut schedule = Schedule::new(1, 1);
    schedule.set(start, wanted([5], "tcp"));
    assert_eq!(probes(&mut schedule, start), [(5, 1)]);
    let net = schedule.deadline().expect("the net");
    let Some(Due::Change(5, change)) = schedule.due(net) else { panic!("no verdict") };
    assert_eq!(change.health, Health::Down);
    assert_eq!(schedule.due(net), None);
}
