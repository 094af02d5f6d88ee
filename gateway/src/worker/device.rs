//! Packets out of the device and into it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tidegate_netstack::{DropReason, Offload};
use tidegate_platform::tun::Tun;

use super::{Worker, count};
use crate::shared::{Shared, WorkerGauges};

/// Packets taken from the device before upstream sockets get their turn.
const BATCH: usize = 64;
/// Bytes of such, for what programs send goes upstream at once: who waits for something else must not wait for four megabytes.
const BATCH_BYTES: usize = 256 << 10;

impl Worker {
    pub(super) fn receive(&mut self, now: Instant, buffer: &mut [u8]) -> io::Result<()> {
        let mut left = BATCH_BYTES;
        for _ in 0..BATCH {
            if !self.tun_readable || left == 0 {
                break;
            }
            match self.tun.read(buffer) {
                Ok((len, offload)) => {
                    add(&self.gauges.packets_in, 1);
                    add(&self.gauges.bytes_in, count(len));
                    left = left.saturating_sub(len);
                    let packet = buffer.get(..len).unwrap_or_default();
                    if let Some(dump) = &self.packet_dump {
                        dump.note(&[packet]);
                    }
                    self.take(now, packet, offload);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.tun_readable = false
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The packet is gone, the next one is as good as any.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::trace!(%error, "the device gave a packet that means nothing");
                    self.drop_packet(DropReason::Malformed);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn transmit(&mut self, now: Instant) {
        while let Some(transmit) = self.stack.poll_transmit(now) {
            let parts = transmit.parts();
            if let Some(dump) = &self.packet_dump {
                dump.note(&parts);
            }
            write(
                &self.tun,
                &self.gauges,
                &self.shared,
                &parts,
                transmit.offload(),
            );
        }
    }

    /// Puts one packet into the device.
    pub(super) fn write(&self, parts: &[&[u8]], offload: Offload) {
        if let Some(dump) = &self.packet_dump {
            dump.note(parts);
        }
        write(&self.tun, &self.gauges, &self.shared, parts, offload);
    }

    pub(super) fn drop_packet(&self, reason: DropReason) {
        self.shared.counters.packets_dropped.add(reason.name());
    }
}

fn write(tun: &Tun, gauges: &WorkerGauges, shared: &Shared, parts: &[&[u8]], offload: Offload) {
    match tun.write(parts, offload) {
        Ok(()) => {
            add(&gauges.packets_out, 1);
            add(
                &gauges.bytes_out,
                count(parts.iter().map(|part| part.len()).sum()),
            );
        }
        Err(error) => {
            tracing::trace!(%error, "the device refused a packet");
            shared.counters.packets_dropped.add("refused by the device");
        }
    }
}

/// Only this thread writes the gauge, so it needs no locked instruction.
fn add(gauge: &AtomicU64, n: u64) {
    gauge.store(gauge.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}
