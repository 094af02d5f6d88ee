//! `UDP_GRO` and `UDP_SEGMENT`.

use std::io::{self, IoSlice};
use std::net::{Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::os::fd::BorrowedFd;

use rustix::net::sockopt;
use socket2::{MsgHdr, SockAddr, SockRef};
use tidegate_netstack::Fragmentation;

use super::Arrived;
use crate::control_messages::{self, Kind};
use crate::sys::datagram::{self, Received};

const RUN_ARRIVED: Kind = (libc::SOL_UDP, libc::UDP_GRO);
/// Room for one integer, and for messages that were not asked for.
const CONTROL: usize = 64;

pub(super) fn receive_runs(socket: BorrowedFd<'_>) {
    // Kernels before 5.0 hand each datagram over alone.
    let _ = datagram::set_option(socket, libc::SOL_UDP, libc::UDP_GRO, 1);
}

pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Arrived> {
    // The larger of the two kinds of addresses: the system writes no more than there is room for.
    let mut from = SockAddr::from(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
    let mut control = [0; CONTROL];
    let Received { len, control_len } =
        datagram::receive(socket, &mut from, buffer, &mut control, 0)?;
    let segment = control
        .get(..control_len)
        .filter(|control| !control.is_empty())
        .and_then(|control| run(control, len));
    let from = from.as_socket().ok_or(io::ErrorKind::InvalidData)?;
    Ok(Arrived { len, from, segment })
}

/// The size of each datagram, if these control messages say that `len` bytes are several.
pub(super) fn run(control: &[u8], len: usize) -> Option<NonZeroU16> {
    let size = control_messages::find(control, &[RUN_ARRIVED])?.first_chunk()?;
    let size = u16::try_from(i32::from_ne_bytes(*size)).ok()?;
    NonZeroU16::new(size).filter(|size| usize::from(size.get()) < len)
}

pub(super) fn send_run(
    socket: BorrowedFd<'_>,
    run: &[u8],
    segment: NonZeroU16,
    to: SocketAddr,
) -> io::Result<()> {
    let kind = (libc::SOL_UDP, libc::UDP_SEGMENT);
    let control = control_messages::one(kind, segment.get().to_ne_bytes());
    let (to, parts) = (SockAddr::from(to), [IoSlice::new(run)]);
    let message = MsgHdr::new()
        .with_addr(&to)
        .with_buffers(&parts)
        .with_control(&control);
    SockRef::from(&socket).sendmsg(&message, 0).map(drop)
}

pub(super) fn set_fragmentation(
    socket: BorrowedFd<'_>,
    fragmentation: Fragmentation,
) -> io::Result<()> {
    let is_ipv6 = SockRef::from(&socket).local_addr()?.is_ipv6();
    let (level, option, never, allowed) = if is_ipv6 {
        (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_DO,
            libc::IPV6_PMTUDISC_WANT,
        )
    } else {
        (
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_DO,
            libc::IP_PMTUDISC_WANT,
        )
    };
    let value = match fragmentation {
        Fragmentation::Never => never,
        Fragmentation::Allowed => allowed,
    };
    datagram::set_option(socket, level, option, value)
}

pub(super) fn enlarge_buffers(socket: BorrowedFd<'_>, bytes: usize) {
    let plain = SockRef::from(&socket);
    if sockopt::set_socket_recv_buffer_size_force(socket, bytes).is_err() {
        let _ = plain.set_recv_buffer_size(bytes);
    }
    if sockopt::set_socket_send_buffer_size_force(socket, bytes).is_err() {
        let _ = plain.set_send_buffer_size(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// A sender and a receiver of one family.
    fn pair(any: &str) -> (UdpSocket, UdpSocket) {
        let (sender, receiver) = (UdpSocket::bind(any).unwrap(), UdpSocket::bind(any).unwrap());
        let patience = Duration::from_secs(5);
        receiver.set_read_timeout(Some(patience)).unwrap();
        super::super::enlarge_buffers(&receiver, 4 << 20);
        (sender, receiver)
    }

    /// Takes runs until there are so many bytes, as the datagrams they are made of.
    fn datagrams(receiver: &UdpSocket, bytes: usize) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        let (mut received, mut taken) = (Vec::new(), 0);
        while taken < bytes {
            let Arrived { len, segment, .. } =
                super::super::receive(receiver, &mut buffer).unwrap();
            let size = segment.map_or(len, |size| size.get().into());
            received.extend(buffer[..len].chunks(size).map(<[u8]>::to_vec));
            taken += len;
        }
        received
    }

    #[test]
    fn a_run_that_was_sent_whole_arrives_whole_where_runs_are_taken() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let (sender, receiver) = pair(any);
            super::super::receive_runs(&receiver);
            let to = receiver.local_addr().unwrap();
            let size = NonZeroU16::new(1_200).unwrap();
            super::super::send_run(&sender, &[7; 12_345], size, to).unwrap();
            let mut buffer = vec![0; 65_536];
            let arrived = super::super::receive(&receiver, &mut buffer).unwrap();
            let from = sender.local_addr().unwrap();
            let (len, segment) = (12_345, Some(size));
            assert_eq!(arrived, Arrived { len, from, segment });
        }
    }

    #[test]
    fn one_datagram_is_no_run_and_an_empty_one_is_one() {
        let (sender, receiver) = pair("127.0.0.1:0");
        super::super::receive_runs(&receiver);
        let mut buffer = vec![0; 65_536];
        for payload in [&[][..], &[1; 60_000]] {
            sender
                .send_to(payload, receiver.local_addr().unwrap())
                .unwrap();
            let arrived = super::super::receive(&receiver, &mut buffer).unwrap();
            assert_eq!((arrived.len, arrived.segment), (payload.len(), None));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_sent_as_runs_arrives_in_its_sizes_and_order(
            runs in prop::collection::vec((1_usize..=1_400, 1_usize..=40, 0_usize..1_400), 1..6),
            takes_runs: bool,
        ) {
            let (sender, receiver) = pair("127.0.0.1:0");
            if takes_runs {
                super::super::receive_runs(&receiver);
            }
            let to = receiver.local_addr().unwrap();
            let (mut sent, mut bytes) = (Vec::new(), 0);
            for (number, (size, count, tail)) in runs.into_iter().enumerate() {
                // The last datagram is shorter, or as long as the others.
                let len = size * count + tail % size;
                let run: Vec<u8> = (0..len).map(|at| u8::try_from((at + number) % 251).unwrap()).collect();
                let segment = NonZeroU16::new(u16::try_from(size).unwrap()).unwrap();
                super::super::send_run(&sender, &run, segment, to).unwrap();
                sent.extend(run.chunks(size).map(<[u8]>::to_vec));
                bytes += len;
            }
            prop_assert_eq!(datagrams(&receiver, bytes), sent);
        }

        #[test]
        fn no_control_message_panics(bytes in prop::collection::vec(any::<u8>(), 0..100), len: usize) {
            if let Some(size) = run(&bytes, len) {
                prop_assert!(usize::from(size.get()) < len);
            }
        }
    }
}
