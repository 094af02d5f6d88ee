//! `IP_RECVERR` and `IPV6_RECVERR`, and what the kernel writes into the queue.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;

use socket2::{SockAddr, SockRef};

use super::{Fault, Report};
use crate::control_messages::{self, Kind};
use crate::sys::error_queue;

/// Length of `struct sock_extended_err`; the address of who reported follows it.
const EXTENDED_ERROR: usize = 16;

pub(super) fn enable(socket: BorrowedFd<'_>) -> io::Result<()> {
    let (level, option) = option(socket)?;
    error_queue::turn_on(socket, level, option)
}

pub(super) fn disable(socket: BorrowedFd<'_>) -> io::Result<()> {
    let (level, option) = option(socket)?;
    error_queue::turn_off(socket, level, option)
}

fn option(socket: BorrowedFd<'_>) -> io::Result<Kind> {
    Ok(match is_ipv6(socket)? {
        true => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
        false => (libc::IPPROTO_IP, libc::IP_RECVERR),
    })
}

fn is_ipv6(socket: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(SockRef::from(&socket).local_addr()?.is_ipv6())
}

pub(super) fn next(socket: BorrowedFd<'_>) -> io::Result<Option<Report>> {
    let any: IpAddr = match is_ipv6(socket)? {
        true => Ipv6Addr::UNSPECIFIED.into(),
        false => Ipv4Addr::UNSPECIFIED.into(),
    };
    loop {
        let mut destination = SockAddr::from(SocketAddr::new(any, 0));
        let Some(message) = error_queue::take(socket, &mut destination)? else {
            return Ok(None);
        };
        if let Some(destination) = destination.as_socket()
            && let Some((fault, from)) = extended_error(&message.control).and_then(parse)
        {
            return Ok(Some(Report {
                destination,
                from,
                fault,
                sent: message.sent,
            }));
        }
    }
}

/// The data of the control message that carries the error, among others.
pub(super) fn extended_error(control: &[u8]) -> Option<&[u8]> {
    let kinds = [
        (libc::IPPROTO_IP, libc::IP_RECVERR),
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    ];
    control_messages::find(control, &kinds)
}

/// `struct sock_extended_err` (error number, origin, ICMP type, ICMP code, padding, MTU, unused), then a socket address.
/// Types and codes are those of RFC 792, RFC 1812 section 5.2.7 and RFC 4443.
pub(super) fn parse(data: &[u8]) -> Option<(Fault, Option<IpAddr>)> {
    let number = i32::from_ne_bytes(data.get(..4)?.try_into().ok()?);
    let [origin, kind, code] = data.get(4..7)?.try_into().ok()?;
    let mtu = u32::from_ne_bytes(data.get(8..12)?.try_into().ok()?);
    // The number alone does not tell a filter from a missing host.
    let fault = match (origin, kind, code) {
        (libc::SO_EE_ORIGIN_ICMP, 11, _) | (libc::SO_EE_ORIGIN_ICMP6, 3, _) => Fault::TimeExceeded,
        (libc::SO_EE_ORIGIN_ICMP, 3, 9 | 10 | 13) => Fault::Prohibited,
        _ => match number {
            libc::ECONNREFUSED => Fault::PortUnreachable,
            libc::EHOSTUNREACH => Fault::HostUnreachable,
            libc::ENETUNREACH => Fault::NetworkUnreachable,
            libc::EACCES => Fault::Prohibited,
            libc::EMSGSIZE => Fault::TooBig(mtu),
            _ => return None,
        },
    };
    Some((fault, data.get(EXTENDED_ERROR..).and_then(socket_address)))
}

/// The address in a `struct sockaddr_in` or `sockaddr_in6`; none where the kernel does not know it (`AF_UNSPEC`).
fn socket_address(bytes: &[u8]) -> Option<IpAddr> {
    let family = i32::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
    match family {
        libc::AF_INET => Some(IpAddr::from(<[u8; 4]>::try_from(bytes.get(4..8)?).ok()?)),
        libc::AF_INET6 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes.get(8..24)?).ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_closed_port_is_reported_with_its_address_in_both_families() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let closed = UdpSocket::bind(any).unwrap().local_addr().unwrap();
            let socket = UdpSocket::bind(any).unwrap();
            super::super::enable(&socket).unwrap();
            assert_eq!(super::super::next(&socket).unwrap(), None);
            socket.send_to(b"anybody there?", closed).unwrap();
            let expected = Report {
                destination: closed,
                from: Some(closed.ip()),
                fault: Fault::PortUnreachable,
                sent: b"anybody ".to_vec(),
            };
            // Over loopback the report is there before `send_to` returns.
            assert_eq!(super::super::next(&socket).unwrap(), Some(expected));
            assert_eq!(super::super::next(&socket).unwrap(), None);
        }
    }

    proptest! {
        #[test]
        fn no_control_message_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(data) = extended_error(&bytes) {
                let _ = parse(data);
            }
            let _ = parse(&bytes);
        }
    }
}
