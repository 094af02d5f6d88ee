//! Resident memory of the gateway, idle and with idle flows.
//!
//! A flow moves a few bytes both ways before it idles, or as much as a page load: what its buffers hold on to after that
//! is part of what it costs. The kernel's memory for sockets is not in it.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::{Against, Better, Cell, Column};
use crate::contender::Contender;
use crate::options::Extent;

/// Bytes that a flow moves each way before it idles.
const FEW: u32 = 64;
const MANY: u32 = 64 << 10;
/// Until the flows have gone.
const SETTLE: Duration = Duration::from_secs(1);

pub(super) const COLUMNS: &[Column] = &[
    Column {
        title: "MB before",
        key: "idle_mb",
        better: Better::Less,
        against: Against::Peer,
    },
    Column {
        title: "KB a flow",
        key: "kb_per_flow",
        better: Better::Less,
        against: Against::Peer,
    },
];

pub(super) fn cells(extent: Extent) -> Vec<Cell> {
    let mut cells = vec![
        Cell::Memory {
            flows: 1_000,
            moved: FEW,
        },
        Cell::Memory {
            flows: 1_000,
            moved: MANY,
        },
    ];
    if extent == Extent::Full {
        cells.push(Cell::Memory {
            flows: 10_000,
            moved: FEW,
        });
    }
    cells
}

pub(super) fn measure(contender: &mut Contender, flows: u32, moved: u32) -> Result<Vec<f64>> {
    let before = contender.gateway().resident_bytes()?;
    let line = contender.load().hold(flows, moved);
    contender.start_beside(&line, "ready")?;
    let after = contender.gateway().resident_bytes()?;
    contender.end_beside()?;
    thread::sleep(SETTLE);
    Ok(vec![
        before / 1e6,
        (after - before) / 1e3 / f64::from(flows),
    ])
}
