//! The task that reads questions and sends answers.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anycast_lb_common::abi::{MAX_QUESTION, Question};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::responder::{Decision, Reply, Responder, Settings, Silence};
use crate::sender::Sender;

/// Between two lines of the log about answers that were not sent.
const SAID_EVERY: Duration = Duration::from_secs(60);
/// Backends that are looked up at once.
const LOOKUPS_AT_ONCE: usize = 16;
/// How long a client waits for a backend's name; it gets the node's in any case.
const LOOKUP_TIME: Duration = Duration::from_millis(500);

/// Looks up which backend a UDP packet from the first address to the second goes to.
pub type Lookup =
    Arc<dyn Fn(SocketAddr, SocketAddr) -> Pin<Box<dyn Future<Output = Option<IpAddr>> + Send>> + Send + Sync>;

/// What became of questions.
#[derive(Debug, Default)]
pub struct Counts {
    answered: AtomicU64,
    odd: AtomicU64,
    limited: AtomicU64,
    unsent: AtomicU64,
}

/// The counters of [`Counts`] at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Answers sent.
    pub answered: u64,
    /// Questions that are none, or from where nobody can have asked.
    pub odd: u64,
    /// Questions beyond the limit.
    pub limited: u64,
    /// Answers that could not be sent.
    pub unsent: u64,
}

impl Counts {
    /// All of them.
    pub fn read(&self) -> Counted {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            answered: read(&self.answered),
            odd: read(&self.odd),
            limited: read(&self.limited),
            unsent: read(&self.unsent),
        }
    }
}

/// Answers questions until there are no more. Settings may change at any time; those of the moment count.
///
/// The queue of questions is bounded by who fills it; here no question waits for another: backends are looked
/// up beside, a bounded number at a time, and not at all where that takes too long.
pub async fn run(
    mut questions: mpsc::Receiver<Question>,
    settings: watch::Receiver<Arc<Settings>>,
    lookup: Lookup,
    counts: Arc<Counts>,
) {
    let mut responder = Responder::new(Instant::now());
    let outlet = Arc::new(Outlet { sender: Mutex::default(), counts });
    let places = Arc::new(Semaphore::new(LOOKUPS_AT_ONCE));
    while let Some(question) = questions.recv().await {
        let frame = &question.bytes[..(question.len as usize).min(MAX_QUESTION)];
        let settings = Arc::clone(&settings.borrow());
        match responder.take(Instant::now(), frame, &settings) {
            Decision::Silence(Silence::Odd) => add(&outlet.counts.odd),
            Decision::Silence(Silence::Limited) => add(&outlet.counts.limited),
            Decision::Answer(reply) => outlet.send(&reply, &settings, None),
            Decision::NameBackend(reply) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let (outlet, lookup) = (Arc::clone(&outlet), Arc::clone(&lookup));
                    tokio::spawn(async move {
                        let asked = tokio::time::timeout(LOOKUP_TIME, lookup(reply.client, reply.server));
                        outlet.send(&reply, &settings, asked.await.ok().flatten());
                        drop(place);
                    });
                }
                Err(_) => outlet.send(&reply, &settings, None),
            },
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

struct Outlet {
    sender: Mutex<Sending>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Sending {
    sender: Sender,
    /// When it was last said that an answer was not sent, and how many were not since then: anybody may ask from
    /// where no answer gets to.
    said: Option<Instant>,
    unsaid: u64,
}

impl Outlet {
    fn send(&self, reply: &Reply, settings: &Settings, backend: Option<IpAddr>) {
        let Some(packet) = reply.packet(settings, backend) else {
            add(&self.counts.odd);
            return;
        };
        let mut sending = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        match sending.sender.send(reply.client, &packet) {
            Ok(()) => {
                add(&self.counts.answered);
            }
            Err(error) => {
                add(&self.counts.unsent);
                sending.unsaid += 1;
                if sending.said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
                    let answers = std::mem::take(&mut sending.unsaid);
                    tracing::warn!(client = %reply.client, answers, cause = %error, "the name of this node is not told");
                    sending.said = Some(Instant::now());
                }
            }
        }
    }
}
