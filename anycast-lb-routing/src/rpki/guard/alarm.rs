//! What people are to be told, in their words.

use std::fmt;

use ipnet::IpNet;

use super::{Mode, Route, Verdict};
use crate::rpki::validity::Answer;

/// How urgent an alarm is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something is wrong, and traffic goes on.
    Warning,
    /// A prefix is withheld.
    Error,
}

/// What an alarm is about; there is one alarm of each at most.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// No validator can be reached.
    Validators,
    /// One of several validators cannot be reached.
    Validator(String),
    /// A prefix.
    Prefix(IpNet),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Validators => f.write_str("validators"),
            Subject::Validator(name) => write!(f, "validator {name}"),
            Subject::Prefix(prefix) => write!(f, "prefix {prefix}"),
        }
    }
}

/// How far a thing has gone; only a change of this is told anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Lost,
    Expired,
    Disagreement,
    Invalid(Mode),
    Withheld,
}

/// What people are to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// What it is about.
    pub subject: Subject,
    /// How urgent it is.
    pub severity: Severity,
    /// A sentence.
    pub text: String,
    pub(super) stage: Stage,
}

/// `203.0.113.0/24 from AS64500 is invalid: 203.0.113.0/24 AS64501 (a, b)`.
pub(super) fn invalid(route: &Route, answers: &[(&str, &Answer)]) -> String {
    let mut evidence: Vec<(String, Vec<&str>)> = Vec::new();
    for (name, answer) in answers {
        let text = covering(answer);
        match evidence.iter_mut().find(|(known, _)| *known == text) {
            Some((_, names)) => names.push(name),
            None => evidence.push((text, vec![name])),
        }
    }
    let evidence: Vec<String> =
        evidence.into_iter().map(|(text, names)| format!("{text} ({})", names.join(", "))).collect();
    format!("{} from AS{} is invalid: {}", route.prefix, route.origin, evidence.join("; "))
}

/// How many VRPs a sentence names.
const NAMED: usize = 4;

/// `ROAs allow 203.0.113.0/24 AS64501, …`.
fn covering(answer: &Answer) -> String {
    let named: Vec<String> = answer.covering.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if answer.covering.len() > NAMED { ", …" } else { "" };
    format!("ROAs allow {}{more}", named.join(", "))
}

/// What is to be told of a prefix, if anything is.
pub(super) fn prefix_alarm(
    route: &Route,
    verdict: Verdict,
    answers: &[(&str, &Answer)],
    withheld: bool,
) -> Option<Alarm> {
    let (severity, stage, text) = match verdict {
        Verdict::Invalid => {
            let what = invalid(route, answers);
            match (route.mode, withheld) {
                (_, true) => (Severity::Error, Stage::Withheld, format!("{what}; it is withheld")),
                (Mode::Enforce, false) => {
                    let hold = route.hold.as_secs();
                    let rest = format!("it will be withheld when this has been so for {hold} s");
                    (Severity::Warning, Stage::Invalid(Mode::Enforce), format!("{what}; {rest}"))
                }
                (mode, false) => {
                    let rest = "others will reject it; rpki = \"warn\" announces it all the same";
                    (Severity::Warning, Stage::Invalid(mode), format!("{what}; {rest}"))
                }
            }
        }
        Verdict::Disagreement => {
            let say = |(name, answer): &(&str, &Answer)| format!("{name} says {}", answer.validity);
            let said: Vec<String> = answers.iter().map(say).collect();
            let (prefix, origin) = (route.prefix, route.origin);
            let text = format!(
                "validators disagree about {prefix} from AS{origin}: {}; nothing is withheld",
                said.join(", ")
            );
            (Severity::Warning, Stage::Disagreement, text)
        }
        Verdict::Unknown | Verdict::Valid | Verdict::NotFound => return None,
    };
    Some(Alarm { subject: Subject::Prefix(route.prefix), severity, text, stage })
}
