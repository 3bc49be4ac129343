//! `rpki`

use std::net::SocketAddr;
use std::str::FromStr;

use anycast_lb_routing::rpki::client::{MOST_VRPS, fetch};
use anycast_lb_routing::rpki::guard::Verdict;
use clap::{Args, Subcommand};
use ipnet::IpNet;

use super::context::{Context, print, print_line};
use super::error::CliError;
use super::pool::time_left;
use super::status::render_alarm;
use super::table::{Cell, Table};
use crate::control::api::{Answer, AnswerRow, RpkiCheck, RpkiState, ValidatorRow};
use crate::control::client::{quote, typed};
use crate::control::view;

/// What RPKI validators say about our prefixes.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  anycast-lb rpki status\n  anycast-lb rpki check 203.0.113.0/24 64500")]
pub enum Rpki {
    /// Show validators, and what they say about each prefix
    #[command(after_help = "Example:\n  anycast-lb rpki status")]
    Status,
    /// Ask whether an AS may announce a prefix
    Check(Check),
}

/// Asks whether an AS may announce a prefix.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anycast-lb rpki check 203.0.113.0/24 64500\n  \
    anycast-lb rpki check --rtr 127.0.0.1:8282 2001:db8::/32 AS64500\n\n\
    Exit codes: 0 valid or not found; 1 invalid (also if only some validators say so),\n\
    or no validator answers; 2 wrong usage.")]
pub struct Check {
    /// The prefix, as 203.0.113.0/24
    #[arg(value_parser = prefix)]
    prefix: IpNet,
    /// The AS that it is announced from, as 64500 or AS64500
    #[arg(value_parser = asn)]
    asn: u32,
    /// Ask this validator, and not the daemon
    #[arg(long, value_name = "ADDRESS:PORT")]
    rtr: Option<SocketAddr>,
}

fn prefix(text: &str) -> Result<IpNet, String> {
    let net = IpNet::from_str(text).map_err(|_| "write a prefix, as 203.0.113.0/24".to_owned())?;
    if net.trunc() == net {
        Ok(net)
    } else {
        Err(format!("has bits set beyond its length; write {}", net.trunc()))
    }
}

fn asn(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("AS").or_else(|| text.strip_prefix("as")).unwrap_or(text);
    match digits.parse() {
        Ok(asn) if asn != 0 => Ok(asn),
        _ => Err("write an AS number from 1 to 4294967295".to_owned()),
    }
}

impl Rpki {
    pub(super) async fn execute(self, context: &Context) -> Result<(), CliError> {
        match self {
            Rpki::Status => context.show("/v1/rpki", render).await,
            Rpki::Check(check) => check.execute(context).await,
        }
    }
}

impl Check {
    async fn execute(self, context: &Context) -> Result<(), CliError> {
        let found = match self.rtr {
            Some(address) => self.ask(address).await?,
            None => {
                let path = format!(
                    "/v1/rpki/check?prefix={}&origin_as={}",
                    quote(&self.prefix.to_string()),
                    self.asn
                );
                typed(&context.client.get(&path).await?)?
            }
        };
        if found.verdict == Verdict::Unknown.word() {
            let hint = "see why: anycast-lb rpki status";
            return Err(CliError::failed("unavailable", "no validator has an answer", Some(hint)));
        }
        if context.json {
            let answer = Answer::new(&found);
            let text =
                serde_json::to_string(&answer).map_err(|e| CliError::failed("io", e.to_string(), None))?;
            print_line(&text)?;
        } else {
            print(&render_check(&found))?;
        }
        let bad = [Verdict::Invalid.word(), Verdict::Disagreement.word()].contains(&found.verdict.as_str());
        if bad { Err(CliError::Reported) } else { Ok(()) }
    }

    /// Without a daemon.
    async fn ask(&self, address: SocketAddr) -> Result<RpkiCheck, CliError> {
        let set = fetch(address, MOST_VRPS).await.map_err(|e| {
            let hint = "is that where a validator speaks RTR?";
            CliError::failed("validator", format!("validator {address}: {e}"), Some(hint))
        })?;
        let answer = set.validate(self.prefix, self.asn);
        Ok(view::check(self.prefix, self.asn, vec![(address.to_string(), Some(answer))]))
    }
}

fn render(state: &RpkiState) -> String {
    let mut validators = Table::new(&["VALIDATOR", "ADDRESS", "ANSWERS", ">VRPS", ">CONFIRMED", ">EXPIRES"]);
    for v in &state.validators {
        let or_dash = |text: Option<String>| Cell::from(text.unwrap_or_else(|| "-".to_owned()));
        validators.row([
            Cell::from(&v.name),
            Cell::from(v.address),
            answers(v),
            or_dash(v.vrps.map(|n| n.to_string())),
            or_dash(v.confirmed_seconds_ago.map(|s| format!("{s} s ago"))),
            or_dash(v.expires_in_seconds.map(|s| format!("in {}", time_left(s)))),
        ]);
    }
    let mut out = validators.render("no validators: write [[rtr]] with its address");
    let mut prefixes = Table::new(&["PREFIX", "ORIGIN", "RPKI", "VERDICT", "PERMITTED", "SAYS"]);
    for p in &state.prefixes {
        let permitted = match (p.permitted, p.withheld_in_seconds) {
            (false, _) => Cell::judged("no", false),
            (true, Some(left)) => Cell::notable(format!("for {}", time_left(left))),
            (true, None) => Cell::judged("yes", true),
        };
        let says: Vec<String> = p.answers.iter().map(said).collect();
        prefixes.row([
            Cell::from(p.prefix),
            Cell::from(format!("AS{}", p.origin_as)),
            Cell::from(&p.rpki),
            verdict(&p.verdict),
            permitted,
            Cell::from(says.join("; ")),
        ]);
    }
    out.push('\n');
    out.push_str(&prefixes.render("no prefixes: write origin_as in a [[prefix]]"));
    for alarm in &state.alarms {
        out.push('\n');
        out.push_str(&render_alarm(alarm));
    }
    out
}

fn answers(validator: &ValidatorRow) -> Cell {
    match (validator.live, &validator.reason) {
        (Some(true), _) => Cell::judged("yes", true),
        (Some(false), Some(reason)) => Cell::judged(format!("no: {reason}"), false),
        (Some(false), None) => Cell::judged("no", false),
        (None, _) => Cell::from("not yet"),
    }
}

fn verdict(word: &str) -> Cell {
    match word {
        "valid" => Cell::judged(word, true),
        "invalid" => Cell::judged(word, false),
        "disagreement" => Cell::notable(word),
        _ => Cell::from(word),
    }
}

/// `a: invalid (203.0.113.0/24 AS64501)`.
fn said(answer: &AnswerRow) -> String {
    let validity = answer.validity.as_deref().unwrap_or("no answer");
    let covering = match answer.covering.is_empty() {
        true => String::new(),
        false => format!(" ({})", answer.covering.join(", ")),
    };
    format!("{}: {validity}{covering}", answer.validator)
}

fn render_check(check: &RpkiCheck) -> String {
    let mut out = format!("{} from AS{}: {}\n", check.prefix, check.origin_as, check.verdict);
    for answer in &check.answers {
        out.push_str(&format!("    {}\n", said(answer)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::{AlarmRow, OriginRow};

    #[test]
    fn validators_then_prefixes_then_what_is_wrong() {
        let answer = AnswerRow {
            validator: "a".into(),
            validity: Some("invalid".into()),
            covering: vec!["203.0.113.0/24 AS64501".into()],
        };
        let state = RpkiState {
            validators: vec![ValidatorRow {
                name: "a".into(),
                address: ([127, 0, 0, 1], 8282).into(),
                live: Some(true),
                reason: None,
                vrps: Some(7),
                serial: Some(3),
                confirmed_seconds_ago: Some(12),
                expires_in_seconds: Some(7188),
            }],
            prefixes: vec![OriginRow {
                prefix: prefix("203.0.113.0/24").expect("a prefix"),
                origin_as: 64500,
                rpki: "enforce".into(),
                verdict: "invalid".into(),
                permitted: true,
                reason: None,
                withheld_in_seconds: Some(200),
                answers: vec![answer.clone()],
            }],
            alarms: vec![AlarmRow {
                kind: "rpki".into(),
                severity: "warning".into(),
                text: "it is so".into(),
            }],
        };
        let text = anstream::adapter::strip_str(&render(&state)).to_string();
        assert_eq!(
            text,
            "VALIDATOR  ADDRESS         ANSWERS  VRPS  CONFIRMED     EXPIRES\n\
             a          127.0.0.1:8282  yes         7   12 s ago  in 120 min\n\
             \n\
             PREFIX          ORIGIN   RPKI     VERDICT  PERMITTED  SAYS\n\
             203.0.113.0/24  AS64500  enforce  invalid  for 4 min  a: invalid (203.0.113.0/24\n\
             \x20                                                     AS64501)\n\
             \n\
             warning: rpki\n    it is so\n"
        );
        let check = RpkiCheck {
            prefix: state.prefixes[0].prefix,
            origin_as: 64500,
            verdict: "invalid".into(),
            answers: vec![answer],
        };
        assert_eq!(
            render_check(&check),
            "203.0.113.0/24 from AS64500: invalid\n    a: invalid (203.0.113.0/24 AS64501)\n"
        );
    }

    #[test]
    fn ases_and_prefixes_are_read_strictly() {
        assert_eq!((asn("AS64500"), asn("64500")), (Ok(64500), Ok(64500)));
        for text in ["0", "AS", "AS4294967296", "x", "-1"] {
            assert!(asn(text).is_err(), "{text}");
        }
        for text in ["203.0.113.1/24", "203.0.113.0", "203.0.113.0/33", ""] {
            assert!(prefix(text).is_err(), "{text}");
        }
    }
}
