//! The end of a worker.
//!
//! A command may end with its last words still on their way: a datagram in the device's queue, a FIN behind bytes that
//! upstream has not taken. A kernel delivers them all the same, so they go out first. Then every flow is closed.

use std::io;
use std::time::{Duration, Instant};

use mio::Events;
use tidegate_netstack::FlowId;

use super::Worker;
use super::entry::{Entry, Path};

/// A flow that has moved nothing for so long has said its last words, or belongs to a process that outlives the command.
const QUIET: Duration = Duration::from_secs(1);

impl Worker {
    /// Serves on until nothing that programs sent waits here, nothing moves any more, or `linger` has passed.
    pub(super) fn finish(&mut self, events: &mut Events, packet: &mut [u8]) -> io::Result<()> {
        self.forget_older();
        let mut moved = Instant::now();
        let latest = moved + self.linger;
        loop {
            // The wish to end was heard: what is left are answers of the look-up thread.
            while self.read_inbox(Instant::now()).is_break() {}
            if self.tun_readable || !self.turns.is_empty() || !self.newcomers.is_empty() {
                moved = Instant::now();
            }
            self.turn(packet)?;
            let now = Instant::now();
            let end = latest.min(moved + QUIET);
            let is_owed = self.tun_readable || self.flows.values().any(Entry::is_owed);
            if now >= end || !is_owed {
                break;
            }
            let left = end.saturating_duration_since(now);
            let timeout = self.timeout(now).map_or(left, |timeout| timeout.min(left));
            let _ = self.wait(events, Some(timeout))?;
        }
        Ok(())
    }

    /// Ends every flow: those whose program has said all it had to say in good order, the others by reset.
    pub(super) fn close_all(&mut self, now: Instant) {
        let mut flows: Vec<FlowId> = self.flows.keys().copied().collect();
        flows.sort_unstable();
        for flow in flows {
            let has_finished = self
                .flows
                .get(&flow)
                .is_some_and(|entry| match &entry.path {
                    Path::Tcp(path) => path.is_finished_upward(),
                    Path::Udp(_) | Path::Echo(_) | Path::Pass(_) => false,
                });
            if has_finished {
                self.end(flow, "finished by program");
            } else {
                self.cut(now, flow);
            }
        }
        self.transmit(now);
    }
}

impl Entry {
    /// Whether something that the program sent may still wait here.
    fn is_owed(&self) -> bool {
        match &self.path {
            Path::Tcp(path) => path.is_open_upward(),
            Path::Udp(path) => path.is_waiting(),
            Path::Echo(_) | Path::Pass(_) => false,
        }
    }
}
