//! A datagram is answered.

use super::{Target, socket};
use crate::Reason;

/// Longest datagram there is.
const LONGEST: usize = 65_535;

/// A datagram and the answer that is expected.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UdpCheck {
    /// What is sent.
    pub payload: Vec<u8>,
    /// How the answer begins; empty = any answer will do.
    pub answer: Vec<u8>,
}

pub(super) async fn run(check: &UdpCheck, target: &Target) -> Result<(), Reason> {
    let failed = |e: std::io::Error| socket::not_reached("datagram", target, &e);
    let udp = socket::connect_udp(target).await?;
    udp.send(&check.payload).await.map_err(failed)?;
    // Only the beginning is of interest: the kernel cuts the rest off.
    let mut buffer = vec![0; check.answer.len().clamp(1, LONGEST)];
    let length = udp.recv(&mut buffer).await.map_err(failed)?;
    if buffer[..length].starts_with(&check.answer) {
        Ok(())
    } else {
        let begins = buffer[..length].escape_ascii();
        Err(Reason::new(format_args!("the answer begins with \"{begins}\", not as expected")))
    }
}
