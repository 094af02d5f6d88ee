//! Packet sockets (packet(7)): which interface they listen to, what they count, and the mark of what they take.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Of asm-generic/socket.h; Linux 5.19.
const SO_RCVMARK: libc::c_int = 75;
const PACKET_STATISTICS: libc::c_int = 6;
/// Room for one control message with a number, aligned as the system wants it.
const CONTROL_WORDS: usize = 8;

/// Begins to take the packets of the interface `index`, both ways and of every protocol.
///
/// # Errors
/// The system's; `ENODEV` if there is no such interface.
pub(crate) fn listen(socket: BorrowedFd<'_>, index: libc::c_int) -> io::Result<()> {
    let every_protocol = u16::try_from(libc::ETH_P_ALL).map_err(io::Error::other)?;
    let address = libc::sockaddr_ll {
        sll_family: libc::sa_family_t::try_from(libc::AF_PACKET).map_err(io::Error::other)?,
        sll_protocol: every_protocol.to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of_val(&address)).map_err(io::Error::other)?;
    // SAFETY: the address is of the length given and outlives the call; the descriptor is open while it is borrowed.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    succeeded(result.try_into().unwrap_or(-1)).map(drop)
}

/// Has the mark of each packet told with it.
///
/// # Errors
/// `ENOPROTOOPT` before Linux 5.19, `EPERM` without `CAP_NET_RAW`.
pub(crate) fn tell_marks(socket: BorrowedFd<'_>) -> io::Result<()> {
    super::error_queue::turn_on(socket, libc::SOL_SOCKET, SO_RCVMARK)
}

/// Takes the oldest packet, as much of it as `buffer` holds: its length there, and its mark where that is told.
///
/// # Errors
/// `WouldBlock` if none waits, else the system's.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<u32>)> {
    let mut control = [0_usize; CONTROL_WORDS];
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all zeros are a `msghdr` without buffers.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: the message points to a buffer and to control space of the lengths it gives, which outlive the call.
    let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    Ok((succeeded(result)?, mark(&control)))
}

/// The mark in the first control message; nothing else was asked for. Without one the length is zero.
fn mark(control: &[usize; CONTROL_WORDS]) -> Option<u32> {
    // `struct cmsghdr`: the length in a word, the level and the kind in half a word or one each, then the data.
    let bytes: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).collect();
    const WORD: usize = size_of::<usize>();
    let number = |at: usize| -> Option<[u8; 4]> { bytes.get(at..at + 4)?.try_into().ok() };
    let is_mark = control.first() == Some(&(WORD + 12))
        && number(WORD).map(i32::from_ne_bytes) == Some(libc::SOL_SOCKET)
        && number(WORD + 4).map(i32::from_ne_bytes) == Some(libc::SO_MARK);
    is_mark.then(|| number(WORD + 8).map(u32::from_ne_bytes))?
}

/// Packets that found no room since this was last asked.
///
/// # Errors
/// The system's.
pub(crate) fn take_missed(socket: BorrowedFd<'_>) -> io::Result<u32> {
    // `struct tpacket_stats`: what passed the filter, and what of it found no room.
    let mut counts = [0_u32; 2];
    let mut length = libc::socklen_t::try_from(size_of_val(&counts)).map_err(io::Error::other)?;
    // SAFETY: the option is two numbers of the length given, and both places outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            PACKET_STATISTICS,
            counts.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    succeeded(result.try_into().unwrap_or(-1))?;
    Ok(counts[1])
}

fn succeeded(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
