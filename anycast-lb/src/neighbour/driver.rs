//! The loop between the kernel, the pure state and the receiver of the events.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at};

use super::fact::NeighbourKey;
use super::netlink::{self, Kernel, RequestError};
use super::state::{Action, State};
use super::{Command, Event, message};

/// Changes come in bursts (a link that goes down takes its routes and neighbours along): they are
/// worked on together once the first is this old.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// How often the kernel is reminded of entries that it does not manage by itself; the interval at
/// which it probes managed ones (`interval_probe_time_ms`).
const REMIND: Duration = Duration::from_secs(5);
/// How often all routes are looked up without a reason: learned path MTUs are not reported.
const REVIEW: Duration = Duration::from_secs(60);
/// First and longest wait before targets that cannot be reached are tried again. The first is short:
/// a neighbour with a new MAC address fails when it is probed at the old one, and answers when asked.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

type Messages = Pin<Box<dyn Stream<Item = NetlinkPayload<RouteNetlinkMessage>> + Send>>;

/// What has to be done after the debounce, in growing order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    /// Facts changed; decide anew.
    Settle,
    /// New targets need their first lookup.
    LookUpNew,
    /// Any route may have changed.
    LookUpAll,
    /// Events were lost.
    Resync,
}

pub(super) struct Driver {
    kernel: Kernel,
    messages: Messages,
    state: State,
    commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::Sender<Event>,
    /// Events the channel had no room for yet.
    outbox: VecDeque<Event>,
    due: Option<(Work, Instant)>,
    retry: Option<(Duration, Instant)>,
}

impl Driver {
    /// Opens the sockets.
    pub(super) fn open(
        sources: &[IpAddr],
        commands: mpsc::UnboundedReceiver<Command>,
        events: mpsc::Sender<Event>,
    ) -> io::Result<Self> {
        Ok(Driver {
            // Listening comes first, so that nothing is missed between the snapshot and the first event.
            messages: Box::pin(netlink::subscribe()?),
            kernel: netlink::open()?,
            state: State::new(sources),
            commands,
            events,
            outbox: VecDeque::new(),
            due: Some((Work::Resync, Instant::now())),
            retry: None,
        })
    }

    /// Runs until the resolver or the receiver of the events is gone.
    pub(super) async fn run(mut self) {
        let mut remind = interval_at(Instant::now() + REMIND, REMIND);
        let mut review = interval_at(Instant::now() + REVIEW, REVIEW);
        // A permit borrows the channel while `self` changes.
        let events = self.events.clone();
        let done = loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::SetTargets(targets)) => {
                        self.state.set_targets(targets);
                        self.soon(Work::LookUpNew, Duration::ZERO);
                    }
                    Some(Command::Shutdown(done)) => break Some(done),
                    None => break None,
                },
                message = self.messages.next() => match message {
                    Some(payload) => self.take(payload),
                    None => {
                        tracing::error!("the kernel's reports about routes and neighbours ended");
                        break None;
                    }
                },
                permit = events.reserve(), if !self.outbox.is_empty() => match permit {
                    Ok(permit) => if let Some(event) = self.outbox.pop_front() {
                        permit.send(event);
                    },
                    Err(_) => break None,
                },
                work = at(self.due) => {
                    self.due = None;
                    self.work(work).await;
                }
                delay = at(self.retry) => self.try_again(delay).await,
                _ = remind.tick() => {
                    let actions = self.state.kick_unmanaged();
                    self.act(actions).await;
                }
                _ = review.tick() => self.soon(Work::LookUpAll, DEBOUNCE),
            }
        };
        let actions = self.state.release_all();
        self.act(actions).await;
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    /// Takes in what the kernel reports.
    fn take(&mut self, payload: NetlinkPayload<RouteNetlinkMessage>) {
        let message = match payload {
            NetlinkPayload::InnerMessage(message) => message,
            NetlinkPayload::Overrun(_) => {
                tracing::warn!("netlink reports were lost; reading all tables again");
                return self.soon(Work::Resync, DEBOUNCE);
            }
            _ => return,
        };
        let work = match &message {
            RouteNetlinkMessage::NewLink(m) => match message::link(m) {
                Some((index, link)) => {
                    self.state.link(index, link);
                    Work::LookUpAll
                }
                None => return,
            },
            RouteNetlinkMessage::DelLink(m) => match message::link(m) {
                Some((index, _)) => {
                    self.state.link_gone(index);
                    Work::LookUpAll
                }
                None => return,
            },
            RouteNetlinkMessage::NewAddress(m) => match message::address(m) {
                Some((index, address, usable)) => {
                    if usable {
                        self.state.address(index, address);
                    } else {
                        self.state.address_gone(index, address);
                    }
                    Work::LookUpAll
                }
                None => return,
            },
            RouteNetlinkMessage::DelAddress(m) => match message::address(m) {
                Some((index, address, _)) => {
                    self.state.address_gone(index, address);
                    Work::LookUpAll
                }
                None => return,
            },
            RouteNetlinkMessage::NewNeighbour(m) => match message::neighbour(m) {
                Some((key, neighbour)) => {
                    self.state.neighbour(key, neighbour);
                    Work::Settle
                }
                None => return,
            },
            RouteNetlinkMessage::DelNeighbour(m) => match message::neighbour(m) {
                Some((key, _)) => {
                    self.state.neighbour_gone(key);
                    Work::Settle
                }
                None => return,
            },
            RouteNetlinkMessage::NewRoute(m) | RouteNetlinkMessage::DelRoute(m) => match message::prefix(m) {
                Some(prefix) if self.state.concerns(prefix) => Work::LookUpAll,
                _ => return,
            },
            RouteNetlinkMessage::NewRule(_) | RouteNetlinkMessage::DelRule(_) => Work::LookUpAll,
            _ => return,
        };
        self.soon(work, DEBOUNCE);
    }

    /// Plans work; the larger of what is planned already and this is done at the earlier time.
    fn soon(&mut self, work: Work, delay: Duration) {
        let when = Instant::now() + delay;
        self.due = Some(match self.due {
            Some((planned, earlier)) => (planned.max(work), earlier.min(when)),
            None => (work, when),
        });
    }

    async fn work(&mut self, work: Work) {
        if work == Work::Resync {
            match self.kernel.snapshot().await {
                Ok(snapshot) => {
                    self.state.replace(snapshot.links, snapshot.addresses, snapshot.neighbours);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot read links, addresses and neighbours; trying again");
                    return self.soon(Work::Resync, RETRY.0);
                }
            }
        }
        match work {
            Work::Settle => {}
            Work::LookUpNew => self.look_up(self.state.unanswered()).await,
            Work::LookUpAll | Work::Resync => self.look_up(self.state.targets()).await,
        }
        self.settle().await;
    }

    async fn try_again(&mut self, delay: Duration) {
        self.look_up(self.state.unresolved()).await;
        let actions = self.state.kick_unresolved();
        self.act(actions).await;
        let delay = (2 * delay).min(RETRY.1);
        self.retry = Some((delay, Instant::now() + delay));
        self.settle().await;
    }

    async fn look_up(&mut self, targets: Vec<IpAddr>) {
        let questions = targets.into_iter().map(|t| (t, self.state.lookup_source(t))).collect();
        for (target, answer) in self.kernel.routes(questions).await {
            self.state.answer(target, answer);
        }
    }

    async fn settle(&mut self) {
        let actions = self.state.settle();
        let news = actions.iter().any(|a| matches!(a, Action::Emit(Event::NextHop { .. })));
        self.act(actions).await;
        if self.state.unresolved().is_empty() {
            self.retry = None;
        } else if news || self.retry.is_none() {
            self.retry = Some((RETRY.0, Instant::now() + RETRY.0));
        }
    }

    async fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Emit(event) => self.outbox.push_back(event),
                Action::Manage { key, create } => {
                    if let Err(error) = self.kernel.manage(key, create).await {
                        self.not_managed(key, &error);
                    }
                }
                Action::Release { key, delete } => {
                    let result =
                        if delete { self.kernel.delete(key).await } else { self.kernel.unmanage(key).await };
                    // Gone already, alone or with its interface.
                    let gone = |error: &RequestError| {
                        matches!(error.errno(), Some(libc::ENOENT | libc::ENODEV | libc::ENXIO))
                    };
                    if let Err(error) = result
                        && !gone(&error)
                    {
                        tracing::warn!(address = %key.address, %error, "cannot release the neighbour entry");
                    }
                }
            }
        }
    }

    fn not_managed(&mut self, key: NeighbourKey, error: &RequestError) {
        match error.errno() {
            // Somebody was faster: look again, then decide again.
            Some(libc::EEXIST | libc::ENOENT) => {
                self.state.disown(key);
                self.soon(Work::Resync, DEBOUNCE);
            }
            _ => tracing::warn!(address = %key.address, %error, "cannot have the neighbour resolved"),
        }
    }
}

/// Waits for a moment and gives what is to be done then; for ever if there is nothing.
async fn at<T>(due: Option<(T, Instant)>) -> T {
    match due {
        Some((what, when)) => {
            tokio::time::sleep_until(when).await;
            what
        }
        None => std::future::pending().await,
    }
}
