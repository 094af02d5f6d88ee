//! Carries as much as it can over any number of streams on one thread: each in turn, one chunk at a time.
//!
//! So what one stream gets more than another is the network's doing, not ours.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};

/// What one turn moves at most.
const CHUNK: usize = 128 << 10;

/// Bytes that a stream has received.
pub(super) type Count = Arc<AtomicU64>;

/// What one end of a stream does. It reads in any case: whatever comes, and so as to see the stream's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Sends all the time.
    Send,
    /// Sends nothing.
    Receive,
    /// One of these, which the first byte from the other end tells.
    Told,
}

impl Job {
    const ALL: [(u8, Self); 2] = [(b's', Self::Send), (b'r', Self::Receive)];

    /// The byte that tells the other end to do this.
    pub(super) fn code(self) -> u8 {
        let known = Self::ALL.into_iter().find(|(_, job)| *job == self);
        known.map_or(0, |(code, _)| code)
    }

    fn of_code(code: u8) -> io::Result<Self> {
        let known = Self::ALL.into_iter().find(|(known, _)| *known == code);
        known.map_or(Err(io::ErrorKind::InvalidData.into()), |(_, job)| Ok(job))
    }
}

/// Streams, and whose turn it is.
#[derive(Debug)]
pub(super) struct Pump {
    poll: Poll,
    events: Events,
    streams: HashMap<Token, Stream>,
    /// Those that may not block.
    turns: VecDeque<Token>,
    chunk: Vec<u8>,
    next: usize,
}

#[derive(Debug)]
struct Stream {
    socket: TcpStream,
    job: Job,
    received: Count,
    may_send: bool,
    may_receive: bool,
    has_turn: bool,
}

impl Pump {
    /// Tokens below `first` are the caller's.
    pub(super) fn new(first: usize) -> Result<Self> {
        Ok(Self {
            poll: Poll::new().context("cannot make a poll")?,
            events: Events::with_capacity(1_024),
            streams: HashMap::new(),
            turns: VecDeque::new(),
            chunk: vec![0; CHUNK],
            next: first,
        })
    }

    pub(super) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Takes a stream that does not block.
    pub(super) fn add(&mut self, mut socket: TcpStream, job: Job) -> Result<Count> {
        let token = Token(self.next);
        self.next += 1;
        self.registry()
            .register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)
            .context("cannot watch a stream")?;
        let received = Count::default();
        let stream = Stream {
            socket,
            job,
            received: Arc::clone(&received),
            may_send: true,
            may_receive: true,
            has_turn: true,
        };
        self.streams.insert(token, stream);
        self.turns.push_back(token);
        Ok(received)
    }

    /// Drops all streams.
    pub(super) fn clear(&mut self) {
        self.streams.clear();
        self.turns.clear();
    }

    /// Waits until a stream may go on, and gives each that may a turn. Says which of the caller's tokens had an event, and
    /// the errors of streams that broke.
    pub(super) fn turn(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<(Vec<Token>, Vec<io::Error>)> {
        let timeout = if self.turns.is_empty() {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(error).context("cannot wait");
            }
            _ => {}
        }
        let mut others = Vec::new();
        for event in &self.events {
            let Some(stream) = self.streams.get_mut(&event.token()) else {
                others.push(event.token());
                continue;
            };
            stream.may_send |= event.is_writable();
            stream.may_receive |= event.is_readable();
            if !stream.has_turn {
                stream.has_turn = true;
                self.turns.push_back(event.token());
            }
        }
        let mut broken = Vec::new();
        for _ in 0..self.turns.len() {
            let Some(token) = self.turns.pop_front() else {
                break;
            };
            let Some(stream) = self.streams.get_mut(&token) else {
                continue;
            };
            match stream.turn(&mut self.chunk) {
                Ok(()) if stream.may_go_on() => self.turns.push_back(token),
                Ok(()) => stream.has_turn = false,
                Err(error) => {
                    broken.push(error);
                    self.streams.remove(&token);
                }
            }
        }
        Ok((others, broken))
    }
}

impl Stream {
    /// At most one chunk each way.
    fn turn(&mut self, chunk: &mut [u8]) -> io::Result<()> {
        if self.job == Job::Told {
            return self.be_told();
        }
        if self.job == Job::Send && self.may_send {
            match self.socket.write(chunk) {
                // Less than asked: the next write would block, and an event will say when it does not (epoll(7)).
                Ok(sent) => self.may_send = sent == chunk.len(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.may_send = false,
                Err(error) => return Err(error),
            }
        }
        if self.may_receive {
            match self.socket.read(chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    self.received.fetch_add(read as u64, Ordering::Relaxed);
                    self.may_receive = read == chunk.len();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.may_receive = false,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn be_told(&mut self) -> io::Result<()> {
        let mut code = [0];
        match self.socket.read(&mut code) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {
                self.job = Job::of_code(code[0])?;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.may_receive = false;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn may_go_on(&self) -> bool {
        (self.job == Job::Send && self.may_send) || self.may_receive
    }
}
