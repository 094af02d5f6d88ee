//! Datagram errors on macOS: unconnected sockets are told of none.

use std::io;
use std::os::fd::BorrowedFd;

use socket2::Socket;

use super::DatagramError;

#[expect(clippy::unnecessary_wraps, reason = "the signature is the facade's")]
pub(super) fn report(_socket: &Socket) -> io::Result<()> {
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "the signature is the facade's")]
pub(super) fn next(_socket: BorrowedFd<'_>) -> io::Result<Option<DatagramError>> {
    Ok(None)
}
