//! `whoami`

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anycast_lb_identity::ask::{Group, Latency, Outcome, Plan, Reply, Spread, from_ports, printable};
use clap::Args;
use serde::Serialize;

use super::context::{Context, print, print_line};
use super::error::CliError;
use super::table::{LINE, Table, counted, percent, wrap};
use crate::control::api::Answer;

/// Source ports that ask unless told otherwise.
const DEFAULT_COUNT: u32 = 10;
/// And at most.
const MAX_COUNT: i64 = 10_000;
/// Questions under way at once.
const AT_ONCE: usize = 8;
/// How often a port asks: nodes limit answers by client prefix, and a second later there is room again.
const ATTEMPTS: u32 = 4;
/// Ports of which each is shown; of more, the spread alone (or --json).
const MOST_ROWS: usize = 40;
/// Characters of a full bar.
const BAR: usize = 24;

/// Asks who answers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anycast-lb whoami 203.0.113.53\n  \
    anycast-lb whoami 2001:db8:53::53 --count 100\n  \
    anycast-lb whoami 203.0.113.53 --port 5353 --json\n\n\
    For the machine of a client: it needs no daemon and no privilege. Each source\n\
    port is a flow of its own and asks by DNS (id.server, else hostname.bind, TXT\n\
    CH; RFC 4892). Nodes answer with their name where the VIP has identity = \"node\"\n\
    or \"backend\"; BIND, NSD, Knot and others answer, too. Nodes limit how many\n\
    answers a network gets, about ten a second: many ports take their time.")]
pub struct Whoami {
    /// Address of the service
    #[arg(value_name = "VIP")]
    vip: IpAddr,
    /// Its port
    #[arg(long, value_name = "N", default_value_t = 53, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Ask from so many source ports
    #[arg(long, value_name = "N", default_value_t = DEFAULT_COUNT, value_parser = clap::value_parser!(u32).range(1..=MAX_COUNT))]
    count: u32,
    /// How long an answer is waited for
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

impl Whoami {
    pub(super) async fn execute(self, context: &Context) -> Result<(), CliError> {
        let server = SocketAddr::new(self.vip, self.port);
        let plan = Plan {
            server,
            ports: self.count as usize,
            at_once: AT_ONCE,
            patience: Duration::from_secs(self.timeout),
            attempts: ATTEMPTS,
        };
        let replies = from_ports(&plan).await;
        let spread = Spread::of(&replies);
        if context.json {
            let answers = Answer::new(Answers::new(server, &replies, &spread));
            print_line(&serde_json::to_string(&answers).unwrap_or_default())?;
        } else {
            print(&render(server, &replies, &spread))?;
        }
        if spread.named() > 0 { Ok(()) } else { Err(CliError::Reported) }
    }
}

/// All of it for programs.
#[derive(Serialize)]
struct Answers {
    server: SocketAddr,
    asked: usize,
    named: usize,
    answers: Vec<AnswerRow>,
    spread: Vec<SpreadRow>,
}

#[derive(Serialize)]
struct AnswerRow {
    source_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pop: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct SpreadRow {
    name: String,
    node: Option<String>,
    pop: Option<String>,
    backend: Option<IpAddr>,
    count: usize,
    least_us: u64,
    median_us: u64,
}

fn micros(time: Duration) -> u64 {
    time.as_micros().try_into().unwrap_or(u64::MAX)
}

impl Answers {
    fn new(server: SocketAddr, replies: &[Reply], spread: &Spread) -> Self {
        let row = |group: &Group| SpreadRow {
            name: group.name.text.clone(),
            node: group.name.node.clone(),
            pop: group.name.pop.clone(),
            backend: group.name.backend,
            count: group.count,
            least_us: micros(group.latency.least),
            median_us: micros(group.latency.median),
        };
        Answers {
            server,
            asked: replies.len(),
            named: spread.named(),
            answers: replies.iter().map(answer_row).collect(),
            spread: spread.groups.iter().map(row).collect(),
        }
    }
}

fn answer_row(reply: &Reply) -> AnswerRow {
    let (name, latency, error) = match &reply.outcome {
        Outcome::Named { name, latency } => (Some(name), Some(micros(*latency)), None),
        other => (None, None, Some(said(other))),
    };
    AnswerRow {
        source_port: reply.port,
        name: name.map(|name| name.text.clone()),
        node: name.and_then(|name| name.node.clone()),
        pop: name.and_then(|name| name.pop.clone()),
        backend: name.and_then(|name| name.backend),
        latency_us: latency,
        error,
    }
}

fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Named { name, .. } => name.text.clone(),
        Outcome::Nameless(code) => format!("it answers {code}"),
        Outcome::Silent => "no answer".to_owned(),
        Outcome::Failed(why) => printable(why.as_bytes()),
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn render(server: SocketAddr, replies: &[Reply], spread: &Spread) -> String {
    let mut out = String::new();
    if spread.named() > 0 && replies.len() <= MOST_ROWS {
        let mut table = Table::new(&[">SOURCE PORT", ">TIME", "POP", "NODE", "BACKEND"]);
        for reply in replies {
            let port = reply.port.map_or_else(|| "-".to_owned(), |port| port.to_string());
            let row = match &reply.outcome {
                Outcome::Named { name, latency } => [
                    port.into(),
                    milliseconds(*latency).into(),
                    name.pop.as_deref().unwrap_or("-").into(),
                    name.node.as_ref().unwrap_or(&name.text).into(),
                    name.backend.map_or_else(|| "-".to_owned(), |backend| backend.to_string()).into(),
                ],
                other => [port.into(), "-".into(), "-".into(), said(other).into(), "-".into()],
            };
            table.row(row);
        }
        out.push_str(&table.render(""));
        out.push('\n');
    }
    if spread.named() > 0 {
        bars(spread, &mut out);
    }
    summary(server, replies, spread, &mut out);
    out
}

/// Who answered how often, a bar each.
fn bars(spread: &Spread, out: &mut String) {
    let named = spread.named();
    let mut table = Table::new(&["ANSWERED BY", ">COUNT", ">SHARE", "SPREAD", ">LEAST", ">MEDIAN"]);
    let most = spread.groups.iter().map(|group| group.count).max().unwrap_or(1);
    for Group { name, count, latency } in &spread.groups {
        let who = match (&name.pop, &name.node, name.backend) {
            (Some(pop), Some(node), Some(backend)) => format!("{pop} {node} {backend}"),
            (Some(pop), Some(node), None) => format!("{pop} {node}"),
            _ => name.text.clone(),
        };
        let ppm = u32::try_from(count * 1_000_000 / named.max(1)).unwrap_or(1_000_000);
        // Who answered at all has a bar.
        let bar = "#".repeat((count * BAR).div_ceil(most.max(1)));
        let Latency { least, median } = latency;
        table.row([
            who.into(),
            (*count).into(),
            percent(ppm).into(),
            bar.into(),
            milliseconds(*least).into(),
            milliseconds(*median).into(),
        ]);
    }
    out.push_str(&table.render(""));
}

fn summary(server: SocketAddr, replies: &[Reply], spread: &Spread, out: &mut String) {
    let mut said =
        vec![format!("{server}: {} of {} answered", spread.named(), counted(replies.len(), "port"))];
    if let Some(latency) = Latency::of(
        &mut replies
            .iter()
            .filter_map(|reply| match reply.outcome {
                Outcome::Named { latency, .. } => Some(latency),
                _ => None,
            })
            .collect::<Vec<_>>(),
    ) {
        said.push(format!("least {}, median {}", milliseconds(latency.least), milliseconds(latency.median)));
    }
    out.push_str(&format!("{}\n", said.join(", ")));
    let mut note = |text: &str| out.push_str(&format!("{}\n", wrap(text, LINE).join("\n")));
    for (code, count) in &spread.nameless {
        note(&format!("{}: the server answers {code}: it does not tell its name", counted(*count, "port")));
    }
    for (why, count) in &spread.failed {
        note(&format!("{}: {}", counted(*count, "port"), printable(why.as_bytes())));
    }
    if spread.silent > 0 {
        note(&format!(
            "{}: no answer. Nothing may be there, or be reachable from here; the VIP may not have identity on (its \
             backends then get the question); or the limit on answers to this network is reached: ask from fewer \
             ports, or later.",
            counted(spread.silent, "port")
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anycast_lb_identity::ask::Named;

    fn named(port: u16, node: &str, backend: Option<[u8; 4]>, ms: u64) -> Reply {
        let backend: Option<IpAddr> = backend.map(Into::into);
        let name = Named {
            text: format!("{node} pop=fra1"),
            node: Some(node.to_owned()),
            pop: Some("fra1".to_owned()),
            backend,
        };
        Reply { port: Some(port), outcome: Outcome::Named { name, latency: Duration::from_millis(ms) } }
    }

    fn shown(replies: &[Reply]) -> String {
        let server = "203.0.113.53:53".parse().expect("an address");
        let text = render(server, replies, &Spread::of(replies));
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn answers_and_their_spread_are_drawn() {
        let replies = [
            named(40_000, "fra1-lb1", Some([10, 0, 0, 11]), 2),
            named(40_001, "fra1-lb2", None, 4),
            named(40_002, "fra1-lb1", Some([10, 0, 0, 11]), 6),
            Reply { port: Some(40_003), outcome: Outcome::Silent },
        ];
        let text = shown(&replies);
        let expected = "\
SOURCE PORT    TIME  POP   NODE       BACKEND
      40000  2.0 ms  fra1  fra1-lb1   10.0.0.11
      40001  4.0 ms  fra1  fra1-lb2   -
      40002  6.0 ms  fra1  fra1-lb1   10.0.0.11
      40003       -  -     no answer  -

ANSWERED BY              COUNT    SHARE  SPREAD                     LEAST  MEDIAN
fra1 fra1-lb1 10.0.0.11      2  66.67 %  ########################  2.0 ms  2.0 ms
fra1 fra1-lb2                1  33.33 %  ############              4.0 ms  4.0 ms
203.0.113.53:53: 3 of 4 ports answered, least 2.0 ms, median 4.0 ms
";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("1 port: no answer. Nothing may be there"), "{text}");
        assert!(text.lines().all(|line| line.len() <= LINE + 1), "{text}");
    }

    #[test]
    fn a_server_that_does_not_tell_is_told_from_silence() {
        let refused = Outcome::Nameless("REFUSED".to_owned());
        let text = shown(&[Reply { port: Some(1), outcome: refused }]);
        assert!(text.contains("0 of 1 port answered\n1 port: the server answers REFUSED"), "{text}");
        assert!(!text.contains("SOURCE PORT") && !text.contains("no answer"), "{text}");
    }
}
