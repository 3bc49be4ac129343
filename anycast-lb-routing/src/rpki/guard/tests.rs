use super::*;
use crate::rpki::validity::Vrp;

const HOLD: Duration = Duration::from_secs(300);
const EXPIRE: Duration = Duration::from_secs(7200);

fn prefix() -> IpNet {
    "203.0.113.0/24".parse().expect("a prefix")
}

fn route(mode: Mode) -> Route {
    Route { prefix: prefix(), origin: 64500, mode, hold: HOLD }
}

fn answer(validity: Validity) -> Vec<(IpNet, Answer)> {
    let vrp = |origin| Vrp::new(prefix(), 24, origin).expect("a VRP");
    let covering = match validity {
        Validity::Valid => vec![vrp(64500)],
        Validity::NotFound => Vec::new(),
        Validity::Invalid => vec![vrp(64501)],
    };
    vec![(prefix(), Answer { validity, covering })]
}

/// A guard, its clock, and what it has done.
struct Stage {
    guard: Guard,
    now: Instant,
}

impl Stage {
    fn new(mode: Mode, validators: &[&str]) -> Self {
        let mut stage = Stage { guard: Guard::default(), now: Instant::now() };
        let names: Vec<String> = validators.iter().map(|v| (*v).to_owned()).collect();
        assert_eq!(stage.guard.configure(stage.now, &names, &[route(mode)]), Vec::new());
        stage
    }

    fn says(&mut self, validator: &str, validity: Validity) -> Vec<String> {
        told(self.guard.answered(self.now, validator, Some(EXPIRE), answer(validity)))
    }

    fn lost(&mut self, validator: &str) -> Vec<String> {
        told(self.guard.lost(self.now, validator, "gone"))
    }

    fn after(&mut self, seconds: u64) -> Vec<String> {
        self.now += Duration::from_secs(seconds);
        told(self.guard.tick(self.now))
    }

    fn permitted(&self) -> bool {
        self.guard.permission(&prefix()) == Permission::Permit
    }

    fn verdict(&self) -> Verdict {
        self.guard.routes(self.now)[0].verdict
    }
}

fn told(actions: Vec<Action>) -> Vec<String> {
    let tell = |action| match action {
        Action::Raised(alarm) => format!("{:?} {}", alarm.severity, alarm.text),
        Action::Cleared(alarm) => format!("over: {}", alarm.subject),
        Action::Permission(prefix, Permission::Permit) => format!("permit {prefix}"),
        Action::Permission(prefix, Permission::Withhold(why)) => format!("withhold {prefix}: {why}"),
    };
    actions.into_iter().map(tell).collect()
}

const INVALID: &str = "203.0.113.0/24 from AS64500 is invalid: ROAs allow 203.0.113.0/24 AS64501";

#[test]
fn enforce_withholds_after_the_hold_and_permits_at_once() {
    let mut s = Stage::new(Mode::Enforce, &["a"]);
    assert_eq!(s.says("a", Validity::Valid), [""; 0]);
    assert_eq!(
        s.says("a", Validity::Invalid),
        [format!("Warning {INVALID} (a); it will be withheld when this has been so for 300 s")]
    );
    assert_eq!(s.guard.deadline(s.now), Some(s.now + HOLD));
    assert_eq!(s.after(299), [""; 0]);
    assert!(s.permitted());
    assert_eq!(
        s.after(1),
        [
            format!("withhold 203.0.113.0/24: RPKI: {INVALID} (a)"),
            format!("Error {INVALID} (a); it is withheld")
        ]
    );
    assert_eq!(s.says("a", Validity::Invalid), [""; 0]);
    assert_eq!(s.says("a", Validity::Valid), ["permit 203.0.113.0/24", "over: prefix 203.0.113.0/24"]);
}

#[test]
fn another_answer_within_the_hold_begins_it_anew() {
    let mut s = Stage::new(Mode::Enforce, &["a"]);
    s.says("a", Validity::Invalid);
    s.after(299);
    s.says("a", Validity::NotFound);
    s.says("a", Validity::Invalid);
    s.after(299);
    assert!(s.permitted());
    s.after(1);
    assert!(!s.permitted());
}

#[test]
fn warn_only_says_so() {
    let mut s = Stage::new(Mode::Warn, &["a"]);
    let said = s.says("a", Validity::Invalid);
    assert!(
        said.len() == 1 && said[0].starts_with(&format!("Warning {INVALID} (a); others will")),
        "{said:?}"
    );
    assert_eq!(s.after(5000), [""; 0]);
    assert!(s.permitted());
}

#[test]
fn off_asks_nothing() {
    let s = Stage::new(Mode::Off, &["a"]);
    assert_eq!(s.guard.questions(), []);
    assert!(s.permitted());
}

#[test]
fn one_bad_validator_withholds_nothing() {
    for other in [Validity::Valid, Validity::NotFound] {
        let mut s = Stage::new(Mode::Enforce, &["a", "b"]);
        s.says("a", other);
        assert_eq!(
            s.says("b", Validity::Invalid),
            [format!(
                "Warning validators disagree about 203.0.113.0/24 from AS64500: a says {other}, b says invalid; \
                 nothing is withheld"
            )]
        );
        s.after(600);
        assert!(s.permitted());
        // Nor does it when the good one cannot be reached, as long as its answer counts.
        assert_eq!(
            s.lost("a"),
            ["Warning validator a is lost (gone): its last answer counts until it expires"]
        );
        s.after(600);
        assert!(s.permitted());
        assert_eq!(s.verdict(), Verdict::Disagreement);
        // The other renews its answer, and this one expires: the hold begins.
        s.says("b", Validity::Invalid);
        s.after(6000);
        assert_eq!(s.verdict(), Verdict::Invalid);
        assert!(s.permitted());
        s.after(300);
        assert!(!s.permitted());
    }
}

#[test]
fn all_that_answer_agree_and_it_is_withheld() {
    let mut s = Stage::new(Mode::Enforce, &["a", "b", "never"]);
    s.says("a", Validity::Invalid);
    s.lost("never");
    s.after(100);
    s.says("b", Validity::Invalid);
    s.after(200);
    assert!(!s.permitted());
    let why = s.guard.permission(&prefix());
    assert_eq!(why, Permission::Withhold(format!("RPKI: {INVALID} (a, b)")));
}

#[test]
fn the_last_answer_holds_until_it_expires_and_this_is_said() {
    let mut s = Stage::new(Mode::Enforce, &["a"]);
    s.says("a", Validity::Invalid);
    s.after(300);
    assert_eq!(
        s.lost("a"),
        ["Warning no validator answers (a: gone): the last answers hold until they expire"]
    );
    assert_eq!(s.after(6899), [""; 0]);
    assert_eq!((s.permitted(), s.verdict()), (false, Verdict::Invalid));
    assert_eq!(
        s.after(1),
        [
            "permit 203.0.113.0/24",
            "Warning no validator answers (a: gone): no answer is left, so every prefix counts as not found and none \
             is withheld",
            "over: prefix 203.0.113.0/24",
        ]
    );
    assert_eq!(s.verdict(), Verdict::Unknown);
    assert_eq!(s.says("a", Validity::Valid), ["over: validators"]);
}

#[test]
fn nothing_new_is_withheld_while_nobody_answers() {
    let mut s = Stage::new(Mode::Enforce, &["a"]);
    s.says("a", Validity::Invalid);
    s.after(100);
    s.lost("a");
    s.after(400);
    assert!(s.permitted());
    // The hold has passed, and there it is again and says the same.
    s.says("a", Validity::Invalid);
    assert!(!s.permitted());
}

#[test]
fn a_validator_that_was_never_reached_is_told_of() {
    let mut s = Stage::new(Mode::Warn, &["a", "b"]);
    assert_eq!(s.lost("a"), ["Warning validator a is lost (gone): it has no say"]);
    let said = s.lost("b");
    assert_eq!(said.len(), 2);
    assert!(
        said[0].starts_with("Warning no validator answers (a: gone; b: gone): no answer is left"),
        "{said:?}"
    );
    assert_eq!(s.says("b", Validity::Valid), ["over: validators", "over: validator b"]);
}

#[test]
fn a_reload_keeps_what_is_known_of_what_stays() {
    let mut s = Stage::new(Mode::Enforce, &["a"]);
    s.says("a", Validity::Invalid);
    s.after(200);
    let names = ["a".to_owned(), "b".to_owned()];
    let other = Route { prefix: "192.0.2.0/24".parse().expect("a prefix"), ..route(Mode::Enforce) };
    s.guard.configure(s.now, &names, &[other, route(Mode::Enforce)]);
    s.after(100);
    assert!(!s.permitted());
    // To warn: permitted at once.
    assert_eq!(told(s.guard.configure(s.now, &names, &[route(Mode::Warn)]))[0], "permit 203.0.113.0/24");
    s.guard.configure(s.now, &names, &[route(Mode::Enforce)]);
    assert!(!s.permitted());
    // Another origin is another question, which nobody has answered yet.
    let mine = Route { origin: 64501, ..route(Mode::Enforce) };
    s.guard.configure(s.now, &names, &[mine]);
    assert!(s.permitted());
    assert_eq!(s.verdict(), Verdict::Unknown);
    // And what is gone from the file is withheld no more.
    s.guard.configure(s.now, &names, &[route(Mode::Enforce)]);
    s.says("a", Validity::Invalid);
    s.after(300);
    assert!(!s.permitted());
    assert!(told(s.guard.configure(s.now, &names, &[])).contains(&"permit 203.0.113.0/24".to_owned()));
    assert!(s.permitted());
    assert_eq!(s.guard.alarms(), []);
}
