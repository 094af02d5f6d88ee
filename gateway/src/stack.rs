//! The limits that every worker's stack starts with.

use std::io;
use std::ops::RangeInclusive;

use tidegate_netstack::StackConfig;
use tidegate_platform::tun::{QUEUE_LENGTH, TunCaps};
use tidegate_platform::{limits, random};

/// What may wait in the device: packets of [`QUEUE_LENGTH`] that hold two segments each, as the kernel makes them at worst.
const DEVICE_QUEUE: usize = 16 << 20;
const _: () = assert!(DEVICE_QUEUE / (2 * 1_460) < QUEUE_LENGTH as usize);

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
        device_queue: DEVICE_QUEUE,
        seed: random::seed()?,
        ..StackConfig::default()
    })
}

/// Of this process's descriptors, the part that is not for upstream sockets, one of so many: what looks for programs, answers
/// on the control socket and reads the configuration again opens files too.
const RESERVE: u64 = 16;
/// At least so many, or half where there are few: what looks for programs keeps nearly three hundred open.
const LEAST_RESERVE: u64 = 512;
/// Upstream sockets that any system allows.
const FEW_SOCKETS: usize = 512;

/// How many upstream UDP sockets of one family each of so many workers may have, where programs have their ports of the same
/// range (`shared`). Half of it is theirs: one that gets no port hears it from its kernel, which asks nobody.
pub fn most_udp(shared: Option<&RangeInclusive<u16>>, workers: usize) -> usize {
    shared.map_or(usize::MAX, |ports| {
        (ports.len() / 2 / workers.max(1)).max(1)
    })
}

/// Prepares this process for many flows: each takes a descriptor and two large buffers. Says how many upstream sockets there
/// may be.
pub fn prepare_process() -> usize {
    limits::keep_large_buffers_apart();
    match limits::raise_open_files() {
        Ok(most) => {
            tracing::debug!(most, "open files");
            usize::try_from(most - reserve(most)).unwrap_or(usize::MAX)
        }
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised");
            FEW_SOCKETS
        }
    }
}

fn reserve(most: u64) -> u64 {
    most.div_ceil(RESERVE)
        .max(LEAST_RESERVE.min(most.div_ceil(2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_left_for_what_is_not_a_flow() {
        let reserves = [0, 1, 256, 1024, 4096, 1 << 20].map(reserve);
        assert_eq!(reserves, [0, 1, 128, 512, 512, 1 << 16]);
    }

    #[test]
    fn whatever_the_number_of_workers_half_of_the_ports_are_left_to_programs() {
        let ports = 32_768..=60_999;
        for workers in 1..=3 {
            let taken = workers * most_udp(Some(&ports), workers);
            assert!((ports.len() / 2 - workers..=ports.len() / 2).contains(&taken));
        }
        assert_eq!(
            most_udp(Some(&(40_000..=40_000)), 2),
            1,
            "none would be a gateway without datagrams"
        );
        assert_eq!(most_udp(None, 2), usize::MAX);
    }
}
