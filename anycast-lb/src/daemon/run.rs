//! The loop: event → [`Core::step`] → actions → drivers, until told to leave.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use anycast_lb_common::abi::Observer;
use anycast_lb_health::Change as Verdict;
use anycast_lb_routing::announce::gate;
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};

use super::Failure;
use super::core::{Action, Core, Event, HealthReport, Order, Origin, Outcome, Ticket};
use super::ports::{
    AnnouncePort, Change, ConfigPort, DataplanePort, FlowsPort, HealthPort, HostPort, ResolverPort,
};
use crate::dataplane::Start;
use crate::health::wanted;
use crate::membership::{Health, Join, Key};
use crate::neighbour::Event as NeighbourEvent;

/// Requests that may wait before callers are slowed down.
const REQUEST_BACKLOG: usize = 64;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP.
    Reload,
    /// SIGTERM or SIGINT.
    Terminate,
}

/// All drivers.
pub struct Drivers {
    /// Maps and programs.
    pub dataplane: Box<dyn DataplanePort>,
    /// Configuration files.
    pub config: Box<dyn ConfigPort>,
    /// Next hops.
    pub resolver: Box<dyn ResolverPort>,
    /// What backends hold.
    pub flows: Box<dyn FlowsPort>,
    /// Who is told what is announced.
    pub announce: Box<dyn AnnouncePort>,
    /// Checks of backends.
    pub health: Box<dyn HealthPort>,
    /// Service manager and API.
    pub host: Box<dyn HostPort>,
}

/// What a reader may look at; handed to [`Handle::inspect`].
pub struct View<'a> {
    /// Decisions so far.
    pub core: &'a Core,
    /// Maps and programs: counters, attachments, trace.
    pub dataplane: &'a mut dyn DataplanePort,
    /// Configuration files.
    pub config: &'a dyn ConfigPort,
    /// Who is told what is announced.
    pub announce: &'a dyn AnnouncePort,
    /// Host checks.
    pub host: &'a dyn HostPort,
    /// Whether the data plane was found pinned.
    pub start: Start,
    /// When this daemon began.
    pub since: Instant,
}

type Inspection = Box<dyn FnOnce(&mut View<'_>) + Send>;

/// A request to the loop.
enum Request {
    Change { order: Order, reply: oneshot::Sender<Result<Outcome, Failure>> },
    Health { report: HealthReport, reply: oneshot::Sender<Result<Outcome, Failure>> },
    Maintenance { drain: bool, reply: oneshot::Sender<Result<Outcome, Failure>> },
    Verdicts(BTreeMap<IpNet, gate::Verdict>),
    Checked(BTreeMap<Key, Verdict>),
    Listed(Vec<Join>),
    Inspect(Inspection),
}

/// By which the API reaches the loop.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
}

/// The loop's end of a [`Handle`].
pub struct Requests(mpsc::Receiver<Request>);

impl Handle {
    /// A handle and the end that [`Daemon::run`] takes.
    pub fn new() -> (Self, Requests) {
        let (requests, receiver) = mpsc::channel(REQUEST_BACKLOG);
        (Handle { requests }, Requests(receiver))
    }

    /// Asks for a change and waits until it is in force and written.
    ///
    /// # Errors
    /// It was refused or failed; nothing has changed then.
    pub async fn change(
        &self,
        change: Change,
        expect_generation: Option<u64>,
        dry_run: bool,
    ) -> Result<Outcome, Failure> {
        let (reply, answer) = oneshot::channel();
        // The loop puts its own ticket in.
        let order = Order { origin: Origin::Caller(0), change, expect_generation, dry_run };
        let request = Request::Change { order, reply };
        self.requests.send(request).await.map_err(|_| Failure::unavailable())?;
        answer.await.map_err(|_| Failure::unavailable())?
    }

    /// Tells how a backend is (with no `pool`: in all that have it), and waits until that is in force.
    /// It is not written down: a daemon that starts knows nothing of health.
    ///
    /// # Errors
    /// There is no such backend, or the data plane refused.
    pub async fn health(
        &self,
        pool: Option<String>,
        address: IpAddr,
        health: Health,
    ) -> Result<Outcome, Failure> {
        let (reply, answer) = oneshot::channel();
        // The loop puts a ticket in.
        let report = HealthReport { ticket: None, pool, address, health };
        let request = Request::Health { report, reply };
        self.requests.send(request).await.map_err(|_| Failure::unavailable())?;
        answer.await.map_err(|_| Failure::unavailable())?
    }

    /// Drains this node, or puts it back into service.
    ///
    /// # Errors
    /// It is a backend.
    pub async fn maintenance(&self, drain: bool) -> Result<Outcome, Failure> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Maintenance { drain, reply };
        self.requests.send(request).await.map_err(|_| Failure::unavailable())?;
        answer.await.map_err(|_| Failure::unavailable())?
    }

    /// Tells what RPKI says of these prefixes; of others what it said holds.
    ///
    /// # Errors
    /// The daemon is stopping.
    pub async fn verdicts(&self, verdicts: BTreeMap<IpNet, gate::Verdict>) -> Result<(), Failure> {
        self.requests.send(Request::Verdicts(verdicts)).await.map_err(|_| Failure::unavailable())
    }

    /// Tells what the checks of these backends have come to. Verdicts that wait are put in force together.
    ///
    /// # Errors
    /// The daemon is stopping.
    pub async fn checked(&self, verdicts: BTreeMap<Key, Verdict>) -> Result<(), Failure> {
        self.requests.send(Request::Checked(verdicts)).await.map_err(|_| Failure::unavailable())
    }

    /// Tells that all other nodes know of these joins, and list the backends.
    ///
    /// # Errors
    /// The daemon is stopping.
    pub async fn listed(&self, joins: Vec<Join>) -> Result<(), Failure> {
        self.requests.send(Request::Listed(joins)).await.map_err(|_| Failure::unavailable())
    }

    /// Runs `look` inside the loop.
    ///
    /// # Errors
    /// The daemon is stopping.
    pub async fn inspect<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut View<'_>) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let inspection: Inspection = Box::new(move |view| {
            // A caller that has gone away needs no answer.
            let _ = reply.send(look(view));
        });
        self.requests.send(Request::Inspect(inspection)).await.map_err(|_| Failure::unavailable())?;
        answer.await.map_err(|_| Failure::unavailable())
    }
}

/// A daemon ready to run.
pub struct Daemon {
    core: Core,
    drivers: Drivers,
    start: Start,
    since: Instant,
    waiting: HashMap<Ticket, oneshot::Sender<Result<Outcome, Failure>>>,
    next_ticket: Ticket,
}

/// What wakes the loop.
enum Wake {
    Request(Request),
    Event(Event),
}

impl Daemon {
    /// Puts the parts together.
    pub fn new(core: Core, drivers: Drivers, start: Start) -> Self {
        Daemon { core, drivers, start, since: Instant::now(), waiting: HashMap::new(), next_ticket: 1 }
    }

    /// Runs until a signal ends it, or the start fails.
    ///
    /// # Errors
    /// The start failed.
    pub async fn run(
        mut self,
        requests: Requests,
        mut neighbours: mpsc::Receiver<NeighbourEvent>,
        mut signals: mpsc::Receiver<Signal>,
    ) -> Result<(), Failure> {
        let mut requests = requests.0;
        let actions = self.core.start(Instant::now());
        if let Some(result) = self.perform_all(actions) {
            return result;
        }
        loop {
            let deadline = self.core.deadline();
            let wake = tokio::select! {
                // In this order: what the world says before what somebody wants.
                biased;
                signal = signals.recv() => match signal {
                    Some(Signal::Reload) => Wake::Event(Event::Order(reload_by_signal())),
                    Some(Signal::Terminate) | None => Wake::Event(Event::Terminate),
                },
                Some(event) = neighbours.recv() => Wake::Event(Event::Neighbour(event)),
                () = sleep_until(deadline) => Wake::Event(Event::Timer),
                Some(request) = requests.recv() => Wake::Request(request),
            };
            let event = match wake {
                Wake::Event(event) => event,
                Wake::Request(Request::Inspect(look)) => {
                    look(&mut self.view());
                    continue;
                }
                Wake::Request(Request::Change { mut order, reply }) => {
                    order.origin = Origin::Caller(self.ticket(reply));
                    Event::Order(order)
                }
                Wake::Request(Request::Maintenance { drain, reply }) => {
                    Event::Maintenance { drain, ticket: self.ticket(reply) }
                }
                Wake::Request(Request::Verdicts(verdicts)) => Event::Verdicts(verdicts),
                Wake::Request(Request::Checked(verdicts)) => Event::Checked(verdicts),
                Wake::Request(Request::Listed(joins)) => Event::Listed(joins),
                Wake::Request(Request::Health { mut report, reply }) => {
                    report.ticket = Some(self.ticket(reply));
                    Event::Health(report)
                }
            };
            let actions = self.core.step(Instant::now(), event);
            if let Some(result) = self.perform_all(actions) {
                return result;
            }
        }
    }

    fn ticket(&mut self, reply: oneshot::Sender<Result<Outcome, Failure>>) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.insert(ticket, reply);
        ticket
    }

    fn view(&mut self) -> View<'_> {
        View {
            core: &self.core,
            dataplane: self.drivers.dataplane.as_mut(),
            config: self.drivers.config.as_ref(),
            announce: self.drivers.announce.as_ref(),
            host: self.drivers.host.as_ref(),
            start: self.start,
            since: self.since,
        }
    }

    /// Performs actions and what follows from their results; the daemon's result if it is to leave.
    fn perform_all(&mut self, actions: Vec<Action>) -> Option<Result<(), Failure>> {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            let answer = match action {
                Action::Exit(result) => {
                    // Nobody will read: packets need not be reported.
                    if let Err(error) = self.drivers.dataplane.observe(&Observer::default()) {
                        tracing::warn!(%error, "the programs go on reporting packets that nobody reads");
                    }
                    self.drivers.host.stopping();
                    return Some(result);
                }
                Action::Reply(ticket, result) => {
                    if let Some(reply) = self.waiting.remove(&ticket) {
                        // A caller that has gone away needs no answer.
                        let _ = reply.send(result);
                    }
                    None
                }
                other => self.drivers.perform(other),
            };
            if let Some(event) = answer {
                actions.extend(self.core.step(Instant::now(), event));
            }
        }
        None
    }
}

impl Drivers {
    /// Does one thing; the event that answers it, if it has one.
    pub(super) fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Prepare(change) => return Some(Event::Prepared(self.config.prepare(&change))),
            Action::Apply(in_force) => return Some(Event::Applied(self.dataplane.apply(&in_force))),
            Action::AskFlows(backends) => {
                let ask = |backend| Some((backend, self.flows.remaining_flows(backend)?));
                return Some(Event::Flows(backends.into_iter().filter_map(ask).collect()));
            }
            Action::Attach(interfaces) => {
                let result = self.dataplane.attach(&interfaces);
                if result.is_ok() {
                    for a in self.dataplane.attachments() {
                        let mode = a.mode.map(tracing::field::display);
                        let reason = a.reason.as_deref();
                        tracing::info!(interface = %a.interface, mode, cause = reason.unwrap_or("configured"), "attached");
                    }
                }
                return Some(Event::Attached(result));
            }
            Action::Commit => return Some(Event::Committed(self.config.commit())),
            Action::Discard => self.config.discard(),
            Action::SetChecks(config) => {
                self.host.in_force(&config);
                let numbers = self.dataplane.member_numbers();
                let number = |pool: &str, backend| numbers.get(&(pool.to_owned(), backend)).copied();
                self.health.set_checks(wanted(&config, self.dataplane.can_probe(), number));
            }
            Action::SetTargets(targets) => self.resolver.set_targets(targets),
            Action::SetNextHop(backend, resolution) => {
                if let Err(failure) = self.dataplane.set_next_hop(backend, &resolution) {
                    tracing::error!(%backend, cause = %failure, "next hop not set");
                }
            }
            Action::SetLocals(locals) => {
                if let Err(failure) = self.dataplane.set_locals(&locals) {
                    tracing::error!(cause = %failure, "own addresses not set");
                }
            }
            Action::LookAtAttachments => {
                let gone = self.dataplane.attachments().into_iter().find(|a| a.mode.is_none());
                let obstacle = gone.map(|a| {
                    let why = a.reason.unwrap_or_else(|| "it is not attached".to_owned());
                    format!("the data plane is not on {}: {why}", a.interface)
                });
                return Some(Event::Looked(obstacle));
            }
            Action::ConfigureAnnouncing(announcing) => self.announce.configure(&announcing),
            Action::Announce(announcements) => self.announce.announce(&announcements),
            Action::StopAnnouncing(reason) => self.announce.stop(&reason),
            Action::RememberDrain(drained) => self.announce.remember_drain(drained),
            Action::Reloading(begins) => self.host.reloading(begins),
            Action::Ready => self.host.ready(),
            // Those need the loop itself.
            Action::Reply(..) | Action::Exit(_) => {}
        }
        None
    }
}

fn reload_by_signal() -> Order {
    Order { origin: Origin::Signal, change: Change::Reload, expect_generation: None, dry_run: false }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
