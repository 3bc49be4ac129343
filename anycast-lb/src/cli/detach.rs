//! `detach`

use clap::Args;
use serde::Serialize;

use super::ConfigArgs;
use super::check::load;
use super::context::{Context, print, print_line};
use super::error::CliError;
use crate::control::api::Answer;
use crate::daemon::Failure;
use crate::dataplane::Dataplane;

/// Takes the data plane off the NICs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anycast-lb detach\n  \
    anycast-lb detach --config lb.toml\n\n\
    Works with and without a daemon; stop the daemon first, or it may attach again.\n\
    Packets to the VIPs are then no longer balanced.")]
pub struct Detach {
    #[command(flatten)]
    config: ConfigArgs,
}

/// What `detach --json` prints.
#[derive(Debug, Serialize)]
struct Detached {
    detached: Vec<String>,
}

impl Detach {
    pub(super) fn execute(self, context: &Context) -> Result<(), CliError> {
        let config = load(&self.config, context.json)?.config;
        let detached = Dataplane::detach(&config.bpffs, &config.instance)
            .map_err(|e| CliError::from(Failure::from(e)))?;
        if context.json {
            return print_line(
                &serde_json::to_string(&Answer::new(Detached { detached })).unwrap_or_default(),
            );
        }
        let mut out: String = detached.iter().map(|what| format!("detached {what}\n")).collect();
        if out.is_empty() {
            out.push_str(&format!("instance {} is not attached\n", config.instance));
        }
        print(&out)
    }
}
