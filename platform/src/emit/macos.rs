//! Raw sockets of macOS (ip(4)). Those of IPv6 make their header themselves (ip6(4)), so there is none for packets as they
//! are.

use std::io::{self, IoSlice};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::host_order;

/// The socket of IPv4.
pub(super) fn sockets() -> io::Result<(Socket, Option<Socket>)> {
    let protocol = Protocol::from(libc::IPPROTO_RAW);
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.set_header_included_v4(true)?;
    Ok((socket, None))
}

/// Sends a packet as it is, its header the way this kernel reads it.
pub(super) fn send(socket: &Socket, packet: &[u8], destination: &SockAddr) -> io::Result<usize> {
    let (head, rest) =
        host_order::header(packet).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    socket.send_to_vectored(&[IoSlice::new(&head), IoSlice::new(rest)], destination)
}
