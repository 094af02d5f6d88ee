//! What stood where at the moments that a load announces, such as the begin and the end of a window.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::contender::Contender;
use crate::load::{Control, numbers};
use crate::process::{Gateway, machine_seconds};

/// From the end of one measurement until the next: its streams end.
const SETTLE: Duration = Duration::from_millis(300);

/// One moment.
pub(super) struct Moment {
    pub(super) at: Instant,
    pub(super) gateway_seconds: f64,
    pub(super) machine_seconds: f64,
    /// What the client counts.
    pub(super) client: Vec<u64>,
    /// What the server counts.
    pub(super) server: Vec<u64>,
}

/// Runs a load until it ends; what stood where when it announced these moments.
pub(super) fn watch<const N: usize>(
    contender: &mut Contender,
    line: &str,
    announced: [&str; N],
) -> Result<[Moment; N]> {
    let mut moments = Vec::new();
    contender.watch(line, |gateway, load, printed| {
        let mut words = printed.split_whitespace();
        if words.next().is_some_and(|word| announced.contains(&word)) {
            let client = numbers(words)?;
            moments.push(Moment::now(gateway, load.control(), client)?);
        }
        Ok(())
    })?;
    moments
        .try_into()
        .map_err(|moments: Vec<_>| anyhow!("the load announced {} moments, not {N}", moments.len()))
}

/// Ends what a load has left, so that the next measurement has the machine for itself.
pub(super) fn end_load(contender: &Contender) -> Result<()> {
    contender.load().control().forget()?;
    thread::sleep(SETTLE);
    Ok(())
}

impl Moment {
    fn now(gateway: &Gateway, server: &Control, client: Vec<u64>) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            server: server.counts().context("what has arrived at the server")?,
            gateway_seconds: gateway.cpu_seconds()?,
            machine_seconds: machine_seconds()?,
            client,
        })
    }
}
