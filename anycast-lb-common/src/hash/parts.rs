//! Hashes of less than the whole 5-tuple, for VIPs whose clients must keep their backend over several
//! flows.

use super::Flow;
use crate::abi::VipFlags;

/// Where [`Flow::ports`] has the source port: its two bytes come first on the wire.
const SOURCE_PORT: u64 = 0xffff;
/// Where it has the destination port.
const DESTINATION_PORT: u64 = 0xffff_0000;

impl<const N: usize> Flow<N> {
    /// What is left of the flow where a VIP's `flags` name parts of it ([`VipFlags::HASHED_PARTS`]);
    /// where they name none, all of it.
    ///
    /// The VIP's address and the protocol never count then: one client finds one backend at all VIPs
    /// that share a pool, over UDP and TCP alike.
    #[inline(always)]
    pub fn hashed_by(self, flags: u16) -> Self {
        if flags & VipFlags::HASHED_PARTS == 0 {
            return self;
        }
        let mut parts = Flow { addresses: [0; N], ports: 0, protocol: 0 };
        if flags & VipFlags::HASH_SOURCE != 0 {
            let mut i = 0;
            while i < N / 2 {
                parts.addresses[i] = self.addresses[i];
                i += 1;
            }
        }
        if flags & VipFlags::HASH_SOURCE_PORT != 0 {
            parts.ports |= self.ports & SOURCE_PORT;
        }
        if flags & VipFlags::HASH_DESTINATION_PORT != 0 {
            parts.ports |= self.ports & DESTINATION_PORT;
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::abi::FlowKeys;
    use crate::hash::{words_v4, words_v6};

    const SOURCE: u16 = VipFlags::HASH_SOURCE;
    const SOURCE_AND_PORT: u16 = VipFlags::HASH_SOURCE | VipFlags::HASH_SOURCE_PORT;
    const PORT: u16 = VipFlags::HASH_DESTINATION_PORT;

    fn ports(source: u16, destination: u16) -> u64 {
        let ([a, b], [c, d]) = (source.to_be_bytes(), destination.to_be_bytes());
        u32::from_le_bytes([a, b, c, d]).into()
    }

    type Ends = ([u8; 16], [u8; 16], u16, u16, u8);

    fn hashes((source, destination, from, to, protocol): Ends, flags: u16) -> [u64; 2] {
        let keys = FlowKeys::from_seed(*b"a seed of tests!");
        let four = |a: [u8; 16]| [a[12], a[13], a[14], a[15]];
        let (ports, protocol) = (ports(from, to), protocol.into());
        let v4 = Flow { addresses: words_v4(four(source), four(destination)), ports, protocol };
        let v6 = Flow { addresses: words_v6(source, destination), ports, protocol };
        [v4.hashed_by(flags).hash(&keys), v6.hashed_by(flags).hash(&keys)]
    }

    proptest! {
        /// What is named counts, and what is not named does not.
        #[test]
        fn named_parts_alone_decide(a: Ends, b: Ends) {
            let (source, _, from, to, _) = a;
            let of_one_client = (source, b.1, b.2, b.3, b.4);
            prop_assert_eq!(hashes(a, SOURCE), hashes(of_one_client, SOURCE));
            let of_one_socket = (source, b.1, from, b.3, b.4);
            prop_assert_eq!(hashes(a, SOURCE_AND_PORT), hashes(of_one_socket, SOURCE_AND_PORT));
            let to_one_port = (b.0, b.1, b.2, to, b.4);
            prop_assert_eq!(hashes(a, PORT), hashes(to_one_port, PORT));

            let mut other_client = source;
            other_client[15] ^= 1;
            let other = (other_client, a.1, from, to, a.4);
            let other_from = (source, a.1, from ^ 0x100, to, a.4);
            let other_to = (source, a.1, from, to ^ 0x100, a.4);
            for (flags, others) in [
                (0, &[other, other_from, other_to][..]),
                (SOURCE, &[other]),
                (SOURCE_AND_PORT, &[other, other_from]),
                (PORT, &[other_to]),
            ] {
                for &changed in others {
                    let ([a4, a6], [b4, b6]) = (hashes(a, flags), hashes(changed, flags));
                    prop_assert!(a4 != b4 && a6 != b6, "{flags}: {changed:?}");
                }
            }
        }

        /// Other flags of a VIP change nothing.
        #[test]
        fn without_parts_the_whole_flow_is_hashed(addresses: [u64; 2], ports: u64, protocol: u64, flags: u16) {
            let flow = Flow { addresses, ports, protocol };
            prop_assert_eq!(flow.hashed_by(flags & !VipFlags::HASHED_PARTS), flow);
        }
    }
}
