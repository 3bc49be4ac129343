//! Asks every host for what its log has, and puts the answers together.

use anycast_lb_capture::printable;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anstyle::{AnsiColor, Style};
use anycast_lb_flowlog::{Bounds, Filter, FlowKey, Record, Story, parse_stamp, search_files, tell};
use futures_util::{StreamExt, stream};
use hyper::Method;

use crate::cli::context::{Context, print_line};
use crate::cli::error::CliError;
use crate::control::api::{
    Answer, ErrorAnswer, ErrorBody, LogHosts, LogRecords, MAX_NAMED, MAX_RECORDS, QueryLog,
};
use crate::control::client::{ClientError, quote, typed};

/// Most flows that a query may name.
pub(super) const MOST_FLOWS: usize = MAX_NAMED;
/// Hosts that are asked at once.
const AT_ONCE: usize = 16;
/// Records that are fetched for each flow that is wanted, from one host at most.
const RECORDS_A_FLOW: usize = 16;
/// Copied files are read for as long as it takes, within reason.
const FILES_TIME: Duration = Duration::from_secs(3600);

/// Where records come from.
pub(super) enum Source {
    /// Hosts; none = the daemon that is asked.
    Hosts(Vec<Option<String>>),
    /// Copies of files.
    Files(Vec<PathBuf>),
}

/// What came.
#[derive(Default)]
pub(super) struct Gathered {
    pub stories: Vec<Story>,
    /// Hosts that gave no answer, and what they or others said instead.
    silent: Vec<ErrorBody>,
    /// Nodes that keep no log.
    off: BTreeSet<String>,
    /// There is more than was asked for.
    more: bool,
    /// Lines of files that cannot be read.
    unread: u64,
}

/// What one question to one source has come to.
struct Part {
    records: Vec<Record>,
    node: Option<String>,
    enabled: bool,
    older: Option<SystemTime>,
}

/// This node and all whom it knows.
pub(super) async fn everybody(context: &Context) -> Result<Source, CliError> {
    let hosts: LogHosts = typed(&context.client.get("/v1/log/hosts").await?)?;
    Ok(Source::Hosts([None].into_iter().chain(hosts.hosts.into_iter().map(|h| Some(h.host))).collect()))
}

impl Source {
    /// The newest `limit` flows that `filter` asks for.
    pub(super) async fn gather(
        mut self,
        context: &Context,
        filter: &Filter,
        limit: usize,
    ) -> Result<Gathered, CliError> {
        let most = (limit * RECORDS_A_FLOW).max(MAX_RECORDS);
        let mut gathered = Gathered::default();
        let records = self.fetch(context, filter, most, &mut gathered).await?;
        let mut stories = newest(tell(records), limit, &mut gathered.more);
        if filter.splits_flows() || gathered.more {
            // All of these flows, and not only what led to them.
            let flows: BTreeSet<FlowKey> = stories.iter().map(|story| story.flow).collect();
            let flows: Vec<FlowKey> = flows.into_iter().collect();
            let mut records = Vec::new();
            for some in flows.chunks(MAX_NAMED) {
                let filter = Filter {
                    since: filter.since,
                    until: filter.until,
                    flows: some.to_vec(),
                    ..Filter::default()
                };
                records.extend(self.fetch(context, &filter, most, &mut gathered).await?);
            }
            stories = newest(tell(records), limit, &mut gathered.more);
        }
        gathered.stories = stories;
        Ok(gathered)
    }

    async fn fetch(
        &mut self,
        context: &Context,
        filter: &Filter,
        most: usize,
        gathered: &mut Gathered,
    ) -> Result<Vec<Record>, CliError> {
        let hosts = match self {
            Source::Files(paths) => {
                let bounds = Bounds { records: most, deadline: Instant::now() + FILES_TIME };
                let found = search_files(paths, filter, bounds).map_err(|(path, error)| {
                    CliError::failed("io", format!("{}: {error}", path.display()), None)
                })?;
                gathered.more |= found.older.is_some();
                // All of them are gone through anew by each question.
                gathered.unread = gathered.unread.max(found.unread);
                return Ok(found.records);
            }
            Source::Hosts(hosts) => hosts,
        };
        let asked =
            hosts.iter().map(|host| async move { (host.clone(), ask(context, host, filter, most).await) });
        let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
        let mut records = Vec::new();
        for (host, answer) in answers {
            match answer {
                Ok(part) => {
                    gathered.more |= part.older.is_some();
                    if let Some(node) = part.node.filter(|_| !part.enabled) {
                        gathered.off.insert(node);
                    }
                    records.extend(part.records);
                }
                // Who is not there is not asked again. Without a daemon nothing is.
                Err(error @ ClientError::Refused(_)) if host.is_some() => {
                    gathered.silent.push(error.body());
                    hosts.retain(|other| *other != host);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(records)
    }
}

/// Page after page, the newest first.
async fn ask(
    context: &Context,
    host: &Option<String>,
    filter: &Filter,
    most: usize,
) -> Result<Part, ClientError> {
    let path = match host {
        Some(host) => format!("/v1/log/query?host={}", quote(host)),
        None => "/v1/log/query".to_owned(),
    };
    let mut part = Part { records: Vec::new(), node: None, enabled: false, older: None };
    let mut question = QueryLog { filter: filter.clone(), limit: MAX_RECORDS };
    loop {
        let answer = context.client.ask(Method::POST, &path, Some(&question)).await?;
        let LogRecords { node, enabled, records, older } = typed(&answer)?;
        part.records.extend(records);
        (part.node, part.enabled) = (Some(node), enabled);
        part.older = older.as_deref().and_then(parse_stamp);
        match part.older {
            Some(older)
                if part.records.len() < most && question.filter.until.is_none_or(|until| older < until) =>
            {
                question.filter.until = Some(older);
            }
            _ => return Ok(part),
        }
    }
}

fn newest(mut stories: Vec<Story>, limit: usize, more: &mut bool) -> Vec<Story> {
    if stories.len() > limit {
        *more = true;
        stories.sort_by_key(|story| story.last);
        stories.drain(..stories.len() - limit);
        stories.sort_by_key(|story| story.first);
    }
    stories
}

impl Gathered {
    /// Says what is missing.
    pub(super) fn tell(&self, json: bool) -> Result<(), CliError> {
        let yellow = Style::new().bold().fg_color(Some(AnsiColor::Yellow.into()));
        // Nothing is left to be said when this fails too.
        let note =
            |text: String| drop(writeln!(anstream::stderr(), "{yellow}note:{yellow:#} {}", printable(&text)));
        if self.more {
            note("there is more: narrow the time by --since and --until, or raise --limit".to_owned());
        }
        if self.unread > 0 {
            note(format!("{} lines cannot be read and are left out: a crash cuts lines short", self.unread));
        }
        if !self.off.is_empty() {
            let nodes: Vec<&str> = self.off.iter().map(String::as_str).collect();
            note(format!("no flow log is kept by {} ([flow_log] turns it on)", nodes.join(", ")));
        }
        for body in &self.silent {
            if json {
                let error = ErrorAnswer { error: body.clone() };
                print_line(&serde_json::to_string(&Answer::new(error)).unwrap_or_default())?;
            } else {
                CliError::Failed(body.clone()).print(false);
            }
        }
        if self.silent.is_empty() { Ok(()) } else { Err(CliError::Reported) }
    }
}
