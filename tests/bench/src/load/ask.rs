//! A client that asks and waits for the answer.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{exchange, next, next_duration};

/// What is asked and answered, in bytes.
const QUESTION: usize = 64;
/// Answers that are not counted: the first few find cold caches.
const WARM_UP: usize = 20;
/// What an answer that is lost is counted as.
const LOST: Duration = Duration::from_millis(200);

/// What the questions go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    /// On one connection.
    Tcp,
    /// Between two ports.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

impl FromStr for Protocol {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "TCP" => Ok(Self::Tcp),
            "UDP" => Ok(Self::Udp),
            other => bail!("there is no protocol {other}"),
        }
    }
}

/// Arguments: address, protocol, seconds. Prints the median and the 99th percentile in microseconds.
pub(super) fn ask(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let to: SocketAddr = next(&mut arguments)?;
    let protocol: Protocol = next(&mut arguments)?;
    let duration = next_duration(&mut arguments)?;
    let mut times = match protocol {
        Protocol::Tcp => {
            let mut stream = TcpStream::connect(to).context("cannot connect")?;
            stream.set_nodelay(true)?;
            times(duration, || exchange(&mut stream, QUESTION))?
        }
        Protocol::Udp => {
            let socket = UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect(to)?;
            socket.set_read_timeout(Some(LOST))?;
            let mut number = 0_u64;
            times(duration, || {
                number += 1;
                exchange_datagrams(&socket, number)
            })?
        }
    };
    ensure!(times.len() > 2 * WARM_UP, "only {} answers", times.len());
    times.drain(..WARM_UP);
    times.sort();
    ensure!(times[times.len() / 2] < LOST, "most answers were lost");
    let micros = |per_cent: usize| times[times.len() * per_cent / 100].as_secs_f64() * 1e6;
    println!("{} {}", micros(50), micros(99));
    Ok(())
}

fn times(duration: Duration, mut ask: impl FnMut() -> Result<()>) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < duration {
        let asked = Instant::now();
        ask()?;
        times.push(asked.elapsed());
    }
    Ok(times)
}

/// A question with its number, which the answer must have too: one that comes late is none. Returns when it is lost, too.
fn exchange_datagrams(socket: &UdpSocket, number: u64) -> Result<()> {
    let mut question = [0; QUESTION];
    question[..8].copy_from_slice(&number.to_be_bytes());
    socket.send(&question).context("cannot ask")?;
    let mut answer = [0; QUESTION];
    loop {
        match socket.recv(&mut answer) {
            Ok(QUESTION) if answer == question => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("no answer"),
        }
    }
}
