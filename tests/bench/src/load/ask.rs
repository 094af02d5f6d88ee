//! A client that asks and waits for the answer.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{exchange, next};

/// What is asked and answered, in bytes.
const QUESTION: usize = 64;
/// Answers that are not counted: the first few find cold caches.
const WARM_UP: usize = 100;

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
