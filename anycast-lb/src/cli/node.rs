//! `node`

use std::io::Write as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use hyper::Method;

use super::context::{Context, print};
use super::error::CliError;
use crate::control::api::{Bgp, PatchNode};
use crate::control::client::typed;

/// How often the daemon is asked.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Maintenance of this node.
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  anycast-lb node drain --wait")]
pub enum Node {
    /// Have routers prefer other nodes, then withdraw the prefixes; forwarding goes on
    #[command(after_help = "Examples:\n  anycast-lb node drain\n  anycast-lb node drain --wait\n\n\
        Routes are marked as [bgp.drain] says (GRACEFUL_SHUTDOWN, prepend, med), withdrawn after its\n\
        `wait`, and stay withdrawn over restarts until `anycast-lb node undrain`.")]
    Drain(Drain),
    /// Announce the prefixes again
    #[command(after_help = "Example:\n  anycast-lb node undrain")]
    Undrain,
}

/// How to drain.
#[derive(Debug, Args)]
pub struct Drain {
    /// Return when the prefixes are withdrawn
    #[arg(long)]
    wait: bool,
}

impl Node {
    pub(super) async fn execute(self, context: &Context) -> Result<(), CliError> {
        match self {
            Node::Drain(drain) => {
                patch(context, "drained").await?;
                if drain.wait { wait(context).await } else { Ok(()) }
            }
            Node::Undrain => patch(context, "in-service").await,
        }
    }
}

async fn patch(context: &Context, state: &str) -> Result<(), CliError> {
    context.change(Method::PATCH, "/v1/node", Some(&PatchNode { state: state.to_owned() })).await
}

async fn wait(context: &Context) -> Result<(), CliError> {
    let mut said = false;
    loop {
        let answer: Bgp = typed(&context.client.get("/v1/bgp").await?)?;
        match answer.maintenance.as_str() {
            "drained" if context.json => return Ok(()),
            "drained" => return print("this node is drained: its prefixes are withdrawn\n"),
            "draining" => {
                if let Some(left) = answer.seconds_left.filter(|_| !said && !context.json) {
                    said = true;
                    // Nobody who waits is helped by an error of this.
                    let _ = writeln!(anstream::stderr(), "routes are marked, and withdrawn in {left} s");
                }
            }
            _ => {
                let message = "the drain of this node was ended by somebody";
                return Err(CliError::failed("not_draining", message, Some("see: anycast-lb bgp status")));
            }
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}
