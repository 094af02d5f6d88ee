//! Tells when the host's network changed: links, addresses, routes or policy routing rules, by whomever; hardware addresses of
//! neighbours too, where that is asked for.
//!
//! It says only *what kind* of thing changed: who is told reads the facts anew, and so it does not matter how many events
//! there were or whether some were lost. Changes come in bursts, so whoever reads the facts waits for the end of one; how
//! long is the reader's choice.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

#[cfg(any(target_os = "macos", fuzzing, test))]
pub(crate) mod darwin_events;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as imp;
#[cfg(target_os = "macos")]
use macos as imp;

#[cfg(all(target_os = "linux", any(fuzzing, test)))]
pub(crate) use linux::kinds;

/// Which kinds of things changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Interfaces: made, gone, up, down, carrier, MTU.
    pub links: bool,
    /// Addresses.
    pub addresses: bool,
    /// Routes of any table.
    pub routes: bool,
    /// Policy routing rules. macOS has none.
    pub rules: bool,
    /// Hardware addresses of neighbours, if they are [listened to](NetworkMonitor::with_neighbours).
    pub neighbours: bool,
}

impl Changes {
    /// Nobody knows what: events were lost.
    pub const EVERYTHING: Self = Self {
        links: true,
        addresses: true,
        routes: true,
        rules: true,
        neighbours: true,
    };

    /// Whether there is anything to look at.
    pub fn any(self) -> bool {
        self != Self::default()
    }

    fn and(self, other: Self) -> Self {
        Self {
            links: self.links || other.links,
            addresses: self.addresses || other.addresses,
            routes: self.routes || other.routes,
            rules: self.rules || other.rules,
            neighbours: self.neighbours || other.neighbours,
        }
    }
}

/// A non-blocking socket that becomes readable when the network changes: on Linux that of the opening thread's namespace.
#[derive(Debug)]
pub struct NetworkMonitor(imp::NetworkMonitor);

/// A daemon that loads a million routes must not keep us here: the rest is for the next call.
const DATAGRAMS_AT_ONCE: usize = 4096;

impl NetworkMonitor {
    /// Begins to listen. What changes from now on is told; needs no privilege.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<Self> {
        imp::NetworkMonitor::open().map(Self)
    }

    /// The same, and told of neighbours too; macOS tells of none.
    ///
    /// # Errors
    /// The system's.
    pub fn with_neighbours() -> io::Result<Self> {
        imp::NetworkMonitor::with_neighbours().map(Self)
    }

    /// Takes the events that are there, without waiting.
    ///
    /// # Errors
    /// The system's, apart from lost events, which are [`Changes::EVERYTHING`].
    pub fn drain(&mut self) -> io::Result<Changes> {
        let mut changes = Changes::default();
        for _ in 0..DATAGRAMS_AT_ONCE {
            match self.0.receive() {
                Ok(told) => changes = changes.and(told),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    changes = Changes::EVERYTHING
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(changes)
    }
}

impl AsFd for NetworkMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for NetworkMonitor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
