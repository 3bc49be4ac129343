//! The maps as the packet logic sees them, and the look-ups in them.

use crate::abi::{
    ADDRESS_SLOTS, AddressEntry, AddressFlags, Buffer, Control, Event, HopLimits, MAX_PREFIXES, Member,
    MemberNumber, PrefixEntry, SERVICE_SLOTS, ServiceEntry, Slot, VipNumber, address_hash, address_slots,
    server_key, server_slots, service_key, service_slots,
};
use crate::wire::transport::{TCP, UDP};

/// Access to the tables; indices are bounds-checked, `None` means there is no such element.
pub trait Tables {
    /// The word that says which half is in force ([`Control::active`]), and that half's header.
    fn active(&self) -> Option<(u64, &Buffer)>;
    /// An element of the address table, both halves counted through.
    fn address(&self, index: u32) -> Option<&AddressEntry>;
    /// An element of the service table, both halves counted through.
    fn service(&self, index: u32) -> Option<&ServiceEntry>;
    /// An element of the prefix table, both halves counted through.
    fn prefix(&self, index: u32) -> Option<&PrefixEntry>;
    /// The word of a VIP ([`VipEntry`](crate::abi::VipEntry)), read once.
    fn vip(&self, number: VipNumber) -> Option<u64>;
    /// The word that says where a pool's table lies, read once.
    fn pool_table(&self, pool: u16) -> Option<u64>;
    /// The word that says where a pool's table under the previous seed lies, read once.
    fn pool_previous(&self, pool: u16) -> Option<u64>;
    /// A slot of the arena.
    fn slot(&self, index: u32) -> Option<Slot>;
    /// A member.
    fn member(&self, number: MemberNumber) -> Option<&Member>;
    /// Two words of the fragment table.
    fn fragment(&self, index: u32) -> Option<[u64; 2]>;
    /// Writes two words of the fragment table.
    fn set_fragment(&self, index: u32, words: [u64; 2]);
    /// Time since the host started, in seconds.
    fn seconds(&self) -> u64;
    /// Whether one more packet may be answered now, to the clients whose limit is kept in `word`
    /// ([`rate::word_of`](crate::rate::word_of)); that of all is kept in `total`. Counts it if so.
    fn admit(&self, word: u32, total: u32, limits: &HopLimits) -> bool;
    /// Notes something of the packet where packets are reported; the plain programs do not.
    #[inline(always)]
    fn note(&self, _: impl FnOnce(&mut Event)) {}
}

/// One half of the double-buffered tables: what a packet sees from its first look to its last.
pub(crate) struct View<'a, T> {
    pub(crate) tables: &'a T,
    half: u32,
    salt: u64,
    pub(crate) header: &'a Buffer,
}

impl<'a, T: Tables> View<'a, T> {
    #[inline(always)]
    pub(crate) fn new(tables: &'a T) -> Option<Self> {
        let (active, header) = tables.active()?;
        let half = (active & Control::HALF) as u32;
        tables.note(|event| event.version = header.version);
        Some(View { tables, half, salt: active & Control::SALT, header })
    }

    /// Hash of an address in this half.
    #[inline(always)]
    pub(crate) fn hash(&self, address: [u64; 2]) -> u64 {
        address_hash(address, self.salt)
    }

    /// What this host knows about `address`, whose hash is `hash`.
    #[inline(always)]
    pub(crate) fn hashed_address(&self, address: [u64; 2], hash: u64) -> Option<&'a AddressEntry> {
        let [first, second] = address_slots(hash);
        let base = self.half * ADDRESS_SLOTS;
        let entry = self.tables.address(base + first)?;
        if entry.address == address && entry.flags != 0 {
            return Some(entry);
        }
        let entry = self.tables.address(base + second)?;
        (entry.address == address && entry.flags != 0).then_some(entry)
    }

    /// What this host knows about `address`.
    #[inline(always)]
    pub(crate) fn address(&self, address: [u64; 2]) -> Option<&'a AddressEntry> {
        self.hashed_address(address, self.hash(address))
    }

    /// Whether `address` has all of `flags`.
    #[inline(always)]
    pub(crate) fn is(&self, address: [u64; 2], flags: u32) -> bool {
        self.address(address).is_some_and(|entry| entry.flags & flags == flags)
    }

    /// The word of the VIP for `protocol` and `port` (host order) at `address`, whose hash is `hash`, or 0: the
    /// exact port, then any port, then any protocol.
    #[inline(always)]
    pub(crate) fn vip(&self, address: &AddressEntry, hash: u64, protocol: u8, port: u16) -> u64 {
        let any_port = match protocol {
            TCP => address.any_tcp,
            UDP => address.any_udp,
            _ => 0,
        };
        if matches!(protocol, TCP | UDP) && address.flags & AddressFlags::PORTS != 0 {
            let key = service_key(address.id, protocol, port);
            let exact = self.service(key, service_slots(hash, protocol, port));
            if exact != 0 {
                return exact;
            }
        }
        let number = if any_port != 0 { any_port } else { address.any_protocol };
        if number == 0 { 0 } else { self.tables.vip(number).unwrap_or(0) }
    }

    /// The member of `pool` that a server ID names, or 0.
    #[inline(always)]
    pub(crate) fn server(&self, pool: u16, server_id: u64) -> MemberNumber {
        let key = server_key(pool, server_id);
        self.service(key, server_slots(key, self.salt)) as MemberNumber
    }

    #[inline(always)]
    fn service(&self, key: u64, slots: [u32; 2]) -> u64 {
        let base = self.half * SERVICE_SLOTS;
        let mut i = 0;
        while i < slots.len() {
            match self.tables.service(base + slots[i]) {
                Some(entry) if entry.key == key => return entry.value,
                _ => i += 1,
            }
        }
        0
    }

    /// Whether one of our prefixes contains `address`.
    #[inline(always)]
    pub(crate) fn in_prefix(&self, address: [u64; 2]) -> bool {
        let base = self.half * MAX_PREFIXES;
        let mut i = 0;
        while i < MAX_PREFIXES {
            if i >= self.header.prefixes {
                return false;
            }
            match self.tables.prefix(base + i) {
                Some(prefix) if prefix.contains(address) => return true,
                Some(_) => i += 1,
                None => return false,
            }
        }
        false
    }
}
