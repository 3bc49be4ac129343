//! Packets from files: what tcpdump, tshark and Wireshark write.

use std::io::{Cursor, ErrorKind, Read};

use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, PcapError};

use crate::dataplane::FRAME_BYTES;

/// The first bytes of a pcapng file: its section header's type, the same in both byte orders.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// What is put in front of a packet without a link header: locally administered addresses that no NIC has.
const LINK: [u8; 12] = [0x02, 0, 0, 0, 0, 0x02, 0x02, 0, 0, 0, 0, 0x01];
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// Bytes of the pseudo headers of `tcpdump -i any`, and where the protocol stands in them.
const LINUX_SLL: (usize, usize) = (16, 14);
const LINUX_SLL2: (usize, usize) = (20, 0);

/// A packet, ready to be asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Packet {
    /// From its Ethernet header on.
    pub frame: Vec<u8>,
    /// What was done to it.
    pub notes: Vec<String>,
    /// Why it cannot be asked about.
    pub error: Option<String>,
}

/// The packets of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Packets {
    /// In the order of the file.
    pub packets: Vec<Packet>,
    /// What was left out.
    pub notes: Vec<String>,
}

/// Reads at most `count` packets of a pcap or pcapng file.
pub(super) fn read(mut file: impl Read, count: usize) -> Result<Packets, String> {
    let mut magic = Vec::new();
    file.by_ref().take(PCAPNG.len() as u64).read_to_end(&mut magic).map_err(|e| e.to_string())?;
    if magic.is_empty() {
        return Err("it is empty".to_owned());
    }
    let is_pcapng = magic == PCAPNG;
    let whole = Cursor::new(magic).chain(file);
    if is_pcapng { read_pcapng(whole, count) } else { read_pcap(whole, count) }
}

fn read_pcap(file: impl Read, count: usize) -> Result<Packets, String> {
    let mut reader =
        PcapReader::new(file).map_err(|_| "neither pcap nor pcapng: how does it begin?".to_owned())?;
    let link = reader.header().datalink;
    let mut out = Packets::default();
    // Raw: what was captured in part is packets all the same.
    while let Some(packet) = reader.next_raw_packet() {
        match packet {
            Ok(packet) => {
                if !out.take(count, link, &packet.data, packet.orig_len) {
                    break;
                }
            }
            Err(error) => {
                out.ends(&error)?;
                break;
            }
        }
    }
    Ok(out)
}

fn read_pcapng(file: impl Read, count: usize) -> Result<Packets, String> {
    let mut reader = PcapNgReader::new(file).map_err(|e| format!("a damaged pcapng file: {e}"))?;
    let mut out = Packets::default();
    loop {
        let packet = match reader.next_block() {
            None => return Ok(out),
            Some(Ok(Block::EnhancedPacket(p))) => (p.interface_id, p.data.into_owned(), p.original_len),
            Some(Ok(Block::Packet(p))) => (p.interface_id.into(), p.data.into_owned(), p.original_len),
            Some(Ok(Block::SimplePacket(p))) => {
                // Its own length is not told; what is behind it is padding.
                let mut data = p.data.into_owned();
                data.truncate(p.original_len as usize);
                (0, data, p.original_len)
            }
            Some(Ok(_)) => continue,
            Some(Err(error)) => {
                out.ends(&error)?;
                return Ok(out);
            }
        };
        let (interface, data, length) = packet;
        let description = reader.interfaces().get(interface as usize);
        let link = description
            .ok_or_else(|| format!("a packet of interface {interface}, which is not described"))?;
        if !out.take(count, link.linktype, &data, length) {
            return Ok(out);
        }
    }
}

impl Packets {
    /// Takes a packet of which `data` was captured and which had `length` bytes; false if it is one too many.
    fn take(&mut self, count: usize, link: DataLink, data: &[u8], length: u32) -> bool {
        if self.packets.len() == count {
            self.notes.push(format!("only the first {count} packets: --count N for more"));
            return false;
        }
        self.packets.push(packet(link, data, length));
        true
    }

    /// A file that ends within a packet, as when tcpdump was killed, is read up to there.
    fn ends(&mut self, error: &PcapError) -> Result<(), String> {
        let number = self.packets.len() + 1;
        match error {
            PcapError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => {
                self.notes.push(format!("the file ends within packet {number}"));
                Ok(())
            }
            PcapError::IoError(e) => Err(format!("packet {number}: {e}")),
            error => Err(format!("packet {number}: damaged: {error}")),
        }
    }
}

/// An Ethernet frame of what was captured.
fn packet(link: DataLink, data: &[u8], length: u32) -> Packet {
    let mut packet = Packet::default();
    match frame(link, data) {
        Ok((frame, note)) => {
            packet.notes.extend(note.map(str::to_owned));
            packet.frame = frame;
        }
        Err(error) => {
            packet.error = Some(error);
            return packet;
        }
    }
    let missing = (length as usize).saturating_sub(data.len());
    let whole = packet.frame.len() + missing;
    if !FRAME_BYTES.contains(&whole) {
        let (least, most) = FRAME_BYTES.into_inner();
        packet.error = Some(format!("{whole} bytes: the kernel's test run takes {least} to {most}"));
    } else if missing > 0 {
        packet.notes.push(format!(
            "captured in part: its last {missing} bytes are taken for zeros (tcpdump -s 0 captures all)"
        ));
        packet.frame.resize(whole, 0);
    }
    packet
}

/// `data` with an Ethernet header, and what was done for that.
fn frame(link: DataLink, data: &[u8]) -> Result<(Vec<u8>, Option<&'static str>), String> {
    let behind = |ether_type: [u8; 2], packet: &[u8]| [&LINK, &ether_type[..], packet].concat();
    let made_up = Some("captured without a link header: an Ethernet header was put in front");
    let version = || data.first().map_or(0, |byte| byte >> 4);
    let cooked = |(length, at): (usize, usize)| {
        let ether_type = data.get(at..at + 2).and_then(|b| <[u8; 2]>::try_from(b).ok());
        match (ether_type, data.get(length..)) {
            (Some(ether_type), Some(packet)) => Ok((
                behind(ether_type, packet),
                Some(
                    "captured on all interfaces at once: MAC addresses are made up (tcpdump -i NIC -e keeps them)",
                ),
            )),
            _ => Err("cut short in its link header".to_owned()),
        }
    };
    match link {
        DataLink::ETHERNET => Ok((data.to_vec(), None)),
        DataLink::IPV4 => Ok((behind(IPV4, data), made_up)),
        DataLink::IPV6 => Ok((behind(IPV6, data), made_up)),
        // 12: what OpenBSD calls it, and tun devices of some programs.
        DataLink::RAW | DataLink::Unknown(12) => match version() {
            4 => Ok((behind(IPV4, data), made_up)),
            6 => Ok((behind(IPV6, data), made_up)),
            other => Err(format!("IP version {other}: neither IPv4 nor IPv6")),
        },
        DataLink::LINUX_SLL => cooked(LINUX_SLL),
        DataLink::LINUX_SLL2 => cooked(LINUX_SLL2),
        other => Err(format!(
            "link type {}: Ethernet, raw IP or Linux \"any\" captures are understood",
            u32::from(other)
        )),
    }
}

/// A packet given by hand: a frame, or an IP packet if its length field says that it is just that.
pub(super) fn by_hand(bytes: &[u8]) -> Packet {
    let length_at =
        |at: usize| bytes.get(at..at + 2).map_or(0, |b| usize::from(b[0]) << 8 | usize::from(b[1]));
    let is_ipv4 = bytes.first().is_some_and(|b| b >> 4 == 4 && b & 0xf >= 5) && length_at(2) == bytes.len();
    let is_ipv6 = bytes.first().is_some_and(|b| b >> 4 == 6) && length_at(4) + 40 == bytes.len();
    let link = match (is_ipv4, is_ipv6) {
        (true, _) => DataLink::IPV4,
        (_, true) => DataLink::IPV6,
        _ => DataLink::ETHERNET,
    };
    packet(link, bytes, bytes.len() as u32)
}

#[cfg(test)]
mod tests;
