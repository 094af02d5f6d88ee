//! Sends IP packets as they are, past our own capture: replies of services, packets of connections older than us, and
//! protocols that have no flows.
//!
//! A raw socket per family with the header included, kept out of the capture by its [`Bypass`]. The packet keeps its
//! addresses and ports, which no ordinary socket could give it. macOS has no such sockets for IPv6: there those packets are
//! [`EmitError::NoFamily`].

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use socket2::{SockAddr, Socket};
use thiserror::Error;
use tidegate_netstack::emit::Segments;
use tidegate_netstack::{DropReason, Offload};

use crate::bypass::Bypass;
use crate::error_queue::{self, Fault};

#[cfg(any(target_os = "macos", fuzzing, test))]
pub(crate) mod host_order;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as imp;
#[cfg(target_os = "macos")]
use macos as imp;

/// Why a packet was not sent. A value to count; see [`EmitCounters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum EmitError {
    /// No IP packet, or one that its offload does not fit.
    #[error("malformed packet: {0:?}")]
    Malformed(DropReason),
    /// Larger than the MTU of the way out: its sender has to be told. With that MTU, where the system says it.
    #[error("larger than the MTU of the way out")]
    TooBig(Option<u16>),
    /// The way out is congested (ENOBUFS, EAGAIN): a drop like any router's.
    #[error("the way out is congested")]
    Congested,
    /// A firewall refused it (EPERM), or a rule (EACCES).
    #[error("refused by a firewall or a rule of this host")]
    Refused,
    /// There is no route.
    #[error("no route")]
    NoRoute,
    /// This system has no such address family, or sends no packets of it as they are.
    #[error("the address family is not available")]
    NoFamily,
    /// Anything else, by errno.
    #[error("errno {0}")]
    Other(i32),
}

/// What became of the packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmitCounters {
    /// Packets that left; a super-packet is several.
    pub sent: u64,
    /// [`EmitError::Malformed`].
    pub malformed: u64,
    /// [`EmitError::TooBig`].
    pub too_big: u64,
    /// [`EmitError::Congested`].
    pub congested: u64,
    /// [`EmitError::Refused`].
    pub refused: u64,
    /// [`EmitError::NoRoute`] and [`EmitError::NoFamily`].
    pub no_route: u64,
    /// [`EmitError::Other`].
    pub other: u64,
}

/// The raw sockets.
#[derive(Debug)]
pub struct RawEmitter {
    v4: Socket,
    v6: Option<Socket>,
    counters: EmitCounters,
    scratch: Vec<u8>,
}

/// Room for a burst of super-packets, in bytes.
const SEND_BUFFER: usize = 1 << 20;

impl RawEmitter {
    /// Opens the sockets, on Linux in the calling thread's network namespace.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_RAW` (and `CAP_NET_ADMIN` for a mark), on macOS for all but root. A system without
    /// IPv6 is no error.
    pub fn open(bypass: &Bypass) -> io::Result<Self> {
        let (v4, v6) = imp::sockets()?;
        for socket in [Some(&v4), v6.as_ref()].into_iter().flatten() {
            socket.set_send_buffer_size(SEND_BUFFER)?;
            bypass.apply(socket)?;
        }
        Ok(Self {
            v4,
            v6,
            counters: EmitCounters::default(),
            scratch: Vec::new(),
        })
    }

    /// What became of all packets so far.
    pub fn counters(&self) -> EmitCounters {
        self.counters
    }

    /// Sends what came out of a device to the destination in its header: super-packets cut to `mtu` bytes, checksums
    /// completed, larger packets fragmented where they allow it; `mtu` is that of the device that they come from, and the way
    /// out may have a smaller one.
    ///
    /// # Errors
    /// See [`EmitError`]; counted. What was sent before the failure stays sent.
    pub fn send(&mut self, packet: &[u8], offload: Offload, mtu: usize) -> Result<(), EmitError> {
        let result = match self.send_all(packet, offload, mtu) {
            Err(EmitError::TooBig(Some(narrow)))
                if usize::from(narrow) < mtu && may_be_cut(packet, offload, mtu) =>
            {
                self.send_all(packet, offload, narrow.into())
            }
            result => result,
        };
        if let Err(error) = result {
            let counter = self.counters.of(error);
            *counter = counter.saturating_add(1);
        }
        result
    }

    fn send_all(&mut self, packet: &[u8], offload: Offload, mtu: usize) -> Result<(), EmitError> {
        let destination = destination(packet).ok_or(EmitError::Malformed(DropReason::NotIp))?;
        let socket = match destination {
            SocketAddr::V4(_) => &self.v4,
            SocketAddr::V6(_) => self.v6.as_ref().ok_or(EmitError::NoFamily)?,
        };
        let destination = SockAddr::from(destination);
        let mut segments = Segments::new(packet, offload, mtu, &mut self.scratch)
            .map_err(|reason| unfit(reason, mtu))?;
        while let Some(segment) = segments.next_packet() {
            imp::send(socket, segment, &destination).map_err(|error| {
                let reason = reason(&error);
                if reason == EmitError::TooBig(None) {
                    EmitError::TooBig(mtu_of_way(socket, segment, &destination))
                } else {
                    reason
                }
            })?;
            self.counters.sent = self.counters.sent.saturating_add(1);
        }
        Ok(())
    }
}

impl EmitCounters {
    fn of(&mut self, error: EmitError) -> &mut u64 {
        match error {
            EmitError::Malformed(_) => &mut self.malformed,
            EmitError::TooBig(_) => &mut self.too_big,
            EmitError::Congested => &mut self.congested,
            EmitError::Refused => &mut self.refused,
            EmitError::NoRoute | EmitError::NoFamily => &mut self.no_route,
            EmitError::Other(_) => &mut self.other,
        }
    }
}

/// The destination address of an IP packet; the port is 0, as raw sockets want it.
fn destination(packet: &[u8]) -> Option<SocketAddr> {
    match packet.first()? >> 4 {
        4 => {
            let header: &[u8; 20] = packet.first_chunk()?;
            let address: &[u8; 4] = header.last_chunk()?;
            Some(SocketAddr::V4(SocketAddrV4::new(
                Ipv4Addr::from(*address),
                0,
            )))
        }
        6 => {
            let header: &[u8; 40] = packet.first_chunk()?;
            let address: &[u8; 16] = header.last_chunk()?;
            Some(SocketAddr::V6(SocketAddrV6::new(
                Ipv6Addr::from(*address),
                0,
                0,
                0,
            )))
        }
        _ => None,
    }
}

/// Whether a packet that fits a link of this `mtu`, or was put together from fragments that did, may be fragmented for one
/// with a smaller MTU: IPv4 packets say so, and of IPv6 what its sender has fragmented itself.
fn may_be_cut(packet: &[u8], offload: Offload, mtu: usize) -> bool {
    match destination(packet) {
        Some(SocketAddr::V4(_)) => packet.get(6).is_some_and(|flags| flags & 0x40 == 0),
        Some(SocketAddr::V6(_)) => offload.segmentation.is_none() && packet.len() > mtu,
        None => false,
    }
}

/// The MTU of the way out on which `packet` has just met its limit. The kernel writes it beside the error that sending it once
/// more meets.
fn mtu_of_way(socket: &Socket, packet: &[u8], destination: &SockAddr) -> Option<u16> {
    error_queue::enable(socket).ok()?;
    let _expected_to_fail = imp::send(socket, packet, destination);
    let report = error_queue::next(socket);
    // With the queue the socket would also be told of congestion, in the middle of a super-packet. This empties it, too.
    error_queue::disable(socket).ok()?;
    match report.ok()??.fault {
        Fault::TooBig(mtu) => u16::try_from(mtu).ok(),
        Fault::PortUnreachable
        | Fault::HostUnreachable
        | Fault::NetworkUnreachable
        | Fault::Prohibited
        | Fault::TimeExceeded => None,
    }
}

fn unfit(reason: DropReason, mtu: usize) -> EmitError {
    if reason == DropReason::TooLarge {
        EmitError::TooBig(u16::try_from(mtu).ok())
    } else {
        EmitError::Malformed(reason)
    }
}

fn reason(error: &io::Error) -> EmitError {
    match error.raw_os_error().unwrap_or_default() {
        libc::EMSGSIZE => EmitError::TooBig(None),
        libc::ENOBUFS | libc::EAGAIN => EmitError::Congested,
        libc::EPERM | libc::EACCES => EmitError::Refused,
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::ENODEV => {
            EmitError::NoRoute
        }
        // The kernel read the header and did not like it.
        libc::EINVAL => EmitError::Malformed(DropReason::Malformed),
        other => EmitError::Other(other),
    }
}
