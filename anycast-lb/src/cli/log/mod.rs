//! `log`

mod gather;
mod render;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use anycast_lb_flowlog::{Endpoint, Filter, FlowKey, Story, moment};
use clap::{Args, Subcommand};

use super::context::{Context, print};
use super::error::CliError;
use crate::control::api::Answer;
use gather::{Gathered, Source};

/// The flow log of all nodes.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  anycast-lb log query --source 192.0.2.7 --since '10m ago'")]
pub enum Log {
    /// Tell which server a flow went to, from the logs of all nodes
    Query(Box<LogQuery>),
}

/// What to look for.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anycast-lb log query --source 192.0.2.7:51234\n  \
    anycast-lb log query --flow 'tcp 192.0.2.7:51234 203.0.113.1:443'\n  \
    anycast-lb log query --vip 203.0.113.1:443/tcp --since 14:03 --until 14:05\n  \
    anycast-lb log query --backend 10.0.0.11 --since '10m ago' --json\n  \
    anycast-lb log query --source 192.0.2.7 --files copies/*.jsonl\n\n\
    This node, its peers and the backends of its pools are asked. A flow that all of\n\
    its nodes saw is one line: when it came, by which nodes, and who had it. A name in\n\
    parentheses is a backend whose own log says so; else the packets were sent there,\n\
    and that is all that is known. TIME is RFC 3339, a time of day in UTC (the last\n\
    one that was), or like '90s ago', '10m ago', '2h ago', '1d ago'.\n\n\
    Exit code 1 if a host could not be asked: what it saw is missing then.")]
pub struct LogQuery {
    /// Client: ADDRESS or ADDRESS:PORT (IPv6: [ADDRESS]:PORT)
    #[arg(long, value_name = "ADDRESS")]
    source: Option<Endpoint>,
    /// Service, in the same form
    #[arg(long, value_name = "ADDRESS")]
    destination: Option<Endpoint>,
    /// This flow: 'PROTOCOL SOURCE DESTINATION'; may be given more than once
    #[arg(long, value_name = "FLOW")]
    flow: Vec<FlowKey>,
    /// From this time on
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<SystemTime>,
    /// Up to this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<SystemTime>,
    /// To this VIP, as `vip list` names it
    #[arg(long, value_name = "VIP")]
    vip: Option<String>,
    /// Sent, or sent on, to this backend
    #[arg(long, value_name = "ADDRESS")]
    backend: Option<IpAddr>,
    /// With a packet of this verdict, as `stats` names it
    #[arg(long, value_name = "NAME")]
    verdict: Option<String>,
    /// Flows at most, the newest
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,
    /// Ask this host alone: a peer's name or a backend's address
    #[arg(long, value_name = "HOST", conflicts_with = "here")]
    node: Option<String>,
    /// Ask this node alone
    #[arg(long)]
    here: bool,
    /// Read these copies of log files, and ask nobody
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["node", "here"])]
    files: Vec<PathBuf>,
}

/// A time as people write it.
pub(super) fn time(text: &str) -> Result<SystemTime, String> {
    moment(text, SystemTime::now())
        .ok_or_else(|| "write 2026-11-30T14:03:05Z, 14:03:05 (UTC), or '10m ago'".to_owned())
}

impl Log {
    pub(super) async fn execute(self, context: &Context) -> Result<(), CliError> {
        let Log::Query(query) = self;
        query.execute(context).await
    }
}

impl LogQuery {
    async fn execute(self: Box<Self>, context: &Context) -> Result<(), CliError> {
        if self.flow.len() > gather::MOST_FLOWS {
            let message = format!("{} flows in one query; at most {}", self.flow.len(), gather::MOST_FLOWS);
            return Err(CliError::Usage { command: "log", message });
        }
        let filter = Filter {
            since: self.since,
            until: self.until,
            source: self.source,
            destination: self.destination,
            flows: self.flow,
            vip: self.vip,
            backend: self.backend,
            verdict: self.verdict,
        };
        let source = match (self.files.is_empty(), self.here, self.node) {
            (false, ..) => Source::Files(self.files),
            (true, true, _) => Source::Hosts(vec![None]),
            (true, false, Some(node)) => Source::Hosts(vec![Some(node)]),
            (true, false, None) => gather::everybody(context).await?,
        };
        let gathered = source.gather(context, &filter, self.limit.into()).await?;
        print(&if context.json { lines(&gathered) } else { render::stories(&gathered.stories) })?;
        gathered.tell(context.json)
    }
}

/// A story a line.
fn lines(gathered: &Gathered) -> String {
    let line = |story: &Story| serde_json::to_string(&Answer::new(story)).unwrap_or_default() + "\n";
    gathered.stories.iter().map(line).collect()
}
