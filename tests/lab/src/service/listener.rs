//! What all TCP services share: accepting, a thread for each connection, remembering who came.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::namespace::Namespace;
use crate::sys;

/// A connection on which nothing moves for so long is given up, so that its thread ends.
const PATIENCE: Duration = Duration::from_secs(120);

/// New connections that may wait, more than any test makes at once. With the standard library's 128 the kernel drops what is beyond
/// and answers by SYN cookies, and who says more than one segment before it is accepted may be reset.
const BACKLOG: i32 = 4_096;

/// A TCP port of a machine, in both families, served by threads.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    acceptor: Option<JoinHandle<()>>,
    peers: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Listener {
    /// Listens, and calls `serve` on a new thread for each connection.
    pub(crate) fn start<S>(machine: &Namespace, port: u16, serve: S) -> Result<Self>
    where
        S: Fn(TcpStream, SocketAddr) -> io::Result<()> + Send + Sync + 'static,
    {
        // An unspecified IPv6 address takes IPv4 too.
        let socket = machine.inside(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))?;
        let socket = socket.with_context(|| format!("cannot listen on TCP port {port}"))?;
        sys::lengthen_backlog(&socket, BACKLOG)
            .with_context(|| format!("cannot let connections wait at TCP port {port}"))?;
        let peers = Arc::new(Mutex::new(Vec::new()));
        let accepting = socket.try_clone()?;
        let seen = Arc::clone(&peers);
        let serve = Arc::new(serve);
        let acceptor = machine.thread(move || {
            while let Ok((stream, peer)) = accepting.accept() {
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                seen.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(peer);
                let serve = Arc::clone(&serve);
                thread::spawn(move || {
                    let patient = stream.set_read_timeout(Some(PATIENCE));
                    // How a connection fails is for its client to see; the service serves the next.
                    drop(
                        patient
                            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
                            .and_then(|()| serve(stream, peer)),
                    );
                });
            }
        })?;
        Ok(Self {
            socket,
            acceptor: Some(acceptor),
            peers,
        })
    }

    /// Who connected, in order.
    pub(crate) fn peers(&self) -> Vec<SocketAddr> {
        self.peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if sys::stop_accepting(&self.socket).is_ok()
            && let Some(acceptor) = self.acceptor.take()
        {
            drop(acceptor.join());
        }
    }
}
