//! The few kernel calls that aya does not offer, or not without a fall-back that cannot be pinned:
//! XDP links, and waiting for an RCU grace period.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya_obj::generated::{XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE, bpf_attach_type, bpf_cmd, bpf_link_type};

use super::Mode;

/// `MEMBARRIER_CMD_QUERY`: which commands there are, as bits.
const MEMBARRIER_QUERY: libc::c_int = 0;
/// `MEMBARRIER_CMD_GLOBAL`, which waits for an RCU grace period.
const MEMBARRIER_GLOBAL: libc::c_int = 1;

/// The fields of `union bpf_attr` for `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
#[derive(Default)]
struct ObjectAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// For `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// For `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkCreateAttr {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// For `BPF_LINK_UPDATE`.
#[repr(C)]
struct LinkUpdateAttr {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// For `BPF_LINK_DETACH`.
#[repr(C)]
struct LinkDetachAttr {
    link_fd: u32,
}

/// The beginning of `struct bpf_link_info`, as it is for XDP and traffic control.
#[repr(C)]
#[derive(Default)]
struct RawLinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    padding: u32,
    ifindex: u32,
    padding_end: u32,
}

/// A link as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkInfo {
    /// Program that runs.
    pub program_id: u32,
    /// Interface, in whatever namespace it is; 0 if it is gone.
    pub ifindex: u32,
}

/// Puts `program` on the interface; the link lives as long as its descriptor or a pin.
pub(super) fn create_link(program: BorrowedFd<'_>, ifindex: u32, mode: Mode) -> io::Result<OwnedFd> {
    let flags = match mode {
        Mode::Native => XDP_FLAGS_DRV_MODE,
        Mode::Generic => XDP_FLAGS_SKB_MODE,
    };
    let mut attr = LinkCreateAttr {
        prog_fd: raw(program),
        target_ifindex: ifindex,
        attach_type: bpf_attach_type::BPF_XDP as u32,
        flags,
    };
    let fd = bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr)?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A hook of traffic control.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hook {
    /// What comes in.
    Ingress,
    /// What leaves.
    Egress,
}

/// Puts `program` at a hook of traffic control; the link lives as above.
pub(super) fn create_tc_link(program: BorrowedFd<'_>, ifindex: u32, hook: Hook) -> io::Result<OwnedFd> {
    let attach_type = match hook {
        Hook::Ingress => bpf_attach_type::BPF_TCX_INGRESS,
        Hook::Egress => bpf_attach_type::BPF_TCX_EGRESS,
    };
    let mut attr = LinkCreateAttr {
        prog_fd: raw(program),
        target_ifindex: ifindex,
        attach_type: attach_type as u32,
        flags: 0,
    };
    let fd = bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr)?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Replaces the program of a link; packets see the old one or the new one.
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdateAttr { link_fd: raw(link), new_prog_fd: raw(program), flags: 0, old_prog_fd: 0 };
    bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// Takes the program off the interface, whoever else holds the link.
pub(super) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    bpf(bpf_cmd::BPF_LINK_DETACH, &mut LinkDetachAttr { link_fd: raw(link) }).map(drop)
}

/// What a link is; an error if it is neither an XDP link nor one of traffic control.
pub(super) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = RawLinkInfo::default();
    let mut attr = InfoAttr {
        bpf_fd: raw(link),
        info_len: size_of::<RawLinkInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    let ours = [bpf_link_type::BPF_LINK_TYPE_XDP, bpf_link_type::BPF_LINK_TYPE_TCX].map(|kind| kind as u32);
    if !ours.contains(&info.kind) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a link of ours"));
    }
    Ok(LinkInfo { program_id: info.prog_id, ifindex: info.ifindex })
}

/// Pins a map, program or link.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjectAttr { pathname: path.as_ptr() as u64, bpf_fd: raw(object), file_flags: 0 };
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr).map(drop)
}

/// Opens what is pinned at `path`.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjectAttr { pathname: path.as_ptr() as u64, ..ObjectAttr::default() };
    let fd = bpf(bpf_cmd::BPF_OBJ_GET, &mut attr)?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether [`wait_for_packets`] will work.
pub(super) fn can_wait_for_packets() -> bool {
    membarrier(MEMBARRIER_QUERY).is_ok_and(|commands| commands & MEMBARRIER_GLOBAL != 0)
}

/// Waits until every packet that is in a program now has left it (`synchronize_rcu`).
pub(super) fn wait_for_packets() -> io::Result<()> {
    membarrier(MEMBARRIER_GLOBAL).map(drop)
}

fn membarrier(command: libc::c_int) -> io::Result<libc::c_int> {
    let no_flags: libc::c_uint = 0;
    let no_cpu: libc::c_int = 0;
    // SAFETY: takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, command, no_flags, no_cpu) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}

fn bpf<A>(command: bpf_cmd, attr: &mut A) -> io::Result<i32> {
    // SAFETY: `attr` is as long as we say and laid out like the beginning of the command's part of
    // `union bpf_attr`; the kernel takes what is missing as zero. Addresses in it are those of
    // values that outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, std::ptr::from_mut(attr), size_of::<A>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    // A valid descriptor is not negative.
    fd.as_raw_fd() as u32
}

/// The monotonic clock, by which the programs tell the time, in ns.
pub fn monotonic() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes. This clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_period_passes() {
        assert!(can_wait_for_packets());
        wait_for_packets().expect("membarrier");
    }

    #[test]
    fn errors_are_those_of_the_kernel() {
        let error = open_pin(Path::new("/proc/nothing-is-pinned-here")).expect_err("no pin");
        assert!(error.raw_os_error().is_some());
    }
}
