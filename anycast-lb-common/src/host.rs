//! The packet logic's two traits over ordinary memory.

use std::cell::{Cell, RefCell};
use std::vec;
use std::vec::Vec;

use bytemuck::{Pod, Zeroable};

use crate::abi::{
    ADDRESS_SLOTS, AddressEntry, Buffer, Control, Event, FRAGMENT_SLOT_BITS, HopLimits, MAX_PREFIXES, Member,
    MemberNumber, PoolEntry, PrefixEntry, SERVICE_SLOTS, ServiceEntry, Slot, VipEntry, VipNumber,
    address_hash, address_slots, server_slots, service_slots,
};
use crate::packet::Packet;
use crate::sockets::{Remembered, Sockets, TcpSocket, Tuple};
use crate::tables::Tables;

/// Bytes in front of a frame, as XDP has them (`XDP_PACKET_HEADROOM`).
pub const HEADROOM: usize = 256;
/// Part of the headroom that the kernel keeps for itself (`struct xdp_frame`).
pub const RESERVED_HEADROOM: usize = 40;
/// The shortest frame the kernel lets a program leave (`ETH_HLEN`).
pub const MIN_FRAME: usize = 14;

/// A frame with room in front, as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    memory: Vec<u8>,
    start: usize,
    /// First byte that `start` may reach.
    limit: usize,
}

impl Frame {
    /// A frame with all the headroom that the kernel gives.
    pub fn new(bytes: &[u8]) -> Self {
        Self::with_metadata(bytes, 0)
    }

    /// A frame behind `metadata` bytes of metadata, which take their part of the headroom.
    pub fn with_metadata(bytes: &[u8], metadata: usize) -> Self {
        let mut memory = vec![0; HEADROOM];
        memory.extend_from_slice(bytes);
        Frame { memory, start: HEADROOM, limit: RESERVED_HEADROOM + metadata }
    }

    /// The frame as it is now.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..]
    }
}

impl Packet for Frame {
    fn len(&self) -> usize {
        self.memory.len() - self.start
    }

    fn view<T: Pod>(&self, at: usize) -> Option<&T> {
        let bytes = self.memory.get(self.start + at..self.start + at + size_of::<T>())?;
        bytemuck::try_from_bytes(bytes).ok()
    }

    fn view_mut<T: Pod>(&mut self, at: usize) -> Option<&mut T> {
        let bytes = self.memory.get_mut(self.start + at..self.start + at + size_of::<T>())?;
        bytemuck::try_from_bytes_mut(bytes).ok()
    }

    fn sum<const N: usize>(&self, at: usize, seed: u32) -> Option<u32> {
        let words: &[[u8; 4]] = bytemuck::cast_slice(self.memory.get(self.start + at..self.start + at + N)?);
        let sum =
            u64::from(seed) + words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum::<u64>();
        let (sum, carry) = (sum as u32).overflowing_add((sum >> 32) as u32);
        Some(sum + u32::from(carry))
    }

    fn move_start(&mut self, delta: i32) -> Option<()> {
        let start = self.start.checked_add_signed(delta as isize)?;
        if start < self.limit || start + MIN_FRAME > self.memory.len() {
            return None;
        }
        self.start = start;
        Some(())
    }

    fn hand_over(&self) -> bool {
        true
    }

    fn cut_end(&mut self, surplus: usize) -> Option<()> {
        let end = self.memory.len().checked_sub(surplus)?;
        if end < self.start + MIN_FRAME {
            return None;
        }
        self.memory.truncate(end);
        Some(())
    }
}

/// A host without sockets and without limits.
impl Sockets for Frame {
    type Tcp = NoSocket;

    fn tcp<const N: usize>(&self, _: &Tuple<N>) -> Option<NoSocket> {
        None
    }

    fn has_connected_udp<const N: usize>(&self, _: &Tuple<N>) -> bool {
        false
    }

    fn admit_hop(&self, _: u32, _: &HopLimits) -> bool {
        true
    }
}

/// The socket that is never found.
pub enum NoSocket {}

impl TcpSocket<Frame> for NoSocket {
    fn state(&self) -> u32 {
        match *self {}
    }

    fn request_isn(&self) -> Option<u32> {
        match *self {}
    }

    fn remembered(&self) -> Option<Remembered> {
        match *self {}
    }

    fn gave_cookie<H: Pod>(&self, _: &Frame, _: usize, _: usize) -> bool {
        match *self {}
    }
}

/// All tables, empty at first; the fields are the maps.
#[derive(Clone)]
#[allow(missing_docs, reason = "the fields are the maps by their names")]
pub struct TableSet {
    pub control: Control,
    pub addresses: Vec<AddressEntry>,
    pub services: Vec<ServiceEntry>,
    pub prefixes: Vec<PrefixEntry>,
    pub vips: Vec<VipEntry>,
    pub pools: Vec<PoolEntry>,
    pub slots: Vec<Slot>,
    pub members: Vec<Member>,
    pub fragments: RefCell<Vec<[u64; 2]>>,
    /// What [`Tables::seconds`] says.
    pub seconds: Cell<u64>,
    /// What was noted of packets since it was last taken away.
    pub noted: RefCell<Event>,
}

impl Default for TableSet {
    fn default() -> Self {
        TableSet {
            control: Control::zeroed(),
            addresses: vec![AddressEntry::default(); 2 * ADDRESS_SLOTS as usize],
            services: vec![ServiceEntry::default(); 2 * SERVICE_SLOTS as usize],
            prefixes: vec![PrefixEntry::default(); 2 * MAX_PREFIXES as usize],
            vips: Vec::new(),
            pools: Vec::new(),
            slots: Vec::new(),
            members: Vec::new(),
            fragments: RefCell::new(vec![[0; 2]; 1 << FRAGMENT_SLOT_BITS]),
            seconds: Cell::new(0),
            noted: RefCell::new(Event::zeroed()),
        }
    }
}

impl TableSet {
    /// The header of the half in force.
    pub fn header(&mut self) -> &mut Buffer {
        let half = self.half();
        &mut self.control.buffers[half as usize]
    }

    fn half(&self) -> u32 {
        (self.control.active & Control::HALF) as u32
    }

    fn salt(&self) -> u64 {
        self.control.active & Control::SALT
    }

    /// Puts `entry` into the first of its two slots that is free. Good for a few entries; the
    /// controller does it properly.
    ///
    /// # Panics
    ///
    /// When both slots are taken.
    pub fn insert_address(&mut self, entry: AddressEntry) {
        let half = self.half() * ADDRESS_SLOTS;
        let slots = address_slots(address_hash(entry.address, self.salt()));
        let free = slots.into_iter().find(|s| self.addresses[(half + s) as usize].flags == 0);
        let free = free.expect("both slots of the address are taken: choose another salt");
        self.addresses[(half + free) as usize] = entry;
    }

    /// As [`Self::insert_address`], for a service at `address`.
    ///
    /// # Panics
    ///
    /// When both slots are taken.
    pub fn insert_service(&mut self, address: [u64; 2], protocol: u8, port: u16, entry: ServiceEntry) {
        self.insert(service_slots(address_hash(address, self.salt()), protocol, port), entry);
    }

    /// As [`Self::insert_address`], for a server that connection IDs name.
    ///
    /// # Panics
    ///
    /// When both slots are taken.
    pub fn insert_server(&mut self, entry: ServiceEntry) {
        self.insert(server_slots(entry.key, self.salt()), entry);
    }

    fn insert(&mut self, slots: [u32; 2], entry: ServiceEntry) {
        let half = self.half() * SERVICE_SLOTS;
        let free = slots.into_iter().find(|s| self.services[(half + s) as usize].key == 0);
        let free = free.expect("both slots of the service are taken: choose another salt");
        self.services[(half + free) as usize] = entry;
    }

    /// Appends a prefix to the half in force.
    pub fn push_prefix(&mut self, prefix: PrefixEntry) {
        let half = self.half() * MAX_PREFIXES;
        let at = half + self.header().prefixes;
        self.prefixes[at as usize] = prefix;
        self.header().prefixes += 1;
    }
}

impl Tables for TableSet {
    fn active(&self) -> Option<(u64, &Buffer)> {
        Some((self.control.active, &self.control.buffers[self.half() as usize]))
    }

    fn address(&self, index: u32) -> Option<&AddressEntry> {
        self.addresses.get(index as usize)
    }

    fn service(&self, index: u32) -> Option<&ServiceEntry> {
        self.services.get(index as usize)
    }

    fn prefix(&self, index: u32) -> Option<&PrefixEntry> {
        self.prefixes.get(index as usize)
    }

    fn vip(&self, number: VipNumber) -> Option<u64> {
        self.vips.get(number as usize).map(|entry| entry.to_word())
    }

    fn pool_table(&self, pool: u16) -> Option<u64> {
        Some(self.pools.get(pool as usize)?.table)
    }

    fn pool_previous(&self, pool: u16) -> Option<u64> {
        Some(self.pools.get(pool as usize)?.previous)
    }

    fn slot(&self, index: u32) -> Option<Slot> {
        self.slots.get(index as usize).copied()
    }

    fn member(&self, number: MemberNumber) -> Option<&Member> {
        self.members.get(number as usize)
    }

    fn fragment(&self, index: u32) -> Option<[u64; 2]> {
        self.fragments.borrow().get(index as usize).copied()
    }

    fn set_fragment(&self, index: u32, words: [u64; 2]) {
        if let Some(entry) = self.fragments.borrow_mut().get_mut(index as usize) {
            *entry = words;
        }
    }

    fn seconds(&self) -> u64 {
        self.seconds.get()
    }

    fn admit(&self, _: u32, _: u32, _: &HopLimits) -> bool {
        true
    }

    fn note(&self, f: impl FnOnce(&mut Event)) {
        f(&mut self.noted.borrow_mut());
    }
}
