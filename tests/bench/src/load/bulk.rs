//! Streams that carry as much as they can: for throughput and fairness.
//!
//! iperf3 takes at most 128 streams in one process, and what several processes say has neither beginning nor end in
//! common. Here all streams are there before any is loaded; after a while of warming up a window begins, and what has
//! arrived by its two ends is read on the side that receives.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mio::net::TcpListener;
use mio::{Interest, Token, Waker};
use socket2::SockRef;

use super::control::Arrived;
use super::pump::{Count, Job, Pump};
use super::{OPENERS, in_parallel, next, next_duration};
use crate::measure::Direction;

/// From the load's start until the window's: windows open, and rings find their size. A shorter window waits for its
/// own length only.
const WARM_UP: Duration = Duration::from_millis(500);
/// Longest wait of the client's loop, which has a clock to look at.
const TICK: Duration = Duration::from_millis(5);

const LISTENER: Token = Token(0);
const CLOSE: Token = Token(1);

/// Arguments: address, direction, streams, seconds. Prints `begin` and `end`, each with what every stream has received.
pub(super) fn bulk(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let to: SocketAddr = next(&mut arguments)?;
    let direction: Direction = next(&mut arguments)?;
    let streams: u32 = next(&mut arguments)?;
    let duration = next_duration(&mut arguments)?;
    let connected = in_parallel(OPENERS, move |opener| {
        let share = streams / OPENERS + u32::from(opener < streams % OPENERS);
        (0..share)
            .map(|_| TcpStream::connect(to).context("cannot connect"))
            .collect::<Result<Vec<_>>>()
    })?;
    let (own, others) = match direction {
        Direction::Up => (Job::Send, Job::Receive),
        Direction::Down => (Job::Receive, Job::Send),
        Direction::Both => (Job::Send, Job::Send),
    };
    let mut pump = Pump::new(0)?;
    let mut counts = Vec::new();
    for mut stream in connected.into_iter().flatten() {
        // What is on its way when we end is nobody's, and would be carried into the next measurement.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        stream.write_all(&[others.code()]).context("cannot send")?;
        stream.set_nonblocking(true)?;
        counts.push(pump.add(mio::net::TcpStream::from_std(stream), own)?);
    }
    carry_for(&mut pump, WARM_UP.min(duration))?;
    print("begin", &counts);
    carry_for(&mut pump, duration)?;
    print("end", &counts);
    Ok(())
}

/// A turn of many streams may take longer than that.
fn carry_for(pump: &mut Pump, duration: Duration) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < duration {
        let (_, broken) = pump.turn(Some(TICK))?;
        if let Some(error) = broken.into_iter().next() {
            return Err(error).context("a stream broke");
        }
    }
    Ok(())
}

fn print(moment: &str, counts: &[Count]) {
    let mut line = moment.to_owned();
    for count in counts {
        line += &format!(" {}", count.load(Ordering::Relaxed));
    }
    println!("{line}");
}

/// The far end: what a stream is to do is its first byte.
#[derive(Debug)]
pub(super) struct Server {
    listener: TcpListener,
    pump: Pump,
    arrived: Arrived,
}

impl Server {
    pub(super) fn new(listener: std::net::TcpListener) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        let pump = Pump::new(CLOSE.0 + 1)?;
        pump.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let close = Waker::new(pump.registry(), CLOSE).context("cannot make a waker")?;
        Ok(Self {
            listener,
            pump,
            arrived: Arrived::new(close),
        })
    }

    /// What its streams bring.
    pub(super) fn arrived(&self) -> &Arrived {
        &self.arrived
    }

    pub(super) fn serve(mut self) -> Result<()> {
        loop {
            // A stream that breaks is a client that has finished.
            let (events, _) = self.pump.turn(None)?;
            if events.contains(&CLOSE) {
                self.pump.clear();
            }
            if !events.contains(&LISTENER) {
                continue;
            }
            while let Ok((stream, _)) = self.listener.accept() {
                SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
                self.arrived.add(self.pump.add(stream, Job::Told)?);
            }
        }
    }
}
