//! TCP: requests of one size, each answered by the backend once it has checked every byte.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use xtask::lab::topology::{HTTP_PORT, VIP_V4};

use super::cpu::Watch;
use super::plan::Load;
use super::run::{Bounds, Outcome};
use super::stage::Stage;

/// Clients at the same time, each with one connection.
const CLIENTS: usize = 8;
/// Servers; more than clients, since a proxy may close a connection a little after its client.
const SERVERS: usize = 2 * CLIENTS;
/// How long one answer may take: longer than the first retransmissions.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a server without a connection looks whether there is an end.
const ACCEPT_POLL: Duration = Duration::from_millis(20);
/// Bytes of a small request and of every answer.
const SMALL: usize = 64;
/// Bytes of a large request.
const LARGE: usize = 64 << 10;

/// What an exchange is like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    request: usize,
    /// Whether each has a connection of its own.
    anew: bool,
}

impl Shape {
    /// The shape of a load.
    pub fn of(load: Load) -> Self {
        Self { request: if load == Load::Bulk { LARGE } else { SMALL }, anew: load == Load::Connect }
    }
}

/// Exchanges as many as the bounds allow.
///
/// # Errors
///
/// When one fails, or the backend sees it come from somewhere else than it should.
pub fn run(stage: &Stage, shape: Shape, bounds: Bounds) -> Result<Outcome> {
    // Blocking accepts look up now and then.
    let poll = TimeVal::new(0, ACCEPT_POLL.subsec_micros().into());
    setsockopt(&stage.listener, sockopt::ReceiveTimeout, &poll)?;
    let is_over = AtomicBool::new(false);
    let (begun, texts) = (&AtomicU64::new(0), &Texts::new(shape.request));
    let from = IpAddr::from(stage.path.seen_from());
    thread::scope(|scope| {
        let servers: Vec<_> =
            (0..SERVERS).map(|_| scope.spawn(|| serve(&stage.listener, texts, from, &is_over))).collect();
        let watch = Watch::start(&stage.processes())?;
        let deadline = Instant::now() + bounds.time;
        let go = move || Instant::now() < deadline && begun.fetch_add(1, Ordering::Relaxed) < bounds.count;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(move || stage.client.enter(|| ask(texts, shape.anew, go))))
            .collect();
        let mut answered: Result<u64> = Ok(0);
        for client in clients {
            let own = client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            answered = answered.and_then(|sum| Ok(sum + own??));
        }
        let used = watch.stop();
        is_over.store(true, Ordering::Relaxed);
        let mut served: Result<u64> = Ok(0);
        for server in servers {
            let own = server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            served = served.and_then(|sum| Ok(sum + own?));
        }
        // A server that complains is why its client has no answer.
        let served = served.context("a server")?;
        let answered = answered.context("a client")?;
        ensure!(served == answered, "{served} served, {answered} answered");
        Ok(Outcome { delivered: answered, lost: 0, used: used? })
    })
}

/// What both sides know: each byte of the request, and of the answer.
struct Texts {
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Texts {
    fn new(length: usize) -> Self {
        // A period that is no power of two: a block that is lost or doubled shifts the rest.
        let request: Vec<u8> = (0..=250).cycle().take(length).collect();
        let answer = request.iter().rev().take(SMALL).map(|byte| !byte).collect();
        Self { request, answer }
    }
}

fn ask(texts: &Texts, anew: bool, go: impl Fn() -> bool) -> Result<u64> {
    let mut answered = 0;
    let mut buffer = vec![0; texts.answer.len()];
    let mut kept = None;
    while go() {
        let stream = match &mut kept {
            Some(stream) => stream,
            None => kept.insert(connect()?),
        };
        stream.write_all(&texts.request).context("a request")?;
        stream.read_exact(&mut buffer).context("an answer")?;
        ensure!(buffer == texts.answer, "an answer is damaged");
        answered += 1;
        if anew {
            kept = None;
        }
    }
    Ok(answered)
}

fn connect() -> Result<TcpStream> {
    let service = SocketAddr::from((VIP_V4, HTTP_PORT));
    let stream = TcpStream::connect_timeout(&service, PATIENCE).context("a connection")?;
    settle(&stream)?;
    Ok(stream)
}

fn settle(stream: &TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(())
}

fn serve(listener: &TcpListener, texts: &Texts, from: IpAddr, is_over: &AtomicBool) -> Result<u64> {
    let mut served = 0;
    let mut buffer = vec![0; texts.request.len()];
    while !is_over.load(Ordering::Relaxed) {
        let (mut stream, client) = match listener.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            accepted => accepted.context("accept")?,
        };
        ensure!(client.ip() == from, "a connection from {client}, not from {from}");
        settle(&stream)?;
        loop {
            let length = stream.read(&mut buffer).context("a request")?;
            if length == 0 {
                break; // The client is the first to close.
            }
            stream.read_exact(&mut buffer[length..]).context("the rest of a request")?;
            ensure!(buffer == texts.request, "a request is damaged");
            stream.write_all(&texts.answer).context("an answer")?;
            served += 1;
        }
    }
    Ok(served)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server and a client with these texts; what each says.
    fn exchange(client: &Texts, from: [u8; 4]) -> (Result<u64>, bool) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let is_over = AtomicBool::new(false);
        let server = Texts::new(SMALL);
        thread::scope(|scope| {
            let asking = scope.spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                let mut answer = vec![0; SMALL];
                stream.write_all(&client.request).unwrap();
                stream.read_exact(&mut answer).is_ok_and(|()| answer == client.answer)
            });
            let serving = scope.spawn(|| serve(&listener, &server, IpAddr::from(from), &is_over));
            let answered = asking.join().unwrap();
            is_over.store(true, Ordering::Relaxed);
            // The one that waits in accept.
            let _ = TcpStream::connect(address);
            (serving.join().unwrap(), answered)
        })
    }

    #[test]
    fn what_was_asked_rightly_is_answered() {
        let (served, answered) = exchange(&Texts::new(SMALL), [127, 0, 0, 1]);
        assert_eq!((served.ok(), answered), (Some(1), true));
    }

    #[test]
    fn a_damaged_byte_is_an_error() {
        let mut texts = Texts::new(SMALL);
        texts.request[SMALL - 1] ^= 1;
        let (served, answered) = exchange(&texts, [127, 0, 0, 1]);
        assert!(served.unwrap_err().to_string().contains("damaged") && !answered);
    }

    #[test]
    fn a_connection_from_elsewhere_is_an_error() {
        let (served, answered) = exchange(&Texts::new(SMALL), [192, 0, 2, 1]);
        assert!(served.unwrap_err().to_string().contains("not from 192.0.2.1") && !answered);
    }
}
