//! TCP services that do one thing with a connection.

use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use super::listener::Listener;
use super::pattern::Pattern;
use crate::namespace::Namespace;
use crate::sys;

/// Sends back what it gets; finishes its side once the client has finished its own.
#[derive(Debug)]
pub struct TcpEcho(Listener);

impl TcpEcho {
    /// Listens on this port of the machine, in both families.
    pub fn start(machine: &Namespace, port: u16) -> Result<Self> {
        let serve = |stream: TcpStream, _| {
            io::copy(&mut &stream, &mut &stream)?;
            stream.shutdown(Shutdown::Write)
        };
        Ok(Self(Listener::start(machine, port, serve)?))
    }

    /// Who connected, in order.
    pub fn peers(&self) -> Vec<SocketAddr> {
        self.0.peers()
    }
}

/// What a [`TcpTalker`] does after it has spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    /// Finishes, and waits for the client to do the same.
    ThenFinish,
    /// Resets the connection.
    ThenReset,
    /// Listens without end.
    ThenListen,
}

/// Speaks first: sends so many bytes of the [`Pattern`].
#[derive(Debug)]
pub struct TcpTalker(Listener);

impl TcpTalker {
    /// Listens on this port of the machine, in both families.
    pub fn start(machine: &Namespace, port: u16, bytes: u64, then: Talk) -> Result<Self> {
        let serve = move |mut stream: TcpStream, _| {
            io::copy(&mut Pattern::new(bytes), &mut stream)?;
            match then {
                Talk::ThenReset => return sys::reset_on_close(&stream),
                Talk::ThenFinish => stream.shutdown(Shutdown::Write)?,
                Talk::ThenListen => {}
            }
            io::copy(&mut stream, &mut io::sink()).map(drop)
        };
        Ok(Self(Listener::start(machine, port, serve)?))
    }

    /// Who connected, in order.
    pub fn peers(&self) -> Vec<SocketAddr> {
        self.0.peers()
    }
}

/// How a connection to a [`Sink`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The client.
    pub peer: SocketAddr,
    /// Bytes that came.
    pub bytes: u64,
    /// `None` for a FIN; `ConnectionReset` for an RST.
    pub error: Option<io::ErrorKind>,
}

/// Takes everything, sends nothing, and remembers how each connection ended.
#[derive(Debug)]
pub struct Sink {
    listener: Listener,
    endings: Arc<Mutex<Vec<Ending>>>,
}

impl Sink {
    /// Listens on this port of the machine, in both families.
    pub fn start(machine: &Namespace, port: u16) -> Result<Self> {
        let endings = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&endings);
        let serve = move |stream: TcpStream, peer| {
            let (bytes, error) = drain(stream);
            seen.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Ending { peer, bytes, error });
            Ok(())
        };
        Ok(Self {
            listener: Listener::start(machine, port, serve)?,
            endings,
        })
    }

    /// The connections that ended until now.
    pub fn endings(&self) -> Vec<Ending> {
        self.endings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Who connected, in order.
    pub fn peers(&self) -> Vec<SocketAddr> {
        self.listener.peers()
    }
}

fn drain(mut stream: TcpStream) -> (u64, Option<io::ErrorKind>) {
    let mut buffer = vec![0; 64 * 1024];
    let mut bytes = 0;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (bytes, None),
            Ok(count) => bytes += u64::try_from(count).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (bytes, Some(error.kind())),
        }
    }
}
