//! The address and service tables of one half, and the lookup in them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anycast_lb_common::abi::{
    ADDRESS_SLOTS, AddressEntry, AddressFlags, Control, SERVICE_KEY, SERVICE_SLOTS, ServiceEntry, VipEntry,
    VipNumber, address_hash, address_key, address_slots, server_slots, service_key, service_slots,
};
use anycast_lb_common::wire::transport;

use super::{PlanError, cuckoo, mapped, unmapped};
use crate::model::{Protocol, VipKey};

mod fragments;

/// Salts that are tried; with tables at most half full one of the first few does.
const SALT_TRIES: u64 = 64;
/// Most addresses in the address table: beyond half of the slots no salt may do.
const MAX_ADDRESSES: usize = ADDRESS_SLOTS as usize / 2;
/// Most entries of the service table, for the same reason.
const MAX_SERVICES: usize = SERVICE_SLOTS as usize / 2;
/// Odd, so that all salts differ; the same constant as in the hash would cancel out there.
const SALT_STEP: u64 = 0xd1b5_4a32_d192_ed03;

/// What one half of the double-buffered tables holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    /// [`ADDRESS_SLOTS`] entries.
    pub addresses: Vec<AddressEntry>,
    /// [`SERVICE_SLOTS`] entries.
    pub services: Vec<ServiceEntry>,
    /// Salt of both, as it stands in [`Control::active`].
    pub salt: u64,
}

impl Services {
    /// Tables in which every one of `vips` and `servers` is found, and every address of `locals` that is no
    /// VIP's. `ids` numbers the addresses of the VIPs.
    pub fn build(
        vips: &[(VipKey, VipEntry)],
        servers: &[ServiceEntry],
        ids: &BTreeMap<IpAddr, u16>,
        locals: &[IpAddr],
    ) -> Result<Self, PlanError> {
        let (addresses, mut services) = entries(vips, ids, locals);
        services.extend(servers.iter().map(|&entry| Placed { entry, at: None }));
        if addresses.len() > MAX_ADDRESSES {
            return Err(PlanError::TooManyAddresses { wanted: addresses.len(), limit: MAX_ADDRESSES });
        }
        if services.len() > MAX_SERVICES {
            return Err(PlanError::TooManyServers { wanted: services.len(), limit: MAX_SERVICES });
        }
        for salt in (1..=SALT_TRIES).map(|n| n.wrapping_mul(SALT_STEP) & Control::SALT) {
            let slots = |e: &AddressEntry| address_slots(address_hash(e.address, salt));
            let by_address = cuckoo::place(&addresses, ADDRESS_SLOTS, slots);
            let by_service = cuckoo::place(&services, SERVICE_SLOTS, |placed| placed.slots(salt));
            if let (Some(by_address), Some(by_service)) = (by_address, by_service) {
                let services: Vec<ServiceEntry> = services.into_iter().map(|placed| placed.entry).collect();
                let (addresses, services) = (pick(&by_address, &addresses), pick(&by_service, &services));
                return Ok(Services { addresses, services, salt });
            }
        }
        Err(PlanError::NoSalt { tries: SALT_TRIES })
    }

    /// What the packet path finds for a packet: the VIP's number, and with it what it is known by.
    ///
    /// The fall-back goes from the exact port over any port to any protocol. `protocol` is the IP
    /// protocol number; without ports `port` is none.
    pub fn find(&self, destination: IpAddr, protocol: u8, port: Option<u16>) -> Option<VipNumber> {
        find(
            |slot| self.addresses[slot as usize],
            |slot| self.services[slot as usize],
            self.salt,
            destination,
            protocol,
            port,
        )
    }

    /// The VIPs these entries stand for, and the numbers of their addresses.
    pub fn read_back(
        addresses: impl IntoIterator<Item = AddressEntry>,
        services: impl IntoIterator<Item = ServiceEntry>,
    ) -> (BTreeMap<VipNumber, VipKey>, BTreeMap<u16, IpAddr>) {
        let mut vips = BTreeMap::new();
        let mut ids = BTreeMap::new();
        for entry in addresses.into_iter().filter(|e| e.flags & AddressFlags::VIP != 0) {
            let address = unmapped(bytemuck::cast(entry.address));
            ids.insert(entry.id, address);
            for (number, protocol) in [
                (entry.any_tcp, Protocol::Tcp),
                (entry.any_udp, Protocol::Udp),
                (entry.any_protocol, Protocol::Any),
            ] {
                if number != 0 {
                    vips.insert(number, VipKey { address, port: None, protocol });
                }
            }
        }
        for entry in services.into_iter().filter(|e| e.key & SERVICE_KEY != 0 && e.value != 0) {
            let (id, number, port) = split_service_key(entry.key);
            let protocol = if number == transport::TCP { Protocol::Tcp } else { Protocol::Udp };
            if let Some(&address) = ids.get(&id) {
                vips.insert(
                    VipEntry::from_word(entry.value).number,
                    VipKey { address, port: Some(port), protocol },
                );
            }
        }
        (vips, ids)
    }
}

/// [`Services::find`] over tables that lie anywhere.
pub fn find(
    address_at: impl Fn(u32) -> AddressEntry,
    service_at: impl Fn(u32) -> ServiceEntry,
    salt: u64,
    destination: IpAddr,
    protocol: u8,
    port: Option<u16>,
) -> Option<VipNumber> {
    let key = address_key(mapped(destination));
    let hash = address_hash(key, salt);
    let entry = address_slots(hash)
        .into_iter()
        .map(address_at)
        .find(|e| e.flags & AddressFlags::VIP != 0 && e.address == key)?;
    let exact = port.and_then(|port| {
        let key = service_key(entry.id, protocol, port);
        let mut there = service_slots(hash, protocol, port).into_iter().map(&service_at);
        there.find(|e| e.key == key).map(|e| VipEntry::from_word(e.value).number)
    });
    let any_port = match protocol {
        transport::TCP => entry.any_tcp,
        transport::UDP => entry.any_udp,
        _ => 0,
    };
    [exact.unwrap_or(0), any_port, entry.any_protocol].into_iter().find(|&number| number != 0)
}

/// An entry of the service table, and what its slots follow from.
struct Placed {
    entry: ServiceEntry,
    /// Address, protocol and port of a service; none for a server, whose key is enough.
    at: Option<([u64; 2], u8, u16)>,
}

impl Placed {
    fn slots(&self, salt: u64) -> [u32; 2] {
        match self.at {
            Some((address, protocol, port)) => service_slots(address_hash(address, salt), protocol, port),
            None => server_slots(self.entry.key, salt),
        }
    }
}

fn entries(
    vips: &[(VipKey, VipEntry)],
    ids: &BTreeMap<IpAddr, u16>,
    locals: &[IpAddr],
) -> (Vec<AddressEntry>, Vec<Placed>) {
    let mut addresses: BTreeMap<IpAddr, AddressEntry> = ids
        .iter()
        .map(|(&address, &id)| {
            let address_key = address_key(mapped(address));
            (
                address,
                AddressEntry { address: address_key, flags: AddressFlags::VIP, id, ..Default::default() },
            )
        })
        .collect();
    let mut services = Vec::new();
    for &(key, vip) in vips {
        let Some(entry) = addresses.get_mut(&key.address) else { continue };
        let number = vip.number;
        match (key.protocol, key.port) {
            (Protocol::Any, _) => entry.any_protocol = number,
            (Protocol::Tcp, None) => entry.any_tcp = number,
            (Protocol::Udp, None) => entry.any_udp = number,
            (Protocol::Tcp | Protocol::Udp, Some(port)) => {
                entry.flags |= AddressFlags::PORTS;
                let protocol = if key.protocol == Protocol::Tcp { transport::TCP } else { transport::UDP };
                let key = service_key(entry.id, protocol, port);
                let at = Some((entry.address, protocol, port));
                services.push(Placed { entry: ServiceEntry { key, value: vip.to_word() }, at });
            }
        }
    }
    let vip_addresses: BTreeSet<IpAddr> = addresses.keys().copied().collect();
    for local in locals.iter().copied().collect::<BTreeSet<_>>().difference(&vip_addresses) {
        let address = address_key(mapped(*local));
        addresses.insert(*local, AddressEntry { address, flags: AddressFlags::LOCAL, ..Default::default() });
    }
    (addresses.into_values().collect(), services)
}

fn pick<E: Copy + Default>(table: &[Option<u32>], entries: &[E]) -> Vec<E> {
    table.iter().map(|slot| slot.map_or_else(E::default, |i| entries[i as usize])).collect()
}

/// Undoes [`service_key`]: address id, protocol, port.
fn split_service_key(key: u64) -> (u16, u8, u16) {
    ((key >> 32) as u16, (key >> 16) as u8, key as u16)
}

#[cfg(test)]
mod tests;
