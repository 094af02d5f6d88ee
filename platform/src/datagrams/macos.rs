//! Without runs: each datagram takes a call.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::os::fd::BorrowedFd;

use socket2::SockRef;
use tidegate_netstack::Fragmentation;

use super::Arrived;
use crate::sys::datagram;

/// Of `netinet6/in6.h`; the libc crate does not have it.
const IPV6_DONTFRAG: libc::c_int = 62;

pub(super) fn receive_runs(_socket: BorrowedFd<'_>) {}

pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Arrived> {
    let (len, from) = datagram::receive_from(socket, buffer)?;
    let from = from.as_socket().ok_or(io::ErrorKind::InvalidData)?;
    Ok(Arrived {
        len,
        from,
        segment: None,
    })
}

pub(super) fn send_run(
    _socket: BorrowedFd<'_>,
    _run: &[u8],
    _segment: NonZeroU16,
    _to: SocketAddr,
) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn set_fragmentation(
    socket: BorrowedFd<'_>,
    fragmentation: Fragmentation,
) -> io::Result<()> {
    let (level, option) = match SockRef::from(&socket).local_addr()?.is_ipv6() {
        true => (libc::IPPROTO_IPV6, IPV6_DONTFRAG),
        false => (libc::IPPROTO_IP, libc::IP_DONTFRAG),
    };
    let never = fragmentation == Fragmentation::Never;
    datagram::set_option(socket, level, option, libc::c_int::from(never))
}

pub(super) fn enlarge_buffers(socket: BorrowedFd<'_>, bytes: usize) {
    let socket = SockRef::from(&socket);
    // It gives what it can.
    let _ = socket.set_recv_buffer_size(bytes);
    let _ = socket.set_send_buffer_size(bytes);
}
