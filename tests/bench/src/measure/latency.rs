//! How long an answer takes: one small question at a time on one connection.

use anyhow::Result;

use super::{Against, Better, Column};
use crate::contender::Contender;

const SECONDS: u32 = 1;

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

pub(super) fn measure(contender: &mut Contender) -> Result<Vec<f64>> {
    let line = contender.load().ask(SECONDS);
    let [median, tail] = contender.figures(&line)?;
    Ok(vec![median, tail])
}
