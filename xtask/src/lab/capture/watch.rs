//! Looks at every frame on a wire as it passes and keeps none: for tests with more packets than one
//! would want to hold.

use anyhow::{Result, ensure};

use super::verify::dissect;
use super::{Tap, receive};
use crate::lab::netns::Namespace;

/// How much of a faulty frame is told.
const SHOWN_BYTES: usize = 160;

/// What passed a wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Frames that were looked at.
    pub frames: u64,
    /// Of these, frames with a packet inside a packet.
    pub encapsulated: u64,
    /// Checksums that were computed anew, outer and inner.
    pub checksums: u64,
    /// The first fault, and the frame.
    pub fault: Option<String>,
}

impl Checked {
    fn frame(&mut self, bytes: &[u8]) {
        let dissected = dissect(bytes);
        self.frames += 1;
        self.encapsulated += u64::from(dissected.is_encapsulated());
        self.checksums += dissected.checksums as u64;
        if let Some(fault) = dissected.faults.first().filter(|_| self.fault.is_none()) {
            let shown: String = bytes.iter().take(SHOWN_BYTES).map(|byte| format!("{byte:02x}")).collect();
            self.fault = Some(format!("{fault}; a frame of {} bytes: {shown}", bytes.len()));
        }
    }
}

/// Wires that are watched, until [`Watch::finish`].
#[derive(Debug)]
pub struct Watch(Vec<(String, Tap<Checked>)>);

impl Watch {
    /// Starts to watch interfaces of a namespace, both ways. A frame for which the kernel finds no
    /// room is not looked at: the nodes under test come first.
    pub fn start(namespace: &Namespace, interfaces: &[&str]) -> Result<Self> {
        let start = |interface: &&str| {
            let tap = Tap::start(namespace, interface, |socket, stop| {
                let mut checked = Checked::default();
                receive(socket, stop, |_, bytes| checked.frame(bytes))?;
                Ok(checked)
            })?;
            Ok(((*interface).to_owned(), tap))
        };
        Ok(Self(interfaces.iter().map(start).collect::<Result<_>>()?))
    }

    /// Stops. Fails if a checksum or a length was wrong, or if a wire had no encapsulated packet: what
    /// was not seen is not known to be right.
    pub fn finish(self) -> Result<Checked> {
        let mut sum = Checked::default();
        for (interface, tap) in self.0 {
            let checked = tap.finish()?;
            if let Some(fault) = checked.fault {
                anyhow::bail!("on the wire of {interface}: {fault}");
            }
            ensure!(checked.encapsulated > 0, "no encapsulated packet on the wire of {interface}");
            sum.frames += checked.frames;
            sum.encapsulated += checked.encapsulated;
            sum.checksums += checked.checksums;
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    #[test]
    fn a_fault_is_kept_and_so_is_the_count() {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        let mut frame = Vec::new();
        builder.udp(1, 2).write(&mut frame, b"payload").expect("a small packet");
        let mut checked = Checked::default();
        checked.frame(&frame);
        assert_eq!((checked.frames, checked.encapsulated, checked.fault.clone()), (1, 0, None));
        assert!(checked.checksums >= 2);
        // The last byte of the payload.
        *frame.last_mut().expect("a frame") ^= 1;
        checked.frame(&frame);
        let fault = checked.fault.clone().expect("a fault");
        assert!(fault.contains("UDP checksum"), "{fault}");
        checked.frame(&[0; 10]);
        assert_eq!((checked.frames, checked.fault), (3, Some(fault)));
    }
}
