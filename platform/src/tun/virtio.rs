//! The virtio network header that precedes each packet of a Linux TUN device (virtio 1.2 section 5.1.6, legacy layout).
//!
//! Ten bytes in the host's byte order: flags, segmentation type, header length, segment size, checksum start and offset.

use std::num::NonZeroU16;

use thiserror::Error;
use tidegate_netstack::{Offload, Segmentation};

/// Bytes of the header.
pub(super) const LEN: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const NO_SEGMENTATION: u8 = 0;
const TCP_V4: u8 = 1;
const TCP_V6: u8 = 4;
const UDP: u8 = 5;
/// Set beside a TCP type when the super-packet carries CWR.
const ECN: u8 = 0x80;

const TCP: u8 = 6;
const UDP_PROTOCOL: u8 = 17;
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;

/// A header that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum DecodeError {
    /// A kind of segmentation that was never asked for.
    #[error("unknown segmentation type {0}")]
    UnknownSegmentation(u8),
    /// Several segments of no size.
    #[error("a super-packet without segment size")]
    NoSegmentSize,
}

/// A packet that cannot have the offload that is asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum EncodeError {
    /// Neither IPv4 nor IPv6, or its headers do not lie in the first part.
    #[error("the first part does not hold the IP and transport header")]
    HeadIncomplete,
    /// Its protocol has no such offload, or IPv6 extension headers stand before it.
    #[error("the packet's protocol does not fit the wished offload")]
    WrongProtocol,
}

/// Reads the header of a packet that came out of the device.
pub(super) fn decode(header: [u8; LEN]) -> Result<Offload, DecodeError> {
    let [flags, kind, _, _, size_0, size_1, ..] = header;
    let size = NonZeroU16::new(u16::from_ne_bytes([size_0, size_1]));
    let segmentation = match kind & !ECN {
        NO_SEGMENTATION => None,
        TCP_V4 | TCP_V6 => Some(Segmentation::Tcp(size.ok_or(DecodeError::NoSegmentSize)?)),
        UDP => Some(Segmentation::Udp(size.ok_or(DecodeError::NoSegmentSize)?)),
        unknown => return Err(DecodeError::UnknownSegmentation(unknown)),
    };
    Ok(Offload {
        partial_checksum: flags & NEEDS_CHECKSUM != 0,
        checksum_valid: flags & DATA_VALID != 0,
        segmentation,
    })
}

/// Where a packet's checksum and payload are.
struct Layout {
    version: u8,
    protocol: u8,
    transport: u16,
    checksum: u16,
    payload: u16,
}

/// Writes the header of a packet that goes into the device; `head` starts with its IP and transport header.
pub(super) fn encode(head: &[u8], offload: Offload) -> Result<[u8; LEN], EncodeError> {
    let mut header = [0; LEN];
    if !offload.partial_checksum && offload.segmentation.is_none() {
        return Ok(header);
    }
    let layout = layout(head)?;
    let (kind, size) = match (offload.segmentation, layout.protocol, layout.version) {
        (None, _, _) => (NO_SEGMENTATION, 0),
        (Some(Segmentation::Tcp(size)), TCP, 4) => (TCP_V4, size.get()),
        (Some(Segmentation::Tcp(size)), TCP, _) => (TCP_V6, size.get()),
        (Some(Segmentation::Udp(size)), UDP_PROTOCOL, _) => (UDP, size.get()),
        (Some(Segmentation::Tcp(_) | Segmentation::Udp(_)), _, _) => {
            return Err(EncodeError::WrongProtocol);
        }
    };
    // Segments are summed one by one by whoever cuts them, so segmentation implies an open checksum.
    let fields = [layout.payload, size, layout.transport, layout.checksum];
    header[0] = NEEDS_CHECKSUM;
    header[1] = kind;
    for (slot, field) in header[2..].chunks_exact_mut(2).zip(fields) {
        slot.copy_from_slice(&field.to_ne_bytes());
    }
    Ok(header)
}

fn layout(head: &[u8]) -> Result<Layout, EncodeError> {
    let byte = |at: usize| head.get(at).copied().ok_or(EncodeError::HeadIncomplete);
    let (version, protocol, transport) = match byte(0)? >> 4 {
        4 => (4, byte(9)?, u16::from(byte(0)? & 0x0f) * 4),
        6 => (6, byte(6)?, 40),
        _ => return Err(EncodeError::HeadIncomplete),
    };
    let (checksum, header) = match protocol {
        TCP => (16, u16::from(byte(usize::from(transport) + 12)? >> 4) * 4),
        UDP_PROTOCOL => (6, 8),
        ICMP | ICMP_V6 => (2, 8),
        _ => return Err(EncodeError::WrongProtocol),
    };
    let payload = transport + header;
    if head.len() < usize::from(payload) {
        return Err(EncodeError::HeadIncomplete);
    }
    Ok(Layout {
        version,
        protocol,
        transport,
        checksum,
        payload,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    fn tcp_v4() -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
            .tcp(1, 2, 3, 4)
            .write(&mut packet, &[])
            .unwrap();
        packet
    }

    fn udp_v6() -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv6([1; 16], [2; 16], 64)
            .udp(1, 2)
            .write(&mut packet, &[])
            .unwrap();
        packet
    }

    fn size(n: u16) -> NonZeroU16 {
        NonZeroU16::new(n).unwrap()
    }

    #[test]
    fn a_tcp_super_packet_names_its_checksum_and_segment_size() {
        let offload = Offload {
            partial_checksum: true,
            segmentation: Some(Segmentation::Tcp(size(1448))),
            ..Offload::default()
        };
        let header = encode(&tcp_v4(), offload).unwrap();
        let fields: Vec<u16> = header[2..]
            .chunks(2)
            .map(|b| u16::from_ne_bytes([b[0], b[1]]))
            .collect();
        assert_eq!((header[0], header[1]), (1, 1));
        assert_eq!(fields, [40, 1448, 20, 16]);
        assert_eq!(decode(header), Ok(offload));
    }

    #[test]
    fn a_udp_super_packet_over_ipv6_names_its_checksum_and_segment_size() {
        let offload = Offload {
            partial_checksum: true,
            segmentation: Some(Segmentation::Udp(size(1200))),
            ..Offload::default()
        };
        let header = encode(&udp_v6(), offload).unwrap();
        let fields: Vec<u16> = header[2..]
            .chunks(2)
            .map(|b| u16::from_ne_bytes([b[0], b[1]]))
            .collect();
        assert_eq!((header[0], header[1]), (1, 5));
        assert_eq!(fields, [48, 1200, 40, 6]);
        assert_eq!(decode(header), Ok(offload));
    }

    #[test]
    fn a_plain_packet_has_an_empty_header_whatever_it_is() {
        assert_eq!(encode(&[], Offload::default()), Ok([0; LEN]));
    }

    #[test]
    fn segmentation_of_the_wrong_protocol_is_refused() {
        let offload = Offload {
            segmentation: Some(Segmentation::Tcp(size(100))),
            ..Offload::default()
        };
        assert_eq!(encode(&udp_v6(), offload), Err(EncodeError::WrongProtocol));
    }

    #[test]
    fn a_super_packet_without_segment_size_is_refused() {
        assert_eq!(
            decode([1, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
            Err(DecodeError::NoSegmentSize)
        );
        assert_eq!(
            decode([0, 3, 0, 0, 1, 1, 0, 0, 0, 0]),
            Err(DecodeError::UnknownSegmentation(3))
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(header: [u8; LEN], head: Vec<u8>, tcp: bool, n in 1_u16..) {
            let _ = decode(header);
            let segmentation = if tcp { Segmentation::Tcp(size(n)) } else { Segmentation::Udp(size(n)) };
            let _ = encode(&head, Offload { partial_checksum: true, segmentation: Some(segmentation), ..Offload::default() });
        }
    }
}
