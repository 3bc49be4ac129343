//! Sockets and timers for [`super::session`], and all neighbours together.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::route::{Attributes, DrainMarks, Routes};
use super::session::{Action, Report, Session, Settings, State};
use super::socket::{Distance, Md5Key, prepare};

/// Bytes read at once.
const READ: usize = 4096;
/// Bytes that wait for a neighbour that does not read.
const LONGEST_BACKLOG: usize = 1 << 20;
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// With whom a session is to be, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its address and port.
    pub address: SocketAddr,
    /// The address to speak from; none = by the route.
    pub source: Option<IpAddr>,
    /// What the two have to agree on.
    pub settings: Settings,
    /// Key of signatures.
    pub key: Option<Md5Key>,
    /// How far away it may be.
    pub distance: Distance,
    /// What each route is told with. A change of these keeps the session.
    pub attributes: Attributes,
    /// What is told besides while the node is drained. A change keeps the session.
    pub drain: DrainMarks,
}

impl Neighbour {
    /// Whether a session of `self` may go on as one of `other`.
    fn same_session(&self, other: &Neighbour) -> bool {
        let with =
            Neighbour { attributes: self.attributes.clone(), drain: self.drain.clone(), ..other.clone() };
        *self == with
    }

    /// What it is to be told.
    fn routes(&self, prefixes: &Prefixes) -> Routes {
        let attributes = |draining| match draining {
            true => self.drain.applied(&self.attributes),
            false => self.attributes.clone(),
        };
        prefixes.iter().map(|(prefix, draining)| (*prefix, attributes(*draining))).collect()
    }
}

/// What is announced, and whether with the marks of a drain.
pub type Prefixes = BTreeMap<IpNet, bool>;

/// All sessions. Made and changed within a runtime.
#[derive(Debug, Default)]
pub struct Speaker {
    running: BTreeMap<SocketAddr, Running>,
    leaving: Vec<JoinHandle<()>>,
    prefixes: Prefixes,
}

#[derive(Debug)]
struct Running {
    neighbour: Neighbour,
    routes: watch::Sender<Routes>,
    report: watch::Receiver<Report>,
    stop: oneshot::Sender<String>,
    task: JoinHandle<()>,
}

impl Speaker {
    /// Has sessions with these and with no others. Those that are with the same neighbour as before go on.
    pub fn configure(&mut self, neighbours: &[Neighbour]) {
        let mut before = std::mem::take(&mut self.running);
        for neighbour in neighbours {
            match before.remove(&neighbour.address) {
                Some(mut running) if running.neighbour.same_session(neighbour) => {
                    running.neighbour = neighbour.clone();
                    running.tell(&self.prefixes);
                    self.running.insert(neighbour.address, running);
                }
                other => {
                    self.leave(other, "the configuration of this session has changed");
                    let running = Running::start(neighbour.clone(), &self.prefixes);
                    self.running.insert(neighbour.address, running);
                }
            }
        }
        for running in before.into_values() {
            self.leave(Some(running), "this session is no longer configured");
        }
    }

    /// Announces exactly these from now on.
    pub fn announce(&mut self, prefixes: Prefixes) {
        self.prefixes = prefixes;
        for running in self.running.values_mut() {
            running.tell(&self.prefixes);
        }
    }

    /// How each session is.
    pub fn reports(&self) -> Vec<(Neighbour, Report)> {
        self.running.values().map(|r| (r.neighbour.clone(), r.report.borrow().clone())).collect()
    }

    /// Ends all sessions with an administrative shutdown (RFC 9003); [`Self::ended`] waits for it.
    pub fn stop(&mut self, reason: &str) {
        for running in std::mem::take(&mut self.running).into_values() {
            self.leave(Some(running), reason);
        }
    }

    /// The tasks that are saying goodbye: each ends soon by itself.
    pub fn ended(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let leaving = std::mem::take(&mut self.leaving);
        async move {
            for task in leaving {
                // One that has panicked has closed its socket too.
                let _ = task.await;
            }
        }
    }

    fn leave(&mut self, running: Option<Running>, reason: &str) {
        let Some(running) = running else { return };
        // A task that is gone needs no telling.
        let _ = running.stop.send(reason.to_owned());
        self.leaving.retain(|task| !task.is_finished());
        self.leaving.push(running.task);
    }
}

impl Running {
    fn start(neighbour: Neighbour, prefixes: &Prefixes) -> Self {
        let (routes, wanted) = watch::channel(neighbour.routes(prefixes));
        let (reports, report) = watch::channel(Report::default());
        let (stop, stopped) = oneshot::channel();
        let task = Task {
            session: Session::new(neighbour.settings.clone()),
            neighbour: neighbour.clone(),
            link: Link::None,
            reports,
            said: None,
        };
        let task = tokio::spawn(task.run(wanted, stopped));
        Running { neighbour, routes, report, stop, task }
    }

    fn tell(&mut self, prefixes: &Prefixes) {
        let routes = self.neighbour.routes(prefixes);
        self.routes.send_if_modified(|before| {
            let differs = *before != routes;
            *before = routes;
            differs
        });
    }
}

/// One session's.
struct Task {
    neighbour: Neighbour,
    session: Session,
    link: Link,
    reports: watch::Sender<Report>,
    /// The last error that was logged.
    said: Option<String>,
}

enum Link {
    None,
    Connecting(Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>),
    Open { stream: TcpStream, backlog: Vec<u8> },
}

/// What a link has to say.
enum News {
    Connected(io::Result<TcpStream>),
    Bytes(Vec<u8>),
    Closed(String),
}

impl Link {
    /// Writes what waits, until there is something to be told. Nothing is lost when it is dropped.
    async fn news(&mut self) -> News {
        match self {
            Link::None => std::future::pending().await,
            Link::Connecting(connecting) => News::Connected(connecting.await),
            Link::Open { stream, backlog } => loop {
                match step(stream, backlog).await {
                    Ok(Some(bytes)) if bytes.is_empty() => {
                        return News::Closed("the neighbour closed the connection".to_owned());
                    }
                    Ok(Some(bytes)) => return News::Bytes(bytes),
                    Ok(None) => {}
                    Err(error) => return News::Closed(error.to_string()),
                }
            },
        }
    }
}

/// Waits until the socket is ready and does what can be done at once; bytes if some came, none at the end.
async fn step(stream: &TcpStream, backlog: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let interest =
        if backlog.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
    let ready = stream.ready(interest).await?;
    if ready.is_writable() && !backlog.is_empty() {
        match stream.try_write(backlog) {
            Ok(written) => drop(backlog.drain(..written)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    if ready.is_readable() || ready.is_read_closed() {
        let mut bytes = vec![0; READ];
        match stream.try_read(&mut bytes) {
            Ok(length) => {
                bytes.truncate(length);
                return Ok(Some(bytes));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

impl Task {
    async fn run(mut self, mut wanted: watch::Receiver<Routes>, mut stopped: oneshot::Receiver<String>) {
        let now = Instant::now();
        self.session.set_routes(now, wanted.borrow_and_update().clone());
        let actions = self.session.start(now);
        self.perform(actions).await;
        loop {
            let deadline = self.session.deadline();
            let actions = tokio::select! {
                biased;
                reason = &mut stopped => {
                    // A speaker that is dropped says nothing; its sessions end all the same.
                    let reason = reason.unwrap_or_else(|_| "the speaker is gone".to_owned());
                    let actions = self.session.shut_down(Instant::now(), &reason);
                    self.perform(actions).await;
                    return;
                }
                Ok(()) = wanted.changed() => {
                    let routes = wanted.borrow_and_update().clone();
                    self.session.set_routes(Instant::now(), routes)
                }
                () = sleep_until(deadline) => self.session.tick(Instant::now()),
                news = self.link.news() => self.take(news),
            };
            self.perform(actions).await;
        }
    }

    fn take(&mut self, news: News) -> Vec<Action> {
        let now = Instant::now();
        match news {
            News::Bytes(bytes) => self.session.received(now, &bytes),
            News::Closed(why) => {
                self.link = Link::None;
                self.session.closed(now, &why)
            }
            News::Connected(result) => {
                self.link = Link::None;
                match result.and_then(|stream| Ok((stream.local_addr()?, stream))) {
                    Ok((local, stream)) => {
                        self.link = Link::Open { stream, backlog: Vec::new() };
                        self.session.connected(now, local.ip())
                    }
                    Err(error) => self.session.closed(now, &format!("cannot connect: {error}")),
                }
            }
        }
    }

    async fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Connect => self.link = Link::Connecting(Box::pin(connect(self.neighbour.clone()))),
                Action::Send(bytes) => {
                    if let Link::Open { backlog, .. } = &mut self.link {
                        backlog.extend(bytes);
                    }
                }
                Action::Close => {
                    if let Link::Open { stream, backlog } = std::mem::replace(&mut self.link, Link::None) {
                        farewell(stream, backlog).await;
                    }
                }
            }
        }
        if matches!(&self.link, Link::Open { backlog, .. } if backlog.len() > LONGEST_BACKLOG) {
            self.link = Link::None;
            // It asks for a pause and nothing else: the connection is gone.
            drop(self.session.closed(Instant::now(), "the neighbour does not read what is sent"));
        }
        self.tell();
    }

    /// Tells the readers, and the log what is new in it.
    fn tell(&mut self) {
        let report = self.session.report();
        let neighbour = self.neighbour.address;
        let before = self.reports.borrow().state;
        if report.state == State::Established && before != State::Established {
            let cause = "the neighbour agreed";
            tracing::info!(%neighbour, hold_time = report.hold_time, cause, "BGP session established");
            self.said = None;
        } else if let Some(error) = &report.last_error
            && (before == State::Established || self.said.as_ref() != Some(error))
            && report.state == State::Idle
        {
            tracing::warn!(%neighbour, cause = %error, "no BGP session");
            self.said = Some(error.clone());
        }
        self.reports.send_replace(report.clone());
    }
}

async fn connect(neighbour: Neighbour) -> io::Result<TcpStream> {
    let Neighbour { address, source, key, distance, .. } = neighbour;
    prepare(address, source, key.as_ref(), distance)?.connect(address).await
}

/// Sends what waits, and closes so that it arrives: closing a socket with unread bytes would reset the
/// connection, and the last message with it.
async fn farewell(mut stream: TcpStream, backlog: Vec<u8>) {
    let polite = async {
        stream.write_all(&backlog).await?;
        stream.shutdown().await?;
        let mut rest = [0; READ];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // Who does not want to hear it is not waited for.
    let _ = tokio::time::timeout(FAREWELL, polite).await;
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
