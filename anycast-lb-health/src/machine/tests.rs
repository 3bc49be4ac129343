use super::*;
use proptest::prelude::*;

const TIMING: Timing =
    Timing { interval: Duration::from_secs(2), timeout: Duration::from_secs(1), rise: 2, fall: 3 };

fn failure() -> Result<(), Reason> {
    Err(Reason::new("refused"))
}

/// A machine and a clock that goes to whatever is due.
struct Bench {
    now: Instant,
    machine: Machine,
}

impl Bench {
    fn new(timing: Timing, health: Health) -> Self {
        let now = Instant::now();
        Bench { now, machine: Machine::new(now, timing, health, 7) }
    }

    /// Waits for the next probe; gives how long that took.
    fn probe(&mut self) -> (Probe, Duration) {
        let waited = self.machine.deadline().saturating_duration_since(self.now);
        self.now += waited;
        match self.machine.tick(self.now) {
            Tick::Probe(probe) => (probe, waited),
            other => panic!("{other:?}"),
        }
    }

    /// A probe that ends at once.
    fn result(&mut self, result: Result<(), Reason>) -> Option<Health> {
        let (probe, _) = self.probe();
        self.machine.finished(self.now, probe.number, result).map(|change| change.health)
    }

    /// `+` and `-`: the verdict after each.
    fn results(&mut self, results: &str) -> Vec<Option<Health>> {
        results.chars().map(|c| self.result(if c == '+' { Ok(()) } else { failure() })).collect()
    }
}

#[test]
fn verdicts_by_counts_in_a_row() {
    use Health::{Down, Unknown, Up};
    for (start, results, verdicts) in [
        (Unknown, "++", vec![None, Some(Up)]),
        (Unknown, "---", vec![None, None, Some(Down)]),
        (Unknown, "-+-+-+", vec![None; 6]),
        (Unknown, "--+---", vec![None, None, None, None, None, Some(Down)]),
        (Up, "++++", vec![None; 4]),
        (Up, "--+--+", vec![None; 6]),
        (Up, "----", vec![None, None, Some(Down), None]),
        (Down, "+-+-+-", vec![None; 6]),
        (Down, "++-", vec![None, Some(Up), None]),
        (Down, "---++", vec![None, None, None, None, Some(Up)]),
    ] {
        assert_eq!(Bench::new(TIMING, start).results(results), verdicts, "{start:?} {results}");
    }
}

#[test]
fn a_verdict_says_why() {
    let mut bench = Bench::new(Timing { fall: 1, rise: 1, ..TIMING }, Health::Unknown);
    let (probe, _) = bench.probe();
    let change = bench.machine.finished(bench.now, probe.number, failure());
    assert_eq!(change, Some(Change { health: Health::Down, reason: Some(Reason::new("refused")) }));
    let (probe, _) = bench.probe();
    let change = bench.machine.finished(bench.now, probe.number, Ok(()));
    assert_eq!(change, Some(Change { health: Health::Up, reason: Some(Reason::new("refused")) }));
}

#[test]
fn probes_are_an_interval_apart_and_quick_while_a_verdict_is_pending() {
    let about = |took: Duration| (Duration::from_millis(1800)..=Duration::from_millis(2200)).contains(&took);
    let quick = Duration::from_millis(500);
    let mut bench = Bench::new(TIMING, Health::Unknown);
    bench.results("+");
    assert_eq!(bench.probe().1, quick, "not known yet");
    let number = bench.machine.number;
    assert!(bench.machine.finished(bench.now, number, Ok(())).is_some());
    for _ in 0..20 {
        let (probe, took) = bench.probe();
        assert!(about(took), "{took:?}");
        bench.machine.finished(bench.now, probe.number, Ok(()));
    }
    bench.results("-");
    for verdict in [None, Some(Health::Down)] {
        let (probe, took) = bench.probe();
        assert_eq!(took, quick, "after a failure");
        let change = bench.machine.finished(bench.now, probe.number, failure());
        assert_eq!(change.map(|c| c.health), verdict);
    }
    for result in [failure(), Ok(())] {
        let (probe, took) = bench.probe();
        assert!(about(took), "it is down: {took:?}");
        bench.machine.finished(bench.now, probe.number, result);
    }
}

#[test]
fn the_quick_interval_has_bounds() {
    let quick = |millis| Timing { interval: Duration::from_millis(millis), ..TIMING }.quick().as_millis();
    assert_eq!((quick(50), quick(200), quick(400), quick(10_000)), (50, 100, 100, 2500));
}

#[test]
fn a_probe_that_never_answers_has_failed_and_is_not_heard_later() {
    let mut bench = Bench::new(Timing { fall: 1, ..TIMING }, Health::Up);
    let (probe, _) = bench.probe();
    assert_eq!(probe.deadline, bench.now + TIMING.timeout);
    assert_eq!(bench.machine.tick(probe.deadline), Tick::Nothing, "its driver may be about to answer");
    assert_eq!(bench.machine.deadline(), probe.deadline + GRACE);
    bench.now = bench.machine.deadline();
    let Tick::Change(change) = bench.machine.tick(bench.now) else { panic!("no verdict") };
    assert_eq!(change.health, Health::Down);
    assert_eq!(bench.machine.finished(bench.now, probe.number, Ok(())), None);
    let (second, _) = bench.probe();
    assert_eq!(bench.machine.finished(bench.now, probe.number, Ok(())), None, "that was the first one's");
    assert!(bench.machine.is_probing() && second.number != probe.number);
}

#[test]
fn a_changed_check_keeps_what_is_known() {
    let mut bench = Bench::new(TIMING, Health::Up);
    bench.results("--");
    bench.machine.change(bench.now, Timing { fall: 2, ..TIMING });
    assert_eq!(bench.machine.health(), Health::Up);
    assert_eq!(bench.results("--"), [None, Some(Health::Down)], "counts begin anew");
}

#[test]
fn the_same_seed_gives_the_same_moments() {
    let now = Instant::now();
    let moments = |seed| {
        let machine = Machine::new(now, TIMING, Health::Up, seed);
        let mut bench = Bench { now, machine };
        (0..10)
            .map(|_| {
                bench.results("+");
                bench.now.duration_since(now)
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(moments(1), moments(1));
    assert_ne!(moments(1), moments(2));
}

proptest! {
    /// Whatever happens, a verdict comes exactly when the last results of one kind are enough, and a
    /// backend that hangs from some moment on is down within the time that is promised.
    #[test]
    fn verdicts_and_promises(
        interval in 20u64..5000,
        share in 1u64..=100,
        (rise, fall) in (1u32..5, 1u32..5),
        results in proptest::collection::vec((any::<bool>(), 0u64..=100), 0..60),
    ) {
        let timing = Timing {
            interval: Duration::from_millis(interval),
            timeout: Duration::from_millis((interval * share / 100).max(1)),
            rise,
            fall,
        };
        let mut bench = Bench::new(timing, Health::Unknown);
        let (mut health, mut run) = (Health::Unknown, (false, 0));
        let mut last_success = bench.now;
        for (good, took) in results {
            let (probe, _) = bench.probe();
            bench.now += timing.timeout * u32::try_from(took).unwrap_or(0) / 100;
            let change = bench.machine.finished(bench.now, probe.number, if good { Ok(()) } else { failure() });
            run = if run.0 == good { (good, run.1 + 1) } else { (good, 1) };
            let expected = match (good, health) {
                (true, Health::Unknown | Health::Down) if run.1 >= rise => Some(Health::Up),
                (false, Health::Unknown | Health::Up) if run.1 >= fall => Some(Health::Down),
                _ => None,
            };
            prop_assert_eq!(change.map(|c| c.health), expected);
            health = expected.unwrap_or(health);
            if good {
                last_success = bench.now;
            }
            prop_assert!(bench.machine.deadline() > bench.now, "time goes on");
        }
        prop_assume!(health == Health::Up && run.0);
        loop {
            let (probe, _) = bench.probe();
            bench.now = probe.deadline;
            let change = bench.machine.finished(bench.now, probe.number, failure());
            if change.is_some() {
                break;
            }
        }
        // Two times to come to breath, where a probe may take all of a short interval.
        let slack = QUICK_LEAST * fall;
        prop_assert!(bench.now - last_success <= timing.detection() + slack);
    }
}
