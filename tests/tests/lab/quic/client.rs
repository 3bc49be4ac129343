//! A client with one connection, on which it sends and checks all the time, whatever its address.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quinn::rustls::RootCertStore;
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, TokioRuntime};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use xtask::lab::netns::Namespace;

use super::server::{CHUNK, Identity, NAME, PORT, SEEN, read_seen};

/// A connection on which nothing comes back for so long is broken.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two chunks.
const PAUSE: Duration = Duration::from_millis(20);

/// What a client knows of its connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Chunks that came back as they were sent.
    pub chunks: u64,
    /// Who answered the last one, and where it sees the client.
    pub last: Option<(u8, SocketAddr)>,
    /// Whether somebody else ever answered.
    pub moved: bool,
}

/// A client.
pub struct Client {
    endpoint: Endpoint,
    progress: Arc<Mutex<Progress>>,
    task: JoinHandle<Result<()>>,
}

impl Client {
    /// Connects to `service` from `address`.
    pub fn start(host: &Namespace, address: IpAddr, service: IpAddr, identity: &Identity) -> Result<Self> {
        let socket = bind(host, address)?;
        let runtime = Arc::new(TokioRuntime);
        let mut endpoint = Endpoint::new(EndpointConfig::default(), None, socket, runtime)?;
        let mut roots = RootCertStore::empty();
        roots.add(identity.certificate.clone())?;
        endpoint.set_default_client_config(ClientConfig::with_root_certificates(Arc::new(roots))?);
        let progress = Arc::new(Mutex::new(Progress::default()));
        let connecting = endpoint.connect((service, PORT).into(), NAME)?;
        let noted = Arc::clone(&progress);
        let task = tokio::spawn(async move {
            let connection = timeout(PATIENCE, connecting).await.context("no handshake")??;
            exchange(&connection, &noted).await
        });
        Ok(Client { endpoint, progress, task })
    }

    /// Goes on from another port, at `address`.
    pub fn migrate(&self, host: &Namespace, address: IpAddr) -> Result<SocketAddr> {
        let socket = bind(host, address)?;
        let local = socket.local_addr()?;
        self.endpoint.rebind(socket)?;
        Ok(local)
    }

    pub fn progress(&self) -> Progress {
        *self.progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether the connection is still used.
    pub fn is_broken(&self) -> bool {
        self.task.is_finished()
    }

    /// Why it broke.
    pub async fn failure(self) -> String {
        match self.task.await {
            Ok(Err(error)) => format!("{error:#}"),
            other => format!("{other:?}"),
        }
    }

    /// Ends the connection.
    pub fn stop(&self) {
        self.task.abort();
        self.endpoint.close(0_u32.into(), b"done");
    }
}

fn bind(host: &Namespace, address: IpAddr) -> Result<UdpSocket> {
    Ok(host.enter(|| UdpSocket::bind((address, 0)))??)
}

/// One stream for all of it: what is lost or mixed up shows.
async fn exchange(connection: &Connection, progress: &Mutex<Progress>) -> Result<()> {
    let (mut send, mut receive) = connection.open_bi().await?;
    for round in 0_u64.. {
        let chunk: Vec<u8> = (0..CHUNK).map(|at| (round as usize * 7 + at) as u8).collect();
        let mut seen = [0; SEEN];
        let mut echo = [0; CHUNK];
        let answered = async {
            send.write_all(&chunk).await?;
            receive.read_exact(&mut seen).await?;
            receive.read_exact(&mut echo).await?;
            anyhow::Ok(())
        };
        timeout(PATIENCE, answered).await.with_context(|| format!("nothing after {round} chunks"))??;
        ensure!(echo[..] == chunk, "chunk {round} came back as another");
        note(progress, read_seen(&seen));
        sleep(PAUSE).await;
    }
    Ok(())
}

fn note(progress: &Mutex<Progress>, answer: (u8, SocketAddr)) {
    let mut progress = progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    progress.chunks += 1;
    progress.moved |= progress.last.is_some_and(|(index, _)| index != answer.0);
    progress.last = Some(answer);
}
