//! A connection with a validator, on which only whole messages pass that can be right.
//!
//! The library's client trusts its peer with lengths, with times, and to go on sending. This stream stands
//! between the two. It reads message by message (RFC 8210 §5) and
//!
//! * ends the session over a length that the type cannot have, before anything is allocated for it;
//! * gives each message, and each whole exchange, a time to arrive;
//! * hands over whole messages only, so that a client that stops waiting for a notify stops between messages;
//! * keeps a Serial Notify that arrives within an exchange (RFC 8210 §8.2) for after it;
//! * leaves out what is not about origins: router keys, ASPA;
//! * brings the times at the end of data into their ranges (RFC 8210 §6).

use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// One message.
    pub message: Duration,
    /// All messages that answer a query.
    pub exchange: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { message: Duration::from_secs(30), exchange: Duration::from_secs(600) }
    }
}

/// Version, type, session or flags, length.
const HEADER: usize = 8;
/// An error report quotes a message and has a text; a router key is a few hundred bytes; an ASPA names up to 16,380
/// ASes.
const LONGEST: usize = 12 + 4 * 16_380;
/// Read at once.
const CHUNK: usize = 64 * 1024;

const SERIAL_NOTIFY: u8 = 0;
const SERIAL_QUERY: u8 = 1;
const RESET_QUERY: u8 = 2;
const CACHE_RESPONSE: u8 = 3;
const IPV4_PREFIX: u8 = 4;
const IPV6_PREFIX: u8 = 6;
const END_OF_DATA: u8 = 7;
const CACHE_RESET: u8 = 8;
const ROUTER_KEY: u8 = 9;
const ERROR_REPORT: u8 = 10;
const ASPA: u8 = 11;

/// The stream.
pub(super) struct Guarded<S> {
    inner: S,
    /// As it came.
    raw: BytesMut,
    /// What is left of the message that is being handed over.
    message: Bytes,
    /// A notify that waits for the exchange to end.
    notify: Option<Bytes>,
    /// When a query was sent that is not answered yet.
    asked: Option<Instant>,
    /// When what is being waited for must be there.
    deadline: Option<Pin<Box<Sleep>>>,
    patience: Patience,
}

impl<S> Guarded<S> {
    pub fn new(inner: S, patience: Patience) -> Self {
        let (raw, message) = (BytesMut::new(), Bytes::new());
        Guarded { inner, raw, message, notify: None, asked: None, deadline: None, patience }
    }

    /// The next message that is to be handed over, if it is there as a whole.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.asked.is_none()
            && let Some(notify) = self.notify.take()
        {
            return Ok(Some(notify));
        }
        loop {
            let Some(header) = self.raw.first_chunk::<HEADER>() else { return Ok(None) };
            let (version, kind) = (header[0], header[1]);
            let length = length(header)?;
            if self.raw.len() < length {
                return Ok(None);
            }
            let mut message = self.raw.split_to(length);
            self.deadline = None;
            match kind {
                SERIAL_NOTIFY if self.asked.is_some() => {
                    self.notify = Some(message.freeze());
                    continue;
                }
                ROUTER_KEY | ASPA => continue,
                END_OF_DATA => bring_into_range(version, &mut message),
                _ => {}
            }
            if matches!(kind, END_OF_DATA | CACHE_RESET | ERROR_REPORT) {
                self.asked = None;
            }
            return Ok(Some(message.freeze()));
        }
    }

    /// Ends what takes too long. Nothing is waited for between exchanges, unless a message has begun.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.asked.is_none() && self.raw.is_empty() {
            self.deadline = None;
            return Ok(());
        }
        let now = Instant::now();
        let message = now + self.patience.message;
        let until = self.asked.map_or(message, |asked| message.min(asked + self.patience.exchange));
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if deadline.as_mut().poll(cx).is_ready() {
            return Err(io::Error::new(ErrorKind::TimedOut, "the validator takes too long to answer"));
        }
        Ok(())
    }
}

/// The length of a message, if its type may have it.
fn length(header: &[u8; HEADER]) -> io::Result<usize> {
    let [version, kind, _, _, length @ ..] = *header;
    let length = u32::from_be_bytes(length) as usize;
    let fits = match kind {
        SERIAL_NOTIFY => length == 12,
        CACHE_RESPONSE | CACHE_RESET => length == 8,
        IPV4_PREFIX => length == 20,
        IPV6_PREFIX => length == 32,
        END_OF_DATA => length == if version == 0 { 12 } else { 24 },
        ROUTER_KEY => (32..=LONGEST).contains(&length),
        ERROR_REPORT => (16..=LONGEST).contains(&length),
        ASPA => (12..=LONGEST).contains(&length),
        _ => return Err(malformed(format!("the validator sent a message of type {kind}, which none has"))),
    };
    if !fits {
        return Err(malformed(format!("the validator sent a message of type {kind} with {length} bytes")));
    }
    Ok(length)
}

fn malformed(what: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// RFC 8210 §6: refresh 1 s to a day, retry 1 s to 2 h, expire 10 min to 2 days and more than the others.
fn bring_into_range(version: u8, message: &mut BytesMut) {
    if version == 0 {
        return;
    }
    let Some((_, times)) = message.split_last_chunk_mut::<12>() else { return };
    let (refresh, rest) = times.split_at_mut(4);
    let (retry, expire) = rest.split_at_mut(4);
    let clamp = |bytes: &mut [u8], low: u32, high: u32| {
        let value = bytes.first_chunk::<4>().map_or(low, |b| u32::from_be_bytes(*b)).clamp(low, high);
        bytes.copy_from_slice(&value.to_be_bytes());
        value
    };
    let expires = clamp(expire, 600, 172_800);
    clamp(retry, 1, 7200);
    clamp(refresh, 1, 86_400.min(expires / 2));
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.message.is_empty()
                && let Some(message) = this.next()?
            {
                this.message = message;
            }
            if !this.message.is_empty() {
                let n = this.message.len().min(out.remaining());
                out.put_slice(&this.message[..n]);
                this.message.advance(n);
                return Poll::Ready(Ok(()));
            }
            this.poll_patience(cx)?;
            this.raw.reserve(CHUNK);
            // The future has no state of its own: to poll a new one each time is the same.
            if ready!(pin!(this.inner.read_buf(&mut this.raw)).poll(cx))? == 0 {
                return Poll::Ready(match this.raw.is_empty() {
                    true => Ok(()),
                    false => {
                        Err(malformed("the validator closed the connection within a message".to_owned()))
                    }
                });
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // What the client writes begins with a header.
        if matches!(data.get(1), Some(&(SERIAL_QUERY | RESET_QUERY))) && this.asked.is_none() {
            this.asked = Some(Instant::now());
            this.deadline = None;
        }
        let written = Pin::new(&mut this.inner).poll_write(cx, data);
        if written.is_pending() {
            this.poll_patience(cx)?;
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
