//! A client that holds flows which do nothing.

use std::net::{SocketAddr, TcpStream};
use std::thread;

use anyhow::{Context, Result};

use super::{OPENERS, exchange, in_parallel, next};

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
