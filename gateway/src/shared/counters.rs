//! Figures: counted where things happen, read by `tidegate status`.
//!
//! Each worker writes gauges of its own, so that no two share a cache line per packet; the totals are summed when asked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tidegate_policy::Verdict;

use super::lock;

/// Figures of the whole gateway.
#[derive(Debug, Default)]
pub struct Counters {
    opened: AtomicU64,
    blocked: AtomicU64,
    dropped: AtomicU64,
    evicted: AtomicU64,
    /// Flows whose program is unknown, by reason.
    pub unattributed: Reasons,
    /// Upstream connections that failed, by kind.
    pub dial_failures: Reasons,
    /// Flows about which nobody could be asked, by reason.
    pub unasked: Reasons,
    /// Packets thrown away outside the stacks of the workers, by reason.
    pub packets_dropped: Reasons,
    /// Flows that went past the capture, by way.
    pub uncaptured: Reasons,
    unexamined: AtomicU64,
    workers: Mutex<Vec<Arc<WorkerGauges>>>,
}

/// Figures of one worker; only that worker writes them.
#[derive(Debug, Default)]
pub struct WorkerGauges {
    /// Packets read from the device; a super-packet counts once.
    pub packets_in: AtomicU64,
    /// Packets written to the device.
    pub packets_out: AtomicU64,
    /// Bytes read from the device.
    pub bytes_in: AtomicU64,
    /// Bytes written to the device.
    pub bytes_out: AtomicU64,
    /// Live flows.
    pub flows: AtomicU64,
    /// TCP flows that wait for a verdict or their upstream connection.
    pub half_open: AtomicU64,
    /// TIME-WAIT records.
    pub time_wait: AtomicU64,
    /// Bytes of TCP buffers in use.
    pub buffer_bytes: AtomicU64,
    /// Packets that the worker's stack threw away, by reason.
    pub packets_dropped: Reasons,
}

/// A count for each of a few reasons. For what is rare: it takes a lock.
#[derive(Debug, Default)]
pub struct Reasons(Mutex<BTreeMap<&'static str, u64>>);

impl Counters {
    /// A flow began.
    pub fn count_opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// A quiet flow gave its room to a new one.
    pub fn count_evicted(&self) {
        self.evicted.fetch_add(1, Ordering::Relaxed);
    }

    /// A flow was judged.
    pub fn count_verdict(&self, verdict: Verdict) {
        match verdict {
            Verdict::Allow | Verdict::Ask => return,
            Verdict::Block => &self.blocked,
            Verdict::Drop => &self.dropped,
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    /// Flows that were not let through.
    pub fn refused(&self) -> u64 {
        [&self.blocked, &self.dropped]
            .map(|count| count.load(Ordering::Relaxed))
            .iter()
            .sum()
    }

    /// So many packets went past the capture and were not looked at.
    pub fn count_unexamined(&self, packets: u64) {
        self.unexamined.fetch_add(packets, Ordering::Relaxed);
    }

    /// Gauges for one more worker.
    pub fn add_worker(&self) -> Arc<WorkerGauges> {
        let gauges = Arc::new(WorkerGauges::default());
        lock(&self.workers).push(Arc::clone(&gauges));
        gauges
    }

    /// All figures as they are now.
    pub fn snapshot(&self) -> CountersSnapshot {
        let workers: Vec<_> = lock(&self.workers)
            .iter()
            .map(|gauges| gauges.snapshot())
            .collect();
        let mut packets_dropped = self.packets_dropped.snapshot();
        for worker in &workers {
            for (reason, count) in &worker.packets_dropped {
                *packets_dropped.entry(reason.clone()).or_default() += count;
            }
        }
        CountersSnapshot {
            packets_in: workers.iter().map(|worker| worker.packets_in).sum(),
            packets_out: workers.iter().map(|worker| worker.packets_out).sum(),
            bytes_in: workers.iter().map(|worker| worker.bytes_in).sum(),
            bytes_out: workers.iter().map(|worker| worker.bytes_out).sum(),
            flows_opened: self.opened.load(Ordering::Relaxed),
            flows_blocked: self.blocked.load(Ordering::Relaxed),
            flows_dropped: self.dropped.load(Ordering::Relaxed),
            flows_evicted: self.evicted.load(Ordering::Relaxed),
            packets_dropped,
            unattributed: self.unattributed.snapshot(),
            dial_failures: self.dial_failures.snapshot(),
            unasked: self.unasked.snapshot(),
            uncaptured: self.uncaptured.snapshot(),
            packets_unexamined: self.unexamined.load(Ordering::Relaxed),
            workers,
        }
    }
}

impl WorkerGauges {
    fn snapshot(&self) -> WorkerSnapshot {
        let read = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
        WorkerSnapshot {
            packets_in: read(&self.packets_in),
            packets_out: read(&self.packets_out),
            bytes_in: read(&self.bytes_in),
            bytes_out: read(&self.bytes_out),
            flows: read(&self.flows),
            half_open: read(&self.half_open),
            time_wait: read(&self.time_wait),
            buffer_bytes: read(&self.buffer_bytes),
            packets_dropped: self.packets_dropped.snapshot(),
        }
    }
}

impl Reasons {
    /// Counts one.
    pub fn add(&self, reason: &'static str) {
        *lock(&self.0).entry(reason).or_default() += 1;
    }

    /// Replaces the count of a reason by a figure that was counted elsewhere.
    pub fn set(&self, reason: &'static str, count: u64) {
        lock(&self.0).insert(reason, count);
    }

    fn snapshot(&self) -> BTreeMap<String, u64> {
        lock(&self.0)
            .iter()
            .map(|(reason, count)| ((*reason).to_owned(), *count))
            .collect()
    }
}

/// [`Counters`] at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountersSnapshot {
    /// Packets read from the device by all workers.
    pub packets_in: u64,
    /// Packets written to the device.
    pub packets_out: u64,
    /// Bytes read from the device.
    pub bytes_in: u64,
    /// Bytes written to the device.
    pub bytes_out: u64,
    /// Flows since the start.
    pub flows_opened: u64,
    /// Of them, refused by `block`.
    pub flows_blocked: u64,
    /// Of them, silenced by `drop`.
    pub flows_dropped: u64,
    /// Quiet flows that gave their room to new ones.
    #[serde(default)]
    pub flows_evicted: u64,
    /// Packets thrown away, by reason.
    pub packets_dropped: BTreeMap<String, u64>,
    /// Flows whose program is unknown, by reason.
    pub unattributed: BTreeMap<String, u64>,
    /// Upstream connections that failed, by kind.
    pub dial_failures: BTreeMap<String, u64>,
    /// Flows about which nobody could be asked, by reason.
    #[serde(default)]
    pub unasked: BTreeMap<String, u64>,
    /// Flows that went past the capture, by way.
    #[serde(default)]
    pub uncaptured: BTreeMap<String, u64>,
    /// Packets that went past the capture, too many to look at each.
    #[serde(default)]
    pub packets_unexamined: u64,
    /// The figures of each worker.
    pub workers: Vec<WorkerSnapshot>,
}

/// [`WorkerGauges`] at one moment; the fields mean the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSnapshot {
    /// Packets read from the device.
    pub packets_in: u64,
    /// Packets written to the device.
    pub packets_out: u64,
    /// Bytes read from the device.
    pub bytes_in: u64,
    /// Bytes written to the device.
    pub bytes_out: u64,
    /// Live flows.
    pub flows: u64,
    /// TCP flows that wait for a verdict or their upstream connection.
    pub half_open: u64,
    /// TIME-WAIT records.
    pub time_wait: u64,
    /// Bytes of TCP buffers in use.
    pub buffer_bytes: u64,
    /// Packets that the worker's stack threw away, by reason.
    pub packets_dropped: BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_the_sum_of_the_workers_and_the_rest() {
        let counters = Counters::default();
        for packets in [3, 4] {
            let gauges = counters.add_worker();
            gauges.packets_in.store(packets, Ordering::Relaxed);
            gauges.packets_dropped.set("truncated", packets);
        }
        counters.packets_dropped.add("truncated");
        counters.count_verdict(Verdict::Allow);
        counters.count_verdict(Verdict::Block);

        let snapshot = counters.snapshot();
        assert_eq!(snapshot.packets_in, 7);
        assert_eq!(
            snapshot.packets_dropped,
            BTreeMap::from([("truncated".to_owned(), 8)])
        );
        assert_eq!((snapshot.flows_blocked, snapshot.flows_dropped), (1, 0));
        assert_eq!(snapshot.workers.len(), 2);
    }
}
