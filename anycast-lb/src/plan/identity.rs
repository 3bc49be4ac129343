//! Names as 64-bit numbers, stored beside what they name in the pinned maps.
//!
//! They must be the same in every release and on every machine that shares a pin, so the function
//! is spelled out here: FNV-1a (draft-eastlake-fnv), 64 bits.

use std::net::IpAddr;

use anycast_lb_common::abi::Encap;

use super::mapped;

const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// What a pool is known by across restarts.
pub fn pool(name: &str) -> u64 {
    nonzero(fnv(OFFSET_BASIS, name.as_bytes()))
}

/// What a member is known by across restarts: its pool, its address, and how packets get to it. A
/// changed encapsulation makes another member, because a header cannot be replaced in one store.
pub fn member(pool: &str, address: IpAddr, encap: Encap) -> u64 {
    let hash = fnv(OFFSET_BASIS, &mapped(address));
    let hash = fnv(hash, &[encap as u8]);
    nonzero(fnv(hash, pool.as_bytes()))
}

fn fnv(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

/// 0 says "unused" in the maps.
fn nonzero(hash: u64) -> u64 {
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vectors_hold() {
        assert_eq!(pool(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(pool("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(pool("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn every_part_of_a_member_counts() {
        let address = |s: &str| s.parse::<IpAddr>().expect("address");
        let all = [
            member("web", address("10.0.0.1"), Encap::Gue4),
            member("web", address("10.0.0.1"), Encap::Ipip4),
            member("web", address("10.0.0.2"), Encap::Gue4),
            member("dns", address("10.0.0.1"), Encap::Gue4),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
    }
}
