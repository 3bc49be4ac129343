//! What TCP must be told for BGP: who signs, and from how far packets may come.

use std::fmt;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

use tokio::net::TcpSocket;

/// Of Linux; the libc crate does not name it.
const IPV6_MINHOPCOUNT: libc::c_int = 73;
/// Internetwork control, as routing protocols are marked (RFC 2474 §4.2.2).
const CS6: libc::c_int = 0xc0;

/// A key of TCP MD5 signatures (RFC 2385). Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Md5Key(Vec<u8>);

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Nothing in it.
    #[error("the key is empty")]
    Empty,
    /// Longer than the kernel takes.
    #[error("the key is longer than {longest} bytes", longest = Md5Key::LONGEST)]
    TooLong,
}

impl Md5Key {
    /// Bytes of the longest key.
    pub const LONGEST: usize = 80;

    /// A key of these bytes.
    ///
    /// # Errors
    /// There are none, or too many.
    pub fn new(bytes: &[u8]) -> Result<Self, BadKey> {
        match bytes.len() {
            0 => Err(BadKey::Empty),
            1..=Self::LONGEST => Ok(Md5Key(bytes.to_vec())),
            _ => Err(BadKey::TooLong),
        }
    }
}

impl fmt::Debug for Md5Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5Key(secret)")
    }
}

/// From how far away the neighbour is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distance {
    /// What the host's TTL allows.
    #[default]
    Any,
    /// On the same link, and nobody else is believed: packets are sent with TTL 255, and only such are taken
    /// (RFC 5082).
    Security,
    /// This TTL.
    Ttl(u8),
}

/// `struct tcp_md5sig` of Linux.
#[repr(C)]
struct TcpMd5Sig {
    address: libc::sockaddr_storage,
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: libc::c_int,
    key: [u8; Md5Key::LONGEST],
}

/// A socket that is ready to be connected to `neighbour`.
///
/// # Errors
/// The kernel refused an option, or `source` is no address of this host.
pub fn prepare(
    neighbour: SocketAddr,
    source: Option<IpAddr>,
    key: Option<&Md5Key>,
    distance: Distance,
) -> io::Result<TcpSocket> {
    let socket = if neighbour.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let fd = socket.as_raw_fd();
    socket.set_nodelay(true)?;
    set_distance(fd, neighbour.ip(), distance).map_err(|e| named("TTL", &e))?;
    if let Some(key) = key {
        set_key(fd, neighbour, key).map_err(|e| named("TCP MD5 signatures", &e))?;
    }
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0)).map_err(|e| named(&format!("source {source}"), &e))?;
    }
    Ok(socket)
}

fn named(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn set_distance(fd: RawFd, neighbour: IpAddr, distance: Distance) -> io::Result<()> {
    let (level, ttl, least, class) = match neighbour {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TTL, libc::IP_MINTTL, libc::IP_TOS),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, IPV6_MINHOPCOUNT, libc::IPV6_TCLASS),
    };
    set(fd, level, class, &CS6)?;
    match distance {
        Distance::Any => Ok(()),
        Distance::Ttl(hops) => set(fd, level, ttl, &libc::c_int::from(hops)),
        Distance::Security => {
            set(fd, level, ttl, &255)?;
            set(fd, level, least, &255)
        }
    }
}

fn set_key(fd: RawFd, neighbour: SocketAddr, key: &Md5Key) -> io::Result<()> {
    // SAFETY: all zeroes are a valid value of this plain structure.
    let mut signature: TcpMd5Sig = unsafe { zeroed() };
    write_address(neighbour, &mut signature.address);
    signature.key_length = u16::try_from(key.0.len()).map_err(io::Error::other)?;
    for (place, byte) in signature.key.iter_mut().zip(&key.0) {
        *place = *byte;
    }
    set(fd, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &signature)
}

/// The kernel wants the neighbour's address, and no port.
fn write_address(neighbour: SocketAddr, storage: &mut libc::sockaddr_storage) {
    match neighbour {
        SocketAddr::V4(v4) => {
            // SAFETY: `sockaddr_storage` is large and aligned enough for every socket address.
            let address = unsafe { &mut *std::ptr::from_mut(storage).cast::<libc::sockaddr_in>() };
            address.sin_family = libc::AF_INET as libc::sa_family_t;
            address.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above.
            let address = unsafe { &mut *std::ptr::from_mut(storage).cast::<libc::sockaddr_in6>() };
            address.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            address.sin6_addr.s6_addr = v6.ip().octets();
        }
    }
}

fn set<T>(fd: RawFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: `value` is a plain structure of `length` bytes that lives until the call returns; the kernel
    // only reads it.
    let result = unsafe { libc::setsockopt(fd, level, option, std::ptr::from_ref(value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_bounded_and_never_shown() {
        assert_eq!(Md5Key::new(b""), Err(BadKey::Empty));
        assert_eq!(Md5Key::new(&[b'x'; 81]), Err(BadKey::TooLong));
        let key = Md5Key::new(b"geheim").expect("a key");
        assert!(!format!("{key:?}").contains("geheim"));
    }

    #[tokio::test]
    async fn the_kernel_takes_all_options_in_both_families() {
        let key = Md5Key::new(b"secret").expect("a key");
        for neighbour in ["127.0.0.1:179", "[::1]:179"] {
            let neighbour: SocketAddr = neighbour.parse().expect("an address");
            for distance in [Distance::Any, Distance::Security, Distance::Ttl(3)] {
                prepare(neighbour, Some(neighbour.ip()), Some(&key), distance).expect("a socket");
            }
            let nowhere: IpAddr = if neighbour.is_ipv4() { [192, 0, 2, 9].into() } else { [9u16; 8].into() };
            let error = prepare(neighbour, Some(nowhere), None, Distance::Any).expect_err("not ours");
            assert!(error.to_string().contains(&nowhere.to_string()), "{error}");
        }
    }
}
