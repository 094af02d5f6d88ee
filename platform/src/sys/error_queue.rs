//! The error queue of a socket (ip(7), `IP_RECVERR`).

use std::io;
use std::os::fd::BorrowedFd;

use socket2::SockAddr;

use super::datagram;

/// Room for one report: the extended error, the address of who sent it, and headers.
const CONTROL: usize = 256;
/// Room for as much of what was sent as an ICMP error has to quote (RFC 792).
const SENT: usize = 8;

/// Turns an integer option on.
///
/// # Errors
/// The system's.
pub(crate) fn turn_on(socket: BorrowedFd<'_>, level: i32, option: i32) -> io::Result<()> {
    datagram::set_option(socket, level, option, 1)
}

/// Turns an integer option off.
///
/// # Errors
/// The system's.
pub(crate) fn turn_off(socket: BorrowedFd<'_>, level: i32, option: i32) -> io::Result<()> {
    datagram::set_option(socket, level, option, 0)
}

/// One message of the error queue.
pub(crate) struct Message {
    /// Its control messages.
    pub(crate) control: Vec<u8>,
    /// The first bytes of what was sent.
    pub(crate) sent: Vec<u8>,
}

/// Takes the oldest message out of the error queue; where the datagram was sent to goes into `destination`, whose family
/// must be the socket's. None if the queue is empty.
///
/// # Errors
/// The system's.
pub(crate) fn take(
    socket: BorrowedFd<'_>,
    destination: &mut SockAddr,
) -> io::Result<Option<Message>> {
    let (mut control, mut sent) = ([0; CONTROL], [0; SENT]);
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    let received = match datagram::receive(socket, destination, &mut sent, &mut control, flags) {
        Ok(received) => received,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(Message {
        control: control
            .get(..received.control_len)
            .unwrap_or_default()
            .to_vec(),
        sent: sent.get(..received.len).unwrap_or_default().to_vec(),
    }))
}
