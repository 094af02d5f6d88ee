//! What leaves an uplink past the capture: packets without our mark that no rule of ours lets out.
//!
//! Routing decides what is captured, and some ways do not ask it: a socket bound to a device, a packet socket. So this
//! looks where everything comes by that leaves: a packet socket on the uplink (packet(7)), with a filter that the kernel
//! runs before it copies anything. Taps of the kernel also see what comes in; the filter's first comparison ends that.
//!
//! What waits is bounded by the socket's buffer: under a flood the rest is passed over, and counted. Packets sent with
//! `PACKET_QDISC_BYPASS` or through an XDP socket come by no tap.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, RawFd};

use etherparse::{LaxNetSlice, LaxSlicedPacket};
use socket2::{Domain, SockFilter, Socket, Type};
use tidegate_policy::Protocol;
use tidegate_routing::plan::{Mark, Rule};

use crate::link;
use crate::sys::packet_socket;

mod filter;
mod places;

pub use places::{Place, Places};

/// Packets that wait; a super-packet of 64 KiB takes all of its own, whatever little is looked at.
const RECEIVE_BUFFER: usize = 256 * 1024;

/// A tap on one uplink, non-blocking.
#[derive(Debug)]
pub struct UplinkTap {
    socket: Socket,
    device: String,
    index: u32,
}

/// A packet that left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Departure {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its source; the port is 0 where the protocol has none, for ICMP echo the identifier.
    pub local: SocketAddr,
    /// Its destination; the port is 0 where the protocol has none.
    pub remote: SocketAddr,
    /// Its mark, where the kernel tells (Linux 5.19).
    pub mark: Option<u32>,
}

impl UplinkTap {
    /// Begins to look at what leaves `device` of the calling thread's network namespace without the mark `own` and by none
    /// of the rules `native`.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_RAW`; `NotFound` if the interface is gone.
    pub fn open(device: &str, own: Mark, native: &[Rule]) -> io::Result<Self> {
        let missing = |error: link::LinkError| io::Error::new(io::ErrorKind::NotFound, error);
        let index = link::index(device).map_err(missing)?;
        // Of no protocol: it takes nothing before the filter is there.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        if let Err(error) = packet_socket::tell_marks(socket.as_fd()) {
            tracing::debug!(%error, "marks of packets are not told");
        }
        let tap = Self {
            socket,
            device: device.to_owned(),
            index,
        };
        tap.set_filter(own, native)?;
        let index = index.try_into().map_err(io::Error::other)?;
        packet_socket::listen(tap.socket.as_fd(), index)?;
        Ok(tap)
    }

    /// Looks by other rules from now on.
    ///
    /// # Errors
    /// The system's.
    pub fn set_filter(&self, own: Mark, native: &[Rule]) -> io::Result<()> {
        let program: Vec<SockFilter> = filter::program(own, native)
            .iter()
            .map(|step| SockFilter::new(step.code, step.if_so, step.if_not, step.number))
            .collect();
        self.socket.attach_filter(&program)
    }

    /// The interface.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Its index.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The oldest packet that waits. What means nothing is passed over.
    ///
    /// # Errors
    /// `ENETDOWN` once when the interface goes down, after which it may come up again; else the system's.
    pub fn next_departure(&self) -> io::Result<Option<Departure>> {
        let mut buffer = [0; filter::TAKEN];
        loop {
            let (length, mark) = match packet_socket::receive(self.socket.as_fd(), &mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let packet = buffer.get(..length).unwrap_or_default();
            if let Some(departure) = departure(packet, mark) {
                return Ok(Some(departure));
            }
        }
    }

    /// Packets that found no room since this was last asked.
    ///
    /// # Errors
    /// The system's.
    pub fn take_missed(&self) -> io::Result<u64> {
        packet_socket::take_missed(self.socket.as_fd()).map(u64::from)
    }
}

impl AsRawFd for UplinkTap {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Reads the beginning of a packet.
fn departure(packet: &[u8], mark: Option<u32>) -> Option<Departure> {
    let net = LaxSlicedPacket::from_ip(packet).ok()?.net?;
    let (source, destination): (IpAddr, IpAddr) = match &net {
        LaxNetSlice::Ipv4(v4) => (
            v4.header().source_addr().into(),
            v4.header().destination_addr().into(),
        ),
        LaxNetSlice::Ipv6(v6) => (
            v6.header().source_addr().into(),
            v6.header().destination_addr().into(),
        ),
        LaxNetSlice::Arp(_) => return None,
    };
    let payload = net.ip_payload_ref()?;
    let number = |at: usize| {
        let bytes = payload.payload.get(at..)?.first_chunk()?;
        Some(u16::from_be_bytes(*bytes))
    };
    let (protocol, ports) = match payload.ip_number.0 {
        6 => (Protocol::Tcp, number(0).zip(number(2))),
        17 => (Protocol::Udp, number(0).zip(number(2))),
        1 | 58 => (Protocol::Icmp, number(4).map(|identifier| (identifier, 0))),
        other => (Protocol::Other(other), None),
    };
    let (local, remote) = ports.unwrap_or_default();
    Some(Departure {
        protocol,
        local: SocketAddr::new(source, local),
        remote: SocketAddr::new(destination, remote),
        mark,
    })
}

#[cfg(test)]
mod cost;
#[cfg(test)]
mod tests;
