//! `watch`

use std::collections::BTreeSet;
use std::io::Write;
use std::net::IpAddr;
use std::time::Instant;

use anycast_lb_capture::merge::Merge;
use anycast_lb_capture::{Flow, MOST_PACKETS, MOST_SECONDS, Sight, Wanted, printable, text};
use clap::Args;
use tokio::sync::mpsc;

use super::context::{Context, print};
use super::error::CliError;
use super::observing::{Observed, Observer, Piece};
use crate::control::api::{Backends, ObservationEnd, Peers};
use crate::control::client::typed;

/// Packets that may wait to be shown.
const BACKLOG: usize = 1024;

/// Follows a live flow.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anycast-lb watch tcp 192.0.2.7:51234 203.0.113.1:443\n  \
    anycast-lb watch tcp 192.0.2.7 203.0.113.1:443         (from every port)\n  \
    anycast-lb watch --all-nodes tcp 192.0.2.7 203.0.113.1:443\n  \
    anycast-lb watch --node sin1-lb1 --node sin1-lb2 'udp * 203.0.113.53:53'\n\n\
    A line for each packet: when (UTC), which node, where, TCP flags, bytes of the\n\
    frame, the verdict and whom it is sent to. With --all-nodes the peers and the\n\
    backends are asked, too, where control.listen and control.tls are set, and all of\n\
    it comes in order of time, as far as the clocks agree. It ends after --count\n\
    packets, after --seconds, or on Ctrl-C; while it runs, packets take longer (see\n\
    docs/PERFORMANCE.md). At most four watches and captures run on a node at once, two\n\
    of them for other hosts.")]
pub struct Watch {
    /// PROTOCOL SOURCE DESTINATION; a port may be left out, and * is every end
    #[arg(required = true, num_args = 1..=3, value_name = "FLOW")]
    flow: Vec<String>,
    /// Watch at this peer (see `peer list`) and not here; may be given several times
    #[arg(long, value_name = "NAME", conflicts_with = "all_nodes")]
    node: Vec<String>,
    /// Watch here, at all peers and at all backends
    #[arg(long)]
    all_nodes: bool,
    /// End after so many packets
    #[arg(long, value_name = "N", default_value_t = MOST_PACKETS, value_parser = clap::value_parser!(u64).range(1..=MOST_PACKETS))]
    count: u64,
    /// End after so many seconds
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=MOST_SECONDS))]
    seconds: u64,
}

impl Watch {
    pub(super) async fn execute(self, context: &Context) -> Result<(), CliError> {
        let flow = Flow::parse(&self.flow.join(" "))
            .map_err(|e| CliError::Usage { command: "watch", message: e.to_string() })?;
        let wanted = Wanted {
            flow,
            vip: None,
            verdicts: Vec::new(),
            sample: 1,
            snap: 0,
            packets: self.count,
            seconds: self.seconds,
        };
        let observers = self.observers(context).await?;
        let streams = begin_all(context, &observers, &wanted).await?;
        let show = Show { open: flow.is_open(), json: context.json, left: self.count };
        show.all(streams, observers.len() > 1).await
    }

    async fn observers(&self, context: &Context) -> Result<Vec<Observer>, CliError> {
        if !self.node.is_empty() {
            let nodes: BTreeSet<&String> = self.node.iter().collect();
            return Ok(nodes.into_iter().cloned().map(Observer::Node).collect());
        }
        let mut observers = vec![Observer::Here];
        if self.all_nodes {
            let peers: Peers = typed(&context.client.get("/v1/peers").await?)?;
            let backends: Backends = typed(&context.client.get("/v1/backends").await?)?;
            let addresses: BTreeSet<IpAddr> = backends.backends.iter().map(|b| b.address).collect();
            let nodes = peers.peers.into_iter().map(|peer| peer.node);
            observers.extend(nodes.map(Observer::Node));
            observers.extend(addresses.into_iter().map(Observer::Backend));
        }
        Ok(observers)
    }
}

/// Who can be watched is; who cannot is named. If that is everybody, it fails.
async fn begin_all(
    context: &Context,
    observers: &[Observer],
    wanted: &Wanted,
) -> Result<Vec<Observed>, CliError> {
    let begun = observers.iter().map(|observer| Observed::begin(context, observer, wanted));
    let mut streams = Vec::new();
    let mut failure = None;
    for (observer, begun) in observers.iter().zip(futures_util::future::join_all(begun).await) {
        match begun {
            Ok(stream) => streams.push(stream),
            Err(error) => {
                if let (CliError::Failed(body), true) = (&error, observers.len() > 1) {
                    say(&format!("{} is not watched: {}", observer.name(), body.message));
                }
                failure.get_or_insert(error);
            }
        }
    }
    match failure {
        Some(error) if streams.is_empty() => Err(error),
        _ => Ok(streams),
    }
}

/// To people, beside what programs may read.
fn say(text: &str) {
    // Nothing is left to be said when this fails.
    let _ = writeln!(anstream::stderr(), "{}", printable(text));
}

/// What comes from one of several streams.
enum News {
    Packet(Box<Sight>),
    End(String, Option<ObservationEnd>),
    Failed(CliError),
}

struct Show {
    /// Whether packets of several flows come.
    open: bool,
    json: bool,
    left: u64,
}

impl Show {
    async fn all(mut self, streams: Vec<Observed>, several: bool) -> Result<(), CliError> {
        let (sender, mut news) = mpsc::channel(BACKLOG);
        for stream in streams {
            tokio::spawn(forward(stream, sender.clone()));
        }
        drop(sender);
        let mut merge = Merge::default();
        let mut missed = 0;
        let mut failure = None;
        while self.left > 0 {
            let deadline = merge.deadline();
            tokio::select! {
                came = news.recv() => match came {
                    Some(News::Packet(sight)) if several => merge.push(Instant::now(), *sight),
                    Some(News::Packet(sight)) => self.one(&sight)?,
                    Some(News::End(_, Some(end))) => missed += end.missed,
                    Some(News::End(node, None)) => say(&format!("{node} has ended it")),
                    Some(News::Failed(error)) => failure = Some(error),
                    None => break,
                },
                () = sleep_until(deadline) => {}
                _ = tokio::signal::ctrl_c() => break,
            }
            while self.left > 0
                && let Some(sight) = merge.pop(Instant::now())
            {
                self.one(&sight)?;
            }
        }
        while self.left > 0
            && let Some(sight) = merge.rest()
        {
            self.one(&sight)?;
        }
        if missed > 0 {
            say(&format!("{missed} more packets were missed: too many, or read too slowly"));
        }
        failure.map_or(Ok(()), Err)
    }

    fn one(&mut self, sight: &Sight) -> Result<(), CliError> {
        self.left -= 1;
        let line = if self.json {
            serde_json::to_string(sight).unwrap_or_default()
        } else {
            text::line(sight, self.open)
        };
        print(&format!("{line}\n"))
    }
}

/// Hands on what comes from one stream.
async fn forward(mut stream: Observed, to: mpsc::Sender<News>) {
    loop {
        let news = match stream.next().await {
            Ok(Piece::Packet(sight)) => News::Packet(sight),
            Ok(Piece::End(end)) => {
                // Who does not listen any more needs no end.
                let _ = to.send(News::End(stream.start.node.clone(), end)).await;
                return;
            }
            Err(error) => {
                let _ = to.send(News::Failed(error)).await;
                return;
            }
        };
        if to.send(news).await.is_err() {
            return;
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
