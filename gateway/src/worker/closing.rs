//! Upstream sockets that are to be closed.
//!
//! To close a connection is to send its last packet: an eighth of what a short connection costs. Where many end at once, a
//! thread of its own does that, so that the worker goes on with those that begin.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use mio::Registry;
use mio::net::TcpStream;

/// So many in one turn are worth another thread's attention.
const MANY: usize = 6;
/// How many turns' sockets may wait for that thread: beyond that the worker closes them itself.
const MOST_WAITING: usize = 16;

/// Closes sockets, at the end of a turn.
#[derive(Debug)]
pub(super) struct Closing {
    sockets: Vec<TcpStream>,
    to_thread: SyncSender<Vec<TcpStream>>,
}

impl Closing {
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start() -> io::Result<Self> {
        let (to_thread, batches) = sync_channel(MOST_WAITING);
        thread::Builder::new()
            .name("closing".to_owned())
            .spawn(move || batches.iter().for_each(drop))?;
        Ok(Self {
            sockets: Vec::new(),
            to_thread,
        })
    }

    pub(super) fn add(&mut self, socket: TcpStream) {
        self.sockets.push(socket);
    }

    /// Closes what was added; `registry` is where it is registered. What is refused here is dropped, and so closed.
    pub(super) fn close(&mut self, registry: &Registry) {
        if self.sockets.len() >= MANY {
            let mut batch = std::mem::take(&mut self.sockets);
            for socket in &mut batch {
                // Until it is closed it would be heard of, under a token that may be another's by then.
                if let Err(error) = registry.deregister(socket) {
                    tracing::debug!(%error, "an upstream socket was not registered");
                }
            }
            drop(self.to_thread.try_send(batch));
        } else {
            self.sockets.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream as Peer};
    use std::time::Duration;

    use mio::{Events, Interest, Poll, Token};

    use super::*;

    #[test]
    fn nothing_is_heard_of_what_waits_to_be_closed() {
        let mut poll = Poll::new().unwrap();
        let (to_thread, waiting) = sync_channel(1);
        let mut closing = Closing {
            sockets: Vec::new(),
            to_thread,
        };
        let (own, mut peers) = connections(MANY);
        for mut socket in own {
            let registered = poll
                .registry()
                .register(&mut socket, Token(0), Interest::READABLE);
            registered.unwrap();
            closing.add(socket);
        }
        closing.close(poll.registry());
        peers
            .iter_mut()
            .for_each(|peer| peer.write_all(b"late").unwrap());
        let mut events = Events::with_capacity(MANY);
        poll.poll(&mut events, Some(Duration::from_millis(100)))
            .unwrap();
        assert!(events.is_empty(), "{events:?}");
        drop(waiting);
    }

    /// Connections, by what the worker has of them and what their peers have.
    fn connections(count: usize) -> (Vec<TcpStream>, Vec<Peer>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (0..count)
            .map(|_| {
                let own = Peer::connect(address).unwrap();
                let peer = listener.accept().unwrap().0;
                peer.set_read_timeout(Some(Duration::from_secs(10)))
                    .unwrap();
                (TcpStream::from_std(own), peer)
            })
            .unzip()
    }

    #[test]
    fn few_and_many_are_closed_and_none_before_the_turn_is_over() {
        let mut closing = Closing::start().unwrap();
        let poll = Poll::new().unwrap();
        for count in [1, MANY, 3 * MANY] {
            let (own, peers) = connections(count);
            for mut socket in own {
                let token = Token(0);
                let registered = poll
                    .registry()
                    .register(&mut socket, token, Interest::READABLE);
                registered.unwrap();
                closing.add(socket);
            }
            let first = peers.first().unwrap();
            first.set_nonblocking(true).unwrap();
            let early = first.peek(&mut [0]).unwrap_err();
            assert_eq!(early.kind(), io::ErrorKind::WouldBlock);
            first.set_nonblocking(false).unwrap();
            closing.close(poll.registry());
            for mut peer in peers {
                assert_eq!(peer.read(&mut [0]).unwrap(), 0);
            }
        }
    }
}
