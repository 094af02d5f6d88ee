//! Messages of the kernel's socket table (linux/inet_diag.h): requests as bytes, answers from bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tidegate_routing::plan::Family;

/// `SOCK_DIAG_BY_FAMILY`: look up or dump.
pub(crate) const BY_FAMILY: u16 = 20;
/// `SOCK_DESTROY`: abort a socket.
pub(crate) const DESTROY: u16 = 21;
/// IP protocol number.
pub(crate) const TCP: u8 = 6;
/// `1 << TCP_LISTEN`.
pub(crate) const LISTEN: u32 = 1 << 10;
/// Every state.
pub(crate) const ANY_STATE: u32 = u32::MAX;

const REQUEST_LEN: usize = 56;
const ANSWER_LEN: usize = 72;

/// What this crate needs of `struct inet_diag_msg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) uid: u32,
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

/// Reads an answer; `None` if it is too short or of another family.
pub(crate) fn parse(payload: &[u8]) -> Option<Answer> {
    let payload: &[u8; ANSWER_LEN] = payload.first_chunk()?;
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
    let port = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
    Some(Answer {
        local: SocketAddr::new(address(8)?, port(4)),
        remote: SocketAddr::new(address(24)?, port(6)),
        uid: u32::from_ne_bytes(word(64)),
    })
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
        payload[64..68].copy_from_slice(&1000_u32.to_ne_bytes());
        let answer = parse(&payload).unwrap();
        assert_eq!(answer.local, "192.0.2.1:22".parse().unwrap());
        assert_eq!(answer.remote, "192.0.2.9:12345".parse().unwrap());
        assert_eq!(answer.uid, 1000);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(payload: Vec<u8>) {
            let parsed = parse(&payload);
            prop_assert!(parsed.is_none() || payload.len() >= ANSWER_LEN);
        }
    }
}
