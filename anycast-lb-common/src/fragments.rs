//! Fragments of a datagram follow the first one: only that one has ports.
//!
//! The first fragment is hashed as the whole datagram would be, and its hash is remembered under what
//! all fragments share (RFC 791 §3.2, RFC 8200 §4.5). Memory is a fixed table: a flood of fragments
//! overwrites what other fragments left there, and harms nothing else.

use crate::abi::{FRAGMENT_SLOT_BITS, FlowKeys, VipNumber};
use crate::hash::Flow;
use crate::tables::Tables;

/// How long the other fragments may follow, in seconds: as long as receivers wait for them (RFC 1122
/// §3.3.2 says 60 to 120 s at most; Linux waits 30 s).
const PATIENCE: u16 = 30;
/// Beside the protocol in what is hashed, so that a tag is never a flow's hash.
const MARK: u64 = 1 << 8;

/// What the fragments of a datagram are known by: a keyed hash, which nobody outside can aim.
#[inline(always)]
pub(crate) fn tag<const N: usize>(
    addresses: [u64; N],
    protocol: u8,
    identification: u32,
    keys: &FlowKeys,
) -> u64 {
    Flow { addresses, ports: identification as u64, protocol: protocol as u64 | MARK }.hash(keys)
}

/// A hash of which the upper half says all, as it is remembered: the bits that choose the slot.
#[inline(always)]
pub(crate) fn upper_half(hash: u64) -> u64 {
    hash >> 32 << 32 | hash >> 32
}

/// Remembers what became of the first fragment: its [`upper_half`] and its VIP.
#[inline(always)]
pub(crate) fn remember<T: Tables>(tables: &T, tag: u64, hash: u64, vip: VipNumber) {
    let value = hash >> 32 << 32 | (vip as u64) << 16 | tables.seconds() as u16 as u64;
    // Nothing orders the two words for another CPU: it sees them fit together, or not.
    tables.set_fragment(index(tag), [tag ^ value, value]);
}

/// What became of the first fragment, if it came this way not long ago.
#[inline(always)]
pub(crate) fn recall<T: Tables>(tables: &T, tag: u64) -> Option<(u64, VipNumber)> {
    let [check, value] = tables.fragment(index(tag))?;
    let age = (tables.seconds() as u16).wrapping_sub(value as u16);
    // VIP 0 is none: the entry is empty.
    if check ^ value != tag || age > PATIENCE || (value >> 16) as u16 == 0 {
        return None;
    }
    Some((upper_half(value), (value >> 16) as VipNumber))
}

#[inline(always)]
fn index(tag: u64) -> u32 {
    (tag >> (64 - FRAGMENT_SLOT_BITS)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::TableSet;

    const TAG: u64 = 0x1234_5678_9abc_def0;
    const HASH: u64 = 0xfeed_beef_0bad_cafe;

    #[test]
    fn what_is_remembered_is_recalled_for_a_while() {
        let tables = TableSet::default();
        assert_eq!(recall(&tables, TAG), None);
        assert_eq!(recall(&tables, 0), None);
        tables.seconds.set(65_530);
        remember(&tables, TAG, HASH, 77);
        let found = Some((0xfeed_beef_feed_beef, 77));
        assert_eq!(recall(&tables, TAG), found);
        // Another datagram in the same place.
        assert_eq!(recall(&tables, TAG ^ 1), None);
        tables.seconds.set(65_530 + u64::from(PATIENCE));
        assert_eq!(recall(&tables, TAG), found);
        tables.seconds.set(65_531 + u64::from(PATIENCE));
        assert_eq!(recall(&tables, TAG), None);
    }

    #[test]
    fn two_words_of_different_datagrams_do_not_fit() {
        let tables = TableSet::default();
        remember(&tables, TAG, HASH, 77);
        let first = tables.fragment(index(TAG)).expect("an entry");
        remember(&tables, TAG ^ 1, !HASH, 78);
        let second = tables.fragment(index(TAG)).expect("an entry");
        for torn in [[first[0], second[1]], [second[0], first[1]]] {
            tables.set_fragment(index(TAG), torn);
            assert_eq!((recall(&tables, TAG), recall(&tables, TAG ^ 1)), (None, None));
        }
    }
}
