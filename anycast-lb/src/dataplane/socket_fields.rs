//! Where the running kernel keeps the sequence numbers that the backend's program asks sockets for:
//! load-time constants of the program.

use aya::EbpfLoader;

use super::kernel_types::{KERNEL_BTF, offsets_in_kernel};

/// The program's constants, and the fields of which they are the offsets.
const FIELDS: [(&str, (&str, &str)); 3] = [
    ("SNT_ISN_OFFSET", ("tcp_request_sock", "snt_isn")),
    ("TW_RCV_NXT_OFFSET", ("tcp_timewait_sock", "skc_tw_rcv_nxt")),
    ("TW_SND_NXT_OFFSET", ("tcp_timewait_sock", "skc_tw_snd_nxt")),
];

/// In the program: not known.
const UNKNOWN: u32 = 0;

/// The offsets of all fields, in bytes.
#[derive(Debug)]
pub(super) struct SocketFields([u32; FIELDS.len()]);

impl SocketFields {
    /// As the running kernel has them.
    pub fn of_kernel() -> Self {
        let offsets = offsets_in_kernel(FIELDS.map(|(_, field)| field));
        SocketFields(offsets.map(|offset| offset.unwrap_or(UNKNOWN)))
    }

    /// Says what goes wrong without those that the kernel does not tell.
    pub fn warn(&self) {
        let [isn, closed @ ..] = self.0;
        if isn == UNKNOWN {
            tracing::warn!(
                "{KERNEL_BTF} does not tell where a half-open connection keeps its sequence number: one whose SYN \
                 was retransmitted to another backend meanwhile may break"
            );
        }
        if closed.contains(&UNKNOWN) {
            tracing::warn!(
                "{KERNEL_BTF} does not tell where a closed connection keeps its sequence numbers: a client that \
                 uses its port again within a minute may break"
            );
        }
    }

    /// Puts them into the programs that `loader` is about to load.
    pub fn put<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        for ((name, _), offset) in FIELDS.iter().zip(&self.0) {
            loader.override_global(name, offset, true);
        }
    }
}
