//! TCP headers: what is read of a segment before it reaches an engine, and the bare segments this stack writes itself.

use std::ops::Range;

use crate::checksum::Sum;
use crate::ip::{IpHeader, IpPacket, protocol, u16_at};
use crate::packet::{DropReason, Offload};

/// Length of a TCP header without options.
pub(crate) const TCP_HEADER: usize = 20;
/// Longest packet of IPv6 and a TCP header with every option.
pub(crate) const MAX_BARE_SEGMENT: usize = 40 + 60;

/// Flag bits (RFC 9293 section 3.1).
pub(crate) mod flag {
    pub(crate) const FIN: u8 = 0x01;
    pub(crate) const SYN: u8 = 0x02;
    pub(crate) const RST: u8 = 0x04;
    pub(crate) const PSH: u8 = 0x08;
    pub(crate) const ACK: u8 = 0x10;
    pub(crate) const CWR: u8 = 0x80;
}

/// Option kinds (RFC 9293 section 3.2, RFC 7323 section 2, RFC 2018).
pub(crate) mod option {
    pub(crate) const END: u8 = 0;
    pub(crate) const NO_OPERATION: u8 = 1;
    pub(crate) const MSS: u8 = 2;
    pub(crate) const WINDOW_SCALE: u8 = 3;
    pub(crate) const SACK_PERMITTED: u8 = 4;
    pub(crate) const SACK: u8 = 5;
}

/// The fields of a segment that matter outside an engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) header_len: usize,
    pub(crate) payload_len: usize,
}

impl Segment {
    /// Reads a TCP header. Flags that exclude each other are malformed (RFC 9293 section 3.10.7).
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let header: &[u8; TCP_HEADER] = bytes.first_chunk().ok_or(DropReason::Truncated)?;
        let header_len = usize::from(header[12] >> 4) * 4;
        if header_len < TCP_HEADER {
            return Err(DropReason::Malformed);
        }
        let payload_len = bytes
            .len()
            .checked_sub(header_len)
            .ok_or(DropReason::Truncated)?;
        let segment = Self {
            source_port: u16_at(header, 0),
            destination_port: u16_at(header, 2),
            sequence: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            acknowledgement: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
            flags: header[13],
            window: u16_at(header, 14),
            header_len,
            payload_len,
        };
        let control = segment.flags & (flag::SYN | flag::FIN | flag::RST);
        if control.count_ones() > 1 || segment.source_port == 0 || segment.destination_port == 0 {
            return Err(DropReason::Malformed);
        }
        Ok(segment)
    }

    /// Whether a flag is set.
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// How much sequence space the segment takes: payload, SYN and FIN.
    pub(crate) fn sequence_len(&self) -> u32 {
        let control = u32::from(self.has(flag::SYN)) + u32::from(self.has(flag::FIN));
        u32::try_from(self.payload_len)
            .unwrap_or(u32::MAX)
            .wrapping_add(control)
    }

    /// The sequence number after this segment.
    pub(crate) fn end(&self) -> u32 {
        self.sequence.wrapping_add(self.sequence_len())
    }
}

/// The value of an option in a TCP header, if it is there (RFC 9293 section 3.1).
pub(crate) fn option_value(header: &[u8], kind: u8) -> Option<&[u8]> {
    header.get(option_range(header, kind)?)
}

fn option_range(header: &[u8], kind: u8) -> Option<Range<usize>> {
    let end = usize::from(*header.get(12)? >> 4) * 4;
    let mut at = TCP_HEADER;
    while at < end {
        match *header.get(at)? {
            option::END => return None,
            option::NO_OPERATION => at += 1,
            found => {
                let length = usize::from(*header.get(at + 1)?).max(2);
                if found == kind {
                    return Some(at + 2..at + length);
                }
                at += length;
            }
        }
    }
    None
}

/// A segment without payload or options, from us to the program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BareSegment {
    pub(crate) ip: IpHeader,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
}

impl BareSegment {
    /// The RST that answers `segment` (RFC 9293 section 3.5.2): with its acknowledgement as sequence, or where it has
    /// none, acknowledging what it sent. `None` for a RST, which is never answered.
    pub(crate) fn reset_answering(packet: &IpPacket<'_>, segment: &Segment) -> Option<Self> {
        if segment.has(flag::RST) {
            return None;
        }
        let (sequence, acknowledgement, flags) = if segment.has(flag::ACK) {
            (segment.acknowledgement, 0, flag::RST)
        } else {
            (0, segment.end(), flag::RST | flag::ACK)
        };
        Some(Self {
            ip: IpHeader::new(packet.destination, packet.source, protocol::TCP),
            source_port: segment.destination_port,
            destination_port: segment.source_port,
            sequence,
            acknowledgement,
            flags,
            window: 0,
        })
    }

    /// The packet, checksums complete, in a buffer of its own, and its length.
    pub(crate) fn to_packet(self) -> ([u8; MAX_BARE_SEGMENT], usize) {
        let mut packet = [0; MAX_BARE_SEGMENT];
        let Some(at) = self.ip.write(&mut packet, TCP_HEADER) else {
            return (packet, 0);
        };
        let header = &mut packet[at..at + TCP_HEADER];
        header[..2].copy_from_slice(&self.source_port.to_be_bytes());
        header[2..4].copy_from_slice(&self.destination_port.to_be_bytes());
        header[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        header[8..12].copy_from_slice(&self.acknowledgement.to_be_bytes());
        header[12] = 5 << 4;
        header[13] = self.flags;
        header[14..16].copy_from_slice(&self.window.to_be_bytes());
        let pseudo_header = Sum::pseudo_header(
            self.ip.source,
            self.ip.destination,
            protocol::TCP,
            TCP_HEADER,
        );
        let sum = pseudo_header.bytes(header).finish();
        header[16..18].copy_from_slice(&sum.to_be_bytes());
        (packet, at + TCP_HEADER)
    }

    /// What the device has to do to it: nothing.
    pub(crate) const OFFLOAD: Offload = Offload {
        partial_checksum: false,
        checksum_valid: false,
        segmentation: None,
    };
}
