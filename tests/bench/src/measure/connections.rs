//! New connections: how many a second, what each costs the gateway, and how long the slowest took.
//!
//! One that waits for a lost packet takes a second.

use std::time::Duration;

use anyhow::Result;

use super::{Against, Better, Cell, Column};
use crate::contender::Contender;
use crate::load::Closer;

/// Connections that are made at a time.
const PARALLEL: [u32; 3] = [1, 16, 256];

pub(super) const COLUMNS: &[Column] = &[
    Column {
        title: "connections/s",
        key: "connections_per_s",
        better: Better::More,
        against: Against::LinkAndPeer,
    },
    Column {
        title: "gateway CPU us each",
        key: "gateway_cpu_us_per_connection",
        better: Better::Less,
        against: Against::Peer,
    },
    Column {
        title: "slowest ms",
        key: "slowest_ms",
        better: Better::Less,
        against: Against::LinkAndPeer,
    },
];

pub(super) fn cells() -> Vec<Cell> {
    let closers = [Closer::Server, Closer::Client].into_iter();
    let many =
        closers.flat_map(|closer| PARALLEL.map(|parallel| Cell::Connections { parallel, closer }));
    let one_port = Cell::Connections {
        parallel: 1,
        closer: Closer::ServerOfOnePort,
    };
    many.chain([one_port]).collect()
}

pub(super) fn measure(
    contender: &mut Contender,
    parallel: u32,
    closer: Closer,
    duration: Duration,
) -> Result<Vec<f64>> {
    let line = contender.load().connect(closer, parallel, duration);
    let before = contender.gateway().cpu_seconds()?;
    let [made, seconds, slowest] = contender.figures(&line)?;
    let spent = contender.gateway().cpu_seconds()? - before;
    Ok(vec![made / seconds, spent / made * 1e6, slowest * 1e3])
}
