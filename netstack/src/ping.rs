//! ICMP echo as an upstream socket speaks it: the request to send, and the reply that came.
//!
//! The message only: a raw IPv4 socket gives the IP header with it, a ping socket and a raw IPv6 socket do not.

use std::net::IpAddr;

use crate::checksum::Sum;

const HEADER: usize = 8;
const V4_REQUEST: u8 = 8;
const V4_REPLY: u8 = 0;
const V6_REQUEST: u8 = 128;
const V6_REPLY: u8 = 129;

/// ICMP or ICMPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EchoFamily {
    /// ICMP (RFC 792).
    V4,
    /// ICMPv6 (RFC 4443).
    V6,
}

impl EchoFamily {
    /// The family that reaches this address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// 0 for IPv4, 1 for IPv6: to keep one of each in an array.
    pub fn index(self) -> usize {
        match self {
            Self::V4 => 0,
            Self::V6 => 1,
        }
    }
}

/// An echo request for an upstream socket. The ICMPv6 checksum is left to the kernel, which knows the source address.
pub fn echo_request(family: EchoFamily, identifier: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let kind = match family {
        EchoFamily::V4 => V4_REQUEST,
        EchoFamily::V6 => V6_REQUEST,
    };
    let mut message = Vec::with_capacity(HEADER + payload.len());
    message.extend([kind, 0, 0, 0]);
    message.extend(identifier.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend(payload);
    if family == EchoFamily::V4 {
        let sum = Sum::default().bytes(&message).finish();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// An echo reply that came from an upstream socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoReply<'b> {
    /// The request's identifier; a ping socket's local port.
    pub identifier: u16,
    /// The request's sequence number.
    pub sequence: u16,
    /// What the request carried.
    pub payload: &'b [u8],
}

impl<'b> EchoReply<'b> {
    /// Reads what a raw or ping socket of this family gave; none if it is no echo reply.
    pub fn parse(family: EchoFamily, bytes: &'b [u8]) -> Option<Self> {
        let message = match family {
            EchoFamily::V4 => without_header(bytes)?,
            EchoFamily::V6 => bytes,
        };
        let (header, payload) = message.split_first_chunk::<HEADER>()?;
        let [
            kind,
            code,
            _,
            _,
            identifier @ ..,
            sequence_high,
            sequence_low,
        ] = *header;
        let wanted = match family {
            EchoFamily::V4 => V4_REPLY,
            EchoFamily::V6 => V6_REPLY,
        };
        (kind == wanted && code == 0).then_some(Self {
            identifier: u16::from_be_bytes(identifier),
            sequence: u16::from_be_bytes([sequence_high, sequence_low]),
            payload,
        })
    }
}

/// The ICMP message behind an IPv4 header, where there is one: an echo reply's first byte is 0, a header's never.
fn without_header(bytes: &[u8]) -> Option<&[u8]> {
    let first = *bytes.first()?;
    if first >> 4 != 4 {
        return Some(bytes);
    }
    bytes.get(usize::from(first & 0x0f) * 4..)
}

#[cfg(test)]
mod tests {
    use etherparse::{Icmpv4Slice, Icmpv4Type, PacketBuilder};

    use super::*;

    #[test]
    fn a_request_is_what_etherparse_reads() {
        let message = echo_request(EchoFamily::V4, 7, 9, b"payload");
        let icmp = Icmpv4Slice::from_slice(&message).unwrap();
        let Icmpv4Type::EchoRequest(header) = icmp.icmp_type() else {
            panic!("not an echo request")
        };
        assert_eq!(
            (header.id, header.seq, icmp.payload()),
            (7, 9, &b"payload"[..])
        );
        assert_eq!(
            icmp.icmp_type().calc_checksum(icmp.payload()),
            icmp.checksum()
        );
    }

    #[test]
    fn a_reply_is_read_with_and_without_its_ip_header() {
        let mut packet = Vec::new();
        PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
            .icmpv4_echo_reply(7, 9)
            .write(&mut packet, b"payload")
            .unwrap();
        let expected = Some(EchoReply {
            identifier: 7,
            sequence: 9,
            payload: b"payload",
        });
        assert_eq!(EchoReply::parse(EchoFamily::V4, &packet), expected);
        assert_eq!(EchoReply::parse(EchoFamily::V4, &packet[20..]), expected);
    }

    #[test]
    fn a_request_and_a_truncated_reply_are_no_replies() {
        let request = echo_request(EchoFamily::V6, 1, 2, b"x");
        assert_eq!(EchoReply::parse(EchoFamily::V6, &request), None);
        for len in 0..HEADER {
            assert_eq!(
                EchoReply::parse(EchoFamily::V6, &[129; HEADER][..len]),
                None
            );
            assert_eq!(
                EchoReply::parse(EchoFamily::V4, &[0x4f; HEADER][..len]),
                None
            );
        }
    }
}
