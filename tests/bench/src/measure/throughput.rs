//! Throughput, what it cost, and how evenly the streams shared it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{Against, Better, Column, Direction};
use crate::contender::Contender;
use crate::load::{Control, numbers};
use crate::process::{Gateway, machine_seconds};

/// From the end of one measurement until the next: its streams end.
const SETTLE: Duration = Duration::from_millis(300);

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

/// One end of the window of a measurement.
struct Moment {
    at: Instant,
    gateway_seconds: f64,
    machine_seconds: f64,
    /// What has arrived: at the client, stream by stream, and at the server.
    down: Vec<u64>,
    up: Vec<u64>,
}

pub(super) fn measure(
    contender: &mut Contender,
    streams: u32,
    direction: Direction,
    duration: Duration,
) -> Result<Vec<f64>> {
    let sample = sample(contender, streams, direction, duration);
    end_streams(contender)?;
    sample
}

/// Ends what streams have left, so that the next measurement has the machine for itself.
pub(super) fn end_streams(contender: &Contender) -> Result<()> {
    contender.load().control().forget()?;
    thread::sleep(SETTLE);
    Ok(())
}

fn sample(
    contender: &mut Contender,
    streams: u32,
    direction: Direction,
    duration: Duration,
) -> Result<Vec<f64>> {
    let line = contender.load().bulk(streams, direction, duration);
    let mut moments = Vec::new();
    contender.watch(&line, |gateway, load, printed| {
        let mut words = printed.split_whitespace();
        if matches!(words.next(), Some("begin" | "end")) {
            let down = numbers(words)?;
            moments.push(Moment::now(gateway, load.control(), down)?);
        }
        Ok(())
    })?;
    let [begin, end] = moments.as_slice() else {
        bail!("the load said {} moments, not two", moments.len());
    };
    let shares = shares(begin, end, streams as usize, direction);
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

impl Moment {
    fn now(gateway: &Gateway, server: &Control, down: Vec<u64>) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            up: server.counts().context("what has arrived at the server")?,
            gateway_seconds: gateway.cpu_seconds()?,
            machine_seconds: machine_seconds()?,
            down,
        })
    }
}

/// What each stream brought within the window, in each direction that was loaded. One that never arrived brought nothing.
fn shares(begin: &Moment, end: &Moment, streams: usize, direction: Direction) -> Vec<f64> {
    let brought = |begin: &[u64], end: &[u64]| -> Vec<f64> {
        let at = |counts: &[u64], stream: usize| counts.get(stream).copied().unwrap_or_default();
        let difference = |stream| at(end, stream).saturating_sub(at(begin, stream)) as f64;
        (0..streams).map(difference).collect()
    };
    let up = || brought(&begin.up, &end.up);
    let down = || brought(&begin.down, &end.down);
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
            at: Instant::now(),
            gateway_seconds: 0.0,
            machine_seconds: 0.0,
            up: up.to_vec(),
            down: down.to_vec(),
        };
        let (begin, end) = (moment(&[1], &[10, 10]), moment(&[4, 5], &[30, 10]));
        let brought = |direction| shares(&begin, &end, 3, direction);
        assert_eq!(brought(Direction::Up), [3.0, 5.0, 0.0]);
        assert_eq!(brought(Direction::Down), [20.0, 0.0, 0.0]);
        assert_eq!(brought(Direction::Both), [3.0, 5.0, 0.0, 20.0, 0.0, 0.0]);
    }
}
