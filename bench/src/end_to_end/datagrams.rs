//! UDP: small datagrams one way, as fast as one sender gets them through without losing any.
//!
//! The sender waits when more than a window of them is on its way: what is measured is what arrives, not how
//! fast a queue overflows. Sender and receiver have a CPU each, so the whole path up to the backend's socket
//! runs on the sender's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use xtask::lab::topology::{ECHO_PORT, VIP_V4};

use super::batch::{LENGTH, Received, Receiver, Sender};
use super::cpu::Watch;
use super::run::{Bounds, Outcome};
use super::stage::Stage;

/// Flows, which take turns.
const FLOWS: usize = 16;
/// How many may be on their way.
const WINDOW: u64 = 4096;
/// How often a sender in wait looks again.
const LOOK: Duration = Duration::from_micros(50);
/// What has not arrived after this long without any arrival is lost.
const PATIENCE: Duration = Duration::from_millis(300);

/// Tells a run's datagrams from those of all others.
static RUN: AtomicU64 = AtomicU64::new(1);

/// What both threads know.
#[derive(Default)]
struct Shared {
    received: AtomicU64,
    is_over: AtomicBool,
}

/// Sends as many as the bounds allow.
///
/// # Errors
///
/// When one arrives that was not sent so, or from somewhere else than it should.
pub fn run(stage: &Stage, bounds: Bounds) -> Result<Outcome> {
    let run = RUN.fetch_add(1, Ordering::Relaxed);
    let (sending, receiving) = two_cpus()?;
    stage.datagrams.set_read_timeout(Some(PATIENCE / 10))?;
    let shared = Shared::default();
    let from = stage.path.seen_from();
    thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            stay_on(receiving)?;
            receive(&stage.datagrams, run, from, &shared)
        });
        let watch = Watch::start(&stage.processes())?;
        let sent = stage.client.enter(|| {
            stay_on(sending)?;
            let sockets = (0..FLOWS).map(|_| flow()).collect::<Result<Vec<_>>>()?;
            send(&sockets, run, bounds, &shared)
        });
        let used = watch.stop();
        shared.is_over.store(true, Ordering::Relaxed);
        let sum =
            receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).context("receiver")?;
        let sent = sent?.context("sender")?;
        let delivered = shared.received.load(Ordering::Relaxed);
        ensure!(delivered <= sent, "{sent} sent, {delivered} arrived");
        // Each number once: the sum of 0, 1, … sent - 1.
        let expected = (0..sent).sum::<u64>();
        ensure!(delivered < sent || sum == expected, "as many arrived as were sent, but not the same");
        Ok(Outcome { delivered, lost: sent - delivered, used: used? })
    })
}

fn flow() -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("a socket")?;
    socket.connect(SocketAddr::from((VIP_V4, ECHO_PORT))).context("a way to the service")?;
    Ok(socket)
}

/// Returns how many were sent, once they have arrived or are lost.
fn send(sockets: &[UdpSocket], run: u64, bounds: Bounds, shared: &Shared) -> Result<u64> {
    let mut sender = Sender::new(run);
    let deadline = Instant::now() + bounds.time;
    let (mut sent, mut lost) = (0, 0);
    for socket in sockets.iter().cycle() {
        if sent >= bounds.count || Instant::now() >= deadline {
            break;
        }
        sent += sender.send(socket.as_raw_fd(), sent).context("sendmmsg")?;
        lost += wait(sent - lost, WINDOW, shared);
    }
    wait(sent - lost, 0, shared);
    Ok(sent)
}

/// Waits until at most `window` of `sent` have not arrived; returns how many of them must be taken for lost.
fn wait(sent: u64, window: u64, shared: &Shared) -> u64 {
    let missing = || sent.saturating_sub(shared.received.load(Ordering::Relaxed));
    let (mut before, mut since) = (missing(), Instant::now());
    while before > window {
        thread::sleep(LOOK);
        let now = missing();
        if now == before && since.elapsed() > PATIENCE {
            return now;
        }
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
    0
}

/// Receives until there is an end; returns the sum of the numbers of what arrived.
fn receive(socket: &UdpSocket, run: u64, from: Ipv4Addr, shared: &Shared) -> Result<u64> {
    let mut receiver = Receiver::new();
    let mut sum: u64 = 0;
    loop {
        let count = match receiver.receive(socket.as_raw_fd()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if shared.is_over.load(Ordering::Relaxed) {
                    return Ok(sum);
                }
                continue;
            }
            count => count.context("recvmmsg")?,
        };
        let mut own = 0;
        for Received { length, sender, run: of_run, number } in receiver.all(count) {
            ensure!(
                sender == from,
                "a datagram from {}, not from {}",
                IpAddr::from(sender),
                IpAddr::from(from)
            );
            ensure!(length == LENGTH, "{length} bytes arrived of {LENGTH}");
            ensure!(of_run <= run, "a datagram that nobody has sent");
            // One that an earlier run has given up is not this one's.
            if of_run == run {
                own += 1;
                sum = sum.wrapping_add(number);
            }
        }
        shared.received.fetch_add(own, Ordering::Relaxed);
    }
}

/// The first two CPUs of this process, or one for both.
fn two_cpus() -> Result<(usize, usize)> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let mut cpus = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false));
    let first = cpus.next().context("no CPU to run on")?;
    Ok((first, cpus.next().unwrap_or(first)))
}

fn stay_on(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    // 0 is the calling thread.
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on CPU {cpu}"))
}

#[cfg(test)]
mod tests {
    use super::super::batch::BATCH;
    use super::*;

    fn pair() -> (UdpSocket, UdpSocket) {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        (sender, receiver)
    }

    fn received(run: u64, from: Ipv4Addr, send: impl FnOnce(&UdpSocket)) -> Result<(u64, u64)> {
        let (sender, receiver) = pair();
        send(&sender);
        let shared = Shared { is_over: true.into(), ..Shared::default() };
        let sum = receive(&receiver, run, from, &shared)?;
        Ok((shared.received.load(Ordering::Relaxed), sum))
    }

    #[test]
    fn every_datagram_of_this_run_counts_once() {
        let result = received(7, Ipv4Addr::LOCALHOST, |socket| {
            let sent = Sender::new(7).send(socket.as_raw_fd(), 0).unwrap();
            assert_eq!(sent, BATCH as u64);
            Sender::new(6).send(socket.as_raw_fd(), 0).unwrap();
        });
        let numbers = 0..BATCH as u64;
        assert_eq!(result.unwrap(), (BATCH as u64, numbers.sum()));
    }

    #[test]
    fn what_is_not_ours_is_an_error() {
        let send = |bytes: &'static [u8]| move |socket: &UdpSocket| assert!(socket.send(bytes).is_ok());
        assert!(received(7, Ipv4Addr::LOCALHOST, send(b"short")).is_err());
        assert!(received(7, Ipv4Addr::LOCALHOST, send(&[0xff; LENGTH])).is_err());
        assert!(received(7, Ipv4Addr::LOCALHOST, send(&[0; LENGTH + 1])).is_err());
        assert!(received(7, Ipv4Addr::new(192, 0, 2, 1), send(&[0; LENGTH])).is_err());
    }

    #[test]
    fn what_does_not_arrive_is_given_up() {
        let shared = Shared { received: 5.into(), ..Shared::default() };
        assert_eq!(wait(5, 0, &shared), 0);
        assert_eq!(wait(8, 3, &shared), 0);
        assert_eq!(wait(9, 3, &shared), 4);
    }
}
