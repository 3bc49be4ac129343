//! The flow hash: which slot a packet falls into, on every node the same.
//!
//! Version 1 of the placement ([`crate::abi::PLACEMENT`]) hashes a flow's 32-bit words `w` (bytes
//! as they lie in the packet, read little-endian) in two steps:
//!
//! 1. **Multilinear** (Lemire and Kaser, "Strongly universal string hashing is fast", 2014):
//!    `offset + Σ factor[i] · w[i]` modulo 2^64, with secret 64-bit factors. Two different flows,
//!    chosen without knowing them, have the same sum with probability at most 2^-33: they differ in
//!    some word by less than 2^32, a number that 2^31 divides at most, so that of the 2^64 values of
//!    that word's factor at most 2^31 make up for it. The multiplications do not wait for one
//!    another.
//! 2. **A bijective finaliser** with secret odd multipliers and xor-shifts, which destroys the
//!    linear structure: flows a constant distance apart do not fall into slots a constant
//!    distance apart.
//!
//! It is not a pseudo-random function: it is made to withstand someone who chooses 5-tuples without
//! knowing the seed, not someone who reads hashes. Clients see at most which backend answers. Who
//! reads the network between ingress and backends sees the lowest bits too, in the outer source
//! port and flow label.

use crate::abi::{FlowKeys, address_key};

mod parts;

/// A flow: what the hash reads of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow<const N: usize> {
    /// Source and destination address, little-endian 32-bit words of the bytes on the wire.
    pub addresses: [u64; N],
    /// Source and destination port in the same way; 0 without ports.
    pub ports: u64,
    /// IP protocol number.
    pub protocol: u64,
}

impl<const N: usize> Flow<N> {
    /// The 64-bit hash. Slots come from the top bits, the outer source port from the low ones.
    #[inline(always)]
    pub fn hash(&self, keys: &FlowKeys) -> u64 {
        let mut h = keys.offset;
        let mut i = 0;
        while i < N {
            h = h.wrapping_add(keys.factors[i + 2].wrapping_mul(self.addresses[i]));
            i += 1;
        }
        h = h
            .wrapping_add(keys.factors[0].wrapping_mul(self.ports))
            .wrapping_add(keys.factors[1].wrapping_mul(self.protocol));
        finish(h, keys.finish)
    }
}

/// The words of an IPv4 address pair.
#[inline(always)]
pub fn words_v4(source: [u8; 4], destination: [u8; 4]) -> [u64; 2] {
    [u32::from_le_bytes(source) as u64, u32::from_le_bytes(destination) as u64]
}

/// The words of an IPv6 address pair.
#[inline(always)]
pub fn words_v6(source: [u8; 16], destination: [u8; 16]) -> [u64; 8] {
    let [s0, s1, s2, s3] = quarters(source);
    let [d0, d1, d2, d3] = quarters(destination);
    [s0, s1, s2, s3, d0, d1, d2, d3]
}

#[inline(always)]
fn quarters(a: [u8; 16]) -> [u64; 4] {
    // As in `address_key`, and by way of it: what is compared is loaded already.
    let [front, back] = address_key(a).map(u64::to_le);
    [front as u32 as u64, front >> 32, back as u32 as u64, back >> 32]
}

#[inline(always)]
fn finish(h: u64, multipliers: [u64; 2]) -> u64 {
    let h = (h ^ (h >> 32)).wrapping_mul(multipliers[0]);
    let h = (h ^ (h >> 29)).wrapping_mul(multipliers[1]);
    h ^ (h >> 32)
}

impl FlowKeys {
    /// Expands the seed into keys. Every key depends on the whole seed; multipliers are odd.
    pub fn from_seed(seed: [u8; 16]) -> Self {
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&seed[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let mut stream = Expander { a: word(0), b: word(8), n: 0 };
        FlowKeys {
            offset: stream.next(),
            factors: core::array::from_fn(|_| stream.next()),
            finish: core::array::from_fn(|_| stream.next() | 1),
        }
    }
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012) in counter mode: word `n` is the MAC of `n` under the
/// seed.
struct Expander {
    a: u64,
    b: u64,
    n: u64,
}

impl Expander {
    fn next(&mut self) -> u64 {
        let message = self.n;
        self.n += 1;
        let mut v = [
            self.a ^ 0x736f_6d65_7073_6575,
            self.b ^ 0x646f_7261_6e64_6f6d,
            self.a ^ 0x6c79_6765_6e65_7261,
            self.b ^ 0x7465_6462_7974_6573,
        ];
        // One message block of eight bytes, then the block that carries only the length, 8.
        for block in [message, 8 << 56] {
            v[3] ^= block;
            sip_round(&mut v);
            sip_round(&mut v);
            v[0] ^= block;
        }
        v[2] ^= 0xff;
        for _ in 0..4 {
            sip_round(&mut v);
        }
        v[0] ^ v[1] ^ v[2] ^ v[3]
    }
}

fn sip_round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests;
