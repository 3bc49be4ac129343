//! Keyed randomness: SipHash-2-4 over words, and keyed permutations of the slots.
//!
//! Everything is wrapping integer arithmetic on fixed widths, so that every machine computes the
//! same. Without the seed nobody can predict which slots a backend gets.

use std::net::IpAddr;

/// SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF") of a message that is a
/// whole number of 64-bit words.
#[derive(Clone)]
pub(super) struct Sip {
    v: [u64; 4],
    words: u64,
}

impl Sip {
    /// Starts a message under the key `seed`. `purpose` keeps its uses apart.
    pub(super) fn new(seed: &[u8; 16], purpose: Purpose) -> Self {
        let mut sip = Self::unseparated(seed);
        sip.write(purpose as u64);
        sip
    }

    fn unseparated(seed: &[u8; 16]) -> Self {
        let key = u128::from_le_bytes(*seed);
        let (k0, k1) = (key as u64, (key >> 64) as u64);
        // The constants are the paper's, "somepseudorandomlygeneratedbytes".
        let v = [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ];
        Sip { v, words: 0 }
    }

    /// Appends a word.
    pub(super) fn write(&mut self, word: u64) {
        self.words = self.words.wrapping_add(1);
        self.block(word);
    }

    /// Appends an address, IPv4 as IPv4-mapped IPv6.
    pub(super) fn write_address(&mut self, address: IpAddr) {
        let number = address_number(address);
        self.write((number >> 64) as u64);
        self.write(number as u64);
    }

    /// The hash of the words so far.
    pub(super) fn finish(mut self) -> u64 {
        // The last block holds the length in bytes, modulo 256, in its top byte.
        self.block(self.words.wrapping_mul(8) << 56);
        self.v[2] ^= 0xff;
        for _ in 0..4 {
            self.round();
        }
        self.v[0] ^ self.v[1] ^ self.v[2] ^ self.v[3]
    }

    fn block(&mut self, word: u64) {
        self.v[3] ^= word;
        self.round();
        self.round();
        self.v[0] ^= word;
    }

    fn round(&mut self) {
        let [v0, v1, v2, v3] = &mut self.v;
        *v0 = v0.wrapping_add(*v1);
        *v2 = v2.wrapping_add(*v3);
        *v1 = v1.rotate_left(13) ^ *v0;
        *v3 = v3.rotate_left(16) ^ *v2;
        *v0 = v0.rotate_left(32);
        *v2 = v2.wrapping_add(*v1);
        *v0 = v0.wrapping_add(*v3);
        *v1 = v1.rotate_left(17) ^ *v2;
        *v3 = v3.rotate_left(21) ^ *v0;
        *v2 = v2.rotate_left(32);
    }
}

/// What a keyed hash is for; the first word of its message.
#[derive(Clone, Copy)]
#[repr(u64)]
pub(super) enum Purpose {
    /// Keys of a backend's permutation.
    Permutation = 1,
    /// Fingerprint of the owners.
    Owners = 2,
    /// Fingerprint of the hop lists.
    Hops = 3,
}

/// The one form in which addresses are ordered and hashed: IPv4 as IPv4-mapped IPv6, as a number.
pub(super) fn address_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Rounds of a permutation. Two are visibly not random on 16 bits, three pass; one more for safety.
const ROUNDS: usize = 4;

/// A permutation of the numbers below a power of two, chosen by seed and identity.
///
/// Each round multiplies by an odd number, adds, and xors the upper half of the bits into the lower
/// half; each step can be undone, so the whole is a permutation.
pub(super) struct Permutation {
    rounds: [(u32, u32); ROUNDS],
    mask: u32,
    shift: u32,
    tie: u32,
}

impl Permutation {
    /// The permutation of the backend `identity` on `slots` (a power of two).
    pub(super) fn new(seed: &[u8; 16], identity: IpAddr, slots: u32) -> Self {
        let mut base = Sip::new(seed, Purpose::Permutation);
        base.write_address(identity);
        let key = |i: u64| {
            let mut sip = base.clone();
            sip.write(i);
            sip.finish()
        };
        let mut rounds = [(0, 0); ROUNDS];
        for (i, round) in (0..).zip(&mut rounds) {
            let word = key(i);
            *round = (word as u32 | 1, (word >> 32) as u32);
        }
        Permutation {
            rounds,
            mask: slots - 1,
            shift: slots.trailing_zeros().div_ceil(2).max(1),
            tie: key(ROUNDS as u64) as u32,
        }
    }

    /// The `position`th slot.
    #[inline]
    pub(super) fn slot(&self, position: u32) -> u32 {
        let mut x = position;
        for (factor, term) in self.rounds {
            x = x.wrapping_mul(factor).wrapping_add(term) & self.mask;
            x ^= x >> self.shift;
        }
        x
    }

    /// A number that decides between backends which have a slot at the same place.
    #[inline]
    pub(super) fn tie(&self, slot: u32) -> u32 {
        // The finaliser of MurmurHash3; a tie is rare and what it decides is one slot.
        let mut x = slot ^ self.tie;
        x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
        x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
        x ^ (x >> 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn backend(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + n).into()
    }

    #[test]
    fn siphash_gives_the_published_vectors() {
        let key: [u8; 16] = std::array::from_fn(|i| i as u8);
        let mut sip = Sip::unseparated(&key);
        assert_eq!(sip.clone().finish(), 0x726f_db47_dd0e_0e31);
        sip.write(u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7]));
        assert_eq!(sip.clone().finish(), 0x93f5_f579_9a93_2462);
        sip.write(u64::from_le_bytes([8, 9, 10, 11, 12, 13, 14, 15]));
        assert_eq!(sip.finish(), 0x3f2a_cc7f_57c2_9bdb);
    }

    #[test]
    fn every_slot_is_met_once() {
        for bits in 1..=20 {
            let slots = 1 << bits;
            let p = Permutation::new(&[7; 16], backend(bits), slots);
            let mut seen = vec![false; slots as usize];
            for j in 0..slots {
                let slot = p.slot(j) as usize;
                assert!(!seen[slot], "slot {slot} twice with {bits} bits");
                seen[slot] = true;
            }
        }
    }

    /// Chi-squared over the cells (position, slot) of many backends, 32 by 32. The limit is about
    /// five standard deviations, so a fair coin never fails here and a poor permutation does.
    #[test]
    fn early_positions_are_spread_over_all_slots() {
        const CELLS: usize = 32;
        const BACKENDS: u32 = 2000;
        let slots: u32 = 1 << 12;
        let mut counts = [[0i64; CELLS]; CELLS];
        for n in 0..BACKENDS {
            let p = Permutation::new(&[9; 16], backend(n), slots);
            for (j, row) in (0..).zip(&mut counts) {
                row[(p.slot(j) as usize) * CELLS / slots as usize] += 1;
            }
        }
        let expected = i64::from(BACKENDS) / CELLS as i64;
        let chi: i64 =
            counts.iter().flatten().map(|c| (c - expected) * (c - expected)).sum::<i64>() / expected;
        let freedom = (CELLS * CELLS) as i64;
        assert!((chi - freedom).abs() < 5 * 46, "chi-squared {chi} for {freedom} cells");
    }
}
