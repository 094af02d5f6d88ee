//! Throughput, what it cost, and how evenly the streams shared it.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::moments::{self, Moment, end_load};
use super::{Against, Better, Column, Direction};
use crate::contender::Contender;

/// 10^9 bits a second that arrived; processor time for 10^9 bytes of them, the gateway's and that of the whole machine;
/// Jain's index of what each stream brought in each of its directions: 1 where all are equal, 1/n where one has it all.
pub(super) const COLUMNS: &[Column] = &[
    Column {
        title: "Gbit/s",
        key: "gbit_per_s",
        better: Better::More,
        against: Against::LinkAndPeer,
    },
    Column {
        title: "gateway CPU s/GB",
        key: "gateway_cpu_s_per_gb",
        better: Better::Less,
        against: Against::Peer,
    },
    Column {
        title: "all CPU s/GB",
        key: "all_cpu_s_per_gb",
        better: Better::Less,
        against: Against::LinkAndPeer,
    },
    Column {
        title: "Jain's index",
        key: "jain",
        better: Better::More,
        against: Against::LinkAndPeer,
    },
];

pub(super) fn measure(
    contender: &mut Contender,
    streams: u32,
    direction: Direction,
    duration: Duration,
) -> Result<Vec<f64>> {
    let sample = sample(contender, streams, direction, duration);
    end_load(contender)?;
    sample
}

fn sample(
    contender: &mut Contender,
    streams: u32,
    direction: Direction,
    duration: Duration,
) -> Result<Vec<f64>> {
    let line = contender.load().bulk(streams, direction, duration);
    let [begin, end] = moments::watch(contender, &line, ["begin", "end"])?;
    let shares = shares(&begin, &end, streams as usize, direction);
    let bytes: f64 = shares.iter().sum();
    ensure!(bytes > 0.0, "nothing arrived");
    let took = end.at.duration_since(begin.at).as_secs_f64();
    Ok(vec![
        bytes * 8.0 / took / 1e9,
        (end.gateway_seconds - begin.gateway_seconds) / (bytes / 1e9),
        (end.machine_seconds - begin.machine_seconds) / (bytes / 1e9),
        jain(&shares),
    ])
}

/// What each stream brought within the window, in each direction that was loaded. One that never arrived brought nothing.
fn shares(begin: &Moment, end: &Moment, streams: usize, direction: Direction) -> Vec<f64> {
    let brought = |begin: &[u64], end: &[u64]| -> Vec<f64> {
        let at = |counts: &[u64], stream: usize| counts.get(stream).copied().unwrap_or_default();
        let difference = |stream| at(end, stream).saturating_sub(at(begin, stream)) as f64;
        (0..streams).map(difference).collect()
    };
    let up = || brought(&begin.server, &end.server);
    let down = || brought(&begin.client, &end.client);
    match direction {
        Direction::Up => up(),
        Direction::Down => down(),
        Direction::Both => [up(), down()].concat(),
    }
}

/// Jain's index of fairness: the square of the sum over the number times the sum of the squares.
fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    sum * sum / (shares.len() as f64 * squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_shares_have_an_index_of_one_and_a_single_winner_one_of_its_share() {
        assert_eq!(jain(&[3.0; 7]), 1.0);
        assert_eq!(jain(&[0.0, 5.0, 0.0, 0.0]), 0.25);
        assert_eq!(jain(&[1.0, 1.0, 0.0, 0.0]), 0.5);
    }

    #[test]
    fn a_stream_that_never_arrived_brought_nothing() {
        let moment = |up: &[u64], down: &[u64]| Moment {
            at: std::time::Instant::now(),
            gateway_seconds: 0.0,
            machine_seconds: 0.0,
            server: up.to_vec(),
            client: down.to_vec(),
        };
        let (begin, end) = (moment(&[1], &[10, 10]), moment(&[4, 5], &[30, 10]));
        let brought = |direction| shares(&begin, &end, 3, direction);
        assert_eq!(brought(Direction::Up), [3.0, 5.0, 0.0]);
        assert_eq!(brought(Direction::Down), [20.0, 0.0, 0.0]);
        assert_eq!(brought(Direction::Both), [3.0, 5.0, 0.0, 20.0, 0.0, 0.0]);
    }
}
