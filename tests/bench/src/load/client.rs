//! The program behind the gateway: connects as often as it can, asks and waits, or holds flows that do nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::next;

/// What is asked and answered, in bytes.
const QUESTION: usize = 64;
/// Answers that are not counted: the first few find cold caches.
const WARM_UP: usize = 100;
/// Flows that are opened at a time: so that no queue of new connections overflows.
const OPENERS: u32 = 16;

/// Arguments: address, parallel connections, seconds. Prints how many there were, and the seconds that they took.
pub(super) fn connect(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let to: SocketAddr = next(&mut arguments)?;
    let parallel: u32 = next(&mut arguments)?;
    let duration = Duration::from_secs(next(&mut arguments)?);
    let begin = Instant::now();
    let made = in_parallel(parallel, move |_| {
        let mut made = 0_u32;
        while begin.elapsed() < duration {
            let mut stream = TcpStream::connect(to).context("cannot connect")?;
            let read = stream.read(&mut [0]).context("cannot read")?;
            ensure!(read == 0, "the server was to close");
            made += 1;
        }
        Ok(made)
    })?;
    let total: u32 = made.iter().sum();
    println!("{total} {}", begin.elapsed().as_secs_f64());
    Ok(())
}

/// Arguments: address, seconds. Prints the median and the 99th percentile in microseconds.
pub(super) fn ask(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let to: SocketAddr = next(&mut arguments)?;
    let duration = Duration::from_secs(next(&mut arguments)?);
    let mut stream = TcpStream::connect(to).context("cannot connect")?;
    stream.set_nodelay(true)?;
    let mut times = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < duration {
        let asked = Instant::now();
        exchange(&mut stream, QUESTION)?;
        times.push(asked.elapsed());
    }
    ensure!(
        times.len() > 2 * WARM_UP,
        "only {} answers came",
        times.len()
    );
    times.drain(..WARM_UP);
    times.sort();
    let micros = |per_cent: usize| times[times.len() * per_cent / 100].as_secs_f64() * 1e6;
    println!("{} {}", micros(50), micros(99));
    Ok(())
}

/// Arguments: address, flows, bytes that each moves first. Prints `ready`, and holds them until it is killed.
pub(super) fn hold(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let to: SocketAddr = next(&mut arguments)?;
    let flows: u32 = next(&mut arguments)?;
    let bytes: usize = next(&mut arguments)?;
    let held = in_parallel(OPENERS, move |opener| {
        let share = flows / OPENERS + u32::from(opener < flows % OPENERS);
        (0..share)
            .map(|_| {
                let mut stream = TcpStream::connect(to).context("cannot connect")?;
                exchange(&mut stream, bytes)?;
                Ok(stream)
            })
            .collect::<Result<Vec<_>>>()
    })?;
    println!("ready");
    loop {
        thread::park();
        std::hint::black_box(&held);
    }
}

fn exchange(stream: &mut TcpStream, bytes: usize) -> Result<()> {
    let mut buffer = vec![0; bytes];
    stream.write_all(&buffer).context("cannot ask")?;
    stream.read_exact(&mut buffer).context("no answer")
}

fn in_parallel<T: Send + 'static>(
    threads: u32,
    function: impl Fn(u32) -> Result<T> + Clone + Send + 'static,
) -> Result<Vec<T>> {
    let threads: Vec<_> = (0..threads)
        .map(|number| {
            let function = function.clone();
            thread::spawn(move || function(number))
        })
        .collect();
    let join = |thread: thread::JoinHandle<Result<T>>| {
        thread.join().map_err(|_| anyhow!("a thread panicked"))?
    };
    threads.into_iter().map(join).collect()
}
