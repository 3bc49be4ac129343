//! Connections on which nothing may be said for an hour: that the other host is gone is seen sooner.

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpStream;

/// Seconds of silence after which the kernel asks whether the other host is still there.
const IDLE: u32 = 20;
/// Seconds between its questions.
const INTERVAL: u32 = 5;
/// Questions without an answer after which it is given up.
const COUNT: u32 = 4;

/// Has the kernel ask.
pub(crate) fn keep_alive(stream: &TcpStream) -> nix::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &IDLE)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &INTERVAL)?;
    setsockopt(stream, sockopt::TcpKeepCount, &COUNT)
}
