//! How long an answer takes: one small question at a time, alone on processors that are awake, or beside a stream
//! that takes all it can.

use std::time::Duration;

use anyhow::Result;

use super::moments::end_load;
use super::{Against, Beside, Better, Cell, Column, Direction};
use crate::contender::Contender;
use crate::load::Protocol;

/// Longer than the questions: the stream is ended before.
const STREAM: Duration = Duration::from_secs(60);

pub(super) const COLUMNS: &[Column] = &[
    Column {
        title: "p50 us",
        key: "p50_us",
        better: Better::Less,
        against: Against::AddedByPeer,
    },
    Column {
        title: "p99 us",
        key: "p99_us",
        better: Better::Less,
        against: Against::LinkAndPeer,
    },
];

pub(super) fn cells() -> Vec<Cell> {
    let besides = [Beside::Nothing, Beside::Stream].into_iter();
    let cells = besides.flat_map(|beside| {
        let protocols = [Protocol::Tcp, Protocol::Udp];
        protocols.map(|protocol| Cell::Latency { protocol, beside })
    });
    cells.collect()
}

pub(super) fn measure(
    contender: &mut Contender,
    protocol: Protocol,
    beside: Beside,
    duration: Duration,
) -> Result<Vec<f64>> {
    let questions = contender.load().ask(protocol, duration);
    match beside {
        Beside::Nothing => {
            let _awake = contender.load().keep_awake()?;
            Ok(contender.figures::<2>(&questions)?.to_vec())
        }
        Beside::Stream => {
            let stream = contender.load().bulk(1, Direction::Down, STREAM);
            contender.start_beside(&stream, "begin")?;
            let figures = contender.figures::<2>(&questions);
            contender.end_beside()?;
            end_load(contender)?;
            Ok(figures?.to_vec())
        }
    }
}
