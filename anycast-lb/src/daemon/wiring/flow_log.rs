//! The flow log, by the configuration in force.

use std::path::PathBuf;
use std::sync::Arc;

use anycast_lb_flowlog::{FlowLog, Settings};
use tokio::sync::Mutex;

use crate::daemon::run::Handle;
use crate::model::Config;
use crate::observe::{self, Hub};

/// Keeps the log, and what the data plane reports for it, as the configuration wants them.
#[derive(Clone)]
pub struct Logging {
    daemon: Handle,
    hub: Hub,
    log: FlowLog,
    /// One at a time, so that the last one has seen the newest configuration.
    turn: Arc<Mutex<()>>,
}

impl Logging {
    /// For these.
    pub fn new(daemon: Handle, hub: Hub, log: FlowLog) -> Self {
        Logging { daemon, hub, log, turn: Arc::default() }
    }

    /// The configuration in force may be another one. Returns at once.
    pub fn configure(&self) {
        let Logging { daemon, hub, log, turn } = self.clone();
        tokio::spawn(async move {
            let _turn = turn.lock().await;
            // The loop, which has called this, answers when it is done. If not, the daemon leaves.
            let Ok((settings, wanted)) = daemon.inspect(|v| settings(v.core.config())).await else { return };
            // While the data plane reports, somebody takes it.
            if settings.is_some() {
                log.set(settings.clone());
            }
            if let Err(error) = hub.log_flows(&daemon, wanted).await {
                tracing::error!(%error, "the flow log is not as [flow_log] wants it");
            }
            log.set(settings);
        });
    }
}

/// What the log is to do, and what the data plane is to report for it.
fn settings(config: &Config) -> (Option<Settings>, Option<observe::FlowLog>) {
    let wanted =
        config.flow_log.map(|log| observe::FlowLog { sample: log.sample, per_second: log.per_second.into() });
    let settings = config.flow_log.map(|log| Settings {
        directory: directory(config),
        max_bytes: log.max_bytes,
        ipfix: log.ipfix,
    });
    (settings, wanted)
}

/// `<state_dir>/<instance>.flows`.
fn directory(config: &Config) -> PathBuf {
    config.state_dir.join(format!("{}.flows", config.instance))
}
