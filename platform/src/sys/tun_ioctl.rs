//! The `ioctl`s of `/dev/net/tun` that the `tun` crate lacks (linux/if_tun.h).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, c_short, c_uint, c_ulong, ifreq};

/// `TUN_F_CSUM`: partial checksums may come out of the device.
pub(crate) const CHECKSUM: c_uint = 0x01;
/// `TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN`: TCP super-packets may come out of the device.
pub(crate) const TCP_SEGMENTATION: c_uint = 0x02 | 0x04 | 0x08;
/// `TUN_F_USO4 | TUN_F_USO6`: UDP super-packets may come out of the device (kernel 6.2).
pub(crate) const UDP_SEGMENTATION: c_uint = 0x20 | 0x40;

/// What `TUNGETIFF` knows of an attached queue.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) name: String,
    pub(crate) vnet_header: bool,
    pub(crate) packet_information: bool,
    pub(crate) layer3: bool,
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn empty_request() -> ifreq {
    ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 },
    }
}

/// Opens one queue of the multi-queue device `name`, and makes the device if this is its first.
///
/// # Errors
/// `InvalidInput` if the name does not fit, else the system's.
pub(crate) fn open_queue(name: &str, vnet_header: bool) -> io::Result<OwnedFd> {
    let mut request = empty_request();
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.bytes().any(|byte| byte == 0) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = libc::c_char::from_ne_bytes([byte]);
    }
    let mut flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_MULTI_QUEUE;
    if vnet_header {
        flags |= libc::IFF_VNET_HDR;
    }
    request.ifr_ifru.ifru_flags =
        c_short::try_from(flags).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;

    // SAFETY: the path is a NUL-terminated literal.
    let fd = unsafe { libc::open(c"/dev/net/tun".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    check(fd)?;
    // SAFETY: `open` just gave this descriptor to us alone.
    let queue = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(queue)
}

/// Asks which device `queue` is attached to and how.
///
/// # Errors
/// `EBADFD` if it is attached to none; `ENOTTY` if it is no TUN descriptor.
pub(crate) fn attached(queue: BorrowedFd<'_>) -> io::Result<Attached> {
    let mut request = empty_request();
    // SAFETY: TUNGETIFF writes one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNGETIFF, &raw mut request) })?;
    // SAFETY: TUNGETIFF filled the flags member, and every bit pattern is a valid integer.
    let flags = c_int::from(unsafe { request.ifr_ifru.ifru_flags });
    let name = request
        .ifr_name
        .iter()
        .map(|c| c.to_ne_bytes()[0])
        .take_while(|byte| *byte != 0)
        .collect();
    Ok(Attached {
        name: String::from_utf8(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?,
        vnet_header: flags & libc::IFF_VNET_HDR != 0,
        packet_information: flags & libc::IFF_NO_PI == 0,
        layer3: flags & libc::IFF_TUN != 0,
    })
}

/// Sets which offloads the reader of the *device* (all its queues) understands.
///
/// # Errors
/// `EINVAL` if the kernel does not know one of them.
pub(crate) fn set_offload(queue: BorrowedFd<'_>, mask: c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    check(unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETOFFLOAD, c_ulong::from(mask)) })
}

/// Sets the length of the virtio header in bytes.
///
/// # Errors
/// `EINVAL` if it is shorter than the plain header of 10 bytes.
pub(crate) fn set_vnet_header_len(queue: BorrowedFd<'_>, len: c_int) -> io::Result<()> {
    // SAFETY: TUNSETVNETHDRSZ reads one `int`, which outlives the call.
    check(unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const len) })
}
