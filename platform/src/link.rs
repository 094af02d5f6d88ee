//! Network interfaces: up or down, their MTU and queue, that one makes no addresses of its own; and which addresses all have.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use thiserror::Error;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as imp;
#[cfg(target_os = "macos")]
use macos as imp;

/// What to set on a link; `None` and `false` leave a thing as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// Set it up.
    pub up: bool,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
    /// Packets that wait for a reader before the kernel drops (`txqueuelen`). Links of macOS have no such setting: there
    /// it means nothing.
    pub queue_length: Option<u32>,
    /// No IPv6 address of its own: no link-local one (`addr_gen_mode none`), none from routers (`accept_ra 0`). A utun of
    /// macOS has none until it is given one, so there nothing needs to be done.
    pub unnumbered: bool,
    /// IPv4 packets that come in by it may be for other hosts, whatever the default for new links is. On macOS that is one
    /// setting for all links: there it means nothing.
    pub forwards: bool,
}

/// A link could not be set as wished.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// There is no such interface.
    #[error("no network interface is named {0:?}")]
    Missing(String),
    /// The kernel refused the change.
    #[error("cannot configure network interface {name:?}: {source}")]
    Refused {
        /// The interface.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Index of the link `name`, on Linux in the calling thread's network namespace.
///
/// # Errors
/// [`LinkError::Missing`].
pub fn index(name: &str) -> Result<u32, LinkError> {
    match crate::sys::interface::index(name) {
        Ok(index) => Ok(index.into()),
        Err(_) => Err(LinkError::Missing(name.to_owned())),
    }
}

/// Every address that an interface of this host has now, with the interface's name, on Linux in the calling thread's network
/// namespace. Of several interfaces with one address it is the last.
///
/// # Errors
/// The system's.
pub fn addresses() -> io::Result<BTreeMap<IpAddr, String>> {
    crate::sys::interface_addresses::all()
}

/// Configures the link `name`, on Linux in the calling thread's network namespace and in one request.
///
/// # Errors
/// See [`LinkError`]; needs `CAP_NET_ADMIN` over the namespace, on macOS root.
pub fn configure(name: &str, settings: &LinkSettings) -> Result<(), LinkError> {
    imp::configure(name, settings)
}
