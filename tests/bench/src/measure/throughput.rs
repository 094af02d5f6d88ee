//! Throughput and what it cost the gateway, by iperf3.

use anyhow::{Context, Result};
use serde_json::Value;
use tidegate_lab::address;

use super::{Against, Column, Direction};
use crate::contender::Contender;

/// 10^9 bits a second that arrived; the gateway's processor time for 10^9 bytes of them.
pub(super) const COLUMNS: &[Column] = &[
    Column {
        title: "Gbit/s",
        key: "gbit_per_s",
        against: Against::LinkAndPeer,
    },
    Column {
        title: "gateway CPU s/GB",
        key: "gateway_cpu_s_per_gb",
        against: Against::Peer,
    },
];

pub(super) fn measure(
    contender: &mut Contender,
    streams: u32,
    direction: Direction,
    seconds: u32,
) -> Result<Vec<f64>> {
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
    let gigabits = figure("bits_per_second")? / 1e9;
    Ok(vec![gigabits, spent / (figure("bytes")? / 1e9)])
}
