//! How many datagrams arrive of a sender that sends as fast as it can, and what each costs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::moments::{self, Moment, end_load};
use super::{Against, Better, Cell, Column, Direction};
use crate::contender::Contender;
use crate::load::Handed;

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

pub(super) fn measure(
    contender: &mut Contender,
    handed: Handed,
    direction: Direction,
    duration: Duration,
) -> Result<Vec<f64>> {
    let sample = sample(contender, handed, direction, duration);
    end_load(contender)?;
    sample
}

fn sample(
    contender: &mut Contender,
    handed: Handed,
    direction: Direction,
    duration: Duration,
) -> Result<Vec<f64>> {
    let line = contender.load().datagrams(handed, direction, duration);
    let [begin, end, over] = moments::watch(contender, &line, ["begin", "end", "over"])?;
    let received = |moment: &Moment| anyhow::Ok(sent_and_received(moment, direction)?.1);
    let arrived = received(&end)? - received(&begin)?;
    ensure!(arrived > 0.0, "nothing arrived");
    let took = end.at.duration_since(begin.at).as_secs_f64();
    let (sent, received) = sent_and_received(&over, direction)?;
    Ok(vec![
        arrived / took,
        received / sent * 100.0,
        (end.gateway_seconds - begin.gateway_seconds) / arrived * 1e6,
    ])
}

fn sent_and_received(moment: &Moment, direction: Direction) -> Result<(f64, f64)> {
    let client = moment.client.first().context("a count is missing")?;
    let server = moment.server.last();
    let server = server.context("the server has heard nothing")?;
    let (client, server) = (*client as f64, *server as f64);
    Ok(match direction {
        Direction::Up => (client, server),
        Direction::Down | Direction::Both => (server, client),
    })
}
