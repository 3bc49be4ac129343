//! What follows from the answers of all validators: for each announced prefix whether it may be announced, and
//! what people are to be told. No I/O.
//!
//! # Rules
//!
//! * An answer counts until it expires (RFC 8210 §6), also while its validator cannot be reached.
//! * A prefix is invalid when every answer that counts says so. Where one says invalid and another does not, the
//!   validators disagree, and nothing is withheld: one bad validator must not take a fleet off the air.
//! * Under [`Mode::Enforce`] a prefix is withheld once it has been invalid, without a break, for its hold, and a
//!   validator that can be reached still says so then. It is permitted again as soon as it is not invalid any more.
//! * Without any answer that counts a prefix is as one that no validator has found.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::validity::{Answer, Validity};

mod alarm;
#[cfg(test)]
mod tests;

pub use alarm::{Alarm, Severity, Subject};
use alarm::{Stage, invalid, prefix_alarm};

/// What an invalid prefix means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// Nothing: it is not looked up.
    Off,
    /// An alarm.
    #[default]
    Warn,
    /// An alarm, and after the hold the prefix is withheld.
    Enforce,
}

impl Mode {
    /// The word of the configuration language.
    pub const fn word(self) -> &'static str {
        match self {
            Mode::Off => "off",
            Mode::Warn => "warn",
            Mode::Enforce => "enforce",
        }
    }
}

/// A prefix that this network announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The prefix, without host bits.
    pub prefix: IpNet,
    /// The AS that it is announced from, as the world sees it.
    pub origin: u32,
    /// What an invalid answer means.
    pub mode: Mode,
    /// How long it must be invalid before it is withheld.
    pub hold: Duration,
}

/// Whether a prefix may be announced, as far as RPKI is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Permit,
    /// It may not, for this reason.
    Withhold(String),
}

/// What the validators say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is no answer that counts.
    Unknown,
    /// Some say valid and none invalid.
    Valid,
    /// All say not found.
    NotFound,
    /// All say invalid.
    Invalid,
    /// Some say invalid and some do not.
    Disagreement,
}

impl Verdict {
    /// What validators say together that say this each.
    pub fn of(answers: impl IntoIterator<Item = Validity>) -> Self {
        let (mut all, mut invalid, mut valid) = (0, 0, 0);
        for answer in answers {
            all += 1;
            invalid += usize::from(answer == Validity::Invalid);
            valid += usize::from(answer == Validity::Valid);
        }
        match all {
            0 => Verdict::Unknown,
            _ if invalid == all => Verdict::Invalid,
            _ if invalid > 0 => Verdict::Disagreement,
            _ if valid > 0 => Verdict::Valid,
            _ => Verdict::NotFound,
        }
    }

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Verdict::Unknown => "unknown",
            Verdict::Valid => Validity::Valid.word(),
            Verdict::NotFound => Validity::NotFound.word(),
            Verdict::Invalid => Validity::Invalid.word(),
            Verdict::Disagreement => "disagreement",
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell of this; it may have been told of at an earlier stage.
    Raised(Alarm),
    /// Tell that this is over.
    Cleared(Alarm),
    /// A prefix may be announced from now on, or may not.
    Permission(IpNet, Permission),
}

/// How a validator is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reach {
    /// It is being asked for the first time.
    Asked,
    /// It answers.
    Live,
    /// It does not, for this reason.
    Lost(String),
}

#[derive(Clone, Debug)]
struct Known {
    reach: Reach,
    /// Until when its answers count; none = it never gave any.
    expires: Option<Instant>,
    answers: BTreeMap<IpNet, Answer>,
}

impl Known {
    fn new() -> Self {
        Known { reach: Reach::Asked, expires: None, answers: BTreeMap::new() }
    }

    fn counts(&self, now: Instant) -> bool {
        self.expires.is_some_and(|at| now < at)
    }
}

#[derive(Clone, Debug)]
struct Watched {
    route: Route,
    invalid_since: Option<Instant>,
    permission: Permission,
}

/// What is known of a prefix, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteStatus {
    /// The prefix and what is wanted for it.
    pub route: Route,
    /// What the validators say together.
    pub verdict: Verdict,
    /// What each says whose answer counts.
    pub answers: Vec<(String, Answer)>,
    /// Whether it may be announced.
    pub permission: Permission,
    /// When it will be withheld, if nothing changes.
    pub withheld_in: Option<Duration>,
}

/// What is known of a validator, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorStatus {
    /// Its name.
    pub name: String,
    /// Whether it answers; none = not yet known.
    pub live: Option<bool>,
    /// Why not.
    pub reason: Option<String>,
    /// For how long its last answer counts if it does not give another; none = it gave none, or it has expired.
    pub expires_in: Option<Duration>,
}

/// All that is known, and what was concluded from it.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    validators: BTreeMap<String, Known>,
    routes: BTreeMap<IpNet, Watched>,
    alarms: BTreeMap<Subject, Alarm>,
}

impl Guard {
    /// Somebody else has this validator's name now: what it said does not count. Conclusions are drawn by the
    /// [`Self::configure`] that follows.
    pub fn forget(&mut self, validator: &str) {
        self.validators.remove(validator);
    }

    /// These are the validators and the prefixes from now on. What is known of those that stay is kept; the answers
    /// for new prefixes are still to come ([`Self::answered`]).
    pub fn configure(&mut self, now: Instant, validators: &[String], routes: &[Route]) -> Vec<Action> {
        let mut before = std::mem::take(&mut self.validators);
        for name in validators {
            let known = before.remove(name).unwrap_or_else(Known::new);
            self.validators.insert(name.clone(), known);
        }
        let mut before = std::mem::take(&mut self.routes);
        let mut actions = Vec::new();
        for route in routes.iter().filter(|r| r.mode != Mode::Off) {
            let old = before.remove(&route.prefix);
            // Another origin is another question.
            let same = old.as_ref().filter(|old| old.route.origin == route.origin);
            let invalid_since = same.and_then(|old| old.invalid_since);
            if same.is_none() {
                for known in self.validators.values_mut() {
                    known.answers.remove(&route.prefix);
                }
            }
            let permission = old.map_or(Permission::Permit, |old| old.permission);
            self.routes.insert(route.prefix, Watched { route: route.clone(), invalid_since, permission });
        }
        for (prefix, gone) in before {
            if gone.permission != Permission::Permit {
                actions.push(Action::Permission(prefix, Permission::Permit));
            }
            for known in self.validators.values_mut() {
                known.answers.remove(&prefix);
            }
        }
        actions.extend(self.review(now));
        actions
    }

    /// What is to be looked up in a validator's data.
    pub fn questions(&self) -> Vec<(IpNet, u32)> {
        self.routes.values().map(|w| (w.route.prefix, w.route.origin)).collect()
    }

    /// A validator has given its data, which count for `expire`, and this is what they say to
    /// [`Self::questions`]. None: its data are those it gave before, and were looked at again.
    pub fn answered(
        &mut self,
        now: Instant,
        validator: &str,
        expire: Option<Duration>,
        answers: Vec<(IpNet, Answer)>,
    ) -> Vec<Action> {
        let Some(known) = self.validators.get_mut(validator) else { return Vec::new() };
        if let Some(expire) = expire {
            known.reach = Reach::Live;
            known.expires = Some(now + expire);
        }
        known.answers = answers.into_iter().filter(|(prefix, _)| self.routes.contains_key(prefix)).collect();
        self.review(now)
    }

    /// A validator cannot be reached.
    pub fn lost(&mut self, now: Instant, validator: &str, reason: &str) -> Vec<Action> {
        if let Some(known) = self.validators.get_mut(validator) {
            known.reach = Reach::Lost(reason.to_owned());
        }
        self.review(now)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        self.review(now)
    }

    /// When [`Self::tick`] is due.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let expiry = self.validators.values().filter_map(|k| k.expires).filter(|at| *at > now);
        let holds = self.routes.values().filter_map(withheld_at).filter(|at| *at > now);
        expiry.chain(holds).min()
    }

    /// Whether a prefix may be announced. One that is not watched may.
    pub fn permission(&self, prefix: &IpNet) -> Permission {
        self.routes.get(prefix).map_or(Permission::Permit, |w| w.permission.clone())
    }

    /// Of every prefix that is watched.
    pub fn permissions(&self) -> BTreeMap<IpNet, Permission> {
        self.routes.iter().map(|(prefix, w)| (*prefix, w.permission.clone())).collect()
    }

    /// What is wrong now.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.alarms.values().cloned().collect()
    }

    /// The prefixes, for people.
    pub fn routes(&self, now: Instant) -> Vec<RouteStatus> {
        let status = |w: &Watched| {
            let (verdict, answers) = self.verdict(now, &w.route.prefix);
            let answers = answers.into_iter().map(|(name, a)| (name.to_owned(), a.clone())).collect();
            let withheld_in = withheld_at(w).map(|at| at.saturating_duration_since(now));
            RouteStatus {
                route: w.route.clone(),
                verdict,
                answers,
                permission: w.permission.clone(),
                withheld_in,
            }
        };
        self.routes.values().map(status).collect()
    }

    /// The validators, for people.
    pub fn validators(&self, now: Instant) -> Vec<ValidatorStatus> {
        let status = |(name, known): (&String, &Known)| ValidatorStatus {
            name: name.clone(),
            live: match known.reach {
                Reach::Asked => None,
                Reach::Live => Some(true),
                Reach::Lost(_) => Some(false),
            },
            reason: match &known.reach {
                Reach::Lost(reason) => Some(reason.clone()),
                _ => None,
            },
            expires_in: known.expires.filter(|at| now < *at).map(|at| at - now),
        };
        self.validators.iter().map(status).collect()
    }

    /// What is said of a prefix, by those whose answer counts.
    fn verdict(&self, now: Instant, prefix: &IpNet) -> (Verdict, Vec<(&str, &Answer)>) {
        let answers: Vec<(&str, &Answer)> = self
            .validators
            .iter()
            .filter(|(_, known)| known.counts(now))
            .filter_map(|(name, known)| Some((name.as_str(), known.answers.get(prefix)?)))
            .collect();
        let verdict = Verdict::of(answers.iter().map(|(_, answer)| answer.validity));
        (verdict, answers)
    }

    /// Concludes, and tells what has changed.
    fn review(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut alarms = self.validator_alarms(now);
        let live = self.validators.values().any(|k| k.reach == Reach::Live);
        let mut routes = std::mem::take(&mut self.routes);
        for watched in routes.values_mut() {
            let prefix = watched.route.prefix;
            let (verdict, answers) = self.verdict(now, &prefix);
            watched.invalid_since = match verdict {
                Verdict::Invalid => watched.invalid_since.or(Some(now)),
                _ => None,
            };
            let enforced = watched.route.mode == Mode::Enforce;
            let held = watched.invalid_since.is_some_and(|since| now >= since + watched.route.hold);
            let was_withheld = watched.permission != Permission::Permit;
            // What was withheld stays so; to begin, somebody must answer.
            let withheld = enforced && held && (live || was_withheld);
            if let Some(alarm) = prefix_alarm(&watched.route, verdict, &answers, withheld) {
                alarms.insert(alarm.subject.clone(), alarm);
            }
            if withheld != was_withheld {
                watched.permission = match withheld {
                    true => Permission::Withhold(format!("RPKI: {}", invalid(&watched.route, &answers))),
                    false => Permission::Permit,
                };
                actions.push(Action::Permission(prefix, watched.permission.clone()));
            }
        }
        self.routes = routes;
        for (subject, alarm) in &alarms {
            if self.alarms.get(subject).is_none_or(|before| before.stage != alarm.stage) {
                actions.push(Action::Raised(alarm.clone()));
            }
        }
        let over = std::mem::replace(&mut self.alarms, alarms);
        let gone = over.into_iter().filter(|(subject, _)| !self.alarms.contains_key(subject));
        actions.extend(gone.map(|(_, alarm)| Action::Cleared(alarm)));
        actions
    }

    fn validator_alarms(&self, now: Instant) -> BTreeMap<Subject, Alarm> {
        let mut out = BTreeMap::new();
        let mut alarm = |subject: Subject, stage, text| {
            out.insert(subject.clone(), Alarm { subject, severity: Severity::Warning, text, stage });
        };
        let mut reasons = Vec::new();
        for (name, known) in &self.validators {
            let Reach::Lost(reason) = &known.reach else { continue };
            reasons.push(format!("{name}: {reason}"));
            if self.validators.len() > 1 {
                let (stage, rest) = match known.counts(now) {
                    true => (Stage::Lost, "its last answer counts until it expires"),
                    false => (Stage::Expired, "it has no say"),
                };
                alarm(
                    Subject::Validator(name.clone()),
                    stage,
                    format!("validator {name} is lost ({reason}): {rest}"),
                );
            }
        }
        // While one is being asked for the first time it may well answer.
        if !reasons.is_empty() && reasons.len() == self.validators.len() {
            let (stage, rest) = match self.validators.values().any(|k| k.counts(now)) {
                true => (Stage::Lost, "the last answers hold until they expire"),
                false => (
                    Stage::Expired,
                    "no answer is left, so every prefix counts as not found and none is withheld",
                ),
            };
            alarm(
                Subject::Validators,
                stage,
                format!("no validator answers ({}): {rest}", reasons.join("; ")),
            );
        }
        out
    }
}

/// When a prefix that may still be announced will be withheld.
fn withheld_at(watched: &Watched) -> Option<Instant> {
    let counts = watched.route.mode == Mode::Enforce && watched.permission == Permission::Permit;
    watched.invalid_since.filter(|_| counts).map(|since| since + watched.route.hold)
}
