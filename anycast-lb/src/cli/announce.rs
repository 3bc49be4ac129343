//! `announce`

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use clap::Subcommand;
use ipnet::IpNet;
use tokio::sync::oneshot;

use super::context::{Context, print_line};
use super::error::CliError;
use crate::control::api::{Bgp, DrainRow};
use crate::control::client::typed;

/// How often the daemon is asked.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How long the daemon may be silent before everything is withdrawn: longer than a restart takes.
const PATIENCE: Duration = Duration::from_secs(3);

/// Announcing by other programs.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  anycast-lb announce exabgp")]
pub enum Announce {
    /// Tell an ExaBGP what to announce: run it as a process of its configuration
    #[command(after_help = "Example, in ExaBGP's configuration:\n  \
        process anycast-lb { run /usr/bin/anycast-lb announce exabgp; encoder text; }\n\n\
        Prefixes with announce = \"exabgp\" are announced with `next-hop self` while the daemon says\n\
        so, and withdrawn when it has not answered for 3 s. It ends with ExaBGP.")]
    Exabgp,
}

impl Announce {
    pub(super) async fn execute(self, context: &Context) -> Result<(), CliError> {
        match self {
            Announce::Exabgp => {
                tokio::select! {
                    result = follow(context) => result,
                    () = closed() => Ok(()),
                }
            }
        }
    }
}

/// Reads what ExaBGP answers, which is nothing of interest, until it is gone.
async fn closed() {
    let (gone, heard) = oneshot::channel();
    // A thread: reading standard input cannot be taken back, and the process ends with it.
    std::thread::spawn(move || {
        // An error ends it as the end does.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        // Nobody listens where the other side has ended already.
        let _ = gone.send(());
    });
    let _ = heard.await;
}

async fn follow(context: &Context) -> Result<(), CliError> {
    let mut told = BTreeMap::new();
    let mut heard = Instant::now();
    let mut silent = false;
    loop {
        let answer = async { Ok(typed::<Bgp>(&context.client.get("/v1/bgp").await?)?) };
        let answer: Result<Bgp, CliError> = match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(CliError::failed("timeout", "the daemon does not answer", None)),
        };
        let wanted = match answer {
            Ok(bgp) => {
                heard = Instant::now();
                silent = false;
                Some(routes(&bgp))
            }
            // A daemon that restarts is given a moment; what is said of one that hangs is no longer true.
            Err(error) if heard.elapsed() >= PATIENCE => {
                if !silent {
                    error.print(false);
                    silent = true;
                }
                Some(BTreeMap::new())
            }
            Err(_) => None,
        };
        if let Some(wanted) = wanted {
            for line in changes(&told, &wanted) {
                print_line(&line)?;
            }
            told = wanted;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// What is to be announced, and with which attributes.
fn routes(bgp: &Bgp) -> BTreeMap<IpNet, String> {
    let ours = bgp.prefixes.iter().filter(|p| p.method == "exabgp");
    ours.filter_map(|p| match p.state.as_str() {
        "announced" => Some((p.prefix, String::new())),
        "draining" => Some((p.prefix, marks(&bgp.drain, bgp.local_as))),
        _ => None,
    })
    .collect()
}

fn marks(drain: &DrainRow, local_as: Option<u32>) -> String {
    let mut text = String::new();
    if let Some(med) = drain.med {
        text.push_str(&format!(" med {med}"));
    }
    if let Some(asn) = local_as.filter(|_| drain.prepend > 0) {
        let path = vec![asn.to_string(); usize::from(drain.prepend) + 1].join(" ");
        text.push_str(&format!(" as-path [ {path} ]"));
    }
    if drain.graceful_shutdown {
        text.push_str(" community [ 65535:0 ]");
    }
    text
}

/// The lines that lead from what ExaBGP was told to what is to be announced.
fn changes(told: &BTreeMap<IpNet, String>, wanted: &BTreeMap<IpNet, String>) -> Vec<String> {
    let gone = told.keys().filter(|prefix| !wanted.contains_key(prefix));
    let gone = gone.map(|prefix| format!("withdraw route {prefix} next-hop self"));
    let new = wanted.iter().filter(|(prefix, attributes)| told.get(prefix) != Some(attributes));
    let new = new.map(|(prefix, attributes)| format!("announce route {prefix} next-hop self{attributes}"));
    gone.chain(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::PrefixRow;

    fn row(prefix: &str, method: &str, state: &str) -> PrefixRow {
        PrefixRow {
            prefix: prefix.parse().expect("a prefix"),
            method: method.into(),
            state: state.into(),
            reason: String::new(),
        }
    }

    fn bgp(prefixes: Vec<PrefixRow>) -> Bgp {
        Bgp {
            maintenance: "in-service".into(),
            seconds_left: None,
            prefixes,
            neighbors: Vec::new(),
            outlets: Vec::new(),
            drain: DrainRow { graceful_shutdown: true, prepend: 1, med: Some(9) },
            local_as: Some(64500),
        }
    }

    #[test]
    fn exabgp_hears_of_changes_alone() {
        let (a, b, c) = ("203.0.113.0/24", "2001:db8::/48", "198.51.100.0/24");
        let first = routes(&bgp(vec![
            row(a, "exabgp", "announced"),
            row(b, "exabgp", "withdrawn"),
            row(c, "bgp", "announced"),
        ]));
        assert_eq!(changes(&BTreeMap::new(), &first), ["announce route 203.0.113.0/24 next-hop self"]);
        assert!(changes(&first, &first).is_empty());
        let second = routes(&bgp(vec![row(a, "exabgp", "draining"), row(b, "exabgp", "announced")]));
        assert_eq!(
            changes(&first, &second),
            [
                "announce route 203.0.113.0/24 next-hop self med 9 as-path [ 64500 64500 ] community [ 65535:0 ]",
                "announce route 2001:db8::/48 next-hop self",
            ]
        );
        assert_eq!(
            changes(&second, &BTreeMap::new()),
            ["withdraw route 203.0.113.0/24 next-hop self", "withdraw route 2001:db8::/48 next-hop self"]
        );
    }
}
