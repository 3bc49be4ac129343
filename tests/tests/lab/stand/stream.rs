//! Numbered datagrams from a client to the echo service, each answer counted once.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use xtask::lab::daemons::until;
use xtask::lab::netns::Namespace;
use xtask::lab::topology::{ECHO_PORT, VIP_V4, VIP_V6};
use xtask::lab::{Families, Family};

use super::DEADLINE;

/// Datagrams a second, all flows together.
const RATE: u32 = 5000;
/// Flows of each family.
const FLOWS: usize = 8;
/// Unanswered datagrams at which the sender waits: what starved tasks of a busy machine leave in
/// queues is no loss, and must not become one.
const WINDOW: u64 = 200;
/// How long it waits before it counts them as lost and goes on.
const PATIENCE: Duration = Duration::from_millis(300);
/// Room for answers, in bytes.
const BUFFER: usize = 16 << 20;
/// How often a receiver looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);
/// How long after the last answer the missing ones count as lost.
const SILENCE: Duration = Duration::from_secs(1);
/// Number of the datagrams that try whether a flow is answered; they do not count.
const TRIAL: u64 = 0;

/// A flow and what became of it.
struct Flow {
    socket: UdpSocket,
    sent: AtomicU64,
    answered: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    numbers: HashSet<u64>,
    backends: BTreeMap<String, u64>,
    tried: bool,
}

/// What became of a flow.
#[derive(Clone, Debug)]
pub(in crate::lab) struct Tally {
    /// The client's end and the service.
    pub(in crate::lab) flow: String,
    /// Datagrams sent.
    pub(in crate::lab) sent: u64,
    /// Of these, answered.
    pub(in crate::lab) answered: u64,
    /// Numbers of the first and the last one that was not.
    pub(in crate::lab) missing: Option<(u64, u64)>,
    /// Answers by backend.
    pub(in crate::lab) backends: BTreeMap<String, u64>,
}

/// Datagrams under way until [`Stream::finish`].
pub(in crate::lab) struct Stream {
    flows: Arc<Vec<Flow>>,
    stop_sending: Arc<AtomicBool>,
    stop_receiving: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
    receivers: Vec<JoinHandle<()>>,
}

impl Stream {
    /// Starts; returns once every flow was answered.
    pub(in crate::lab) fn start(client: &Namespace, families: Families) -> Result<Self> {
        let sockets = client.enter(|| open(families))??;
        let flow = |socket| Flow {
            socket,
            sent: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            seen: Mutex::default(),
        };
        let flows: Arc<Vec<Flow>> = Arc::new(sockets.into_iter().map(flow).collect());
        let stop_sending = Arc::new(AtomicBool::new(false));
        let stop_receiving = Arc::new(AtomicBool::new(false));
        let receivers = (0..flows.len())
            .map(|index| {
                let (flows, stop) = (Arc::clone(&flows), Arc::clone(&stop_receiving));
                thread::spawn(move || flows[index].receive(&stop))
            })
            .collect();
        let mut stream = Self { flows, stop_sending, stop_receiving, sender: None, receivers };
        stream.wait_for_each()?;
        let (flows, stop) = (Arc::clone(&stream.flows), Arc::clone(&stream.stop_sending));
        stream.sender = Some(thread::spawn(move || send(&flows, &stop)));
        Ok(stream)
    }

    fn wait_for_each(&self) -> Result<()> {
        for flow in self.flows.iter() {
            until(DEADLINE, &format!("an answer to {:?}", flow.socket.local_addr()), || {
                let tried = flow.seen().tried;
                if !tried {
                    // Refused means that an ICMP error answered an earlier one: try again.
                    let _ = flow.socket.send(TRIAL.to_string().as_bytes());
                    thread::sleep(LOOK);
                }
                Ok(tried.then_some(()))
            })?;
        }
        Ok(())
    }

    /// Waits until `count` more were answered.
    pub(in crate::lab) fn more(&self, count: u64) -> Result<()> {
        let goal = total(&self.flows, &|flow| &flow.answered) + count;
        until(DEADLINE, &format!("{count} more answers"), || {
            Ok((total(&self.flows, &|flow| &flow.answered) >= goal).then_some(()))
        })
    }

    /// Waits until `backend` has answered `count` more.
    pub(in crate::lab) fn more_from(&self, backend: &str, count: u64) -> Result<()> {
        let now = || -> u64 {
            self.flows.iter().map(|flow| flow.seen().backends.get(backend).copied().unwrap_or(0)).sum()
        };
        let goal = now() + count;
        until(DEADLINE, &format!("{count} more answers of {backend}"), || Ok((now() >= goal).then_some(())))
    }

    /// Stops sending, waits for the last answers, and counts.
    pub(in crate::lab) fn finish(mut self) -> Result<Vec<Tally>> {
        self.stop_sending.store(true, Ordering::Release);
        let sender = self.sender.take().context("a stream is finished once")?;
        sender.join().map_err(|_| anyhow!("the sender panicked"))?;
        let sent = total(&self.flows, &|flow| &flow.sent);
        let (mut answered, mut since) = (0, Instant::now());
        while since.elapsed() < SILENCE {
            let now = total(&self.flows, &|flow| &flow.answered);
            if now == sent {
                break;
            }
            if now > answered {
                (answered, since) = (now, Instant::now());
            }
            thread::sleep(LOOK);
        }
        self.stop_receivers()?;
        ensure!(sent > 0, "nothing was sent");
        self.flows.iter().map(Flow::tally).collect()
    }

    fn stop_receivers(&mut self) -> Result<()> {
        self.stop_receiving.store(true, Ordering::Release);
        for receiver in self.receivers.drain(..) {
            receiver.join().map_err(|_| anyhow!("a receiver panicked"))?;
        }
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop_sending.store(true, Ordering::Release);
        if let Some(sender) = self.sender.take() {
            // A test that failed already has said what it has to say.
            let _ = sender.join();
        }
        let _ = self.stop_receivers();
    }
}

/// Fails unless every datagram of every flow was answered; returns how many that were.
pub(in crate::lab) fn all_answered(flows: &[Tally]) -> Result<u64> {
    let lost: Vec<String> = flows
        .iter()
        .filter_map(|Tally { flow, sent, answered, missing, backends }| {
            let (first, last) = (*missing)?;
            Some(format!("{flow}: {answered} of {sent}, missing from {first} to {last}, by {backends:?}"))
        })
        .collect();
    ensure!(lost.is_empty(), "lost packets:\n{}", lost.join("\n"));
    Ok(flows.iter().map(|flow| flow.sent).sum())
}

impl Flow {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receive(&self, stop: &AtomicBool) {
        let mut buffer = [0; 256];
        while !stop.load(Ordering::Acquire) {
            // Nothing came yet, or an ICMP error: what is not answered is counted in the end.
            let Ok(length) = self.socket.recv(&mut buffer) else { continue };
            let parsed = std::str::from_utf8(&buffer[..length]).ok().and_then(|text| {
                let (backend, number) = text.split_once(' ')?;
                Some((backend, number.parse::<u64>().ok()?))
            });
            let Some((backend, number)) = parsed else { continue };
            let mut seen = self.seen();
            if number == TRIAL {
                seen.tried = true;
            } else if seen.numbers.insert(number) {
                *seen.backends.entry(backend.to_owned()).or_default() += 1;
                self.answered.fetch_add(1, Ordering::Release);
            }
        }
    }

    fn tally(&self) -> Result<Tally> {
        let sent = self.sent.load(Ordering::Acquire);
        let seen = self.seen();
        let missing: Vec<u64> = (1..=sent).filter(|number| !seen.numbers.contains(number)).collect();
        Ok(Tally {
            flow: format!("{} -> {}", self.socket.local_addr()?, self.socket.peer_addr()?),
            sent,
            answered: seen.numbers.len() as u64,
            missing: missing.first().copied().zip(missing.last().copied()),
            backends: seen.backends.clone(),
        })
    }
}

fn open(families: Families) -> Result<Vec<UdpSocket>> {
    let mut sockets = Vec::new();
    for family in families.all() {
        let (any, service): (IpAddr, IpAddr) = match family {
            Family::V4 => (Ipv4Addr::UNSPECIFIED.into(), VIP_V4.into()),
            Family::V6 => (Ipv6Addr::UNSPECIFIED.into(), VIP_V6.into()),
        };
        for _ in 0..FLOWS {
            let socket = UdpSocket::bind((any, 0))?;
            setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
            socket.set_read_timeout(Some(LOOK))?;
            socket.connect((service, ECHO_PORT))?;
            sockets.push(socket);
        }
    }
    Ok(sockets)
}

fn send(flows: &[Flow], stop: &AtomicBool) {
    let tick = Duration::from_secs(1) * u32::try_from(flows.len()).unwrap_or(1) / RATE;
    let mut next = Instant::now();
    let mut given_up = 0;
    while !stop.load(Ordering::Acquire) {
        for flow in flows {
            let number = flow.sent.fetch_add(1, Ordering::AcqRel) + 1;
            // Refused means that an ICMP error answered an earlier one, and that this one was not
            // sent: it counts as lost, as the earlier one does.
            let _ = flow.socket.send(number.to_string().as_bytes());
        }
        // Who was late does not catch up: that would be a burst.
        next = (next + tick).max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let waiting = Instant::now();
        while unanswered(flows) > given_up + WINDOW {
            if waiting.elapsed() > PATIENCE {
                given_up = unanswered(flows);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn unanswered(flows: &[Flow]) -> u64 {
    total(flows, &|flow| &flow.sent).saturating_sub(total(flows, &|flow| &flow.answered))
}

fn total(flows: &[Flow], which: &dyn Fn(&Flow) -> &AtomicU64) -> u64 {
    flows.iter().map(|flow| which(flow).load(Ordering::Acquire)).sum()
}
