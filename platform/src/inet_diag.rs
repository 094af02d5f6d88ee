//! Messages of the kernel's socket table (linux/inet_diag.h): requests as bytes, answers from bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tidegate_routing::plan::Family;

/// `SOCK_DIAG_BY_FAMILY`: look up or dump.
pub(crate) const BY_FAMILY: u16 = 20;
/// `SOCK_DESTROY`: abort a socket.
pub(crate) const DESTROY: u16 = 21;
/// IP protocol numbers.
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
/// Connections that stand or are being closed: ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING.
pub(crate) const CONNECTED: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;
/// `1 << TCP_LISTEN`.
pub(crate) const LISTEN: u32 = 1 << 10;
/// `1 << TCP_CLOSE`: for a datagram socket, bound and without a peer.
pub(crate) const UNCONNECTED: u32 = 1 << 7;
/// Every state.
pub(crate) const ANY_STATE: u32 = u32::MAX;

pub(crate) const REQUEST_LEN: usize = 56;
const ANSWER_LEN: usize = 72;
/// `INET_DIAG_MARK`, an attribute after the answer.
const MARK: u16 = 15;

/// What this crate needs of `struct inet_diag_msg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) uid: u32,
    /// 0 if no file belongs to the socket.
    pub(crate) inode: u32,
    pub(crate) cookie: u64,
    /// As in include/net/tcp_states.h.
    pub(crate) state: u8,
    /// Index of the interface that it is bound to; 0 for none.
    pub(crate) device: u32,
    /// Told to `CAP_NET_ADMIN` only.
    pub(crate) mark: Option<u32>,
}

/// Asks for all sockets of a protocol that are in one of `states`.
pub(crate) fn dump_request(family: Family, protocol: u8, states: u32) -> [u8; REQUEST_LEN] {
    let mut request = [0; REQUEST_LEN];
    request[0] = address_family(family);
    request[1] = protocol;
    request[4..8].copy_from_slice(&states.to_ne_bytes());
    request
}

/// Asks for the one socket with these addresses, whatever its cookie. Both addresses are of one family.
pub(crate) fn exact_request(
    protocol: u8,
    local: SocketAddr,
    remote: SocketAddr,
) -> [u8; REQUEST_LEN] {
    let family = if local.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let mut request = dump_request(family, protocol, ANY_STATE);
    request[8..10].copy_from_slice(&local.port().to_be_bytes());
    request[10..12].copy_from_slice(&remote.port().to_be_bytes());
    request[12..28].copy_from_slice(&wide(local.ip()));
    request[28..44].copy_from_slice(&wide(remote.ip()));
    // INET_DIAG_NOCOOKIE
    request[48..56].fill(0xff);
    request
}

/// Makes an exact request mean this very socket, not another that has its addresses by now.
pub(crate) fn with_cookie(mut request: [u8; REQUEST_LEN], cookie: u64) -> [u8; REQUEST_LEN] {
    let [a, b, c, d, high @ ..] = cookie.to_le_bytes();
    for (at, word) in [(48, [a, b, c, d]), (52, high)] {
        request[at..at + 4].copy_from_slice(&u32::from_le_bytes(word).to_ne_bytes());
    }
    request
}

/// Makes an exact request find sockets that are bound to this interface as well as unbound ones.
pub(crate) fn at_device(mut request: [u8; REQUEST_LEN], device: u32) -> [u8; REQUEST_LEN] {
    request[44..48].copy_from_slice(&device.to_ne_bytes());
    request
}

/// Reads an answer; `None` if it is too short or of another family.
pub(crate) fn parse(payload: &[u8]) -> Option<Answer> {
    let (payload, attributes) = payload.split_first_chunk::<ANSWER_LEN>()?;
    let word = |at: usize| -> [u8; 4] {
        [
            payload[at],
            payload[at + 1],
            payload[at + 2],
            payload[at + 3],
        ]
    };
    let address = |at: usize| -> Option<IpAddr> {
        if payload[0] == address_family(Family::V4) {
            Some(IpAddr::V4(Ipv4Addr::from(word(at))))
        } else if payload[0] == address_family(Family::V6) {
            let bytes: [u8; 16] = *payload.get(at..)?.first_chunk()?;
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        } else {
            None
        }
    };
    let number = |at: usize| u32::from_ne_bytes(word(at));
    let port = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
    Some(Answer {
        local: SocketAddr::new(address(8)?, port(4)),
        remote: SocketAddr::new(address(24)?, port(6)),
        uid: number(64),
        inode: number(68),
        cookie: u64::from(number(48)) << 32 | u64::from(number(44)),
        state: payload[1],
        device: number(40),
        mark: attribute(attributes, MARK)
            .and_then(|value| value.first_chunk())
            .map(|value| u32::from_ne_bytes(*value)),
    })
}

/// The value of the first attribute of a kind. An attribute is its length, its kind and its value, padded to 4 bytes.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some(([l0, l1, k0, k1], _)) = attributes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([*k0, *k1]) == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn wide(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.octets());
            bytes
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn address_family(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_answer_gives_both_ends_and_the_owner() {
        let mut payload = [0; ANSWER_LEN];
        payload[0] = 2;
        payload[4..8].copy_from_slice(&[0, 22, 0x30, 0x39]);
        payload[8..12].copy_from_slice(&[192, 0, 2, 1]);
        payload[24..28].copy_from_slice(&[192, 0, 2, 9]);
        payload[1] = 2;
        for (at, number) in [(40, 3_u32), (44, 0x11), (48, 0x22), (64, 1000), (68, 4711)] {
            payload[at..at + 4].copy_from_slice(&number.to_ne_bytes());
        }
        let mut payload = payload.to_vec();
        // An empty attribute (INET_DIAG_CGROUP_ID), then the mark.
        for number in [4_u16, 21, 8, MARK] {
            payload.extend(number.to_ne_bytes());
        }
        payload.extend(0x0200_0000_u32.to_ne_bytes());
        let answer = parse(&payload).unwrap();
        assert_eq!((answer.inode, answer.cookie), (4711, 0x22_0000_0011));
        assert_eq!((answer.state, answer.device), (2, 3));
        assert_eq!(answer.mark, Some(0x0200_0000));
        assert_eq!(answer.local, "192.0.2.1:22".parse().unwrap());
        assert_eq!(answer.remote, "192.0.2.9:12345".parse().unwrap());
        assert_eq!(answer.uid, 1000);
    }

    #[test]
    fn a_request_has_the_kernels_layout() {
        let (local, remote) = ("192.0.2.1:258", "192.0.2.2:443");
        let request = exact_request(TCP, local.parse().unwrap(), remote.parse().unwrap());
        let request = at_device(request, 9);
        assert_eq!(request[..4], [2, 6, 0, 0]);
        assert_eq!(request[8..12], [1, 2, 1, 187]);
        assert_eq!(request[12..16], [192, 0, 2, 1]);
        assert_eq!(request[28..32], [192, 0, 2, 2]);
        assert_eq!(request[44..48], 9_u32.to_ne_bytes());
        assert_eq!(request[48..], [0xff; 8]);
        let request = with_cookie(request, 0x22_0000_0011);
        assert_eq!(request[48..52], 0x11_u32.to_ne_bytes());
        assert_eq!(request[52..], 0x22_u32.to_ne_bytes());
    }

    proptest! {
        #[test]
        fn no_attributes_make_it_panic(bytes: Vec<u8>) {
            let payload = [&[2; ANSWER_LEN][..], &bytes].concat();
            prop_assert!(parse(&payload).is_some());
        }

        #[test]
        fn no_bytes_make_it_panic(payload: Vec<u8>) {
            let parsed = parse(&payload);
            prop_assert!(parsed.is_none() || payload.len() >= ANSWER_LEN);
        }
    }
}
