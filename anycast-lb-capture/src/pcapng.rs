//! A file that Wireshark opens (draft-ietf-opsawg-pcapng).
//!
//! Each interface is there twice: packets as they came, and as they left. Each packet says in its comment what
//! was decided about it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};
use pcap_file::{DataLink, Endianness};

use crate::printable;
use crate::sight::{Frame, Sight};

pub use pcap_file::PcapError;

/// Timestamps count 10^-9 s (option if_tsresol).
const NANOSECONDS: u8 = 9;
/// Direction of a packet (option epb_flags).
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;
/// Most interfaces that are described: those of a node, not what somebody invents.
const MOST_INTERFACES: usize = 512;

/// Whether a packet is shown as it came or as it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Before,
    After,
}

/// Writes packets.
pub struct Writer<W: Write> {
    out: PcapNgWriter<W>,
    snap: u32,
    interfaces: HashMap<(String, String, Stage), u32>,
    packets: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a file; of each packet at most `snap` bytes are there. `filter` says what is captured.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn new(out: W, snap: u32, filter: &str) -> Result<Self, PcapError> {
        let program = concat!("anycast-lb ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            options: vec![
                SectionHeaderOption::UserApplication(program.into()),
                SectionHeaderOption::Comment(printable(filter).into()),
            ],
            endianness: Endianness::Little,
            ..SectionHeaderBlock::default()
        };
        let out = PcapNgWriter::with_section_header(out, section)?;
        Ok(Writer { out, snap, interfaces: HashMap::new(), packets: 0 })
    }

    /// Writes a packet as it came, and as it left where it did and differs.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, sight: &Sight) -> Result<(), PcapError> {
        let comment = comment(sight);
        self.packets += 1;
        self.frame(sight, &sight.before, Stage::Before, &comment)?;
        let same = sight.kind == "pass" && sight.after == sight.before;
        if sight.after.length != 0 && !same {
            self.frame(sight, &sight.after, Stage::After, &comment)?;
        }
        Ok(())
    }

    fn frame(&mut self, sight: &Sight, frame: &Frame, stage: Stage, comment: &str) -> Result<(), PcapError> {
        let leaves = stage == Stage::After && sight.kind == "transmit";
        let block = EnhancedPacketBlock {
            interface_id: self.interface(sight, stage)?,
            timestamp: Duration::from_nanos(sight.time),
            original_len: frame.length,
            // Never more than there was, whatever somebody reports.
            data: Cow::Borrowed(&frame.bytes[..frame.bytes.len().min(frame.length as usize)]),
            options: vec![
                EnhancedPacketOption::Comment(comment.into()),
                EnhancedPacketOption::Flags(if leaves { OUTBOUND } else { INBOUND }),
            ],
        };
        self.out.write_block(&block.into_block())?;
        Ok(())
    }

    /// The number of an interface, which is described when it is first needed.
    fn interface(&mut self, sight: &Sight, stage: Stage) -> Result<u32, PcapError> {
        let key = (sight.node.clone(), sight.interface.clone(), stage);
        if let Some(number) = self.interfaces.get(&key) {
            return Ok(*number);
        }
        let number = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        if self.interfaces.len() >= MOST_INTERFACES {
            return Err(PcapError::InvalidInterfaceId(number));
        }
        let (node, name) = (printable(&sight.node), printable(&sight.interface));
        let (word, meaning) = match stage {
            Stage::Before => ("before", "as packets came, before the decision"),
            Stage::After => ("after", "as packets left, after the decision"),
        };
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: self.snap,
            options: vec![
                InterfaceDescriptionOption::IfName(format!("{name} {word}").into()),
                InterfaceDescriptionOption::IfDescription(
                    format!("{node} ({}), {name}: {meaning}", sight.place.word()).into(),
                ),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        };
        self.out.write_block(&block.into_block())?;
        self.interfaces.insert(key, number);
        Ok(number)
    }

    /// Ends the file with how many packets were not reported, at `time` (ns since 1970). Gives how many are in it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self, time: u64, missed: u64) -> Result<(W, u64), PcapError> {
        if !self.interfaces.is_empty() {
            let block = InterfaceStatisticsBlock {
                interface_id: 0,
                // Two words, the upper one first; the crate writes it as one.
                timestamp: time.rotate_left(u32::BITS),
                options: vec![
                    InterfaceStatisticsOption::Comment(
                        format!(
                            "{missed} packets that match were not reported: too many, or read too slowly"
                        )
                        .into(),
                    ),
                    InterfaceStatisticsOption::IsbIfDrop(missed),
                ],
            };
            self.out.write_block(&block.into_block())?;
        }
        let packets = self.packets;
        Ok((self.out.into_inner(), packets))
    }

    /// Where it is written to.
    pub fn get_mut(&mut self) -> &mut W {
        self.out.get_mut()
    }
}

/// What was decided, as a packet's comment.
pub fn comment(sight: &Sight) -> String {
    let mut parts = vec![format!("verdict {} ({}): {}", sight.verdict, sight.kind, sight.explanation)];
    let mut part = |name: &str, value: Option<String>| {
        parts.extend(value.map(|value| format!("{name} {value}")));
    };
    part("VIP", sight.vip.clone());
    part("pool", sight.pool.clone());
    part("backend", sight.backend.map(|address| address.to_string()));
    part("sent by", sight.sender.map(|address| address.to_string()));
    part("next", sight.next.map(|address| address.to_string()));
    part("node", Some(format!("{} of {}", sight.node, sight.pop)));
    part("table version", Some(sight.version.to_string()));
    printable(&parts.join("; "))
}

#[cfg(test)]
mod tests;
