//! Datagram errors on Linux: the socket's error queue (`IP_RECVERR`, ip(7); `IPV6_RECVERR`, ipv6(7)).

use std::io;
use std::mem::{MaybeUninit, offset_of};
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;

use libc::{c_int, cmsghdr, sock_extended_err};
use socket2::{MsgHdrMut, SockAddr, SockRef, Socket};

use super::DatagramError;
use crate::sys::error_queue;

/// Room for one message of the queue: its header, the error, and the address of who reported it.
const CONTROL: usize = 128;
/// ICMP time exceeded (RFC 792), ICMPv6 time exceeded (RFC 4443): a traceroute's, not the peer's end.
const TIME_EXCEEDED: [(u8, u8); 2] = [(libc::SO_EE_ORIGIN_ICMP, 11), (libc::SO_EE_ORIGIN_ICMP6, 3)];

pub(super) fn report(socket: &Socket) -> io::Result<()> {
    let (level, option) = if socket.domain()? == socket2::Domain::IPV6 {
        (libc::SOL_IPV6, libc::IPV6_RECVERR)
    } else {
        (libc::SOL_IP, libc::IP_RECVERR)
    };
    error_queue::enable(socket, level, option)
}

pub(super) fn next(socket: BorrowedFd<'_>) -> io::Result<Option<DatagramError>> {
    let socket = SockRef::from(&socket);
    loop {
        // Large enough for either family; the kernel writes the one it has.
        let mut peer = SockAddr::from(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
        let mut control = [MaybeUninit::new(0); CONTROL];
        let mut message = MsgHdrMut::new()
            .with_addr(&mut peer)
            .with_control(&mut control);
        match socket.recvmsg(&mut message, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        let length = message.control_len();
        let control = error_queue::initialized(control);
        let error = control.get(..length).and_then(fatal);
        if let (Some(error), Some(peer)) = (error, peer.as_socket()) {
            return Ok(Some(DatagramError { peer, error }));
        }
    }
}

/// The error of a control message, if it ends the conversation.
fn fatal(control: &[u8]) -> Option<io::Error> {
    let header = [
        int(control, offset_of!(cmsghdr, cmsg_level))?,
        int(control, offset_of!(cmsghdr, cmsg_type))?,
    ];
    let known = [
        [libc::SOL_IP, libc::IP_RECVERR],
        [libc::SOL_IPV6, libc::IPV6_RECVERR],
    ];
    if !known.contains(&header) {
        return None;
    }
    let body = control.get(size_of::<cmsghdr>()..)?;
    let origin = *body.get(offset_of!(sock_extended_err, ee_origin))?;
    let kind = *body.get(offset_of!(sock_extended_err, ee_type))?;
    let number = int(body, offset_of!(sock_extended_err, ee_errno))?;
    (number != libc::EMSGSIZE && !TIME_EXCEEDED.contains(&(origin, kind)))
        .then(|| io::Error::from_raw_os_error(number))
}

fn int(bytes: &[u8], at: usize) -> Option<c_int> {
    let bytes = bytes.get(at..at.checked_add(size_of::<c_int>())?)?;
    Some(c_int::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::sys::test_network::in_new_network;

    #[test]
    fn each_error_names_the_peer_that_refused_and_no_other_is_failed() {
        in_new_network(|| {
            for own in ["127.0.0.1:0", "[::1]:0"] {
                let listening = UdpSocket::bind(own).unwrap();
                let socket = Socket::from(UdpSocket::bind(own).unwrap());
                report(&socket).unwrap();
                let mut closed = listening.local_addr().unwrap();
                closed.set_port(9);
                socket.send_to(b"anybody?", &closed.into()).unwrap();
                let deadline = Instant::now() + Duration::from_secs(5);
                let found = loop {
                    if let Some(found) = super::super::next(&socket).unwrap() {
                        break found;
                    }
                    assert!(Instant::now() < deadline, "no error came");
                };
                assert_eq!(found.peer, closed);
                assert_eq!(found.error.kind(), io::ErrorKind::ConnectionRefused);
                assert!(super::super::next(&socket).unwrap().is_none());
                let other = listening.local_addr().unwrap();
                socket.send_to(b"hello", &other.into()).unwrap();
            }
        });
    }

    #[test]
    fn what_is_no_error_message_is_none() {
        for length in 0..CONTROL {
            assert!(fatal(&vec![0; length]).is_none());
        }
    }
}
