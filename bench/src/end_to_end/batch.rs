//! Datagrams by the dozen: `sendmmsg` and `recvmmsg` on buffers that are set up once.

use std::io;
use std::mem::zeroed;
use std::net::Ipv4Addr;
use std::os::fd::RawFd;
use std::ptr;

/// Datagrams of one system call.
pub const BATCH: usize = 64;
/// Payload of one: a frame of 60 bytes, the least that Ethernet carries.
pub const LENGTH: usize = 18;
/// Room for one: a byte more shows what is too long.
const ROOM: usize = LENGTH + 1;
/// The run and the number take this much each at the front.
const WORD: usize = 8;

/// One that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes, [`LENGTH`] or something wrong.
    pub length: usize,
    /// Who sent it.
    pub sender: Ipv4Addr,
    /// Its run.
    pub run: u64,
    /// Its number within the run.
    pub number: u64,
}

/// Sends batches on connected sockets.
pub struct Sender {
    payloads: Box<[[u8; LENGTH]; BATCH]>,
}

impl Sender {
    /// For datagrams of `run`.
    pub fn new(run: u64) -> Self {
        let mut payload = [0; LENGTH];
        payload[..WORD].copy_from_slice(&run.to_be_bytes());
        Self { payloads: Box::new([payload; BATCH]) }
    }

    /// Sends a batch whose first has the number `first`; returns how many were sent.
    ///
    /// # Errors
    ///
    /// When the kernel takes none.
    pub fn send(&mut self, socket: RawFd, first: u64) -> io::Result<u64> {
        for (number, payload) in (first..).zip(self.payloads.iter_mut()) {
            payload[WORD..2 * WORD].copy_from_slice(&number.to_be_bytes());
        }
        let mut vectors = self
            .payloads
            .each_mut()
            .map(|payload| libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: LENGTH });
        let mut messages = vectors.each_mut().map(|vector| message(vector, ptr::null_mut()));
        // SAFETY: the messages point to vectors and these to payloads that live until the call returns; the
        // length is that of the array.
        let sent = unsafe { libc::sendmmsg(socket, messages.as_mut_ptr(), BATCH as u32, 0) };
        u64::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Receives batches.
pub struct Receiver {
    payloads: Box<[[u8; ROOM]; BATCH]>,
    senders: Box<[libc::sockaddr_in; BATCH]>,
    lengths: [u32; BATCH],
}

impl Receiver {
    /// With room for a batch.
    pub fn new() -> Self {
        // SAFETY: a sockaddr_in of zeros is one of no family, port 0 and address 0.0.0.0.
        let nobody: libc::sockaddr_in = unsafe { zeroed() };
        Self {
            payloads: Box::new([[0; ROOM]; BATCH]),
            senders: Box::new([nobody; BATCH]),
            lengths: [0; BATCH],
        }
    }

    /// Waits for one, as long as the socket's timeout says, and takes those that are there with it; returns how
    /// many.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when none has come.
    pub fn receive(&mut self, socket: RawFd) -> io::Result<usize> {
        let mut vectors = self
            .payloads
            .each_mut()
            .map(|payload| libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: ROOM });
        let mut senders = self.senders.iter_mut();
        let mut messages = vectors.each_mut().map(|vector| {
            let sender = senders.next().map_or(ptr::null_mut(), ptr::from_mut);
            message(vector, sender)
        });
        // SAFETY: the messages point to vectors and addresses, the vectors to payloads, all of which live until the
        // call returns; the length is that of the array; no timeout is given.
        let count = unsafe {
            let flags = libc::MSG_WAITFORONE;
            libc::recvmmsg(socket, messages.as_mut_ptr(), BATCH as u32, flags, ptr::null_mut())
        };
        for (length, message) in self.lengths.iter_mut().zip(&messages) {
            *length = message.msg_len;
        }
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// The first `count` of the last batch.
    pub fn all(&self, count: usize) -> impl Iterator<Item = Received> {
        let each = self.payloads.iter().zip(self.senders.iter()).zip(&self.lengths).take(count);
        each.map(|((payload, sender), &length)| Received {
            length: length as usize,
            sender: Ipv4Addr::from(u32::from_be(sender.sin_addr.s_addr)),
            run: word(payload, 0),
            number: word(payload, WORD),
        })
    }
}

fn word(payload: &[u8; ROOM], at: usize) -> u64 {
    payload[at..at + WORD].iter().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// A message of one piece; `sender` is where the sender's address goes, if anywhere.
fn message(vector: &mut libc::iovec, sender: *mut libc::sockaddr_in) -> libc::mmsghdr {
    // SAFETY: a header of zeros is an empty one.
    let mut message: libc::mmsghdr = unsafe { zeroed() };
    message.msg_hdr.msg_iov = vector;
    message.msg_hdr.msg_iovlen = 1;
    if !sender.is_null() {
        message.msg_hdr.msg_name = sender.cast();
        message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
    }
    message
}
