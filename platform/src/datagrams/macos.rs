//! Without runs: each datagram takes a call.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::os::fd::BorrowedFd;

use socket2::SockRef;

use super::Arrived;
use crate::sys::datagram;

pub(super) fn receive_runs(_socket: BorrowedFd<'_>) {}

pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Arrived> {
    let (len, from) = SockRef::from(&socket).recv_from(datagram::uninit(buffer))?;
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

pub(super) fn enlarge_buffers(socket: BorrowedFd<'_>, bytes: usize) {
    let socket = SockRef::from(&socket);
    // It gives what it can.
    let _ = socket.set_recv_buffer_size(bytes);
    let _ = socket.set_send_buffer_size(bytes);
}
