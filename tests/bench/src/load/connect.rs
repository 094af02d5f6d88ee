//! A client that makes new connections as often as it can.

use std::fmt;
use std::io::{self, Read};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};

use super::{CLOSE_PORT, END_PORTS, in_parallel, next, next_duration};
use crate::names::named;

/// The port of a client that has only this one.
const OWN_PORT: u16 = 5_400;
/// The kernel's own servers drop a SYN whose timestamp, in milliseconds, is that of the last packet of the connection before.
const NEXT_TIMESTAMP: Duration = Duration::from_millis(2);
/// What takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who ends a connection first, and so keeps its ports in TIME-WAIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Closer {
    /// The client keeps no port, and may have any number of connections.
    Server,
    /// Each connection keeps a port of the client's for a minute, so the server has many.
    Client,
    /// The server closes, and the client connects from the same port again: RFC 6191 lets it.
    ServerOfOnePort,
}

impl Closer {
    pub(crate) const ALL: [Self; 3] = [Self::Server, Self::Client, Self::ServerOfOnePort];
}

impl fmt::Display for Closer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::ServerOfOnePort => "one-port",
        })
    }
}

impl FromStr for Closer {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        named(&Self::ALL, name).with_context(|| format!("nobody closes who is called {name}"))
    }
}

/// Arguments: address, who closes, parallel connections, seconds. Prints how many connections there were, the seconds that
/// they took, and those of the slowest.
pub(super) fn connect(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let to: Ipv4Addr = next(&mut arguments)?;
    let closer: Closer = next(&mut arguments)?;
    let parallel: u32 = next(&mut arguments)?;
    let duration = next_duration(&mut arguments)?;
    let begin = Instant::now();
    let made = in_parallel(parallel, move |_| {
        let (mut made, mut slowest) = (0_u32, Duration::ZERO);
        while begin.elapsed() < duration {
            if closer == Closer::ServerOfOnePort {
                thread::sleep(NEXT_TIMESTAMP);
            }
            let connecting = Instant::now();
            one(to, closer, made)?;
            slowest = slowest.max(connecting.elapsed());
            made += 1;
        }
        Ok((made, slowest))
    })?;
    let took = begin.elapsed();
    let total: u32 = made.iter().map(|(made, _)| made).sum();
    let slowest = made.iter().map(|(_, slowest)| *slowest).max();
    println!(
        "{total} {} {}",
        took.as_secs_f64(),
        slowest.unwrap_or_default().as_secs_f64()
    );
    Ok(())
}

/// A whole connection, both ends of which are closed when this returns.
fn one(to: Ipv4Addr, closer: Closer, number: u32) -> Result<()> {
    let mut stream = match closer {
        Closer::Server => connected(to, CLOSE_PORT),
        Closer::ServerOfOnePort => from_own_port(to),
        Closer::Client => {
            let ports = u32::from(END_PORTS.end - END_PORTS.start);
            let offset = u16::try_from(number % ports).unwrap_or_default();
            connected(to, END_PORTS.start + offset)
        }
    }
    .context("cannot connect")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    if closer == Closer::Client {
        stream.shutdown(Shutdown::Write).context("cannot close")?;
    }
    let read = stream
        .read(&mut [0])
        .context("the other end does not close")?;
    ensure!(read == 0, "the server was to close");
    Ok(())
}

fn connected(to: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&SocketAddr::from((to, port)), PATIENCE)
}

fn from_own_port(to: Ipv4Addr) -> io::Result<TcpStream> {
    let begin = Instant::now();
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, OWN_PORT)).into())?;
        let to = SocketAddr::from((to, CLOSE_PORT));
        match socket.connect_timeout(&to.into(), PATIENCE) {
            Ok(()) => return Ok(socket.into()),
            // Until the last connection's end has been acknowledged its port is taken.
            Err(error)
                if error.kind() == io::ErrorKind::AddrNotAvailable
                    && begin.elapsed() < PATIENCE =>
            {
                thread::yield_now();
            }
            Err(error) => return Err(error),
        }
    }
}
