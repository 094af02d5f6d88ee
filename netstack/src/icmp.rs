//! ICMP and ICMPv6: echo as flows, and errors that tell a program why its packets do not arrive.
//!
//! An error quotes the packet that it is about (RFC 792, RFC 4443 section 3). For live flows a [`Quote`] of that packet is
//! kept: the fields that hosts and tools compare, 16 bytes, not the packet; for echo, of the last requests.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::checksum::Sum;
use crate::flow::FlowKey;
use crate::ip::{Fragmentation, IpHeader, IpPacket, header_len, is_group, protocol, u16_at};
use crate::packet::DropReason;
use crate::tcp::segment::{Segment, flag};

/// Length of the header of an echo message or an error.
pub(crate) const ICMP_HEADER: usize = 8;
/// Largest error over IPv4 (RFC 1812 section 4.3.2.3).
const MAX_V4_ERROR: usize = 576;
/// Largest error over IPv6 (RFC 4443 section 2.4 c).
const MAX_V6_ERROR: usize = 1_280;

/// How a flow is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// RST for TCP, ICMP port unreachable for UDP, host unreachable for echo, administratively prohibited for others: of
    /// host unreachable a raw IPv4 socket hears nothing.
    Reset,
    /// ICMP destination unreachable: no route to the network.
    NetworkUnreachable,
    /// ICMP destination unreachable: no route to the host.
    HostUnreachable,
    /// ICMP destination unreachable: administratively prohibited.
    Prohibited,
    /// No answer at all; retransmissions are absorbed for a while.
    Silence,
}

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IcmpError {
    PortUnreachable,
    NetworkUnreachable,
    HostUnreachable,
    Prohibited,
    TimeExceeded,
    /// With the largest packet that would fit.
    TooBig(u16),
}

impl IcmpError {
    /// The error that carries out a refusal of this protocol; `None` where it is not an ICMP error that does.
    pub(crate) fn for_refusal(refusal: Refusal, protocol: crate::flow::Protocol) -> Option<Self> {
        use crate::flow::Protocol;
        match (refusal, protocol) {
            (Refusal::Silence, _) | (Refusal::Reset, Protocol::Tcp) => None,
            (Refusal::Reset, Protocol::Udp) => Some(Self::PortUnreachable),
            (Refusal::Reset, Protocol::Icmp) | (Refusal::HostUnreachable, _) => {
                Some(Self::HostUnreachable)
            }
            (Refusal::NetworkUnreachable, _) => Some(Self::NetworkUnreachable),
            (Refusal::Reset, Protocol::Other(_)) | (Refusal::Prohibited, _) => {
                Some(Self::Prohibited)
            }
        }
    }

    /// Type and code (RFC 792 and RFC 1812 section 5.2.7; RFC 4443 section 3).
    fn type_and_code(self, family: IpAddr) -> [u8; 2] {
        match (self, family.is_ipv4()) {
            (Self::NetworkUnreachable, true) => [3, 0],
            (Self::HostUnreachable, true) => [3, 1],
            (Self::PortUnreachable, true) => [3, 3],
            (Self::TooBig(_), true) => [3, 4],
            (Self::Prohibited, true) => [3, 13],
            (Self::TimeExceeded, true) => [11, 0],
            (Self::NetworkUnreachable, false) => [1, 0],
            (Self::Prohibited, false) => [1, 1],
            (Self::HostUnreachable, false) => [1, 3],
            (Self::PortUnreachable, false) => [1, 4],
            (Self::TooBig(_), false) => [2, 0],
            (Self::TimeExceeded, false) => [3, 0],
        }
    }

    /// The rest of the header: the MTU, where the error is about one (RFC 1191 section 4, RFC 4443 section 3.2).
    fn rest(self) -> [u8; 4] {
        match self {
            Self::TooBig(mtu) => u32::from(mtu).to_be_bytes(),
            Self::PortUnreachable
            | Self::NetworkUnreachable
            | Self::HostUnreachable
            | Self::Prohibited
            | Self::TimeExceeded => [0; 4],
        }
    }

    /// The error as a packet from `from` to `to`, about the packet that `quoted` begins with. `None` if the addresses are
    /// of different families.
    pub(crate) fn packet(self, from: IpAddr, to: IpAddr, quoted: &[u8]) -> Option<Vec<u8>> {
        let (icmp, limit) = if to.is_ipv4() {
            (protocol::ICMP, MAX_V4_ERROR)
        } else {
            (protocol::ICMPV6, MAX_V6_ERROR)
        };
        let at = header_len(to);
        let quoted = quoted.get(..limit - at - ICMP_HEADER).unwrap_or(quoted);
        let mut packet = vec![0; at + ICMP_HEADER + quoted.len()];
        IpHeader::new(from, to, icmp).write(&mut packet, ICMP_HEADER + quoted.len())?;
        let message = &mut packet[at..];
        message[..2].copy_from_slice(&self.type_and_code(to));
        message[4..8].copy_from_slice(&self.rest());
        message[ICMP_HEADER..].copy_from_slice(quoted);
        let sum = message_sum(from, to, message.len()).bytes(message).finish();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        Some(packet)
    }
}

/// Where the sum of an ICMP message starts: at nothing, or for ICMPv6 at the pseudo-header.
pub(crate) fn message_sum(source: IpAddr, destination: IpAddr, length: usize) -> Sum {
    if source.is_ipv4() {
        Sum::default()
    } else {
        Sum::pseudo_header(source, destination, protocol::ICMPV6, length)
    }
}

/// Whether this packet must not be answered with an error or a RST: errors, RSTs, groups (RFC 1122 section 3.2.2,
/// RFC 4443 section 2.4 e).
pub(crate) fn must_not_be_answered(packet: &IpPacket<'_>) -> bool {
    is_group(packet.destination)
        || packet.fragment.is_some()
        || match packet.protocol {
            protocol::TCP => {
                Segment::parse(packet.payload()).is_ok_and(|segment| segment.has(flag::RST))
            }
            protocol::ICMP | protocol::ICMPV6 => {
                Message::parse(packet).is_ok_and(|message| matches!(message, Message::Error { .. }))
            }
            _ => false,
        }
}

/// An ICMP message, as far as this stack tells them apart.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Message<'p> {
    EchoRequest {
        identifier: u16,
        sequence: u16,
        payload: &'p [u8],
    },
    EchoReply {
        identifier: u16,
    },
    /// With the beginning of the packet that it is about.
    Error {
        quoted: &'p [u8],
    },
    /// Router and neighbour discovery, group membership and the like.
    Other,
}

impl<'p> Message<'p> {
    /// Reads a message.
    pub(crate) fn parse(packet: &IpPacket<'p>) -> Result<Self, DropReason> {
        let bytes = packet.payload();
        let (header, payload) = bytes
            .split_first_chunk::<ICMP_HEADER>()
            .ok_or(DropReason::Truncated)?;
        let (identifier, sequence) = (u16_at(header, 4), u16_at(header, 6));
        Ok(match (packet.protocol, header[0], header[1]) {
            (protocol::ICMP, 8, 0) | (protocol::ICMPV6, 128, 0) => Self::EchoRequest {
                identifier,
                sequence,
                payload,
            },
            (protocol::ICMP, 0, 0) | (protocol::ICMPV6, 129, 0) => Self::EchoReply { identifier },
            (protocol::ICMP, 3 | 4 | 5 | 11 | 12, _) | (protocol::ICMPV6, 1..=4, _) => {
                Self::Error { quoted: payload }
            }
            _ => Self::Other,
        })
    }
}

/// Type and code of an echo reply.
pub(crate) fn echo_reply_type(family: IpAddr) -> u8 {
    if family.is_ipv4() { 0 } else { 129 }
}

/// Requests of one echo flow that an error may still be about: traceroute has 16 probes on their way at once.
const REQUESTS: usize = 32;

/// An ICMP echo flow.
#[derive(Debug, Default)]
pub(crate) struct EchoFlow {
    /// The last requests, the latest at the end.
    requests: VecDeque<Quote>,
}

impl EchoFlow {
    /// A request has come from the program.
    pub(crate) fn note(&mut self, request: Quote) {
        if self.requests.len() == REQUESTS {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }

    /// The latest request.
    pub(crate) fn latest(&self) -> Option<&Quote> {
        self.requests.back()
    }

    /// Makes the request with this sequence number the latest; false if it is not remembered.
    pub(crate) fn recall(&mut self, sequence: u16) -> bool {
        let sequence = sequence.to_be_bytes();
        let at = self
            .requests
            .iter()
            .rposition(|request| request.transport[6..] == sequence);
        let request = at.and_then(|at| self.requests.remove(at));
        self.requests.extend(request);
        request.is_some()
    }
}

/// What is kept of a flow's last packet, so that an error can quote it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quote {
    identification: u16,
    /// Length of the transport header and payload.
    transport_len: u16,
    hop_limit: u8,
    fragmentation: Fragmentation,
    transport: [u8; 8],
}

impl Quote {
    /// Quotes a packet.
    pub(crate) fn of(packet: &IpPacket<'_>) -> Self {
        let transport = packet.payload();
        let mut quote = Self {
            identification: 0,
            transport_len: u16::try_from(transport.len()).unwrap_or(u16::MAX),
            hop_limit: packet.hop_limit,
            fragmentation: Fragmentation::Allowed,
            transport: transport.first_chunk().copied().unwrap_or_default(),
        };
        if packet.source.is_ipv4()
            && let Some(header) = packet.whole.first_chunk::<8>()
        {
            quote.identification = u16_at(header, 4);
            if header[6] & 0x40 != 0 {
                quote.fragmentation = Fragmentation::Never;
            }
        }
        quote
    }

    /// The beginning of the packet again: IP header and eight bytes.
    pub(crate) fn packet(&self, key: &FlowKey, protocol: u8) -> Option<Vec<u8>> {
        let (source, destination) = (key.local.ip(), key.remote.ip());
        let mut packet = vec![0; header_len(source) + 8];
        let header = IpHeader {
            hop_limit: self.hop_limit,
            identification: self.identification,
            fragmentation: self.fragmentation,
            ..IpHeader::new(source, destination, protocol)
        };
        let at = header.write(&mut packet, usize::from(self.transport_len))?;
        packet[at..].copy_from_slice(&self.transport);
        Some(packet)
    }
}
