//! From what a device with offloads hands over to packets that a wire takes.
//!
//! A raw socket or a device without offloads wants what the kernel would have sent: packets no larger than the MTU with
//! complete checksums. [`Segments`] cuts a TCP super-packet or a run of UDP datagrams, fragments what is too large and may
//! be fragmented, and completes partial checksums. Pure: it only writes into its scratch buffer.

mod readdress;

use std::num::NonZeroU16;

use crate::fragment::fragment;
use crate::ip::{IpHeader, IpPacket, header_len, protocol};
use crate::packet::{DropReason, Offload, Segmentation};
use crate::tcp::segment::{BareSegment, Segment, flag};
use crate::udp::UDP_HEADER;

pub use self::readdress::readdressed;

/// The packets that one packet becomes, in order.
///
/// ```
/// use tidegate_netstack::{emit::Segments, Offload};
///
/// let mut packet = Vec::new();
/// etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [203, 0, 113, 9], 64)
///     .udp(40_000, 443)
///     .write(&mut packet, b"hello")
///     .unwrap();
/// let mut scratch = Vec::new();
/// let mut segments = Segments::new(&packet, Offload::default(), 1_500, &mut scratch).unwrap();
/// assert_eq!(segments.next_packet(), Some(packet.as_slice()));
/// assert_eq!(segments.next_packet(), None);
/// ```
#[derive(Debug)]
pub struct Segments<'p> {
    packet: IpPacket<'p>,
    plan: Plan,
    scratch: &'p mut Vec<u8>,
    /// How many packets were given out.
    given: usize,
}

#[derive(Debug)]
enum Plan {
    /// One packet; its checksum may need completing.
    Whole { partial_checksum: bool },
    /// Transport segments of at most `size` payload bytes behind `head` bytes of headers.
    Cut {
        transport: Transport,
        head: usize,
        size: usize,
    },
    /// Fragments, made already.
    Fragments(Vec<Vec<u8>>),
}

#[derive(Clone, Copy, Debug)]
enum Transport {
    Tcp { sequence: u32, flags: u8 },
    Udp,
}

impl<'p> Segments<'p> {
    /// Plans how to send `packet` through a link of this `mtu`. `scratch` is where each packet is put together; reuse it.
    ///
    /// # Errors
    ///
    /// What is wrong with the packet: it does not parse, its offload does not fit its protocol, or it is larger than `mtu`
    /// and must not be fragmented ([`DropReason::TooLarge`]).
    pub fn new(
        packet: &'p [u8],
        offload: Offload,
        mtu: usize,
        scratch: &'p mut Vec<u8>,
    ) -> Result<Self, DropReason> {
        let packet = IpPacket::parse(packet)?;
        let plan = Plan::new(&packet, offload, mtu)?;
        Ok(Self {
            packet,
            plan,
            scratch,
            given: 0,
        })
    }

    /// The next packet, complete.
    pub fn next_packet(&mut self) -> Option<&[u8]> {
        let index = self.given;
        self.given += 1;
        if let Plan::Cut {
            transport,
            head,
            size,
        } = self.plan
        {
            self.cut(transport, head, size, index)?;
        }
        match &self.plan {
            Plan::Cut { .. } => Some(self.scratch),
            Plan::Whole { .. } if index > 0 => None,
            Plan::Whole {
                partial_checksum: false,
            } => Some(self.packet.whole),
            Plan::Whole {
                partial_checksum: true,
            } => {
                self.scratch.clear();
                self.scratch.extend_from_slice(self.packet.whole);
                complete_checksum(self.scratch)?;
                Some(self.scratch)
            }
            Plan::Fragments(fragments) => fragments.get(index).map(Vec::as_slice),
        }
    }

    /// Puts segment `index` together; `None` if there is none.
    fn cut(&mut self, transport: Transport, head: usize, size: usize, index: usize) -> Option<()> {
        let (headers, payload) = self.packet.whole.split_at_checked(head)?;
        let at = index.checked_mul(size)?;
        let piece = payload.get(at..).filter(|rest| !rest.is_empty())?;
        let piece = piece.get(..size).unwrap_or(piece);
        let is_last = at + piece.len() == payload.len();
        let packet = &mut *self.scratch;
        packet.clear();
        packet.extend_from_slice(headers);
        packet.extend_from_slice(piece);
        let length = u16::try_from(packet.len()).ok()?;
        let transport_at = self.packet.header_len;
        if self.packet.source.is_ipv4() {
            let nth = u16::try_from(index).ok()?;
            let identification = u16::from_be_bytes([packet[4], packet[5]]).wrapping_add(nth);
            packet[2..4].copy_from_slice(&length.to_be_bytes());
            packet[4..6].copy_from_slice(&identification.to_be_bytes());
            packet[10..12].fill(0);
            let sum = crate::checksum::Sum::default()
                .bytes(&packet[..transport_at])
                .finish();
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        } else {
            let payload_len =
                length.checked_sub(u16::try_from(header_len(self.packet.source)).ok()?)?;
            packet[4..6].copy_from_slice(&payload_len.to_be_bytes());
        }
        let header = packet.get_mut(transport_at..)?;
        match transport {
            Transport::Tcp { sequence, flags } => {
                let sequence = sequence.wrapping_add(u32::try_from(at).ok()?);
                header
                    .get_mut(4..8)?
                    .copy_from_slice(&sequence.to_be_bytes());
                // FIN and PSH belong to the end, CWR to the beginning (RFC 3168 section 6.1.2).
                let not_here = if is_last { 0 } else { flag::FIN | flag::PSH }
                    | if index == 0 { 0 } else { flag::CWR };
                *header.get_mut(13)? = flags & !not_here;
            }
            Transport::Udp => {
                let length = u16::try_from(UDP_HEADER + piece.len()).ok()?;
                header.get_mut(4..6)?.copy_from_slice(&length.to_be_bytes());
            }
        }
        complete_checksum(packet)
    }
}

impl Plan {
    fn new(packet: &IpPacket<'_>, offload: Offload, mtu: usize) -> Result<Self, DropReason> {
        let partial_checksum = offload.partial_checksum;
        if partial_checksum && !matches!(packet.protocol, protocol::TCP | protocol::UDP) {
            return Err(DropReason::Malformed);
        }
        let size = |wanted: NonZeroU16, head: usize| match mtu.checked_sub(head) {
            None | Some(0) => Err(DropReason::TooLarge),
            Some(room) => Ok(usize::from(wanted.get()).min(room)),
        };
        match (offload.segmentation, packet.protocol) {
            _ if packet.fragment.is_some() => {}
            (Some(Segmentation::Tcp(_)) | None, protocol::TCP) => {
                let segment = Segment::parse(packet.payload())?;
                let head = packet.header_len + segment.header_len;
                let wanted = match offload.segmentation {
                    Some(Segmentation::Tcp(size)) => size,
                    Some(Segmentation::Udp(_)) | None => NonZeroU16::MAX,
                };
                let size = size(wanted, head)?;
                if segment.payload_len > size {
                    let transport = Transport::Tcp {
                        sequence: segment.sequence,
                        flags: segment.flags,
                    };
                    return Ok(Self::Cut {
                        transport,
                        head,
                        size,
                    });
                }
            }
            (Some(Segmentation::Udp(wanted)), protocol::UDP) => {
                let head = packet.header_len + UDP_HEADER;
                let payload_len = packet
                    .whole
                    .len()
                    .checked_sub(head)
                    .ok_or(DropReason::Truncated)?;
                if usize::from(wanted.get()) + head > mtu && payload_len + head > mtu {
                    return Err(DropReason::TooLarge);
                }
                if payload_len > usize::from(wanted.get()) {
                    return Ok(Self::Cut {
                        transport: Transport::Udp,
                        head,
                        size: usize::from(wanted.get()),
                    });
                }
            }
            (Some(_), _) => return Err(DropReason::Malformed),
            (None, _) => {}
        }
        if packet.whole.len() <= mtu {
            return Ok(Self::Whole { partial_checksum });
        }
        Self::fragments(packet, partial_checksum, mtu)
    }

    fn fragments(
        packet: &IpPacket<'_>,
        partial_checksum: bool,
        mtu: usize,
    ) -> Result<Self, DropReason> {
        let must_not =
            packet.source.is_ipv4() && packet.whole.get(6).is_some_and(|flags| flags & 0x40 != 0);
        if must_not || packet.fragment.is_some() {
            return Err(DropReason::TooLarge);
        }
        let mut whole = packet.whole.to_vec();
        if partial_checksum {
            complete_checksum(&mut whole).ok_or(DropReason::Malformed)?;
        }
        // Unique enough for the seconds that a fragment lives, without a state of its own: the sum of the datagram.
        let sum = crate::checksum::Sum::default().bytes(&whole).fold();
        let identification =
            u32::from(sum) << 16 | u32::try_from(whole.len() & 0xffff).unwrap_or_default();
        if packet.source.is_ipv4()
            && let Some(field @ [0, 0]) = whole.get_mut(4..6)
        {
            // A raw socket would give each fragment another one (raw(7)).
            field.copy_from_slice(&(sum | 1).to_be_bytes());
        }
        let mut fragments = Vec::new();
        fragment(&whole, mtu, identification, |piece| {
            fragments.push(piece.to_vec())
        })?;
        Ok(Self::Fragments(fragments))
    }
}

/// A RST that `packet`'s sender might have sent instead of it, so that the destination gives the connection up: with its
/// sequence number and acknowledgement, which the destination takes for its own if it would have taken the packet
/// (RFC 9293 sections 3.5.2 and 3.10.7). `None` for what is not TCP, or is a RST itself.
pub fn reset_in_place_of(packet: &[u8]) -> Option<Vec<u8>> {
    let packet = IpPacket::parse(packet).ok()?;
    if packet.protocol != protocol::TCP || packet.fragment.is_some() {
        return None;
    }
    let segment = Segment::parse(packet.payload()).ok()?;
    let reset = BareSegment {
        ip: IpHeader::new(packet.source, packet.destination, protocol::TCP),
        source_port: segment.source_port,
        destination_port: segment.destination_port,
        sequence: segment.sequence,
        acknowledgement: segment.acknowledgement,
        flags: flag::RST | segment.flags & flag::ACK,
        window: 0,
    };
    let (bytes, len) = reset.to_packet();
    (!segment.has(flag::RST)).then(|| bytes[..len].to_vec())
}

/// Writes the complete TCP or UDP checksum of a whole packet; `None` if there is no room for one.
fn complete_checksum(packet: &mut [u8]) -> Option<()> {
    let parsed = IpPacket::parse(packet).ok()?;
    let (at, sum_at) = match parsed.protocol {
        protocol::TCP => (parsed.header_len, 16),
        protocol::UDP => (parsed.header_len, 6),
        _ => return None,
    };
    let (pseudo_header, is_udp) = (parsed.pseudo_header(), parsed.protocol == protocol::UDP);
    packet.get_mut(at + sum_at..at + sum_at + 2)?.fill(0);
    let sum = pseudo_header.bytes(packet.get(at..)?);
    let sum = if is_udp {
        sum.finish_udp()
    } else {
        sum.finish()
    };
    packet
        .get_mut(at + sum_at..at + sum_at + 2)?
        .copy_from_slice(&sum.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests;
