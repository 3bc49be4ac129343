//! The ports filled: the kernel, the files, the resolver, the service manager and the API.

mod announce;
mod config_files;
mod exporter;
mod flow_log;
pub mod flows;
mod health;
mod history_file;
mod host;
mod identity;
mod kernel;
mod owners;
mod resolver;
mod routes;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anycast_lb_flowlog::FlowLog;
use anycast_lb_kept::{Beginning, Keeper, Limits};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::core::Core;
use super::run::{Daemon, Drivers, Handle, Signal};
use super::{Code, Failure};
use crate::config::{Loaded, Overrides};
use crate::control::server::Api;
use crate::control::socket::{Socket, SocketError};
use crate::control::tls::Credentials;
use crate::dataplane::{Dataplane, Start};
use crate::model::{Config, Role};
use crate::neighbour::Resolver;
use crate::observe::Hub;
use crate::observe::reader;

use announce::{Announce, DrainFile};
use history_file::HistoryFile;

/// Runs the daemon with this configuration until a signal ends it.
///
/// The socket is claimed first, so that a second daemon of this instance touches nothing; it is
/// served once the data plane is in force. When the daemon leaves, the data plane stays: programs,
/// maps and links are pinned, and packets go on as they were.
///
/// # Errors
/// What kept it from starting.
pub async fn serve(loaded: Loaded, path: &Path, overrides: Overrides) -> Result<(), Failure> {
    let config = loaded.config.clone();
    let (socket, listener) =
        Socket::claim(&config.control.socket, config.control.group.as_deref()).map_err(no_socket)?;
    let signals = signals().map_err(|e| Failure::new(Code::Io, format!("signals: {e}")))?;
    let (resolver, neighbours) =
        Resolver::start(&config.sources).map_err(|e| Failure::new(Code::Dataplane, e.to_string()))?;
    let credentials = Credentials::default();
    credentials.reload(config.control.tls.as_ref()).map_err(|e| Failure::new(Code::Io, e.to_string()))?;
    let remote = match config.control.listen {
        Some(address) => Some(TcpListener::bind(address).await.map_err(|e| {
            Failure::new(Code::Io, format!("control.listen = \"{address}\": {e}"))
                .hint("name an address that this host has, and a port that nobody else listens on")
        })?),
        None => None,
    };
    let metrics = match config.metrics {
        Some(address) => Some(exporter::bind(address).await?),
        None => None,
    };
    let (mut dataplane, start) = Dataplane::open(&config)?;
    // Behind the instance's lock, which keeps others from the file as well.
    let history = HistoryFile::new(&config.state_dir, &config.instance);
    dataplane.remember(history.load());
    tracing::info!(
        instance = %config.instance,
        version = env!("CARGO_PKG_VERSION"),
        "data plane {}",
        match start {
            Start::Fresh => "loaded",
            Start::Adopted => "found pinned and adopted",
        }
    );
    let (handle, requests) = Handle::new();
    let hub = Hub::default();
    let streams = reader::start(dataplane.rings()?, hub.clone()).map_err(|e| {
        Failure::new(Code::Dataplane, format!("what the programs report cannot be read: {e}"))
    })?;
    let (flow_log, _) = FlowLog::start(None, streams.flows);
    let answers = identity::Answers::start(handle.clone(), streams.questions);
    let health = health::Checks::start(handle.clone());
    let api = Api {
        credentials,
        hub: hub.clone(),
        flow_log: flow_log.clone(),
        identity: answers.counts(),
        ..Api::from(handle)
    };
    let drain_file = DrainFile::new(&config.state_dir, &config.instance);
    let drained = drain_file.exists();
    let (announce, goodbye) = Announce::new(drain_file);
    let drivers = Drivers {
        dataplane: Box::new(kernel::Kernel::new(
            dataplane,
            history,
            hub.books.clone(),
            keep_tables(&config, start),
        )),
        config: Box::new(config_files::ConfigFiles::new(loaded, path, overrides)),
        resolver: Box::new(resolver::Following::new(resolver)),
        flows: Box::new(flows::Others(api.peers.clone())),
        announce: Box::new(announce),
        health: Box::new(health),
        host: Box::new(host::Host::new(
            api,
            answers,
            host::Served { socket: listener, remote, metrics, role: config.role },
        )),
    };
    let (bpffs, instance) = (config.bpffs.clone(), config.instance.clone());
    let mut core = Core::new(config);
    if drained {
        tracing::warn!("this node is drained since before this start: to end it: anycast-lb node undrain");
        core.resume_drained();
    }
    let result = Daemon::new(core, drivers, start).run(requests, neighbours, signals).await;
    goodbye.said().await;
    flow_log.flush().await;
    if result.is_err()
        && start == Start::Fresh
        && let Err(error) = Dataplane::discard(&bpffs, &instance)
    {
        tracing::warn!(%error, "what this start pinned is still there");
    }
    drop(socket);
    if result.is_ok() {
        tracing::info!(
            cause = "signal",
            "leaving; the data plane stays attached and forwards on. To take it off: anycast-lb detach"
        );
    }
    result
}

/// Where the tables are kept that were in force: `<state_dir>/<instance>.tables`.
pub(crate) fn kept_tables(config: &Config) -> PathBuf {
    config.state_dir.join(format!("{}.tables", config.instance))
}

fn keep_tables(config: &Config, start: Start) -> Option<kernel::Kept> {
    if config.role == Role::Backend {
        return None;
    }
    let beginning = match start {
        Start::Fresh => Beginning::Fresh,
        Start::Adopted => Beginning::Adopted,
    };
    match Keeper::start(kept_tables(config), Limits::default()) {
        Ok(keeper) => Some(kernel::Kept::new(keeper, beginning)),
        Err(error) => {
            tracing::warn!(%error, "no tables are kept: trace --at will know none");
            None
        }
    }
}

/// What lets a start that was refused for lack of permission succeed.
const PRIVILEGE: &str = "run it as root, or with the capabilities that anycast-lb.service gives";

fn no_socket(error: SocketError) -> Failure {
    let denied =
        matches!(&error, SocketError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied);
    let failure = Failure::new(Code::Io, error.to_string());
    if denied { failure.hint(PRIVILEGE) } else { failure }
}

fn signals() -> std::io::Result<mpsc::Receiver<Signal>> {
    let (sender, receiver) = mpsc::channel(1);
    let mut reload = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                _ = reload.recv() => Signal::Reload,
                _ = terminate.recv() => Signal::Terminate,
                _ = interrupt.recv() => Signal::Terminate,
            };
            if sender.send(event).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}
