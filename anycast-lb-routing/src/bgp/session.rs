//! The session with one neighbour (RFC 4271 §8), without I/O: bytes and the time in, actions out.
//!
//! ```text
//!            start, or the pause is over           connected            OPEN           KEEPALIVE
//!   Idle ────────────────────────────> Connect ────────────> OpenSent ───> OpenConfirm ────────> Established
//!     ^                                   │                     │               │                    │
//!     └───────────────────────────────────┴─────────────────────┴───────────────┴────────────────────┘
//!                 whatever goes wrong; the pause grows from 1 s to 16 s until a session has lasted
//! ```
//!
//! *Active* is missing: connections are opened here and never accepted.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::decode::{Decoder, Incoming, Notification, Open};
use super::message::{self, Dialect, NextHops};
use super::route::Routes;

/// The first pause after a failure; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);
/// A session that lasted this long was none of a row of failures.
const LASTED: Duration = Duration::from_secs(30);
/// How long a connection may take to be made.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long the neighbour may take to say OPEN. RFC 4271 §8.2.2 suggests 4 minutes for a router with a full
/// table; whoever has nothing to learn need not wait for a peer that hangs.
const OPEN_PATIENCE: Duration = Duration::from_secs(30);
/// The shortest hold time there is (§4.2).
pub const SHORTEST_HOLD: u16 = 3;

/// Where a session stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Pausing between attempts, or stopped.
    #[default]
    Idle,
    /// TCP is being connected.
    Connect,
    /// Our OPEN is sent.
    OpenSent,
    /// Theirs was taken; the KEEPALIVE that confirms ours is awaited.
    OpenConfirm,
    /// Routes are announced.
    Established,
}

impl State {
    /// The word for it, as in RFC 4271.
    pub const fn name(self) -> &'static str {
        match self {
            State::Idle => "Idle",
            State::Connect => "Connect",
            State::OpenSent => "OpenSent",
            State::OpenConfirm => "OpenConfirm",
            State::Established => "Established",
        }
    }
}

/// With whom, as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Our AS.
    pub local_as: u32,
    /// Its AS.
    pub remote_as: u32,
    /// Our identifier.
    pub router_id: Ipv4Addr,
    /// The hold time to propose, in seconds; at least [`SHORTEST_HOLD`].
    pub hold_time: u16,
    /// Next hops to announce instead of the session's own address.
    pub next_hops: NextHops,
}

/// What the session wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect; answered by [`Session::connected`] or [`Session::closed`].
    Connect,
    /// Send these bytes.
    Send(Vec<u8>),
    /// Close the connection, or give up connecting, once what was sent is on its way.
    Close,
}

/// How it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Where it stands.
    pub state: State,
    /// Since when; none = from the beginning.
    pub since: Option<Instant>,
    /// Why it is not established, or what last ended it.
    pub last_error: Option<String>,
    /// What was announced and not withdrawn.
    pub announced: Routes,
    /// What should be and cannot, with the reason.
    pub unannounced: Vec<(IpNet, &'static str)>,
    /// The hold time in force, in seconds; none = no session.
    pub hold_time: Option<u16>,
    /// UPDATEs of the neighbour, which were skipped.
    pub skipped_updates: u64,
    /// How many times the session was established.
    pub established: u64,
}

/// A session.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    report: Report,
    /// What is to be announced.
    routes: Routes,
    decoder: Decoder,
    /// What the neighbour said in its OPEN.
    open: Option<Open>,
    local: Option<IpAddr>,
    pause: Duration,
    stopped: bool,
    /// When the state ends by itself: the pause, patience, or the hold time.
    expires: Option<Instant>,
    keepalive_at: Option<Instant>,
}

impl Session {
    /// One that is not started.
    pub fn new(settings: Settings) -> Self {
        Session {
            settings,
            report: Report::default(),
            routes: Routes::new(),
            decoder: Decoder::default(),
            open: None,
            local: None,
            pause: FIRST_PAUSE,
            stopped: true,
            expires: None,
            keepalive_at: None,
        }
    }

    /// How it is.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// When [`Self::tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.expires.into_iter().chain(self.keepalive_at).min()
    }

    /// Begins.
    pub fn start(&mut self, now: Instant) -> Vec<Action> {
        if !self.stopped {
            return Vec::new();
        }
        self.stopped = false;
        self.connect(now)
    }

    /// The connection stands; `local` is our end of it.
    pub fn connected(&mut self, now: Instant, local: IpAddr) -> Vec<Action> {
        if self.report.state != State::Connect {
            return vec![Action::Close];
        }
        self.local = Some(local);
        self.decoder = Decoder::default();
        let Settings { local_as, hold_time, router_id, .. } = self.settings;
        match message::open(local_as, hold_time, router_id) {
            Ok(open) => {
                self.enter(now, State::OpenSent, Some(now + OPEN_PATIENCE));
                vec![Action::Send(open)]
            }
            Err(error) => self.fail(now, error.to_string(), true),
        }
    }

    /// The connection could not be made, or ended.
    pub fn closed(&mut self, now: Instant, why: &str) -> Vec<Action> {
        if self.report.state == State::Idle {
            return Vec::new();
        }
        self.fail(now, why.to_owned(), false)
    }

    /// Bytes came.
    pub fn received(&mut self, now: Instant, bytes: &[u8]) -> Vec<Action> {
        let mut out = Vec::new();
        if matches!(self.report.state, State::Idle | State::Connect) {
            return out;
        }
        self.decoder.push(bytes);
        loop {
            match self.decoder.message() {
                Ok(Some(message)) => self.message(now, message, &mut out),
                Ok(None) => return out,
                Err(notification) => self.refuse(now, &notification, &mut out),
            }
            if self.report.state == State::Idle {
                return out;
            }
        }
    }

    /// A deadline may have passed.
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        let mut out = Vec::new();
        if self.expires.is_some_and(|at| at <= now) {
            match self.report.state {
                State::Idle => return self.connect(now),
                State::Connect => {
                    return self.fail(
                        now,
                        format!("no connection in {} s", CONNECT_PATIENCE.as_secs()),
                        true,
                    );
                }
                State::OpenSent | State::OpenConfirm | State::Established => {
                    self.refuse(now, &Notification::new(Notification::HOLD, 0), &mut out);
                    return out;
                }
            }
        }
        if self.keepalive_at.is_some_and(|at| at <= now) {
            self.send(now, message::keepalive(), &mut out);
        }
        out
    }

    /// Announces exactly these from now on.
    pub fn set_routes(&mut self, now: Instant, routes: Routes) -> Vec<Action> {
        self.routes = routes;
        let mut out = Vec::new();
        if self.report.state == State::Established {
            self.announce(now, &mut out);
        }
        out
    }

    /// Ends for good with an administrative shutdown; `reason` is for people at the other end.
    pub fn shut_down(&mut self, now: Instant, reason: &str) -> Vec<Action> {
        self.stopped = true;
        let mut out = Vec::new();
        match self.report.state {
            State::Idle => {}
            State::Connect => out.push(Action::Close),
            State::OpenSent | State::OpenConfirm | State::Established => {
                let notification = message::shutdown(reason);
                out.extend([Action::Send(message::notification(&notification)), Action::Close]);
            }
        }
        self.report.last_error = Some(format!("stopped: {reason}"));
        self.forget(now);
        self.expires = None;
        out
    }

    fn connect(&mut self, now: Instant) -> Vec<Action> {
        self.enter(now, State::Connect, Some(now + CONNECT_PATIENCE));
        vec![Action::Connect]
    }

    fn message(&mut self, now: Instant, message: Incoming, out: &mut Vec<Action>) {
        let state = self.report.state;
        match (state, message) {
            (_, Incoming::Notification(notification)) => {
                out.extend(self.fail(now, format!("the neighbour said: {notification}"), true));
            }
            (State::OpenSent, Incoming::Open(open)) => match self.acceptable(&open) {
                Ok(hold) => {
                    self.report.hold_time = Some(hold);
                    self.open = Some(open);
                    self.enter(now, State::OpenConfirm, Some(now + Duration::from_secs(hold.into())));
                    self.send(now, message::keepalive(), out);
                }
                Err(notification) => self.refuse(now, &notification, out),
            },
            (State::OpenConfirm, Incoming::Keepalive) => {
                self.report.established += 1;
                self.report.last_error = None;
                self.enter(now, State::Established, None);
                self.hold(now);
                self.announce(now, out);
            }
            (State::Established, Incoming::Keepalive) => self.hold(now),
            (State::Established, Incoming::Update) => {
                self.report.skipped_updates += 1;
                self.hold(now);
            }
            (State::Established, Incoming::Refresh { afi, safi }) => self.refresh(now, afi, safi, out),
            // RFC 6608 §3.
            (state, _) => {
                let subcode = match state {
                    State::OpenSent => 1,
                    State::OpenConfirm => 2,
                    _ => 3,
                };
                self.refuse(now, &Notification::new(Notification::FSM, subcode), out);
            }
        }
    }

    /// The hold time, if this OPEN is one that was expected.
    fn acceptable(&self, open: &Open) -> Result<u16, Notification> {
        let refuse = |subcode| Err(Notification::new(Notification::OPEN, subcode));
        if open.asn != self.settings.remote_as {
            return refuse(2);
        }
        // RFC 6286 §2.2.
        if open.asn == self.settings.local_as && open.id == self.settings.router_id {
            return refuse(3);
        }
        // 0 would be a session without end, also where this host hangs; §6.2 lets anybody refuse it.
        if open.hold_time < SHORTEST_HOLD {
            return refuse(6);
        }
        Ok(open.hold_time.min(self.settings.hold_time))
    }

    /// Makes what was announced equal to what is to be.
    fn announce(&mut self, now: Instant, out: &mut Vec<Action>) {
        let wanted = self.announceable();
        let gone: Vec<IpNet> =
            self.report.announced.keys().filter(|prefix| !wanted.contains_key(prefix)).copied().collect();
        let changed: Routes = wanted
            .iter()
            .filter(|(prefix, attributes)| self.report.announced.get(prefix) != Some(attributes))
            .map(|(prefix, attributes)| (*prefix, attributes.clone()))
            .collect();
        let messages = message::withdraw(&gone).and_then(|mut messages| {
            messages.extend(self.updates(&changed)?);
            Ok(messages)
        });
        match messages {
            Ok(messages) => {
                for message in messages {
                    self.send(now, message, out);
                }
                self.report.announced = wanted;
            }
            // Nothing is said that is not true: without the session there is no route at all.
            Err(error) => {
                self.refuse_as(now, &Notification::new(Notification::CEASE, 0), error.to_string(), out);
            }
        }
    }

    /// The routes that this neighbour can be told; notes the others.
    fn announceable(&mut self) -> Routes {
        self.report.unannounced.clear();
        let mut wanted = Routes::new();
        let Some((open, local)) = self.open.as_ref().zip(self.local) else { return wanted };
        let next_hops = self.settings.next_hops.or(local);
        for (prefix, attributes) in &self.routes {
            let (spoken, obstacle) = match prefix {
                IpNet::V4(_) => (open.capabilities.ipv4, "the neighbour takes no IPv4 routes"),
                IpNet::V6(_) => (open.capabilities.ipv6, "the neighbour takes no IPv6 routes"),
            };
            if !spoken {
                self.report.unannounced.push((*prefix, obstacle));
            } else if next_hops.of(prefix).is_none() {
                self.report.unannounced.push((*prefix, "no next hop of its family: write next_hop"));
            } else {
                wanted.insert(*prefix, attributes.clone());
            }
        }
        wanted
    }

    /// The messages that announce these; prefixes of one family with the same attributes share one.
    fn updates(&self, routes: &Routes) -> Result<Vec<Vec<u8>>, message::Unwritable> {
        let mut messages = Vec::new();
        let Some((open, local)) = self.open.as_ref().zip(self.local) else { return Ok(messages) };
        let Settings { local_as, remote_as, next_hops, .. } = self.settings;
        let dialect = Dialect {
            local_as,
            internal: local_as == remote_as,
            four_octet_as: open.capabilities.four_octet_as,
        };
        let mut groups: std::collections::BTreeMap<_, Vec<IpNet>> = std::collections::BTreeMap::new();
        for (prefix, attributes) in routes {
            if let Some(next_hop) = next_hops.or(local).of(prefix) {
                groups.entry((next_hop, attributes)).or_default().push(*prefix);
            }
        }
        for ((next_hop, attributes), prefixes) in groups {
            messages.extend(message::announce(&prefixes, next_hop, attributes, dialect)?);
        }
        Ok(messages)
    }

    /// RFC 2918 §4: says all of a family again.
    fn refresh(&mut self, now: Instant, afi: u16, safi: u8, out: &mut Vec<Action>) {
        self.hold(now);
        let asked = |prefix: &IpNet| match prefix {
            IpNet::V4(_) => (afi, safi) == (1, 1),
            IpNet::V6(_) => (afi, safi) == (2, 1),
        };
        let again: Routes = self
            .report
            .announced
            .iter()
            .filter(|(prefix, _)| asked(prefix))
            .map(|(prefix, attributes)| (*prefix, attributes.clone()))
            .collect();
        // They could be written before.
        for message in self.updates(&again).unwrap_or_default() {
            self.send(now, message, out);
        }
    }

    fn send(&mut self, now: Instant, bytes: Vec<u8>, out: &mut Vec<Action>) {
        // A third of the hold time after whatever was said last (§4.4).
        self.keepalive_at = self.report.hold_time.map(|hold| now + Duration::from_secs(hold.into()) / 3);
        out.push(Action::Send(bytes));
    }

    /// The neighbour lives.
    fn hold(&mut self, now: Instant) {
        self.expires = self.report.hold_time.map(|hold| now + Duration::from_secs(hold.into()));
    }

    fn enter(&mut self, now: Instant, state: State, expires: Option<Instant>) {
        if self.report.state != state {
            self.report.state = state;
            self.report.since = Some(now);
        }
        self.expires = expires;
    }

    /// Tells the neighbour what is wrong, and closes.
    fn refuse(&mut self, now: Instant, notification: &Notification, out: &mut Vec<Action>) {
        self.refuse_as(now, notification, format!("told the neighbour: {notification}"), out);
    }

    fn refuse_as(&mut self, now: Instant, notification: &Notification, why: String, out: &mut Vec<Action>) {
        out.push(Action::Send(message::notification(notification)));
        out.extend(self.fail(now, why, true));
    }

    /// Back to the beginning, after a pause.
    fn fail(&mut self, now: Instant, why: String, close: bool) -> Vec<Action> {
        let lasted = self.report.state == State::Established
            && self.report.since.is_some_and(|since| now.duration_since(since) >= LASTED);
        if lasted {
            self.pause = FIRST_PAUSE;
        }
        self.report.last_error = Some(why);
        self.forget(now);
        self.expires = (!self.stopped).then_some(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        if close { vec![Action::Close] } else { Vec::new() }
    }

    /// What is true of a connection ends with it.
    fn forget(&mut self, now: Instant) {
        self.enter(now, State::Idle, None);
        self.report.hold_time = None;
        self.report.announced.clear();
        self.report.unannounced.clear();
        self.open = None;
        self.local = None;
        self.keepalive_at = None;
    }
}

#[cfg(test)]
mod tests;
