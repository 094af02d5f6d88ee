//! New connections: how many a second, and what each costs the gateway. The server closes first.

use anyhow::Result;

use super::{Against, Better, Column};
use crate::contender::Contender;

/// Connections that are made at a time.
pub(super) const PARALLEL: [u32; 2] = [1, 16];
const SECONDS: u32 = 1;

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
];

pub(super) fn measure(contender: &mut Contender, parallel: u32) -> Result<Vec<f64>> {
    let line = contender.load().connect(parallel, SECONDS);
    let before = contender.gateway().cpu_seconds()?;
    let [made, seconds] = contender.figures(&line)?;
    let spent = contender.gateway().cpu_seconds()? - before;
    Ok(vec![made / seconds, spent / made * 1e6])
}
