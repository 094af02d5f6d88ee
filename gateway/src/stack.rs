//! The limits that every worker's stack starts with.

use std::io;
use std::ops::RangeInclusive;

use tidegate_netstack::StackConfig;
use tidegate_platform::tun::TunCaps;
use tidegate_platform::{limits, random};

/// Limits for a device with this MTU and these offloads. `ephemeral_ports`: see [`StackConfig`].
///
/// # Errors
/// The system gives no random numbers.
pub fn config(
    mtu: u16,
    caps: TunCaps,
    ephemeral_ports: Option<RangeInclusive<u16>>,
) -> io::Result<StackConfig> {
    Ok(StackConfig {
        mtu,
        segmentation_offload: caps.tso,
        ephemeral_ports,
        seed: random::seed()?,
        ..StackConfig::default()
    })
}

/// Prepares this process for many flows: each takes a descriptor and two large buffers.
pub fn prepare_process() {
    limits::keep_large_buffers_apart();
    match limits::raise_open_files() {
        Ok(most) => tracing::debug!(most, "open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
}
