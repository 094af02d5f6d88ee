//! UDP: datagrams in and out, and how long a flow of them is remembered.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use crate::checksum::Sum;
use crate::config::IdleLimits;
use crate::flow::FlowKey;
use crate::icmp::Quote;
use crate::ip::{IpHeader, IpPacket, protocol, u16_at};
use crate::packet::{DropReason, Offload, PacketHead, Segmentation};

/// Length of a UDP header.
pub(crate) const UDP_HEADER: usize = 8;

/// A UDP header and what follows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'p> {
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) payload: &'p [u8],
    /// Payload size of each, where the packet is several datagrams.
    pub(crate) segment: Option<NonZeroU16>,
}

impl<'p> Datagram<'p> {
    /// Reads a datagram, or several in one if the device says so. The length field bounds the payload (RFC 768), except of
    /// several: their common length is the packet's.
    pub(crate) fn parse(packet: &IpPacket<'p>, offload: Offload) -> Result<Self, DropReason> {
        let bytes = packet.payload();
        let (header, _) = bytes
            .split_first_chunk::<UDP_HEADER>()
            .ok_or(DropReason::Truncated)?;
        let length = usize::from(u16_at(header, 4));
        let segment = match offload.segmentation {
            Some(Segmentation::Udp(size)) => Some(size),
            Some(Segmentation::Tcp(_)) => return Err(DropReason::Malformed),
            None => None,
        };
        let length = if segment.is_some() {
            bytes.len()
        } else {
            length
        };
        if length < UDP_HEADER || u16_at(header, 2) == 0 {
            return Err(DropReason::Malformed);
        }
        let payload = bytes.get(UDP_HEADER..length).ok_or(DropReason::Truncated)?;
        let segment = segment.filter(|&size| payload.len() > usize::from(size.get()));
        Ok(Self {
            source_port: u16_at(header, 0),
            destination_port: u16_at(header, 2),
            payload,
            segment,
        })
    }

    /// Whether the checksum is right. None is allowed over IPv4 only (RFC 768, RFC 8200 section 8.1).
    pub(crate) fn is_intact(packet: &IpPacket<'_>) -> bool {
        let bytes = packet.payload();
        let Some(header) = bytes.first_chunk::<UDP_HEADER>() else {
            return false;
        };
        let length = usize::from(u16_at(header, 4));
        if u16_at(header, 6) == 0 {
            return packet.source.is_ipv4();
        }
        bytes.get(..length).is_some_and(|datagram| {
            Sum::pseudo_header(packet.source, packet.destination, protocol::UDP, length)
                .bytes(datagram)
                .is_intact()
        })
    }
}

/// A UDP flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UdpFlow {
    /// The last datagram from the program.
    pub(crate) quote: Quote,
    /// Whether the far end ever answered.
    pub(crate) answered: Answered,
    /// Datagrams from the program that were not matched by one from the far end.
    pub(crate) outstanding: u32,
}

/// Whether a flow was ever answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    Never,
    Once,
}

impl UdpFlow {
    /// A flow that begins with this datagram.
    pub(crate) fn new(quote: Quote) -> Self {
        Self {
            quote,
            answered: Answered::Never,
            outstanding: 0,
        }
    }

    /// How long it may be quiet from now on.
    pub(crate) fn idle_limit(&self, key: &FlowKey, limits: &IdleLimits) -> Duration {
        match (self.answered, key.remote.0.port()) {
            (Answered::Never, _) => limits.udp_unanswered,
            (Answered::Once, 53) if self.outstanding == 0 => limits.dns_answered,
            (Answered::Once, 53) => limits.udp_unanswered,
            (Answered::Once, 443) => limits.quic,
            (Answered::Once, _) => limits.udp_answered,
        }
    }
}

/// Who completes the checksum of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Completion {
    Ours,
    Device,
}

/// The IP and UDP headers of a datagram, or of several, from `from` to `to`. `TooLarge` if a datagram exceeds `mtu`.
pub(crate) fn head(
    from: SocketAddr,
    to: SocketAddr,
    payload: &[u8],
    segment: Option<NonZeroU16>,
    mtu: usize,
    completion: Completion,
) -> Result<PacketHead, DropReason> {
    let header = IpHeader::new(from.ip(), to.ip(), protocol::UDP);
    let one = segment.map_or(payload.len(), |size| {
        usize::from(size.get()).min(payload.len())
    });
    if crate::ip::header_len(to.ip()) + UDP_HEADER + one > mtu {
        return Err(DropReason::TooLarge);
    }
    let mut bytes = [0; PacketHead::CAPACITY];
    let length = UDP_HEADER + payload.len();
    let at = header
        .write(&mut bytes, length)
        .ok_or(DropReason::TooLarge)?;
    let udp = udp_header(from, to, payload, completion).ok_or(DropReason::TooLarge)?;
    bytes[at..at + UDP_HEADER].copy_from_slice(&udp);
    let segmentation = segment
        .filter(|size| payload.len() > usize::from(size.get()))
        .map(Segmentation::Udp);
    let offload = Offload {
        partial_checksum: completion == Completion::Device,
        checksum_valid: false,
        segmentation,
    };
    Ok(PacketHead {
        bytes,
        len: at + UDP_HEADER,
        offload,
    })
}

/// A UDP header; `None` if the payload is longer than a datagram can be.
pub(crate) fn udp_header(
    from: SocketAddr,
    to: SocketAddr,
    payload: &[u8],
    completion: Completion,
) -> Option<[u8; UDP_HEADER]> {
    let length = u16::try_from(UDP_HEADER + payload.len()).ok()?;
    let pseudo_header = Sum::pseudo_header(from.ip(), to.ip(), protocol::UDP, usize::from(length));
    let sum = match completion {
        Completion::Device => pseudo_header.fold(),
        Completion::Ours => pseudo_header
            .word(from.port())
            .word(to.port())
            .word(length)
            .bytes(payload)
            .finish_udp(),
    };
    let mut header = [0; UDP_HEADER];
    for (field, value) in header
        .chunks_exact_mut(2)
        .zip([from.port(), to.port(), length, sum])
    {
        field.copy_from_slice(&value.to_be_bytes());
    }
    Some(header)
}
