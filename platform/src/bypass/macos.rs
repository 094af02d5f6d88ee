//! Bypass on macOS: `IP_BOUND_IF` and `IPV6_BOUND_IF` (ip(4), ip6(4)).

use std::io;
use std::os::fd::BorrowedFd;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::Bypass;
use crate::sys::interface;

pub(super) fn apply(bypass: &Bypass, fd: BorrowedFd<'_>) -> io::Result<()> {
    let Some(device) = &bypass.device else {
        return Ok(());
    };
    let index = interface::index(device)?;
    let socket = SockRef::from(&fd);
    if socket.local_addr()?.is_ipv6() {
        socket.bind_device_by_index_v6(Some(index))
    } else {
        socket.bind_device_by_index_v4(Some(index))
    }
}

pub(super) fn open_stream(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
