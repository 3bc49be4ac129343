//! Offloads of a NIC, by `ioctl(SIOCETHTOOL)`: what `ethtool -k` prints.

use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::facts::{Offload, Offloads};

/// `SIOCETHTOOL` (linux/sockios.h).
const SIOCETHTOOL: libc::Ioctl = 0x8946;
/// Commands of linux/ethtool.h.
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
/// The set of strings that names the features (`ETH_SS_FEATURES`).
const FEATURE_NAMES: u32 = 4;
/// Bytes of a name, zeros behind it included (`ETH_GSTRING_LEN`), as words.
const NAME_WORDS: usize = 32 / size_of::<u32>();
/// `struct ethtool_gstrings` before its names, and `struct ethtool_gfeatures` before its blocks, in words.
const STRINGS_HEADER: usize = 3;
const FEATURES_HEADER: usize = 2;
/// Words of a block of 32 features: available, requested, active, never changed.
const BLOCK_WORDS: usize = 4;
/// More features than any kernel will have.
const MAX_FEATURES: u32 = 1024;

/// The offloads of an interface that matter to XDP; none if the kernel does not tell.
pub(super) fn offloads(interface: &str) -> Option<Offloads> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).ok()?;
    let names = names(socket.as_fd(), interface)?;
    let blocks = names.len().div_ceil(32);
    let mut features = vec![0_u32; FEATURES_HEADER + blocks * BLOCK_WORDS];
    features[0] = ETHTOOL_GFEATURES;
    features[1] = blocks as u32;
    ask(socket.as_fd(), interface, &mut features)?;
    let state = |name: &str| -> Option<Offload> {
        let index = names.iter().position(|n| n == name)?;
        let block = features.get(FEATURES_HEADER + index / 32 * BLOCK_WORDS..)?;
        let bit = |word: usize| block.get(word).is_some_and(|w| w & (1 << (index % 32)) != 0);
        Some(Offload { on: bit(2), fixed: !bit(0) })
    };
    Some(Offloads {
        vlan: state("rx-vlan-hw-parse").unwrap_or_default(),
        service_vlan: state("rx-vlan-stag-hw-parse").unwrap_or_default(),
        lro: state("rx-lro").unwrap_or_default(),
        gro_hw: state("rx-gro-hw").unwrap_or_default(),
    })
}

/// The names of all features, which are the same for all interfaces of a kernel.
fn names(socket: BorrowedFd<'_>, interface: &str) -> Option<Vec<String>> {
    // struct ethtool_sset_info: command, reserved, a mask of 64 bits, and here the length of one set.
    let mut info = [ETHTOOL_GSSET_INFO, 0, 0, 0, 0];
    let mask = (1_u64 << FEATURE_NAMES).to_ne_bytes();
    let (low, high) = mask.split_at(size_of::<u32>());
    info[2] = u32::from_ne_bytes(low.try_into().ok()?);
    info[3] = u32::from_ne_bytes(high.try_into().ok()?);
    ask(socket, interface, &mut info)?;
    let count = info[4];
    if count == 0 || count > MAX_FEATURES {
        return None;
    }
    let mut strings = vec![0_u32; STRINGS_HEADER + count as usize * NAME_WORDS];
    strings[..STRINGS_HEADER].copy_from_slice(&[ETHTOOL_GSTRINGS, FEATURE_NAMES, count]);
    ask(socket, interface, &mut strings)?;
    let names = strings[STRINGS_HEADER..].chunks_exact(NAME_WORDS).map(|words| {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).take_while(|b| *b != 0).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    Some(names.collect())
}

/// One call. `command` begins with the number of one of the commands above, and has room for all that it
/// writes.
fn ask(socket: BorrowedFd<'_>, interface: &str, command: &mut [u32]) -> Option<()> {
    if interface.len() >= libc::IFNAMSIZ {
        return None;
    }
    // SAFETY: an all-zero ifreq is a valid value of this plain C structure.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_data = command.as_mut_ptr().cast();
    // SAFETY: the descriptor is open; `request` and the `command` it points to outlive the call. The
    // kernel writes one length for the set that is asked for; as many names as there are features, of
    // which it has just told the number, which is fixed when it is built; and as many blocks as
    // the command says there is room for.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    (outcome == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_features_and_none_of_these_is_on() {
        let found = offloads("lo").expect("the kernel tells");
        assert!(!found.vlan.on && !found.lro.on && !found.gro_hw.on, "{found:?}");
        assert!(found.lro.fixed, "{found:?}");
        assert_eq!(offloads("no/such"), None);
    }
}
