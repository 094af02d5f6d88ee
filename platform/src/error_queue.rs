//! What routers and hosts reported about what a socket of ours sent: datagrams, or the SYN of a connection in the making.
//!
//! An error number alone does not say who reported, nor, at a socket with many peers, whom it is about. Linux keeps each
//! report in a queue beside the socket, with the destination that it concerns and who sent it (ip(7), `IP_RECVERR`). macOS
//! tells unconnected sockets nothing and others the number only, so there the queue is always empty.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

#[cfg(all(target_os = "linux", any(fuzzing, test)))]
pub(crate) mod fuzzing;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as imp;
#[cfg(target_os = "macos")]
use macos as imp;

/// One report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where the datagram was sent to.
    pub destination: SocketAddr,
    /// Who reported, where the system knows: the destination itself or a router before it.
    pub from: Option<IpAddr>,
    /// What was wrong.
    pub fault: Fault,
    /// The first bytes of what the socket was given to send, at most 8: for a raw ICMP socket the header of its message.
    pub sent: Vec<u8>,
}

/// What was wrong with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens on the port.
    PortUnreachable,
    /// No way to the host.
    HostUnreachable,
    /// No way to the network.
    NetworkUnreachable,
    /// A filter refused it.
    Prohibited,
    /// The hop limit ran out on the way.
    TimeExceeded,
    /// It is larger than a link takes; with that link's MTU in bytes.
    TooBig(u32),
}

/// Lets reports about what `socket` sends be queued.
///
/// # Errors
/// The system's.
pub fn enable(socket: impl AsFd) -> io::Result<()> {
    imp::enable(socket.as_fd())
}

/// Lets no more be queued. For a TCP connection that stands: with the queue any report would end it (ip(7)), although none is
/// final (RFC 5461).
///
/// # Errors
/// The system's.
pub fn disable(socket: impl AsFd) -> io::Result<()> {
    imp::disable(socket.as_fd())
}

/// The oldest report in the queue, if there is one. Reports of kinds that [`Fault`] does not name are passed over.
///
/// Taking the last one also clears the error that the next send or receive would fail with.
///
/// # Errors
/// The system's.
pub fn next(socket: impl AsFd) -> io::Result<Option<Report>> {
    imp::next(socket.as_fd())
}
