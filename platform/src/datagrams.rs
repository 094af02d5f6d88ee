//! Many datagrams with one system call.
//!
//! Where the kernel can (Linux: `UDP_GRO` and `UDP_SEGMENT`, udp(7)), datagrams of one size from one peer arrive together, and
//! such a run is handed over for sending whole. Elsewhere each takes a call of its own, and callers see runs of one.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::os::fd::AsFd;

use tidegate_netstack::Fragmentation;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as imp;
#[cfg(target_os = "macos")]
use macos as imp;

/// What arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Bytes in all.
    pub len: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// Size of each datagram where there are several: the last may be shorter.
    pub segment: Option<NonZeroU16>,
}

/// Lets what arrives at `socket` be handed over in runs, if the system can.
pub fn receive_runs(socket: impl AsFd) {
    imp::receive_runs(socket.as_fd());
}

/// Takes a datagram, or a run of them from one peer. A run is 64 KiB at most; what `buffer` has no room for is cut off.
///
/// # Errors
/// `WouldBlock` if there is none; else the system's.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Arrived> {
    imp::receive(socket.as_fd(), buffer)
}

/// Sends a run of datagrams of the size `segment`, of which the last may be shorter.
///
/// # Errors
/// The system's: then none was sent. It does not take every run, for one where a datagram exceeds the path's MTU.
pub fn send_run(
    socket: impl AsFd,
    run: &[u8],
    segment: NonZeroU16,
    to: SocketAddr,
) -> io::Result<()> {
    imp::send_run(socket.as_fd(), run, segment, to)
}

/// What becomes of a datagram that is larger than the path takes, as far as it is known: from now on it is cut, or refused as
/// too large and, where [`error_queue`](crate::error_queue) works, reported with the path's MTU. `socket` is bound.
///
/// # Errors
/// The system's.
pub fn set_fragmentation(socket: impl AsFd, fragmentation: Fragmentation) -> io::Result<()> {
    imp::set_fragmentation(socket.as_fd(), fragmentation)
}

/// Asks for buffers of `bytes` in the kernel, for bursts that arrive or leave while we are elsewhere. It gives what it may:
/// the system's limits hold for whoever has no privilege to exceed them.
pub fn enlarge_buffers(socket: impl AsFd, bytes: usize) {
    imp::enlarge_buffers(socket.as_fd(), bytes);
}
