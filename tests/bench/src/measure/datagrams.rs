//! How many datagrams arrive of a sender that sends as fast as it can, and what each costs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::throughput::end_streams;
use super::{Against, Better, Cell, Column, Direction};
use crate::contender::Contender;
use crate::load::{Control, Handed, numbers};
use crate::process::Gateway;

/// Datagrams that arrived, a second; of all that were sent; the gateway's processor time for each that arrived.
pub(super) const COLUMNS: &[Column] = &[
    Column {
        title: "datagrams/s",
        key: "datagrams_per_s",
        better: Better::More,
        against: Against::LinkAndPeer,
    },
    Column {
        title: "arrived %",
        key: "arrived_per_cent",
        better: Better::More,
        against: Against::LinkAndPeer,
    },
    Column {
        title: "gateway CPU us",
        key: "gateway_cpu_us",
        better: Better::Less,
        against: Against::Peer,
    },
];

pub(super) fn cells() -> Vec<Cell> {
    let all = Handed::ALL.into_iter().flat_map(|handed| {
        let directions = [Direction::Up, Direction::Down];
        directions.map(|direction| Cell::Datagrams { handed, direction })
    });
    all.collect()
}

/// How far things are.
struct Moment {
    at: Instant,
    gateway_seconds: f64,
    /// What the client and the server have sent, or received.
    client: u64,
    server: u64,
}

pub(super) fn measure(
    contender: &mut Contender,
    handed: Handed,
    direction: Direction,
    duration: Duration,
) -> Result<Vec<f64>> {
    let sample = sample(contender, handed, direction, duration);
    end_streams(contender)?;
    sample
}

fn sample(
    contender: &mut Contender,
    handed: Handed,
    direction: Direction,
    duration: Duration,
) -> Result<Vec<f64>> {
    let line = contender.load().datagrams(handed, direction, duration);
    let mut moments = Vec::new();
    contender.watch(&line, |gateway, load, printed| {
        let mut words = printed.split_whitespace();
        if matches!(words.next(), Some("begin" | "end" | "over")) {
            let counts = numbers(words)?;
            moments.push(Moment::now(gateway, load.control(), &counts)?);
        }
        Ok(())
    })?;
    let [begin, end, over] = moments.as_slice() else {
        bail!("the load said {} moments, not three", moments.len());
    };
    let received = |moment: &Moment| moment.sent_and_received(direction).1;
    let arrived = received(end) - received(begin);
    ensure!(arrived > 0.0, "nothing arrived");
    let took = end.at.duration_since(begin.at).as_secs_f64();
    let (sent, received) = over.sent_and_received(direction);
    Ok(vec![
        arrived / took,
        received / sent * 100.0,
        (end.gateway_seconds - begin.gateway_seconds) / arrived * 1e6,
    ])
}

impl Moment {
    fn now(gateway: &Gateway, server: &Control, client: &[u64]) -> Result<Self> {
        let server = server
            .counts()
            .context("what has arrived at the server")?
            .last()
            .copied();
        Ok(Self {
            at: Instant::now(),
            gateway_seconds: gateway.cpu_seconds()?,
            client: client.first().copied().context("a count is missing")?,
            server: server.context("the server has heard nothing")?,
        })
    }

    fn sent_and_received(&self, direction: Direction) -> (f64, f64) {
        let (client, server) = (self.client as f64, self.server as f64);
        match direction {
            Direction::Up => (client, server),
            Direction::Down | Direction::Both => (server, client),
        }
    }
}
