//! Datagrams as fast as their sender can: what no other end slows down.
//!
//! Whoever sends does not know what arrives: each end counts its own, and what was lost is known once all have ended.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tidegate_platform::datagrams;

use super::control::Arrived;
use super::pump::Count;
use super::{next, next_duration};
use crate::measure::Direction;
use crate::names::named;

/// Of each datagram: those of QUIC are about as large.
const SIZE: NonZeroU16 = NonZeroU16::new(1_200).expect("it is not zero");
/// Datagrams that are handed over at once: below the 64 KiB of a packet, whatever its headers.
const RUN: usize = 40;
/// Of either end's socket, if the system gives as much.
const BUFFER: usize = 8 << 20;
/// From the load's start until the window's. A shorter window waits for its own length only.
const WARM_UP: Duration = Duration::from_millis(500);
/// The load goes on for so long after the window, whose end takes a moment to be noticed.
const MARGIN: Duration = Duration::from_millis(100);
/// After that for what is on its way.
const DRAIN: Duration = Duration::from_millis(300);
/// Longest wait of a receiver, which has a clock to look at.
const TICK: Duration = Duration::from_millis(5);

/// How many datagrams a call hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Handed {
    /// One.
    Singly,
    /// Many (`UDP_SEGMENT` and `UDP_GRO`, udp(7)).
    InRuns,
}

impl Handed {
    pub(crate) const ALL: [Self; 2] = [Self::Singly, Self::InRuns];
}

impl fmt::Display for Handed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Singly => "single",
            Self::InRuns => "runs",
        })
    }
}

impl FromStr for Handed {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        named(&Self::ALL, name).with_context(|| format!("no datagrams are handed over as {name}"))
    }
}

/// Arguments: address, how datagrams are handed over, direction, seconds. Prints `begin` and `end` of the window, and `over`
/// when none is on its way any more, each with how many this end has sent or received.
pub(super) fn datagrams(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let to: SocketAddr = next(&mut arguments)?;
    let handed: Handed = next(&mut arguments)?;
    let direction: Direction = next(&mut arguments)?;
    let window = next_duration(&mut arguments)?;
    let warm_up = WARM_UP.min(window);
    let duration = warm_up + window + MARGIN;
    let socket = socket(0, handed)?;
    let order = format!("{direction} {}", duration.as_secs_f64());
    socket
        .send_to(order.as_bytes(), to)
        .context("cannot tell the server")?;
    let count = Count::default();
    let counted = Arc::clone(&count);
    let carrying = thread::spawn(move || match direction {
        Direction::Up => send(&socket, to, handed, duration, &counted),
        Direction::Down => receive_for(&socket, duration + DRAIN, &counted),
        Direction::Both => bail!("datagrams go one way"),
    });
    let print = |moment| println!("{moment} {}", count.load(Ordering::Relaxed));
    thread::sleep(warm_up);
    print("begin");
    thread::sleep(window);
    print("end");
    carrying
        .join()
        .map_err(|_| anyhow!("a thread panicked"))??;
    thread::sleep(DRAIN);
    print("over");
    Ok(())
}

/// The far end: a datagram that begins with a letter says what is to be done.
pub(super) fn serve(port: u16, handed: Handed, arrived: &Arrived) -> Result<()> {
    let socket = socket(port, handed)?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let mut received = Count::default();
    loop {
        let (length, from) = socket.recv_from(&mut buffer).context("cannot receive")?;
        let said = &buffer[..length];
        if !said.first().is_some_and(u8::is_ascii_alphabetic) {
            add(&received, length);
            continue;
        }
        let order = String::from_utf8_lossy(said);
        let mut words = order.split_whitespace().map(str::to_owned);
        let direction: Direction = next(&mut words)?;
        let duration = next_duration(&mut words)?;
        let count = Count::default();
        arrived.add(Arc::clone(&count));
        if direction == Direction::Up {
            received = count;
            continue;
        }
        let socket = socket.try_clone()?;
        // What cannot be sent does not arrive, which the client sees.
        thread::spawn(move || drop(send(&socket, from, handed, duration, &count)));
    }
}

fn socket(port: u16, handed: Handed) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).context("cannot make a socket")?;
    datagrams::enlarge_buffers(&socket, BUFFER);
    if handed == Handed::InRuns {
        datagrams::receive_runs(&socket);
    }
    Ok(socket)
}

fn send(
    socket: &UdpSocket,
    to: SocketAddr,
    handed: Handed,
    duration: Duration,
    sent: &Count,
) -> Result<()> {
    let size = usize::from(SIZE.get());
    let run = vec![0; RUN * size];
    let begin = Instant::now();
    while begin.elapsed() < duration {
        let (length, result) = match handed {
            Handed::Singly => (size, socket.send_to(&run[..size], to).map(drop)),
            Handed::InRuns => (run.len(), datagrams::send_run(socket, &run, SIZE, to)),
        };
        result.context("cannot send")?;
        add(sent, length);
    }
    Ok(())
}

fn receive_for(socket: &UdpSocket, duration: Duration, received: &Count) -> Result<()> {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    socket.set_read_timeout(Some(TICK))?;
    let begin = Instant::now();
    while begin.elapsed() < duration {
        match socket.recv(&mut buffer) {
            Ok(length) => add(received, length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("cannot receive"),
        }
    }
    Ok(())
}

/// All datagrams have one size: so many bytes are so many of them.
fn add(count: &Count, bytes: usize) {
    let datagrams = bytes / usize::from(SIZE.get());
    count.fetch_add(datagrams as u64, Ordering::Relaxed);
}
