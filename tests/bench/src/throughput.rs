//! One measurement of throughput and of what it cost the gateway, by iperf3.

use std::fmt;

use anyhow::{Context, Result};
use serde_json::Value;
use tidegate_lab::address;

use crate::contender::Contender;

/// Whither the data goes, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    Up,
    Down,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    pub(crate) streams: u32,
    pub(crate) direction: Direction,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Up => "up",
            Direction::Down => "down",
        };
        write!(f, "{} {direction}", self.streams)
    }
}

/// What one measurement gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// 10^9 bits a second that arrived.
    pub(crate) gigabits: f64,
    /// Seconds of processor time of the gateway for 10^9 bytes that arrived.
    pub(crate) seconds_per_gigabyte: f64,
}

pub(crate) fn measure(contender: &mut Contender, cell: Cell, seconds: u32) -> Result<Sample> {
    let Cell { streams, direction } = cell;
    let reverse = match direction {
        Direction::Up => "",
        Direction::Down => "--reverse",
    };
    let line = format!(
        "iperf3 --json --client {} --time {seconds} --parallel {streams} {reverse}",
        address::SERVER_V4
    );
    let before = contender.gateway_seconds()?;
    let printed = contender.run(&line)?;
    let spent = contender.gateway_seconds()? - before;
    let result: Value = serde_json::from_str(&printed).context("iperf3 did not print JSON")?;
    let received = &result["end"]["sum_received"];
    let figure = |name: &str| {
        received[name]
            .as_f64()
            .with_context(|| format!("iperf3 said no {name}: {printed}"))
    };
    let sample = Sample {
        gigabits: figure("bits_per_second")? / 1e9,
        seconds_per_gigabyte: spent / (figure("bytes")? / 1e9),
    };
    Ok(sample)
}
