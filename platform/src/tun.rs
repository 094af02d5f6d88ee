//! The device that captured packets come out of and answers go into.
//!
//! A [`Tun`] moves whole IP packets. Where the kernel offers a virtio header (Linux), one packet may be a *super-packet*
//! of up to 64 KiB: many TCP segments or UDP datagrams under one header, with the checksum left open. What is granted is
//! in [`TunCaps`]; what is not granted is never asked of the caller. macOS knows neither, and its caps say so.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use thiserror::Error;
use tidegate_netstack::Offload;

#[cfg(all(target_os = "linux", any(fuzzing, test)))]
pub(crate) mod fuzzing;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "linux")]
mod trial;
#[cfg(any(target_os = "linux", test))]
mod virtio;

#[cfg(target_os = "linux")]
use linux as imp;
#[cfg(target_os = "macos")]
use macos as imp;

#[cfg(target_os = "linux")]
pub use linux::{open_queue, open_raw};

/// Packets that wait for us before the kernel drops: a burst of hundreds of connections fits in.
pub const QUEUE_LENGTH: u32 = 8000;

/// The device to make.
#[derive(Clone, Debug)]
pub struct TunConfig {
    /// Interface name. On macOS `utunN`, or empty for the next free one.
    pub name: String,
    /// Largest packet in bytes that is no super-packet.
    pub mtu: u16,
    /// Packets that wait for us before the kernel drops (Linux `txqueuelen`); at least 2,000 for full speed.
    pub queue_length: u32,
    /// Offloads to ask for.
    pub offload: OffloadWish,
}

impl TunConfig {
    /// A device with every offload, a queue that a burst fits into, and the MTU of Ethernet.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            mtu: 1500,
            queue_length: QUEUE_LENGTH,
            offload: OffloadWish::default(),
        }
    }
}

/// Which offloads to ask for: a switch for each. Each is probed, none is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffloadWish {
    /// A virtio header before each packet, and with it open checksums. The other two need it.
    pub vnet: bool,
    /// TCP super-packets (TSO), both families, both directions.
    pub tso: bool,
    /// UDP super-packets (USO), both families, both directions.
    pub uso: bool,
}

impl Default for OffloadWish {
    fn default() -> Self {
        Self {
            vnet: true,
            tso: true,
            uso: true,
        }
    }
}

impl OffloadWish {
    /// Plain packets only.
    pub fn nothing() -> Self {
        Self {
            vnet: false,
            tso: false,
            uso: false,
        }
    }
}

/// Which offloads the device granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunCaps {
    /// Checksums may be left open in both directions.
    pub vnet: bool,
    /// TCP super-packets come out and may go in.
    pub tso: bool,
    /// UDP super-packets come out and may go in.
    pub uso: bool,
}

/// A device could not be made or adopted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TunError {
    /// The name does not fit the system.
    #[error("{0:?} cannot name a TUN device: at most 15 bytes, on macOS utun and a number")]
    BadName(String),
    /// `/dev/net/tun` is not there.
    #[error(
        "/dev/net/tun is missing: load the tun module (modprobe tun), or let the container have the device"
    )]
    NoDevice,
    /// Not allowed to make a device.
    #[error(
        "not allowed to make TUN device {name:?}: this needs root or CAP_NET_ADMIN, and read-write access to /dev/net/tun"
    )]
    NotPermitted {
        /// The wished name.
        name: String,
    },
    /// Another program has a device of this name.
    #[error(
        "TUN device {0:?} is in use by another program: choose another name, or stop the other instance"
    )]
    Busy(String),
    /// The descriptor that was handed over is not a plain TUN device.
    #[error("the descriptor is not a TUN device without packet information: {0}")]
    NotTun(#[source] io::Error),
    /// The device was made but could not be configured.
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    Link(#[from] crate::link::LinkError),
    /// Anything else that the system said.
    #[error("cannot make TUN device {name:?}: {source}")]
    System {
        /// The wished name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// One queue of a TUN device, non-blocking. The device is gone when its last queue is dropped.
#[derive(Debug)]
pub struct Tun {
    queue: imp::Queue,
}

impl Tun {
    /// Largest packet that [`Tun::read`] gives: a buffer of this size is never too small.
    pub const MAX_PACKET: usize = 65_535;

    /// Makes the device, configures it without any address, and sets it up.
    ///
    /// # Errors
    /// See [`TunError`]. Nothing is left behind.
    pub fn create(config: &TunConfig) -> Result<Self, TunError> {
        imp::create(config).map(|queue| Self { queue })
    }

    /// Makes the device with several queues, one for each thread that serves it, up to the `wanted` number: at least one, and
    /// only one where the system knows no more (macOS). The kernel spreads flows over the queues, and keeps a flow on the
    /// queue that its packets are written to.
    ///
    /// # Errors
    /// See [`TunError`]. Nothing is left behind.
    pub fn create_queues(config: &TunConfig, wanted: NonZeroUsize) -> Result<Vec<Self>, TunError> {
        let queues = imp::create_queues(config, wanted)?;
        Ok(queues.into_iter().map(|queue| Self { queue }).collect())
    }

    /// Adopts a descriptor that someone else opened, perhaps in another network namespace ([`open_raw`] makes one). Its
    /// offloads are probed anew; the link itself is left as it is.
    ///
    /// # Errors
    /// [`TunError::NotTun`] if it is no TUN descriptor or carries packet information.
    pub fn from_fd(fd: OwnedFd, wish: &OffloadWish) -> Result<Self, TunError> {
        imp::adopt(fd, wish).map(|queue| Self { queue })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        self.queue.name()
    }

    /// What the device granted.
    pub fn caps(&self) -> TunCaps {
        self.queue.caps()
    }

    /// Reads one packet into `buffer` and says how long it is and what is left to do to it. One system call. What does not
    /// fit is cut off: see [`Tun::MAX_PACKET`].
    ///
    /// # Errors
    /// `WouldBlock` if there is none; `InvalidData` if the device speaks nonsense (the packet is consumed); else the system's.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<(usize, Offload)> {
        self.queue.read(buffer)
    }

    /// Writes one packet that lies in `parts` (at most three): headers first, all of them in the first part. One system call.
    ///
    /// # Errors
    /// `WouldBlock` if the device is full; `InvalidInput` if `offload` does not fit the packet or was not granted;
    /// else the system's (`EIO`: the link is down).
    pub fn write(&self, parts: &[&[u8]], offload: Offload) -> io::Result<()> {
        self.queue.write(parts, offload)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

impl AsRawFd for Tun {
    fn as_raw_fd(&self) -> RawFd {
        self.queue.as_fd().as_raw_fd()
    }
}

/// Most parts of one packet in [`Tun::write`].
const MAX_PARTS: usize = 3;

/// Slices for one `writev`: what the system wants first, then the packet.
fn gather<'p>(
    prefix: &'p [u8],
    parts: &[&'p [u8]],
) -> io::Result<([io::IoSlice<'p>; 1 + MAX_PARTS], usize)> {
    let mut slices = [
        io::IoSlice::new(prefix),
        io::IoSlice::new(&[]),
        io::IoSlice::new(&[]),
        io::IoSlice::new(&[]),
    ];
    if parts.len() > MAX_PARTS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a packet of more than three parts",
        ));
    }
    for (slice, part) in slices.iter_mut().skip(1).zip(parts) {
        *slice = io::IoSlice::new(part);
    }
    Ok((
        slices,
        prefix.len() + parts.iter().map(|part| part.len()).sum::<usize>(),
    ))
}

/// A packet goes in whole or not at all.
fn whole(written: usize, expected: usize) -> io::Result<()> {
    if written == expected {
        Ok(())
    } else {
        Err(io::Error::from(io::ErrorKind::WriteZero))
    }
}
