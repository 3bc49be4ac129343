//! `run`

use clap::Args;

use super::check::load;
use super::context::Context;
use super::error::CliError;
use super::{ConfigArgs, logging};
use crate::daemon::wiring::serve;
use crate::host::{Finding, Severity, check};

/// Runs the daemon.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anycast-lb run\n  \
    anycast-lb run --config lb.toml --node fra1-lb2\n\n\
    SIGHUP reloads. SIGTERM ends the daemon; the data plane stays attached and goes\n\
    on forwarding until `anycast-lb detach`. Readiness is told to systemd\n\
    (Type=notify). It listens where the file says: [control] socket.")]
pub struct Run {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Run {
    pub(super) fn execute(self, context: &Context) -> Result<(), CliError> {
        let loaded = load(&self.config, context.json)?;
        logging::start(loaded.log);
        for notice in &loaded.notices {
            tracing::info!("notice: {notice}");
        }
        for finding in check(&loaded.config) {
            let Finding { severity, what, why, fix } = finding;
            let fix = fix.as_deref().unwrap_or("none");
            match severity {
                Severity::Error => tracing::error!(%why, fix, "{what}"),
                Severity::Warning => tracing::warn!(%why, fix, "{what}"),
                Severity::Info => tracing::info!(%why, fix, "{what}"),
            }
        }
        let overrides = self.config.overrides();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|e| CliError::failed("io", format!("no runtime: {e}"), None))?;
        Ok(runtime.block_on(serve(loaded, &self.config.file(), overrides))?)
    }
}
