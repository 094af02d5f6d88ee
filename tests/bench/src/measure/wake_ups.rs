//! How often an idle gateway wakes up.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::{Against, Better, Column};
use crate::contender::Contender;

const IDLE: Duration = Duration::from_secs(20);

pub(super) const COLUMNS: &[Column] = &[Column {
    title: "wake-ups in 20 s",
    key: "wake_ups_in_20_s",
    better: Better::Less,
    against: Against::Peer,
}];

pub(super) fn measure(contender: &Contender) -> Result<Vec<f64>> {
    let before = contender.gateway().wake_ups()?;
    thread::sleep(IDLE);
    Ok(vec![contender.gateway().wake_ups()? - before])
}
