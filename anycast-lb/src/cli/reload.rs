//! `reload`

use clap::Args;
use hyper::Method;

use super::ChangeArgs;
use super::context::Context;
use super::error::CliError;
use crate::control::api;

/// Puts the edited configuration in force.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anycast-lb reload --dry-run     (what would change)\n  \
    anycast-lb reload\n\n\
    A mistake in the files changes nothing. SIGHUP to the daemon does the same.")]
pub struct Reload {
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

impl Reload {
    pub(super) async fn execute(self, context: &Context) -> Result<(), CliError> {
        let body = api::Reload { dry_run: self.dry_run, expect_generation: self.change.expect_generation };
        context.change(Method::POST, "/v1/reload", Some(&body)).await
    }
}
