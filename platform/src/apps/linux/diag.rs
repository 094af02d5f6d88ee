//! A `NETLINK_SOCK_DIAG` socket: one question, one answer.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::apps::DiagError;
use crate::apps::{SocketInfo, SocketState};
use crate::inet_diag::{self, REQUEST_LEN};
use crate::netlink;

/// An answer takes 72 bytes, a header and a few attributes.
const ANSWER: usize = 1024;
/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
/// How many answers to questions that were given up may come before the one that is waited for.
const MOST_STALE: usize = 8;

/// Asks the sockets of the network namespace that it was opened in, wherever it is used.
#[derive(Debug)]
pub struct DiagSocket {
    socket: OwnedFd,
    sequence: u32,
}

impl From<OwnedFd> for DiagSocket {
    /// Adopts a `NETLINK_SOCK_DIAG` socket, perhaps of another network namespace.
    fn from(socket: OwnedFd) -> Self {
        Self {
            socket,
            sequence: 0,
        }
    }
}

impl AsFd for DiagSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl DiagSocket {
    /// Opens one in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`DiagError::Socket`].
    pub fn open() -> Result<Self, DiagError> {
        let protocol = Some(rustix::net::netlink::SOCK_DIAG);
        rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )
        .map(Self::from)
        .map_err(|error| DiagError::Socket(error.into()))
    }

    /// Asks for one socket. The answer may be a listener or one bound to more than was asked for: compare it.
    pub(super) fn ask(
        &mut self,
        protocol: u8,
        source: SocketAddr,
        destination: SocketAddr,
        device: u32,
    ) -> Result<Option<Found>, DiagError> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = inet_diag::exact_request(protocol, source, destination);
        let request = framed(self.sequence, &inet_diag::at_device(request, device));
        let failed = |error: rustix::io::Errno| DiagError::Socket(error.into());
        rustix::net::send(&self.socket, &request, SendFlags::empty()).map_err(failed)?;
        for _ in 0..MOST_STALE {
            let mut answer = [0; ANSWER];
            // The kernel answers within the call that asks, so there is nothing to wait for.
            let (_, length) = rustix::net::recv(&self.socket, &mut answer, RecvFlags::DONTWAIT)
                .map_err(failed)?;
            let answer = answer.get(..length).ok_or(DiagError::Malformed)?;
            let message = netlink::messages(answer).next();
            let Some(Ok((header, payload))) = message else {
                return Err(DiagError::Malformed);
            };
            if header.sequence_number == self.sequence {
                return understood(header.message_type, payload);
            }
        }
        Err(DiagError::Malformed)
    }
}

/// A socket and the addresses it has: IPv4 ones for IPv4 over an IPv6 socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) info: SocketInfo,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
}

/// Puts the netlink header before a request, without allocating.
fn framed(sequence: u32, request: &[u8; REQUEST_LEN]) -> [u8; HEADER + REQUEST_LEN] {
    const LENGTH: u32 = 72;
    const _: () = assert!(LENGTH as usize == HEADER + REQUEST_LEN);
    let mut bytes = [0; HEADER + REQUEST_LEN];
    let (header, body) = bytes.split_at_mut(HEADER);
    header[..4].copy_from_slice(&LENGTH.to_ne_bytes());
    header[4..6].copy_from_slice(&inet_diag::BY_FAMILY.to_ne_bytes());
    header[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    header[8..12].copy_from_slice(&sequence.to_ne_bytes());
    body.copy_from_slice(request);
    bytes
}

/// A socket, none, or a refusal with its error number.
fn understood(kind: u16, payload: &[u8]) -> Result<Option<Found>, DiagError> {
    match kind {
        inet_diag::BY_FAMILY => {
            let answer = inet_diag::parse(payload).ok_or(DiagError::Malformed)?;
            Ok(Some(Found::from(answer)))
        }
        NLMSG_ERROR => {
            let code = payload.first_chunk().ok_or(DiagError::Malformed)?;
            match i32::from_ne_bytes(*code).saturating_neg() {
                libc::ENOENT => Ok(None),
                code => Err(DiagError::Refused(io::Error::from_raw_os_error(code))),
            }
        }
        _ => Err(DiagError::Malformed),
    }
}

impl From<inet_diag::Answer> for Found {
    fn from(answer: inet_diag::Answer) -> Self {
        let canonical =
            |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let info = SocketInfo {
            uid: answer.uid,
            inode: answer.inode,
            cookie: answer.cookie,
            state: socket_state(answer.state),
            mark: answer.mark,
            device: (answer.device != 0).then_some(answer.device),
        };
        Self {
            info,
            source: canonical(answer.local),
            destination: canonical(answer.remote),
        }
    }
}

/// Numbers of include/net/tcp_states.h.
fn socket_state(number: u8) -> SocketState {
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
