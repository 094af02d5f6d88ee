//! Messages of the connection tracking (linux/netfilter/nfnetlink_conntrack.h): requests as bytes, answers from bytes.

use std::net::{IpAddr, SocketAddr};

use tidegate_policy::Protocol;

use crate::netlink::attributes::{NESTED, attribute, find};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET`.
pub(super) const GET: u16 = 1 << 8 | 1;

/// Length of `struct nfgenmsg`.
const GENERIC_HEADER: usize = 4;
/// `enum ctattr_type`.
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
/// `enum ctattr_tuple`.
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
/// `enum ctattr_ip`: the one of the source; that of the destination follows.
const V4_SOURCE: u16 = 1;
const V6_SOURCE: u16 = 3;
/// `enum ctattr_l4proto`.
const PROTO_NUMBER: u16 = 1;
const PROTO_SOURCE_PORT: u16 = 2;
const PROTO_DESTINATION_PORT: u16 = 3;
/// The identifier; type and code follow.
const PROTO_ICMP: u16 = 4;
const PROTO_ICMPV6: u16 = 7;

const IPPROTO_ICMP: u8 = 1;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPPROTO_ICMPV6: u8 = 58;
const ICMP_ECHO_REPLY: u8 = 0;
const ICMPV6_ECHO_REPLY: u8 = 129;

/// One direction of a connection. The identifier of an echo stands for both ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tuple {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
}

/// A tracked connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tracked {
    /// What its first packet looked like.
    pub(super) original: Tuple,
    /// What the answers to it look like before they are translated back.
    pub(super) reply: Tuple,
}

impl Tuple {
    pub(super) fn with_identifier(self, identifier: u16) -> Self {
        Self {
            source: SocketAddr::new(self.source.ip(), identifier),
            destination: SocketAddr::new(self.destination.ip(), identifier),
        }
    }
}

/// Asks for the connection of which one direction looks like this. An echo is asked for by its reply.
pub(super) fn request(protocol: Protocol, tuple: Tuple) -> Vec<u8> {
    let (family, source) = match tuple.source {
        SocketAddr::V4(_) => (libc::AF_INET, V4_SOURCE),
        SocketAddr::V6(_) => (libc::AF_INET6, V6_SOURCE),
    };
    let addresses = [
        attribute(source, &octets(tuple.source.ip())),
        attribute(source + 1, &octets(tuple.destination.ip())),
    ];
    let is_v4 = tuple.source.is_ipv4();
    let number = match protocol {
        Protocol::Tcp => IPPROTO_TCP,
        Protocol::Udp => IPPROTO_UDP,
        Protocol::Icmp if is_v4 => IPPROTO_ICMP,
        Protocol::Icmp => IPPROTO_ICMPV6,
        Protocol::Other(number) => number,
    };
    let port = |kind, address: SocketAddr| attribute(kind, &address.port().to_be_bytes());
    let mut transport = vec![attribute(PROTO_NUMBER, &[number])];
    match protocol {
        Protocol::Tcp | Protocol::Udp => transport.extend([
            port(PROTO_SOURCE_PORT, tuple.source),
            port(PROTO_DESTINATION_PORT, tuple.destination),
        ]),
        Protocol::Icmp => {
            let (first, kind) = if is_v4 {
                (PROTO_ICMP, ICMP_ECHO_REPLY)
            } else {
                (PROTO_ICMPV6, ICMPV6_ECHO_REPLY)
            };
            transport.extend([
                port(first, tuple.source),
                attribute(first + 1, &[kind]),
                attribute(first + 2, &[0]),
            ]);
        }
        Protocol::Other(_) => {}
    }
    let tuple = [
        attribute(TUPLE_IP | NESTED, &addresses.concat()),
        attribute(TUPLE_PROTO | NESTED, &transport.concat()),
    ];
    let family = u8::try_from(family).unwrap_or_default();
    let header = [family, 0, 0, 0];
    let body = attribute(TUPLE_REPLY | NESTED, &tuple.concat());
    [header.as_slice(), &body].concat()
}

/// Reads an answer; `None` if it holds no connection that we understand.
pub(super) fn parse(payload: &[u8]) -> Option<Tracked> {
    let attributes = payload.get(GENERIC_HEADER..)?;
    Some(Tracked {
        original: tuple(find(attributes, TUPLE_ORIGINAL)?)?,
        reply: tuple(find(attributes, TUPLE_REPLY)?)?,
    })
}

fn tuple(attributes: &[u8]) -> Option<Tuple> {
    let addresses = find(attributes, TUPLE_IP)?;
    let address = |offset: u16| {
        let v4 = || find(addresses, V4_SOURCE + offset)?.first_chunk::<4>();
        let v6 = || find(addresses, V6_SOURCE + offset)?.first_chunk::<16>();
        let v4 = v4().map(|octets| IpAddr::from(*octets));
        v4.or_else(|| v6().map(|octets| IpAddr::from(*octets)))
    };
    let transport = find(attributes, TUPLE_PROTO)?;
    let port = |kind: u16| {
        let value = find(transport, kind)?.first_chunk()?;
        Some(u16::from_be_bytes(*value))
    };
    let identifier = port(PROTO_ICMP).or_else(|| port(PROTO_ICMPV6));
    let port = |kind| port(kind).or(identifier).unwrap_or_default();
    Some(Tuple {
        source: SocketAddr::new(address(0)?, port(PROTO_SOURCE_PORT)),
        destination: SocketAddr::new(address(1)?, port(PROTO_DESTINATION_PORT)),
    })
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tuple_of(source: &str, destination: &str) -> Tuple {
        Tuple {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    #[test]
    fn what_is_asked_for_is_read_back_from_an_answer_of_the_same_form() {
        let cases = [
            (Protocol::Tcp, tuple_of("192.0.2.1:80", "192.0.2.2:4711")),
            (
                Protocol::Udp,
                tuple_of("[2001:db8::1]:53", "[2001:db8::2]:9"),
            ),
            (Protocol::Icmp, tuple_of("192.0.2.1:77", "192.0.2.2:77")),
            (
                Protocol::Icmp,
                tuple_of("[2001:db8::1]:7", "[2001:db8::2]:7"),
            ),
            (Protocol::Other(47), tuple_of("192.0.2.1:0", "192.0.2.2:0")),
        ];
        for (protocol, wanted) in cases {
            let request = request(protocol, wanted);
            let [family, rest @ ..] = request.as_slice() else {
                unreachable!()
            };
            assert_eq!(*family == 2, wanted.source.is_ipv4());
            let mut original = find(&rest[3..], TUPLE_REPLY).unwrap().to_vec();
            original = attribute(TUPLE_ORIGINAL | NESTED, &original);
            let tracked = parse(&[request, original].concat()).unwrap();
            assert_eq!((tracked.original, tracked.reply), (wanted, wanted));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            parse(&bytes);
        }

        #[test]
        fn no_attributes_panic(value: Vec<u8>) {
            let tuples = [TUPLE_ORIGINAL, TUPLE_REPLY].map(|kind| {
                attribute(kind | NESTED, &attribute(TUPLE_IP | NESTED, &value))
            });
            prop_assert!(parse(&[vec![2, 0, 0, 0], tuples.concat()].concat()).is_none());
        }
    }
}
