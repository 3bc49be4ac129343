//! Listens for routers, reads what they send, and tells of alarms.
//!
//! What a router may use is bounded: sessions in all and of one host, the length of a message, the time for a message
//! once it has begun. A router that has nothing to say is silent for as long as it likes; that its host is still
//! there, the kernel asks. Nothing is ever sent.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::message::{HEADER, Malformed, Message, decode, header};
use super::watch::{Action, Alarm, Own, RouterId, RouterStatus, Sight, Watch};
use crate::keepalive::keep_alive;

#[cfg(test)]
mod tests;

/// Sessions at once.
pub const MOST_SESSIONS: usize = 64;
/// Of them, from one host.
pub const MOST_OF_ONE_HOST: usize = 4;

/// For a message that has begun, and for a session's first one.
const PATIENCE: Duration = Duration::from_secs(30);
/// Before another attempt to listen, or to accept.
const RETRY: Duration = Duration::from_secs(2);
/// Lines about alarms that may be written at once, and one more each [`LINE_INTERVAL`].
const MOST_LINES: u32 = 50;
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// What the station is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen; none = not at all.
    pub listen: Option<SocketAddr>,
    /// From where routers may come; none = from everywhere.
    pub allowed: Vec<IpNet>,
    /// Our prefixes.
    pub own: Vec<Own>,
    /// ASes whose announcements of any of them are ours.
    pub ours: Vec<u32>,
}

/// The station; clones share it.
#[derive(Clone, Default)]
pub struct Station(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    settings: Settings,
    running: Option<Running>,
}

struct Running {
    task: JoinHandle<()>,
    shared: Arc<Shared>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Sessions are its tasks, and end with it.
        self.task.abort();
    }
}

/// Of one listener and its sessions.
struct Shared {
    settings: Settings,
    inner: Mutex<Inner>,
}

struct Inner {
    watch: Watch,
    log: Throttle,
    /// Of its own: whoever is refused must not use up what alarms need.
    refusals: Throttle,
    sessions: BTreeMap<IpAddr, usize>,
    next: RouterId,
    /// Why nobody listens.
    problem: Option<String>,
}

/// How the station is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Where it listens; none = not at all.
    pub listen: Option<SocketAddr>,
    /// Why it does not, though it should.
    pub problem: Option<String>,
    /// Prefixes that are watched.
    pub own: Vec<Own>,
    /// Routers with a session.
    pub routers: Vec<RouterStatus>,
    /// What is wrong now.
    pub alarms: Vec<(Alarm, Vec<Sight>)>,
}

impl Station {
    /// This is to be done from now on. To be called within a tokio runtime. Other settings than before end all
    /// sessions: routers come again and tell all that they see anew.
    pub fn configure(&self, settings: &Settings) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.settings == *settings {
            return;
        }
        state.settings = settings.clone();
        let before = state.running.take();
        let Some(listen) = settings.listen else { return };
        let inner = Inner {
            watch: Watch::new(&settings.own, &settings.ours),
            log: Throttle::new(Instant::now()),
            refusals: Throttle::new(Instant::now()),
            sessions: BTreeMap::new(),
            next: 0,
            problem: None,
        };
        let shared = Arc::new(Shared { settings: settings.clone(), inner: Mutex::new(inner) });
        let theirs = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            // Its port may be the same.
            if let Some(mut before) = before {
                before.task.abort();
                let _ = (&mut before.task).await;
            }
            run(listen, theirs).await;
        });
        state.running = Some(Running { task, shared });
    }

    /// How it is.
    pub fn status(&self) -> Status {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = &state.running else { return Status::default() };
        let inner = running.shared.lock();
        Status {
            listen: state.settings.listen,
            problem: inner.problem.clone(),
            own: state.settings.own.clone(),
            routers: inner.watch.routers(),
            alarms: inner.watch.alarms(),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a session with this router, or why it has none.
    fn admit(self: &Arc<Self>, router: SocketAddr) -> Result<Session, &'static str> {
        let ip = router.ip().to_canonical();
        if !self.settings.allowed.is_empty() && !self.settings.allowed.iter().any(|net| net.contains(&ip)) {
            return Err("it is not in bmp.allowed");
        }
        let mut inner = self.lock();
        if inner.sessions.values().sum::<usize>() >= MOST_SESSIONS {
            return Err("there are too many sessions");
        }
        let of_host = inner.sessions.entry(ip).or_default();
        if *of_host >= MOST_OF_ONE_HOST {
            return Err("its host has too many sessions");
        }
        *of_host += 1;
        inner.next += 1;
        let id = inner.next;
        inner.watch.router_up(id, SocketAddr::new(ip, router.port()));
        Ok(Session { shared: Arc::clone(self), ip, id })
    }
}

/// A router's session, as long as it is there.
struct Session {
    shared: Arc<Shared>,
    ip: IpAddr,
    id: RouterId,
}

impl Session {
    fn heard(&self, message: Message<'_>) {
        let now = Instant::now();
        let mut inner = self.shared.lock();
        let actions = inner.watch.heard(now, self.id, message);
        inner.tell(now, actions);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        let actions = inner.watch.router_gone(self.id);
        inner.tell(Instant::now(), actions);
        if let Some(count) = inner.sessions.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                inner.sessions.remove(&self.ip);
            }
        }
    }
}

impl Inner {
    fn tell(&mut self, now: Instant, actions: Vec<Action>) {
        for action in actions {
            if !self.log.admits(now) {
                continue;
            }
            match action {
                Action::Raised(alarm) => {
                    tracing::error!(alarm = "hijack", prefix = %alarm.prefix, origin = %alarm.origin, "{alarm}");
                }
                Action::Cleared(alarm) => {
                    let Alarm { prefix, origin, .. } = &alarm;
                    tracing::info!(alarm = "hijack", "over: {prefix} is no longer seen from {origin}");
                }
                Action::TooMany(router) => {
                    tracing::error!(alarm = "hijack", %router, "a router shows more foreign routes than are kept");
                }
            }
        }
    }
}

/// Bounds what a router that flaps can write into the log.
struct Throttle {
    left: u32,
    refilled: Instant,
    suppressed: u64,
}

impl Throttle {
    fn new(now: Instant) -> Self {
        Throttle { left: MOST_LINES, refilled: now, suppressed: 0 }
    }

    fn admits(&mut self, now: Instant) -> bool {
        let more = now.saturating_duration_since(self.refilled).as_secs() / LINE_INTERVAL.as_secs();
        if more > 0 {
            self.refilled = now;
            self.left = self.left.saturating_add(u32::try_from(more).unwrap_or(MOST_LINES)).min(MOST_LINES);
        }
        if self.left == 0 {
            self.suppressed += 1;
            return false;
        }
        self.left -= 1;
        if self.suppressed > 0 {
            tracing::warn!(lines = self.suppressed, "lines about hijacks were left out: there were too many");
            self.suppressed = 0;
        }
        true
    }
}

async fn run(listen: SocketAddr, shared: Arc<Shared>) {
    let listener = loop {
        match TcpListener::bind(listen).await {
            Ok(listener) => break listener,
            Err(error) => {
                let text = format!("cannot listen for BMP on {listen}: {error}");
                let before = shared.lock().problem.replace(text.clone());
                if before.is_none_or(|before| before != text) {
                    tracing::error!(%listen, %error, "cannot listen for BMP: no hijack is seen");
                }
                sleep(RETRY).await;
            }
        }
    };
    shared.lock().problem = None;
    tracing::info!(%listen, "listening for BMP");
    let mut sessions = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Those that have ended are taken off.
            Some(_) = sessions.join_next() => continue,
        };
        match accepted {
            Ok((stream, router)) => match shared.admit(router) {
                Ok(session) => {
                    sessions.spawn(serve(stream, router, session));
                }
                Err(why) => {
                    if shared.lock().refusals.admits(Instant::now()) {
                        tracing::warn!(%router, cause = %why, "a BMP session is refused: {why}");
                    }
                }
            },
            Err(error) => {
                tracing::warn!(%error, "a router cannot be accepted");
                sleep(RETRY).await;
            }
        }
    }
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the router closed the connection")]
    Closed,
    #[error("the router ended the session")]
    Terminated,
    #[error("a message has not arrived within {} s", PATIENCE.as_secs())]
    Slow,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Malformed(#[from] Malformed),
}

async fn serve(stream: TcpStream, router: SocketAddr, session: Session) {
    tracing::info!(%router, cause = "the router connected", "a router's BMP session has begun");
    if let Err(error) = keep_alive(&stream) {
        tracing::warn!(%router, %error, "the kernel will not notice when the router is gone");
    }
    let end = read(stream, PATIENCE, |message| session.heard(message)).await;
    match end {
        End::Malformed(_) | End::Slow => {
            tracing::warn!(%router, cause = %end, "a router's BMP session is closed: {end}");
        }
        _ => tracing::info!(%router, cause = %end, "a router's BMP session has ended: {end}"),
    }
}

/// Reads message by message, until the end.
async fn read(
    mut stream: impl AsyncRead + Unpin,
    patience: Duration,
    mut heard: impl FnMut(Message<'_>),
) -> End {
    let mut body = Vec::new();
    let mut first = true;
    loop {
        match message(&mut stream, patience, first, &mut body).await {
            Ok(kind) => match decode(kind, &body) {
                Ok(Message::Termination) => return End::Terminated,
                Ok(message) => heard(message),
                Err(error) => return error.into(),
            },
            Err(end) => return end,
        }
        first = false;
    }
}

/// Reads one message's body; returns its type. The first byte may take its time, unless it is the `first` message.
async fn message(
    stream: &mut (impl AsyncRead + Unpin),
    patience: Duration,
    first: bool,
    body: &mut Vec<u8>,
) -> Result<u8, End> {
    let mut head = [0; HEADER];
    let begun = stream.read(&mut head[..1]);
    let begun = if first { timeout(patience, begun).await.map_err(|_| End::Slow)? } else { begun.await };
    if begun? == 0 {
        return Err(End::Closed);
    }
    let rest = async {
        stream.read_exact(&mut head[1..]).await?;
        let (kind, length) = header(&head)?;
        body.resize(length, 0);
        stream.read_exact(body).await?;
        Ok(kind)
    };
    timeout(patience, rest).await.map_err(|_| End::Slow)?
}
