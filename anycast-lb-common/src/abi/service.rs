//! Which service a packet is for: address table, service table, VIPs, prefixes.
//!
//! Both tables are cuckoo tables: a key lies in one of two slots that its hash names, so a lookup
//! costs at most two loads and never depends on what an attacker sends. The daemon chooses the salt
//! ([`Control::SALT`]) so that all keys find a place.
//!
//! What a packet waits for is the chain of loads of which each needs the one before. So the place of a
//! service follows from the address and not from what the address table says of it, the salt lies in the
//! word that is read first, and what the table knows of a VIP lies beside its key: together some 17 ns.

use bytemuck::{Pod, Zeroable};

use super::MAX_POOLS;
use crate::wire::transport::TCP;

/// Slots in each half of the address table; a power of two.
pub const ADDRESS_SLOTS: u32 = 1 << 14;
/// Slots in each half of the service table; a power of two.
pub const SERVICE_SLOTS: u32 = 1 << 14;
/// VIPs a node can have; number 0 means "none" and is never used.
pub const MAX_VIPS: u32 = 4096;
/// Prefixes in each half: announced ones on an ingress node, allowed senders on a backend.
pub const MAX_PREFIXES: u32 = 64;

/// Number of a VIP, an index into the tables of VIPs and of their counters; 0 = none.
pub type VipNumber = u16;

/// The keys of the flow hash, expanded from the 128-bit seed that all nodes share.
///
/// See [`crate::hash`] for how they are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct FlowKeys {
    /// Constant term of the multilinear part.
    pub offset: u64,
    /// One factor for each 32-bit word of the flow.
    pub factors: [u64; 10],
    /// Odd multipliers of the finaliser.
    pub finish: [u64; 2],
}

/// Limits on packets that a backend sends on to another, or on what an ingress node answers by itself;
/// times in ns, an interval of 0 = no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct HopLimits {
    /// Time between packets of one client prefix at its limit.
    pub prefix_interval: u64,
    /// How far the packets of one client prefix may run ahead of it.
    pub prefix_burst: u64,
    /// Time between packets of all clients at their limit.
    pub total_interval: u64,
    /// How far the packets of all clients may run ahead of it.
    pub total_burst: u64,
}

impl HopLimits {
    /// As [`Self::total_interval`]: nothing is ever sent.
    pub const NEVER: u64 = u64::MAX;

    /// Of an ingress node that tells senders what fits: those of one /24 (IPv6: /56) 100 times a second,
    /// all together 1,000 times. Once is enough for a sender that listens, for minutes.
    pub const PATH_MTU: HopLimits = HopLimits::per_second(100, 1000);

    /// Of an ingress node that is asked for its name: ten times a second by those of one /24 (IPv6: /56), by all
    /// together a thousand times. Who wants to know more often has other means.
    pub const QUESTIONS: HopLimits = HopLimits::per_second(10, 1000);

    /// So many packets a second of one client prefix, and of all together (neither 0), with bursts
    /// of a second's worth.
    pub const fn per_second(prefix: u64, total: u64) -> Self {
        const SECOND: u64 = 1_000_000_000;
        HopLimits {
            prefix_interval: SECOND / prefix,
            prefix_burst: SECOND,
            total_interval: SECOND / total,
            total_burst: SECOND,
        }
    }
}

/// Classes of client prefixes, as a power of two. Prefixes of one class share a limit; memory is
/// fixed whatever an attacker sends.
pub const HOP_LIMIT_CLASS_BITS: u32 = 13;
/// Words of the map that keeps the limits' state: one for the total, one for each class, and one for all
/// questions for the name of the node.
pub const HOP_LIMIT_WORDS: u32 = 1 + (1 << HOP_LIMIT_CLASS_BITS) + 1;

/// Entries of the fragment table, as a power of two: 256 KiB whatever is sent.
pub const FRAGMENT_SLOT_BITS: u32 = 14;

/// What is common to one half of the double-buffered tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Buffer {
    /// Flow hash keys. On a backend, which hashes no flows: a secret of its own, by which client
    /// prefixes fall into classes.
    pub keys: FlowKeys,
    /// Flow hash keys of the previous seed, while the seed is being changed.
    pub previous_keys: FlowKeys,
    /// Limits on hops; on an ingress node, on telling senders that a packet does not fit.
    pub hop_limits: HopLimits,
    /// Limits on questions for the name of the node that are answered.
    pub question_limits: HopLimits,
    /// How many entries of the prefix table are valid.
    pub prefixes: u32,
    /// 1: a packet inside our addresses that no service matches is passed instead of dropped.
    pub unmatched_pass: u32,
    /// 1: the seed is being changed, [`Self::previous_keys`] counts.
    pub seed_change: u32,
    /// How often tables were put in force since the maps were made, this time included.
    pub version: u32,
}

/// The one word that says which half is in force, and both halves' headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Control {
    /// [`Self::HALF`] and [`Self::SALT`].
    pub active: u64,
    /// The two halves.
    pub buffers: [Buffer; 2],
}

impl Control {
    /// Of [`Self::active`]: which half is in force.
    pub const HALF: u64 = 1;
    /// Of [`Self::active`]: salt of the cuckoo hashes of that half; no secret.
    pub const SALT: u64 = !Self::HALF;
}

/// What an address is to this host; bits of [`AddressEntry::flags`].
pub struct AddressFlags;

impl AddressFlags {
    /// At least one VIP has this address.
    pub const VIP: u32 = 1;
    /// The host itself has this address and takes tunnelled packets on it (backends only; never
    /// set for the address of a VIP).
    pub const LOCAL: u32 = 2;
    /// At least one VIP with a port exists, so that the service table is worth a look.
    pub const PORTS: u32 = 4;
}

/// An address this host knows, and the VIPs on it that need no port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct AddressEntry {
    /// As [`address_key`] gives it.
    pub address: [u64; 2],
    /// [`AddressFlags`]; 0 = the slot is empty.
    pub flags: u32,
    /// Number of the address, the first half of a service key.
    pub id: u16,
    /// VIP for TCP on any port, or 0.
    pub any_tcp: VipNumber,
    /// VIP for UDP on any port, or 0.
    pub any_udp: VipNumber,
    /// VIP for any protocol, or 0.
    pub any_protocol: VipNumber,
    /// VIP for later fragments of TCP, which tell no port, or 0: the node must remember the first one.
    /// Set where the port makes no difference, neither to the pool nor to the hash.
    pub fragments_tcp: VipNumber,
    /// The same for UDP.
    pub fragments_udp: VipNumber,
}

impl AddressEntry {
    /// VIP for later fragments of `protocol` (TCP or UDP), or 0.
    #[inline(always)]
    pub fn fragments(&self, protocol: u8) -> VipNumber {
        if protocol == TCP { self.fragments_tcp } else { self.fragments_udp }
    }
}

/// An exact service: address, protocol and port. Or, in the same table, the server that a connection ID
/// names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ServiceEntry {
    /// As [`service_key`] or [`server_key`] gives it; 0 = the slot is empty.
    pub key: u64,
    /// The VIP, as [`VipEntry::to_word`] gives it; the number of the member where the key is a server's.
    pub value: u64,
}

/// Properties of a VIP; bits of [`VipEntry::flags`].
pub struct VipFlags;

impl VipFlags {
    /// The packet carries its hop list.
    pub const SECOND_CHANCE: u16 = 1;
    /// The flow hash is of named parts, this one the client's address. The whole 5-tuple counts where no
    /// part is named.
    pub const HASH_SOURCE: u16 = 2;
    /// Another part: the client's port.
    pub const HASH_SOURCE_PORT: u16 = 4;
    /// Another part: the VIP's port.
    pub const HASH_DESTINATION_PORT: u16 = 8;
    /// All parts that can be named.
    pub const HASHED_PARTS: u16 = Self::HASH_SOURCE | Self::HASH_SOURCE_PORT | Self::HASH_DESTINATION_PORT;
    /// The MSS that a SYN offers is lowered to what fits a tunnel to the backend.
    pub const MSS_CLAMP: u16 = 16;
    /// UDP is QUIC whose connection IDs name the backend, as [`VipEntry::server_ids`] says.
    pub const QUIC: u16 = 32;
    /// A DNS question for the name of the server (RFC 4892) is answered by the node.
    pub const IDENTITY: u16 = 64;
    /// Whatever makes the flow of a packet something else than its whole 5-tuple, or of the packet something
    /// else than one of a flow, in one test.
    pub const SPECIAL_FLOW: u16 = Self::HASHED_PARTS | Self::QUIC | Self::IDENTITY;
}

/// How the connection IDs of a VIP's QUIC servers name the server (draft-ietf-quic-load-balancers-21 §3.1, §5.2,
/// without a key): one octet whose top three bits are the configuration, then the server ID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ServerIds {
    /// Number of the configuration, 0 to 6; 7 says that an ID names nobody.
    pub config: u8,
    /// Octets of a server ID, 1 to [`Self::MAX_LEN`].
    pub len: u8,
}

impl ServerIds {
    /// The longest server ID that is understood.
    pub const MAX_LEN: u8 = 6;
    /// The largest number of a configuration.
    pub const MAX_CONFIG: u8 = 6;
}

/// What a VIP's packets need; one aligned word, so it changes atomically. The packet path hands it on as
/// that word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct VipEntry {
    /// Index of the pool; meaningless unless the tables name the VIP.
    pub pool: u16,
    /// [`VipFlags`].
    pub flags: u16,
    /// With [`VipFlags::QUIC`].
    pub server_ids: ServerIds,
    /// The VIP's own.
    pub number: VipNumber,
}

impl VipEntry {
    /// From the word that is stored.
    #[inline(always)]
    pub fn from_word(word: u64) -> Self {
        bytemuck::cast(word)
    }

    /// The word to store; 0 = no VIP.
    pub fn to_word(self) -> u64 {
        bytemuck::cast(self)
    }
}

/// A prefix, IPv4 as IPv4-mapped IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct PrefixEntry {
    /// Network address as [`address_key`] gives it, host bits zero.
    pub network: [u64; 2],
    /// Mask in the same form.
    pub mask: [u64; 2],
}

impl PrefixEntry {
    /// The prefix of `length` bits (0 to 128; IPv4 lengths plus 96) around `address`.
    pub fn new(address: [u8; 16], length: u8) -> Self {
        let bits = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
        let mask = address_key(bits.to_be_bytes());
        let key = address_key(address);
        PrefixEntry { network: [key[0] & mask[0], key[1] & mask[1]], mask }
    }

    /// Whether `address` (as [`address_key`] gives it) lies inside.
    #[inline(always)]
    pub fn contains(&self, address: [u64; 2]) -> bool {
        (address[0] & self.mask[0]) == self.network[0] && (address[1] & self.mask[1]) == self.network[1]
    }
}

/// The form in which addresses are compared and hashed: the 16 bytes as two words, read in the
/// machine's own order. IPv4 addresses are IPv4-mapped (`::ffff:a.b.c.d`).
#[inline(always)]
pub fn address_key(address: [u8; 16]) -> [u64; 2] {
    // Not byte by byte: the compiler does not always find its way back from sixteen loads to two.
    bytemuck::cast(address)
}

/// Key of a service. `protocol` is the IP protocol number, `port` in host order.
#[inline(always)]
pub fn service_key(address_id: u16, protocol: u8, port: u16) -> u64 {
    // The top bit keeps the key of a real service from ever being 0.
    SERVICE_KEY | (address_id as u64) << 32 | (protocol as u64) << 16 | port as u64
}

/// Set in the keys of services, and not in those of servers.
pub const SERVICE_KEY: u64 = 1 << 63;

/// Key of the server `server_id` (up to [`ServerIds::MAX_LEN`] octets, read as a number) of a pool.
#[inline(always)]
pub fn server_key(pool: u16, server_id: u64) -> u64 {
    const { assert!(MAX_POOLS <= 1 << 14 && ServerIds::MAX_LEN == 6) };
    1 << 62 | (pool as u64) << 48 | server_id
}

/// 2^64 / the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
/// Any odd number that has nothing to do with the other.
const FRONT_MULTIPLIER: u64 = 0xd6e8_feb8_6659_fd93;

/// Hash of an address ([`address_key`]), from which its slots and those of its services follow. Neither
/// multiplication waits for the other, and the one of the front half is nothing for IPv4.
#[inline(always)]
pub fn address_hash(key: [u64; 2], salt: u64) -> u64 {
    let front = fold(key[0]).wrapping_mul(FRONT_MULTIPLIER);
    let h = fold(key[1] ^ salt).wrapping_mul(MULTIPLIER).wrapping_add(front);
    h ^ (h >> 29)
}

/// The two slots of the address table in which the address of this hash may lie.
#[inline(always)]
pub fn address_slots(hash: u64) -> [u32; 2] {
    two_slots(hash, ADDRESS_SLOTS)
}

/// The two slots of the service table in which a service at the address of this hash may lie; `port` in host
/// order.
#[inline(always)]
pub fn service_slots(hash: u64, protocol: u8, port: u16) -> [u32; 2] {
    let service = (protocol as u64) << 16 | port as u64;
    two_slots((hash ^ service).wrapping_mul(MULTIPLIER), SERVICE_SLOTS)
}

/// The two slots of the service table in which the server of `key` may lie.
#[inline(always)]
pub fn server_slots(key: u64, salt: u64) -> [u32; 2] {
    let h = fold(key ^ salt).wrapping_mul(MULTIPLIER);
    two_slots(h ^ (h >> 29), SERVICE_SLOTS)
}

#[inline(always)]
fn two_slots(h: u64, slots: u32) -> [u32; 2] {
    [(h >> 40) as u32 & (slots - 1), (h >> 16) as u32 & (slots - 1)]
}

/// The upper half into the lower one: a product's low bits know nothing of the factor's high ones.
#[inline(always)]
fn fold(x: u64) -> u64 {
    x ^ (x >> 32)
}

const _: () = {
    assert!(size_of::<AddressEntry>() == 32);
    assert!(size_of::<ServiceEntry>() == 16);
    assert!(size_of::<VipEntry>() == 8);
    assert!(size_of::<PrefixEntry>() == 32);
    assert!(size_of::<Buffer>() == 2 * 13 * 8 + 2 * 32 + 16);
    assert!(size_of::<Control>() == 8 + 2 * (2 * 13 * 8 + 2 * 32 + 16));
};
