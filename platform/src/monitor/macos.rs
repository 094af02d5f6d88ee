//! Network events of macOS: a routing socket (route(4)).

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Socket, Type};

use super::{Changes, darwin_events};

#[derive(Debug)]
pub(super) struct NetworkMonitor {
    socket: Socket,
    buffer: Vec<u8>,
}

/// A message is a header and at most eight addresses; what is longer counts as lost.
const LONGEST_EVENT: usize = 4096;

impl NetworkMonitor {
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::from(libc::PF_ROUTE), Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            buffer: vec![0; LONGEST_EVENT],
        })
    }

    /// Nothing tells of neighbours alone.
    pub(super) fn with_neighbours() -> io::Result<Self> {
        Self::open()
    }

    /// What the next message is about.
    pub(super) fn receive(&mut self) -> io::Result<Changes> {
        let length = (&self.socket).read(&mut self.buffer)?;
        Ok(darwin_events::kinds(
            self.buffer.get(..length).unwrap_or_default(),
        ))
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
