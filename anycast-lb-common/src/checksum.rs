//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

/// Folds the carries of a sum of 16-bit words back into 16 bits.
///
/// Exact for sums of up to 2^16 words.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The checksum after one 16-bit word changed from `old` to `new` (RFC 1624, equation 3). All in
/// host order; a UDP checksum that means "none" must not be updated.
#[inline(always)]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(!checksum as u32 + !old as u32 + new as u32)
}

/// Like [`update`] for a message that may be all zero (ICMP, UDP): where the result is a zero, it is
/// the one written 0xffff, which verifies in either case; 0x0000 does not for an all-zero message,
/// and means "no checksum" in UDP.
#[inline(always)]
pub const fn update_to_sent(checksum: u16, old: u16, new: u16) -> u16 {
    match update(checksum, old, new) {
        0 => 0xffff,
        sum => sum,
    }
}

/// The ones' complement sum of `bytes`, an odd last byte padded with zero; not complemented.
pub fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0;
    for pair in bytes.chunks(2) {
        let word = u16::from_be_bytes([pair[0], if pair.len() == 2 { pair[1] } else { 0 }]);
        sum = fold(sum as u32 + word as u32);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    #[test]
    fn an_odd_byte_counts_as_the_high_one() {
        assert_eq!(sum(&[0x12, 0x34, 0x56]), 0x1234 + 0x5600);
    }

    #[test]
    fn an_echo_reply_verifies_whatever_the_rest_sums_up_to() {
        // The type word of an echo message changes from 0x0800 to 0. `rest` = 0 is the message
        // with identifier, sequence number and payload zero.
        for rest in 0..=0xffff_u16 {
            let request = !fold(0x0800 + rest as u32);
            let reply = update_to_sent(request, 0x0800, 0x0000);
            // What a receiver checks: everything with the checksum sums up to all ones.
            assert_eq!(fold(rest as u32 + reply as u32), 0xffff, "{rest:#06x}");
        }
    }

    proptest! {
        #[test]
        fn update_keeps_a_valid_checksum_valid(
            words in proptest::collection::vec(any::<u16>(), 2..40), at in any::<prop::sample::Index>(), new: u16,
        ) {
            let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
            let before = !sum(&bytes);
            let i = at.index(words.len());
            let after = update(before, words[i], new);
            let mut changed = words.clone();
            changed[i] = new;
            let bytes: Vec<u8> = changed.iter().flat_map(|w| w.to_be_bytes()).collect();
            prop_assume!(sum(&bytes) != 0);
            prop_assert_eq!(fold(sum(&bytes) as u32 + after as u32), 0xffff);
        }
    }
}
