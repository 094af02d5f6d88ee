//! A client that makes new connections as often as it can.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{in_parallel, next};

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
