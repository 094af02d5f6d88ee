//! The limits that every worker's stack starts with.

use std::io;
use std::ops::RangeInclusive;

use tidegate_netstack::StackConfig;
use tidegate_platform::random;
use tidegate_platform::tun::TunCaps;

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
