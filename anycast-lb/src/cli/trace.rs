//! `trace`

use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use anycast_lb_flowlog::stamp;
use clap::Args;
use hyper::Method;

use super::context::{Context, print, print_line};
use super::error::CliError;
use super::explain;
use super::table::{LINE, wrap};
use crate::control::api::{
    Answer, ErrorAnswer, ErrorBody, FlowSpec, MAX_FLOWS, ThenRow, TraceFlows, TraceRow, Traces,
};
use crate::control::client::{quote, typed};

/// Column of what a trace says.
const NAME_WIDTH: usize = 15;

/// Packets of a file that are explained unless told otherwise.
const DEFAULT_COUNT: u32 = 1000;
/// And at most.
const MAX_COUNT: i64 = 100_000;

/// Tells where a flow goes, or what becomes of packets.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anycast-lb trace tcp 192.0.2.7:51234 203.0.113.1:443\n  \
    anycast-lb trace udp '[2001:db8::7]:51234' '[2001:db8::1]:53'\n  \
    anycast-lb trace --node sin1-lb1 tcp 192.0.2.7:51234 203.0.113.1:443\n  \
    anycast-lb trace --at '10m ago' tcp 192.0.2.7:51234 203.0.113.1:443\n  \
    anycast-lb trace - < flows      (a flow a line; a JSON object a line back)\n  \
    anycast-lb trace --pcap FILE            (- for standard input)\n  \
    anycast-lb trace --hex 4500003c...      (a frame, or an IP packet)\n\n\
    The packet of a flow is made up; ask an ingress node. Those of --pcap and --hex\n\
    may be explained on backends, too: what each is, which rule decides, what is\n\
    sent. All run through a second copy of the program: live counters, limits and\n\
    remembered fragments stay as they are. On a NIC itself, tcpdump does not see\n\
    what the program takes: capture in front of it.\n\n\
    With --at, the tables decide that were in force then: they are kept for a week.\n\
    TIME is RFC 3339, a time of day in UTC, or like '90s ago', '10m ago', '2h ago',\n\
    '1d ago'.")]
pub struct Trace {
    /// PROTOCOL SOURCE DESTINATION, or - to read such lines from standard input
    #[arg(
        required_unless_present_any = ["pcap", "hex"],
        conflicts_with_all = ["pcap", "hex"],
        num_args = 1..=3,
        value_name = "FLOW"
    )]
    flow: Vec<String>,
    /// Explain the packets of this file (pcap or pcapng), or - for standard input
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Explain at most this many packets of the file
    #[arg(long, value_name = "N", requires = "pcap", conflicts_with_all = ["flow", "hex"], value_parser = clap::value_parser!(u32).range(1..=MAX_COUNT))]
    count: Option<u32>,
    /// Explain the frame, or the IP packet, of these hexadecimal digits, or - for standard input
    #[arg(long, value_name = "BYTES", num_args = 1.., conflicts_with = "pcap")]
    hex: Vec<String>,
    /// What was decided at this time
    #[arg(long, value_name = "TIME", value_parser = super::log::time, conflicts_with_all = ["pcap", "hex"])]
    at: Option<SystemTime>,
    /// Ask this peer (see `peer list`) what happens there
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

impl Trace {
    pub(super) async fn execute(self, context: &Context) -> Result<(), CliError> {
        let node = self.node.as_deref().map(|node| format!("?node={}", quote(node))).unwrap_or_default();
        if let Some(file) = &self.pcap {
            let count = self.count.unwrap_or(DEFAULT_COUNT) as usize;
            return explain::execute(context, &node, &explain::from_file(file, count)?).await;
        }
        if !self.hex.is_empty() {
            return explain::execute(context, &node, &explain::from_digits(&self.hex)?).await;
        }
        let path = format!("/v1/trace{node}");
        let at = self.at.map(stamp);
        if self.flow == ["-"] {
            return trace_stdin(context, &path, at).await;
        }
        let flow = parse_flow(self.flow.iter().map(String::as_str))
            .map_err(|message| CliError::Usage { command: "trace", message })?;
        let question = TraceFlows { flows: vec![flow], at };
        let answer = context.client.ask(Method::POST, &path, Some(&question)).await?;
        if context.json {
            return print_line(&answer);
        }
        let traces: Traces = typed(&answer)?;
        let then = traces.then.as_ref().map(render_then).unwrap_or_default();
        print(&(traces.traces.iter().map(render).collect::<String>() + &then))
    }
}

/// A line that is no flow gives an error object in its place; the others are answered all the same.
async fn trace_stdin(context: &Context, path: &str, at: Option<String>) -> Result<(), CliError> {
    let mut lines = io::stdin().lock().lines().zip(1..).peekable();
    let mut mistakes = 0;
    while lines.peek().is_some() {
        let mut batch = Vec::new();
        for (line, number) in lines.by_ref().take(MAX_FLOWS) {
            let line = line.map_err(|e| CliError::failed("io", format!("standard input: {e}"), None))?;
            if !line.trim().is_empty() {
                batch.push(parse_flow(line.split_whitespace()).map_err(|e| line_error(number, &e)));
            }
        }
        mistakes += batch.iter().filter(|b| b.is_err()).count();
        print(&answer_batch(context, path, batch, at.clone()).await?)?;
    }
    match mistakes {
        0 => Ok(()),
        _ => Err(CliError::Reported),
    }
}

async fn answer_batch(
    context: &Context,
    path: &str,
    batch: Vec<Result<FlowSpec, String>>,
    at: Option<String>,
) -> Result<String, CliError> {
    let flows: Vec<FlowSpec> = batch.iter().flatten().cloned().collect();
    let answer = context.client.ask(Method::POST, path, Some(&TraceFlows { flows, at })).await?;
    let mut traces = typed::<Traces>(&answer)?.traces.into_iter();
    let mut out = String::new();
    for question in batch {
        let line = match question {
            Ok(_) => traces.next().map(|t| json(&Answer::new(t))).unwrap_or_default(),
            Err(error) => error,
        };
        out.push_str(&line);
        out.push('\n');
    }
    Ok(out)
}

fn line_error(number: usize, message: &str) -> String {
    json(&Answer::new(ErrorAnswer {
        error: ErrorBody {
            code: "invalid_request".to_owned(),
            message: format!("line {number}: {message}"),
            hint: Some("a line looks like: tcp 192.0.2.7:51234 203.0.113.1:443".to_owned()),
        },
    }))
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Reads `tcp 192.0.2.7:51234 203.0.113.1:443`.
fn parse_flow<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<FlowSpec, String> {
    let (Some(protocol), Some(source), Some(destination), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("a flow is three words: PROTOCOL SOURCE DESTINATION".to_owned());
    };
    if !matches!(protocol, "tcp" | "udp") {
        return Err(format!("protocol \"{protocol}\" is neither tcp nor udp"));
    }
    let endpoint = |word: &str, which: &str| {
        word.parse::<SocketAddr>()
            .map_err(|_| format!("{which} \"{word}\" is not ADDRESS:PORT (IPv6: [ADDRESS]:PORT)"))
    };
    let source = endpoint(source, "source")?;
    let destination = endpoint(destination, "destination")?;
    if source.is_ipv4() != destination.is_ipv4() {
        return Err(format!("{source} and {destination} are of different families"));
    }
    Ok(FlowSpec { protocol: protocol.to_owned(), source, destination })
}

/// Of which time a trace tells.
fn render_then(then: &ThenRow) -> String {
    let mut out = format!("{:<NAME_WIDTH$}{}\n", "at", then.at);
    let until = then.until.as_deref().unwrap_or("now");
    let mut line = |name: &str, value: &str| {
        let lines = wrap(value, LINE - NAME_WIDTH).join(&format!("\n{:NAME_WIDTH$}", ""));
        out.push_str(&format!("{name:<NAME_WIDTH$}{lines}\n"));
    };
    line("tables", &format!("version {}, in force from {} until {until}", then.table_version, then.since));
    then.notes.iter().for_each(|note| line("note", note));
    out
}

fn render(trace: &TraceRow) -> String {
    let mut out = format!(
        "flow           {} {} -> {}\n",
        trace.flow.protocol, trace.flow.source, trace.flow.destination
    );
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let lines = wrap(&value, LINE - NAME_WIDTH).join(&format!("\n{:NAME_WIDTH$}", ""));
            out.push_str(&format!("{name:<NAME_WIDTH$}{lines}\n"));
        }
    };
    line("verdict", Some(format!("{} ({}): {}", trace.verdict, trace.kind, trace.explanation)));
    line("vip", trace.vip.map(|v| v.to_string()));
    line("pool", trace.pool.clone());
    line("slot", trace.slot.map(|s| s.to_string()));
    line("backend", trace.backend.map(|b| b.to_string()));
    line("encapsulation", trace.encapsulation.clone());
    let port = |port: Option<u16>| port.map(|p| format!(", UDP source port {p}")).unwrap_or_default();
    line(
        "outer",
        trace.outer.as_ref().map(|o| format!("{} -> {}{}", o.source, o.destination, port(o.source_port))),
    );
    line(
        "next hop",
        trace.next_hop.as_ref().map(|way| format!("{} on {}, MTU {}", way.mac, way.interface, way.mtu)),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::{FrameWay, OuterHeader};

    fn parse(line: &str) -> Result<FlowSpec, String> {
        parse_flow(line.split_whitespace())
    }

    #[test]
    fn flows_of_both_families_parse() {
        let flow = parse("tcp 192.0.2.7:51234 203.0.113.1:443").expect("a flow");
        assert_eq!(flow.destination.port(), 443);
        assert!(parse("udp [2001:db8::7]:1 [2001:db8::1]:53").is_ok());
    }

    #[test]
    fn what_is_no_flow_is_refused_with_its_reason() {
        for (line, reason) in [
            ("tcp 192.0.2.7:1", "three words"),
            ("tcp 192.0.2.7:1 203.0.113.1:443 x", "three words"),
            ("icmp 192.0.2.7:1 203.0.113.1:443", "neither tcp nor udp"),
            ("tcp 192.0.2.7 203.0.113.1:443", "source \"192.0.2.7\" is not"),
            ("tcp 192.0.2.7:1 [2001:db8::1]:443", "different families"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(reason), "{line}: {error}");
        }
    }

    #[test]
    fn a_trace_reads_from_the_flow_to_the_wire() {
        let row = TraceRow {
            flow: parse("tcp 192.0.2.7:51234 203.0.113.1:443").expect("a flow"),
            verdict: "forwarded_gue".into(),
            explanation: "Sent to a backend in GUE.".into(),
            kind: "transmit".into(),
            vip: "203.0.113.1:443/tcp".parse().ok(),
            pool: Some("web".into()),
            slot: Some(5),
            backend: Some([10, 0, 0, 11].into()),
            encapsulation: Some("gue".into()),
            outer: Some(OuterHeader {
                source: [10, 0, 0, 2].into(),
                destination: [10, 0, 0, 11].into(),
                source_port: Some(33_000),
            }),
            next_hop: Some(FrameWay {
                interface: "eth0".into(),
                ifindex: 2,
                source_mac: "02:00:00:00:00:02".into(),
                mac: "02:00:00:00:00:0b".into(),
                mtu: 1500,
            }),
        };
        assert_eq!(
            render(&row),
            "flow           tcp 192.0.2.7:51234 -> 203.0.113.1:443\n\
             verdict        forwarded_gue (transmit): Sent to a backend in GUE.\n\
             vip            203.0.113.1:443/tcp\n\
             pool           web\n\
             slot           5\n\
             backend        10.0.0.11\n\
             encapsulation  gue\n\
             outer          10.0.0.2 -> 10.0.0.11, UDP source port 33000\n\
             next hop       02:00:00:00:00:0b on eth0, MTU 1500\n"
        );
    }
}
