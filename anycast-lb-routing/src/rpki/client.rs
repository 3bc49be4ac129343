//! Follows one validator over RTR (RFC 8210; RFC 6810 where it speaks nothing later), with the `rpki` crate's
//! client on a [`Guarded`] connection.
//!
//! Data are changed as a whole: by a complete answer, or not at all. A session that breaks is followed by another
//! one, which asks for the changes since; the data stay meanwhile.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use ::rpki::rtr::Action;
use ::rpki::rtr::client::{Client, PayloadError, PayloadTarget, PayloadUpdate};
use ::rpki::rtr::payload::{Payload, Timing};
use ::rpki::rtr::state::State;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::stream::{Guarded, Patience};
use super::validity::{Vrp, VrpSet};
use crate::keepalive::keep_alive;

#[cfg(test)]
mod tests;

/// VRPs that a validator may have: some six times as many as there are in the world.
pub const MOST_VRPS: usize = 4_000_000;

/// For a connection to be made.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// Between two queries, however often the validator says that it has something new.
const PAUSE: Duration = Duration::from_secs(1);
/// Before the first and the following attempts after a session broke.
const BACKOFF: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
/// Versions in the order in which they are tried: one who does not know the first should say so (RFC 8210 §7), and
/// some only hang up.
const VERSIONS: [u8; 3] = [2, 1, 0];

/// A validator's data, shared with who looks things up.
pub type Data = Arc<RwLock<VrpSet>>;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// Nobody answers at that address.
    #[error("no connection within {} s", CONNECT_PATIENCE.as_secs())]
    ConnectTimeout,
    /// It hung up.
    #[error("the validator closed the connection")]
    Closed,
    /// It sent what is not RTR, or took too long.
    #[error("{0}")]
    Session(io::Error),
    /// Its data are not what a validator may have.
    #[error("{0}")]
    Data(Refusal),
}

/// Why data were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More than there is room for.
    #[error("the validator sent more than {0} VRPs")]
    TooMany(usize),
    /// RFC 8210 §5.6, error 7.
    #[error("the validator announced a VRP twice")]
    Duplicate,
    /// RFC 8210 §5.6, error 6.
    #[error("the validator withdrew a VRP that it had not announced")]
    Unknown,
    /// A prefix or a length that cannot be.
    #[error("the validator sent a VRP that cannot be")]
    Corrupt,
}

impl Refusal {
    fn code(self) -> PayloadError {
        match self {
            Refusal::TooMany(_) => PayloadError::Internal,
            Refusal::Duplicate => PayloadError::DuplicateAnnounce,
            Refusal::Unknown => PayloadError::UnknownWithdraw,
            Refusal::Corrupt => PayloadError::Corrupt,
        }
    }
}

/// What a client tells.
#[derive(Debug)]
pub enum Event {
    /// The validator has answered; its [`Data`] are what it has now.
    Synced(Synced),
    /// The session broke.
    Lost(ClientError),
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synced {
    /// How many VRPs there are.
    pub vrps: usize,
    /// How long they count without a further answer (RFC 8210 §6).
    pub expire: Duration,
    /// The validator's serial number of these data.
    pub serial: u32,
}

/// Follows the validator at `address` for ever, and tells what happens. Data of more than `most` VRPs are refused.
pub async fn follow(address: SocketAddr, most: usize, data: &Data, mut tell: impl FnMut(Event)) {
    let mut resume = None;
    let mut version = VERSIONS.iter().copied().cycle();
    let mut speaking = version.next().unwrap_or_default();
    let mut pause = *BACKOFF.start();
    loop {
        let mut answered = false;
        let error = match connect(address).await {
            Ok(stream) => {
                let stream = Guarded::new(stream, Patience::default());
                let mut session = Session::new(stream, speaking, resume, most, data);
                let error = loop {
                    match session.step().await {
                        Ok(synced) => {
                            answered = true;
                            tell(Event::Synced(synced));
                            sleep(PAUSE).await;
                        }
                        Err(error) => break error,
                    }
                };
                resume = session.resume;
                if !answered {
                    speaking = version.next().unwrap_or_default();
                    // Serial numbers belong to a version.
                    resume = None;
                }
                error
            }
            Err(error) => error,
        };
        tell(Event::Lost(error));
        pause = if answered { *BACKOFF.start() } else { pause };
        sleep(pause).await;
        pause = (pause * 2).min(*BACKOFF.end());
    }
}

/// Asks the validator at `address` once for all that it has.
///
/// # Errors
/// It cannot be reached, or speaks no version that we speak.
pub async fn fetch(address: SocketAddr, most: usize) -> Result<VrpSet, ClientError> {
    let mut last = ClientError::ConnectTimeout;
    for version in VERSIONS {
        let data = Data::default();
        let stream = Guarded::new(connect(address).await?, Patience::default());
        match Session::new(stream, version, None, most, &data).step().await {
            Ok(_) => return Ok(std::mem::take(&mut *data.write().unwrap_or_else(PoisonError::into_inner))),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect(address: SocketAddr) -> Result<TcpStream, ClientError> {
    let connected = timeout(CONNECT_PATIENCE, TcpStream::connect(address)).await;
    let stream = connected.map_err(|_| ClientError::ConnectTimeout)?.map_err(ClientError::Connect)?;
    keep_alive(&stream).map_err(|e| ClientError::Connect(e.into()))?;
    Ok(stream)
}

/// One session.
struct Session<S> {
    client: Client<Guarded<S>, Target>,
    /// From where the next session may go on; none = from the beginning.
    resume: Option<State>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    fn new(stream: Guarded<S>, version: u8, resume: Option<State>, most: usize, data: &Data) -> Self {
        let target = Target { data: Arc::clone(data), most, why: Arc::default(), timing: Timing::default() };
        let client = Client::with_initial_version(version, stream, target, resume);
        Session { client, resume }
    }

    /// Waits until the next query is due or the validator has something new, asks, and puts the answer in force.
    async fn step(&mut self) -> Result<Synced, ClientError> {
        if let Err(error) = self.client.step().await {
            if let Some(why) = self.client.target().refusal() {
                self.resume = None;
                return Err(ClientError::Data(why));
            }
            return Err(match error.kind() {
                io::ErrorKind::UnexpectedEof => ClientError::Closed,
                // The library says so about prefixes and lengths that cannot be.
                io::ErrorKind::Other if error.to_string().is_empty() => ClientError::Data(Refusal::Corrupt),
                _ => ClientError::Session(error),
            });
        }
        self.resume = self.client.state();
        let target = self.client.target();
        Ok(Synced {
            vrps: target.data.read().unwrap_or_else(PoisonError::into_inner).len(),
            expire: Duration::from_secs(target.timing.expire.into()),
            serial: self.client.state().map_or(0, |s| s.serial().0),
        })
    }
}

/// Where the client puts what it gets.
struct Target {
    data: Data,
    most: usize,
    /// Set when data are refused; the library's own error does not say.
    why: Arc<Mutex<Option<Refusal>>>,
    timing: Timing,
}

impl Target {
    fn refusal(&self) -> Option<Refusal> {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer that is not complete yet.
struct Update {
    content: Content,
    most: usize,
    why: Arc<Mutex<Option<Refusal>>>,
}

enum Content {
    All(VrpSet),
    Changes(Vec<(Action, Vrp)>),
}

fn refuse(why: &Mutex<Option<Refusal>>, refusal: Refusal) -> PayloadError {
    *why.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
    refusal.code()
}

impl PayloadTarget for Target {
    type Update = Update;

    fn start(&mut self, reset: bool) -> Update {
        let content = if reset { Content::All(VrpSet::new()) } else { Content::Changes(Vec::new()) };
        Update { content, most: self.most, why: Arc::clone(&self.why) }
    }

    fn apply(&mut self, update: Update, timing: Timing) -> Result<(), PayloadError> {
        let mut data = self.data.write().unwrap_or_else(PoisonError::into_inner);
        match update.content {
            Content::All(all) => *data = all,
            Content::Changes(changes) => {
                change(&mut data, &changes, self.most).map_err(|refusal| refuse(&self.why, refusal))?;
            }
        }
        self.timing = timing;
        Ok(())
    }
}

impl PayloadUpdate for Update {
    fn push_update(&mut self, action: Action, payload: Payload) -> Result<(), PayloadError> {
        let Some(origin) = payload.to_origin() else { return Ok(()) };
        let prefix: Option<IpNet> = match origin.prefix.addr() {
            IpAddr::V4(a) => ipnet::Ipv4Net::new(a, origin.prefix.prefix_len()).ok().map(IpNet::from),
            IpAddr::V6(a) => ipnet::Ipv6Net::new(a, origin.prefix.prefix_len()).ok().map(IpNet::from),
        };
        let max_length = origin.prefix.resolved_max_len();
        let vrp = prefix.and_then(|prefix| Vrp::new(prefix, max_length, origin.asn.into_u32()));
        let Some(vrp) = vrp else { return Err(refuse(&self.why, Refusal::Corrupt)) };
        let taken = match &mut self.content {
            Content::All(_) if action == Action::Withdraw => Err(Refusal::Unknown),
            Content::All(all) if all.len() >= self.most => Err(Refusal::TooMany(self.most)),
            Content::All(all) => all.insert(vrp).then_some(()).ok_or(Refusal::Duplicate),
            // A change may take all out and put as many in.
            Content::Changes(changes) if changes.len() >= 2 * self.most => Err(Refusal::TooMany(self.most)),
            Content::Changes(changes) => {
                changes.push((action, vrp));
                Ok(())
            }
        };
        taken.map_err(|refusal| refuse(&self.why, refusal))
    }
}

/// Puts all changes in force, or none.
fn change(data: &mut VrpSet, changes: &[(Action, Vrp)], most: usize) -> Result<(), Refusal> {
    let mut done = 0;
    let mut refusal = None;
    for (action, vrp) in changes {
        refusal = match action {
            Action::Announce if !data.insert(*vrp) => Some(Refusal::Duplicate),
            Action::Withdraw if !data.remove(*vrp) => Some(Refusal::Unknown),
            _ => None,
        };
        if refusal.is_some() {
            break;
        }
        done += 1;
    }
    if refusal.is_none() && data.len() > most {
        refusal = Some(Refusal::TooMany(most));
    }
    let Some(refusal) = refusal else { return Ok(()) };
    for (action, vrp) in changes[..done].iter().rev() {
        match action {
            Action::Announce => data.remove(*vrp),
            Action::Withdraw => data.insert(*vrp),
        };
    }
    Err(refusal)
}
