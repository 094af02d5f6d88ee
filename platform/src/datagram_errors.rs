//! What the network says of the datagrams that we sent: ICMP errors, told apart by the peer they are about.
//!
//! One unconnected socket serves many peers, and by itself hears of no error at all. Once [`report`] was called the system
//! keeps each error with the address it is about, until [`next`] takes it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use socket2::Socket;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as imp;
#[cfg(target_os = "macos")]
use macos as imp;

/// An error that came back for a datagram of ours.
#[derive(Debug)]
pub struct DatagramError {
    /// Where the datagram was sent to.
    pub peer: SocketAddr,
    /// What became of it.
    pub error: io::Error,
}

/// Has the system keep errors for [`next`]. A pending one also fails the next call on the socket, once: send again then.
///
/// # Errors
/// The system's.
pub fn report(socket: &Socket) -> io::Result<()> {
    imp::report(socket)
}

/// The oldest error kept that ends the conversation with its peer; none if there is no other.
///
/// Errors that do not (a packet too large, a hop limit that ran out on the way) are passed over.
///
/// # Errors
/// The system's.
pub fn next(socket: &impl AsFd) -> io::Result<Option<DatagramError>> {
    imp::next(socket.as_fd())
}
