//! Runs a client for each validator, feeds the [`Guard`], and does what it says: alarms into the log, permissions
//! to who announces.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use ipnet::IpNet;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::client::{Data, Event, MOST_VRPS, Synced, follow};
use super::guard::{Action, Alarm, Guard, Permission, Route, RouteStatus, Severity, ValidatorStatus};
use super::validity::Answer;

/// A validator to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validator {
    /// Its name, unique.
    pub name: String,
    /// Where it speaks RTR.
    pub address: SocketAddr,
}

/// What each prefix that is watched may.
pub type Permissions = BTreeMap<IpNet, Permission>;

/// The guard with its validators; clones share it.
#[derive(Clone)]
pub struct Rpki(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// That the guard's deadline may be another one.
    changed: Arc<Notify>,
    permissions: watch::Sender<Permissions>,
}

#[derive(Default)]
struct State {
    guard: Guard,
    followed: BTreeMap<String, Followed>,
    timer: Option<JoinHandle<()>>,
}

struct Followed {
    address: SocketAddr,
    data: Data,
    task: JoinHandle<()>,
    /// The last answer.
    synced: Option<(Instant, Synced)>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(timer) = &self.timer {
            timer.abort();
        }
    }
}

/// What is known of a validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followee {
    /// Where it is asked.
    pub address: SocketAddr,
    /// How it is.
    pub status: ValidatorStatus,
    /// Its data: how many, their serial number, and when they were last confirmed.
    pub synced: Option<(Synced, Instant)>,
}

impl Default for Rpki {
    /// Without validators: everything is permitted.
    fn default() -> Self {
        Rpki(Arc::new(Shared {
            state: Mutex::default(),
            changed: Arc::default(),
            permissions: watch::Sender::default(),
        }))
    }
}

impl Rpki {
    /// These are the validators and the prefixes from now on. To be called within a tokio runtime.
    pub fn configure(&self, validators: &[Validator], routes: &[Route]) {
        let now = Instant::now();
        let mut state = self.lock();
        let differs = |v: &&Validator| state.followed.get(&v.name).is_some_and(|f| f.address != v.address);
        let moved: Vec<String> = validators.iter().filter(differs).map(|v| v.name.clone()).collect();
        state.followed.retain(|name, f| validators.iter().any(|v| v.name == *name && v.address == f.address));
        for validator in validators {
            if !state.followed.contains_key(&validator.name) {
                state.followed.insert(validator.name.clone(), self.follow(validator));
            }
        }
        let names: Vec<String> = validators.iter().map(|v| v.name.clone()).collect();
        for name in &moved {
            state.guard.forget(name);
        }
        let mut actions = state.guard.configure(now, &names, routes);
        // New prefixes are looked up in what is there already.
        let synced: Vec<String> =
            state.followed.iter().filter(|(_, f)| f.synced.is_some()).map(|(name, _)| name.clone()).collect();
        for name in synced {
            let answers = state.look_up(&name);
            actions.extend(state.guard.answered(now, &name, None, answers));
        }
        if state.timer.is_none() && !validators.is_empty() {
            state.timer = Some(tokio::spawn(keep_time(Arc::downgrade(&self.0), Arc::clone(&self.0.changed))));
        }
        self.0.perform(&state, actions);
    }

    /// What each watched prefix may, now and whenever it changes.
    pub fn permissions(&self) -> watch::Receiver<Permissions> {
        self.0.permissions.subscribe()
    }

    /// What each validator's data say to a route; none where it has not given any, or they have expired.
    pub fn check(&self, prefix: IpNet, origin: u32) -> Vec<(String, Option<Answer>)> {
        let state = self.lock();
        let fresh = state.guard.validators(Instant::now());
        let answer = |status: ValidatorStatus| {
            let data = state.followed.get(&status.name);
            let data = data.filter(|f| f.synced.is_some() && status.expires_in.is_some());
            let answer =
                data.map(|f| f.data.read().unwrap_or_else(PoisonError::into_inner).validate(prefix, origin));
            (status.name, answer)
        };
        fresh.into_iter().map(answer).collect()
    }

    /// The validators, by name.
    pub fn validators(&self) -> Vec<Followee> {
        let state = self.lock();
        let known = state.guard.validators(Instant::now()).into_iter();
        known
            .filter_map(|status| {
                let followed = state.followed.get(&status.name)?;
                let synced = followed.synced.map(|(at, synced)| (synced, at));
                Some(Followee { address: followed.address, status, synced })
            })
            .collect()
    }

    /// The prefixes that are watched.
    pub fn routes(&self) -> Vec<RouteStatus> {
        self.lock().guard.routes(Instant::now())
    }

    /// What is wrong now.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.lock().guard.alarms()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    fn follow(&self, validator: &Validator) -> Followed {
        let data = Data::default();
        let (shared, name, address) = (Arc::downgrade(&self.0), validator.name.clone(), validator.address);
        let theirs = Arc::clone(&data);
        let task = tokio::spawn(async move {
            let tell = |event| {
                if let Some(shared) = shared.upgrade() {
                    shared.heard(&name, &theirs, event);
                }
            };
            follow(address, MOST_VRPS, &theirs, tell).await;
        });
        Followed { address, data, task, synced: None }
    }
}

impl State {
    fn look_up(&self, validator: &str) -> Vec<(IpNet, Answer)> {
        let Some(followed) = self.followed.get(validator) else { return Vec::new() };
        let data = followed.data.read().unwrap_or_else(PoisonError::into_inner);
        let questions = self.guard.questions().into_iter();
        questions.map(|(prefix, origin)| (prefix, data.validate(prefix, origin))).collect()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self, name: &str, data: &Data, event: Event) {
        let now = Instant::now();
        let mut state = self.lock();
        // A task that was replaced while it spoke has no say.
        let followed = state.followed.get_mut(name).filter(|f| Arc::ptr_eq(&f.data, data));
        let Some(followed) = followed else { return };
        let actions = match event {
            Event::Synced(synced) => {
                if followed.synced.is_none() {
                    let cause = "it has sent all it has";
                    tracing::info!(validator = name, vrps = synced.vrps, cause, "a validator answers");
                }
                followed.synced = Some((now, synced));
                let answers = state.look_up(name);
                state.guard.answered(now, name, Some(synced.expire), answers)
            }
            Event::Lost(error) => {
                tracing::debug!(validator = name, %error, "the session with a validator ended");
                state.guard.lost(now, name, &error.to_string())
            }
        };
        self.perform(&state, actions);
    }

    fn perform(&self, state: &State, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Raised(alarm) => match alarm.severity {
                    Severity::Error => tracing::error!(alarm = %alarm.subject, "{}", alarm.text),
                    Severity::Warning => tracing::warn!(alarm = %alarm.subject, "{}", alarm.text),
                },
                Action::Cleared(alarm) => {
                    tracing::info!(alarm = %alarm.subject, "over: {}", alarm.text);
                }
                Action::Permission(prefix, Permission::Permit) => {
                    tracing::info!(%prefix, cause = "what validators say", "RPKI permits a prefix again");
                }
                // The alarm has said it.
                Action::Permission(_, Permission::Withhold(_)) => {}
            }
        }
        let permissions = state.guard.permissions();
        self.permissions.send_if_modified(|current| {
            let differs = *current != permissions;
            *current = permissions;
            differs
        });
        self.changed.notify_one();
    }
}

/// Lets holds end and answers expire.
async fn keep_time(shared: Weak<Shared>, changed: Arc<Notify>) {
    loop {
        let Some(deadline) = shared.upgrade().map(|s| s.lock().guard.deadline(Instant::now())) else {
            return;
        };
        let wait = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => {
                let Some(shared) = shared.upgrade() else { return };
                let mut state = shared.lock();
                let actions = state.guard.tick(Instant::now());
                shared.perform(&state, actions);
            }
            () = changed.notified() => {}
        }
    }
}
