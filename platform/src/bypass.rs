//! How Tidegate's own sockets get past Tidegate: a socket mark (Linux) or the interface it is bound to.
//!
//! Every upstream socket has a [`Bypass`] applied before it is bound or connected; one that has not comes straight back
//! into the TUN device. Under exec capture our sockets are in another network namespace than the program, and need none.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use socket2::{Domain, Socket};

#[cfg(target_os = "linux")]
use tidegate_routing::plan::Mark;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as imp;
#[cfg(target_os = "macos")]
use macos as imp;

/// What keeps a socket of ours out of the capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bypass {
    /// Mark bits to set (`SO_MARK`); other bits of the socket's mark stay.
    #[cfg(target_os = "linux")]
    pub mark: Option<Mark>,
    /// Interface to send through, by name (`SO_BINDTODEVICE`, on macOS `IP_BOUND_IF`).
    pub device: Option<String>,
}

impl Bypass {
    /// Nothing to get past: exec capture.
    pub fn none() -> Self {
        Self::default()
    }

    /// Sockets carry `mark`, which our first rule lets out.
    #[cfg(target_os = "linux")]
    pub fn marked(mark: Mark) -> Self {
        Self {
            mark: Some(mark),
            device: None,
        }
    }

    /// Sockets are bound to the interface `device` as well.
    #[must_use]
    pub fn through(mut self, device: impl Into<String>) -> Self {
        self.device = Some(device.into());
        self
    }

    /// Prepares a socket that is neither bound nor connected.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_ADMIN` (marks); `ENODEV` or `NotFound` if the interface is gone.
    pub fn apply(&self, socket: &impl AsFd) -> io::Result<()> {
        imp::apply(self, socket.as_fd())
    }
}

/// A non-blocking TCP socket that can reach `target`.
///
/// # Errors
/// No descriptor or memory left, or no such address family.
pub fn open_stream(target: SocketAddr) -> io::Result<Socket> {
    imp::open_stream(Domain::for_address(target))
}

/// Begins to connect a non-blocking socket; it is writable once the outcome is known.
///
/// # Errors
/// The outcome, where the kernel knows it at once: no route, no port left, forbidden.
pub fn begin_connect(socket: &Socket, target: SocketAddr) -> io::Result<()> {
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
