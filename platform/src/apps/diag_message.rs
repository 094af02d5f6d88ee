//! The question to `NETLINK_SOCK_DIAG` and its answer (linux/inet_diag.h), as bytes.
//!
//! A question is a `nlmsghdr` and an `inet_diag_req_v2`, 72 bytes; an answer is a `nlmsghdr`, an `inet_diag_msg` and
//! attributes. Ports and addresses are in network order, all else is native.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{SocketInfo, SocketState};

/// Length of the question.
pub(super) const REQUEST: usize = 72;
const HEADER: usize = 16;
/// Length of `inet_diag_msg`.
const MESSAGE: usize = 72;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
/// `INET_DIAG_MARK`.
const MARK: u16 = 15;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
pub(super) const IPPROTO_TCP: u8 = 6;
pub(super) const IPPROTO_UDP: u8 = 17;

/// A question for one socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) sequence: u32,
    /// `IPPROTO_TCP` or `IPPROTO_UDP`.
    pub(super) protocol: u8,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    /// Index of the interface that the packet is at: also finds sockets that are bound to it.
    pub(super) device: u32,
}

/// What the kernel said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Socket(Found),
    /// An error number; `ENOENT` means there is none.
    Error(i32),
}

/// A socket and the addresses it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) info: SocketInfo,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
}

/// Writes the question. Both addresses are to be of one family.
pub(super) fn encode(question: &Question) -> [u8; REQUEST] {
    let mut bytes = [0; REQUEST];
    let mut at = 0;
    let mut put = |part: &[u8]| {
        if let Some(place) = bytes.get_mut(at..at + part.len()) {
            place.copy_from_slice(part);
        }
        at += part.len();
    };
    put(&72_u32.to_ne_bytes());
    put(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(&NLM_F_REQUEST.to_ne_bytes());
    put(&question.sequence.to_ne_bytes());
    put(&0_u32.to_ne_bytes());
    let family = if question.source.is_ipv4() {
        AF_INET
    } else {
        AF_INET6
    };
    put(&[family, question.protocol, 0, 0]);
    put(&u32::MAX.to_ne_bytes()); // every state
    put(&question.source.port().to_be_bytes());
    put(&question.destination.port().to_be_bytes());
    put(&address(question.source.ip()));
    put(&address(question.destination.ip()));
    put(&question.device.to_ne_bytes());
    put(&[0xff; 8]); // no cookie
    bytes
}

fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Reads fixed-size fields one after the other.
struct Fields<'b>(&'b [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_ne_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    fn port(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn address(&mut self, family: u8) -> Option<IpAddr> {
        let bytes: [u8; 16] = self.array()?;
        match family {
            AF_INET => bytes
                .first_chunk::<4>()
                .map(|v4| Ipv4Addr::from(*v4).into()),
            AF_INET6 => Some(Ipv6Addr::from(bytes).to_canonical()),
            _ => None,
        }
    }
}

/// Reads one message: its sequence number and the answer. `None` if it is malformed.
pub(super) fn decode(bytes: &[u8]) -> Option<(u32, Answer)> {
    let mut header = Fields(bytes);
    let length = usize::try_from(header.u32()?).ok()?;
    let kind = header.u16()?;
    let _flags = header.u16()?;
    let sequence = header.u32()?;
    let body = bytes.get(HEADER..length)?;
    let answer = match kind {
        NLMSG_ERROR => Answer::Error(i32::from_ne_bytes(*body.first_chunk()?).checked_neg()?),
        SOCK_DIAG_BY_FAMILY => Answer::Socket(socket(body)?),
        _ => return None,
    };
    Some((sequence, answer))
}

fn socket(body: &[u8]) -> Option<Found> {
    let mut fields = Fields(body);
    let [family, state, _timer, _retransmissions] = fields.array()?;
    let (source_port, destination_port) = (fields.port()?, fields.port()?);
    let source = SocketAddr::new(fields.address(family)?, source_port);
    let destination = SocketAddr::new(fields.address(family)?, destination_port);
    let device = fields.u32()?;
    let (cookie_low, cookie_high) = (fields.u32()?, fields.u32()?);
    let [_expires, _receive_queue, _send_queue]: [[u8; 4]; 3] =
        [fields.array()?, fields.array()?, fields.array()?];
    let (uid, inode) = (fields.u32()?, fields.u32()?);
    let info = SocketInfo {
        uid,
        inode,
        cookie: u64::from(cookie_high) << 32 | u64::from(cookie_low),
        state: socket_state(state),
        mark: attribute(body.get(MESSAGE..)?, MARK)
            .and_then(|value| value.first_chunk())
            .map(|v| u32::from_ne_bytes(*v)),
        device: (device != 0).then_some(device),
    };
    Some(Found {
        info,
        source,
        destination,
    })
}

/// Numbers of include/net/tcp_states.h.
pub(super) fn socket_state(number: u8) -> SocketState {
    match number {
        1 => SocketState::Established,
        2 => SocketState::SynSent,
        3 | 12 => SocketState::SynReceived,
        4 | 5 | 11 => SocketState::FinWait,
        6 => SocketState::TimeWait,
        8 => SocketState::CloseWait,
        9 => SocketState::LastAck,
        10 => SocketState::Listen,
        _ => SocketState::Closed,
    }
}

fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let mut fields = Fields(attributes);
        let (length, kind) = (usize::from(fields.u16()?), fields.u16()?);
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(
        family: u8,
        state: u8,
        source: ([u8; 16], u16),
        destination: ([u8; 16], u16),
    ) -> Vec<u8> {
        let mut bytes = 100_u32.to_ne_bytes().to_vec();
        bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        bytes.extend(0_u16.to_ne_bytes());
        bytes.extend(7_u32.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend([family, state, 0, 0]);
        bytes.extend(source.1.to_be_bytes());
        bytes.extend(destination.1.to_be_bytes());
        bytes.extend(source.0);
        bytes.extend(destination.0);
        for number in [3_u32, 0x11, 0x22, 0, 0, 0, 1000, 4711] {
            bytes.extend(number.to_ne_bytes());
        }
        for (kind, value) in [(21_u16, 5_u32), (MARK, 0x0200_0000)] {
            bytes.extend(if kind == MARK { 8_u16 } else { 4 }.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            if kind == MARK {
                bytes.extend(value.to_ne_bytes());
            }
        }
        bytes
    }

    #[test]
    fn a_question_has_the_kernels_layout() {
        let question = Question {
            sequence: 0x0102_0304,
            protocol: IPPROTO_TCP,
            source: "192.0.2.1:258".parse().unwrap(),
            destination: "192.0.2.2:443".parse().unwrap(),
            device: 9,
        };
        let bytes = encode(&question);
        assert_eq!(bytes[0..4], 72_u32.to_ne_bytes());
        assert_eq!(bytes[16..18], [AF_INET, 6]);
        assert_eq!(bytes[24..28], [1, 2, 1, 187]);
        assert_eq!(bytes[28..32], [192, 0, 2, 1]);
        assert_eq!(bytes[44..48], [192, 0, 2, 2]);
        assert_eq!(bytes[60..64], 9_u32.to_ne_bytes());
        assert_eq!(bytes[64..], [0xff; 8]);
    }

    #[test]
    fn an_answer_is_read_with_its_mark_and_mapped_addresses_as_ipv4() {
        let mapped = |last| Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped().octets();
        let bytes = answer(AF_INET6, 2, (mapped(1), 1000), (mapped(2), 443));
        let (sequence, Answer::Socket(found)) = decode(&bytes).unwrap() else {
            panic!("no socket")
        };
        assert_eq!(sequence, 7);
        assert_eq!(found.source, "192.0.2.1:1000".parse().unwrap());
        assert_eq!(found.destination, "192.0.2.2:443".parse().unwrap());
        assert_eq!(
            (found.info.uid, found.info.inode, found.info.cookie),
            (1000, 4711, 0x22_0000_0011)
        );
        assert_eq!(
            (found.info.state, found.info.mark, found.info.device),
            (SocketState::SynSent, Some(0x0200_0000), Some(3))
        );
    }

    #[test]
    fn a_refusal_is_an_error_number() {
        let mut bytes = 36_u32.to_ne_bytes().to_vec();
        bytes.extend([2, 0, 0, 0]);
        bytes.extend(9_u32.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend((-2_i32).to_ne_bytes());
        bytes.extend([0; 16]);
        assert_eq!(decode(&bytes), Some((9, Answer::Error(2))));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            decode(&bytes);
        }

        #[test]
        fn no_damaged_answer_panics(at in 0_usize..112, value: u8, length in 0_usize..113) {
            let mut bytes = answer(AF_INET, 1, ([1; 16], 1), ([2; 16], 2));
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            bytes.truncate(length);
            decode(&bytes);
        }
    }
}
