//! A `NETLINK_SOCK_DIAG` socket: one question, one answer.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use crate::apps::DiagError;
use crate::apps::diag_message::{self, Answer, Found, Question};

/// An answer takes 72 bytes, a header and a few attributes.
const ANSWER: usize = 1024;
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
        let protocol = Some(netlink::SOCK_DIAG);
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
        let question = Question {
            sequence: self.sequence,
            protocol,
            source,
            destination,
            device,
        };
        let failed = |error: rustix::io::Errno| DiagError::Socket(error.into());
        rustix::net::send(
            &self.socket,
            &diag_message::encode(&question),
            SendFlags::empty(),
        )
        .map_err(failed)?;
        for _ in 0..MOST_STALE {
            let mut answer = [0; ANSWER];
            // The kernel answers within the call that asks, so there is nothing to wait for.
            let (_, length) = rustix::net::recv(&self.socket, &mut answer, RecvFlags::DONTWAIT)
                .map_err(failed)?;
            let answer = answer.get(..length).ok_or(DiagError::Malformed)?;
            match diag_message::decode(answer).ok_or(DiagError::Malformed)? {
                (sequence, _) if sequence != self.sequence => {}
                (_, Answer::Socket(found)) => return Ok(Some(found)),
                (_, Answer::Error(libc::ENOENT)) => return Ok(None),
                (_, Answer::Error(code)) => {
                    return Err(DiagError::Refused(io::Error::from_raw_os_error(code)));
                }
            }
        }
        Err(DiagError::Malformed)
    }
}
