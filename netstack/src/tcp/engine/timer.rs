//! The one deadline of a connection, and what it is for.

use std::time::{Duration, Instant};

use super::{Due, Engine, Probe, State};
use crate::tcp::sequence::ahead;

/// Shortest wait for a tail probe. Much longer than an answer takes within a host, and it is not to compete with packets that
/// wait in the device's queue.
const SHORTEST_PROBE: Duration = Duration::from_millis(20);

/// Longest wait for a program's window: what tells of it may have got lost.
const LONGEST_WINDOW_PROBE: Duration = Duration::from_secs(5);

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// Something is taken for lost (RFC 6298).
    Retransmission,
    /// The end of what is under way may be lost (RFC 8985 section 7).
    TailProbe,
    /// The program's window may have opened without our hearing of it.
    WindowProbe,
}

impl Engine {
    /// When to call [`transmit`](Self::transmit) again if nothing else happens.
    pub(crate) fn next_poll(&self) -> Option<Instant> {
        self.timer.map(|(_, at)| at)
    }

    /// Sets the deadline of what is under way anew: something of it arrived, or was found to be lost.
    pub(super) fn restart_timer(&mut self, now: Instant) {
        self.timer = None;
        if self.snd_una == self.snd_nxt {
            return;
        }
        let timeout = self.rtt.timeout();
        self.timer = match self.rtt.smoothed().filter(|_| self.may_probe()) {
            Some(smoothed) => {
                let wait = (2 * smoothed).max(SHORTEST_PROBE).min(timeout);
                Some((Timer::TailProbe, now + wait))
            }
            None => Some((Timer::Retransmission, now + timeout)),
        };
    }

    /// Something is sent: the deadline runs from now, if it did not yet.
    pub(super) fn start_timer(&mut self, now: Instant) {
        match self.timer {
            Some((Timer::TailProbe, _)) => {}
            Some((Timer::Retransmission, _)) if !self.may_probe() => {}
            Some((Timer::Retransmission | Timer::WindowProbe, _)) | None => self.restart_timer(now),
        }
    }

    /// Whether the tail of what is under way may be probed for. Not if it is a lone segment: that may wait for a delayed
    /// acknowledgement, which takes as long as the time-out.
    fn may_probe(&self) -> bool {
        let is_several = self.flight().len() > u32::from(self.mss.get());
        is_several && self.recovery.is_open() && !self.recovery.has_probed()
    }

    /// Nothing is under way, and what waits does not fit the program's window: asks for it later.
    pub(super) fn wait_for_window(&mut self, now: Instant) {
        let waits = self.snd_una == self.snd_nxt && ahead(self.snd_nxt, self.snd_end()) > 0;
        if waits && self.timer.is_none() {
            let wait = self.rtt.timeout().min(LONGEST_WINDOW_PROBE);
            self.timer = Some((Timer::WindowProbe, now + wait));
        }
    }

    /// Lets the deadline pass, if it has.
    pub(super) fn handle_deadline(&mut self, now: Instant) {
        let Some((timer, _)) = self.timer.filter(|(_, at)| *at <= now) else {
            return;
        };
        self.timer = None;
        match timer {
            Timer::Retransmission => {
                self.rtt.back_off();
                if self.state == State::SynReceived {
                    self.syn_ack = Due::Now;
                } else {
                    self.congestion.timed_out(self.flight().len());
                    self.recovery.timed_out(self.flight(), self.sack);
                }
                self.timer = Some((Timer::Retransmission, now + self.rtt.timeout()));
            }
            Timer::TailProbe => {
                self.probe = Probe::Tail;
                self.recovery.probed(self.snd_nxt);
                self.timer = Some((Timer::Retransmission, now + self.rtt.timeout()));
            }
            Timer::WindowProbe => {
                self.rtt.back_off();
                self.probe = Probe::Window;
            }
        }
    }
}
