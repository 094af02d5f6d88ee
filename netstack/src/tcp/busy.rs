//! How many flows are busy, and what window each of them may have of the device's queue.
//!
//! What programs were promised waits in the device's queue before we read it. That queue drops what is too much and tells
//! nobody, and a drop costs a flow up to a fifth of a second. So busy flows share what the queue holds; idle ones take no
//! part.

use std::time::{Duration, Instant};

/// A flow is busy that began or sent something within one of the last two of these.
const ROUND: Duration = Duration::from_millis(100);

/// Counts busy flows.
#[derive(Debug)]
pub(crate) struct Busy {
    /// Bytes that may wait in the device's queue.
    queue: usize,
    /// The number of the present round: what flows remember of their last one.
    round: Round,
    began: Option<Instant>,
    /// Flows in the present round.
    counted: usize,
    /// Flows in the round before.
    before: usize,
    share: usize,
}

/// The round in which a flow was last busy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Round(u32);

impl Busy {
    pub(crate) fn new(queue: usize) -> Self {
        Self {
            queue,
            round: Round::default(),
            began: None,
            counted: 0,
            before: 0,
            share: queue,
        }
    }

    /// A flow sent something; `last` is what it remembers.
    pub(crate) fn note(&mut self, now: Instant, last: &mut Round) {
        let age = self.began.map(|began| now.saturating_duration_since(began));
        if age.is_none_or(|age| age >= ROUND) {
            let is_next = age.is_some_and(|age| age < 2 * ROUND);
            self.before = if is_next { self.counted } else { 0 };
            self.counted = 0;
            self.round = Round(self.round.0.wrapping_add(1));
            self.began = Some(now);
        }
        if *last != self.round {
            *last = self.round;
            self.counted += 1;
            self.share = self.queue / self.counted.max(self.before);
        }
    }

    /// The window that a busy flow may have.
    pub(crate) fn share(&self) -> usize {
        self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: usize = 8 << 20;

    #[test]
    fn busy_flows_share_the_queue_and_those_that_fell_silent_do_not() {
        let mut busy = Busy::new(QUEUE);
        let mut now = Instant::now();
        let mut flows = [Round::default(); 512];
        assert_eq!(busy.share(), QUEUE);
        for _ in 0..10 {
            for flow in &mut flows {
                busy.note(now, flow);
            }
            assert_eq!(busy.share(), QUEUE / 512);
            now += ROUND;
        }
        // One goes on: it has a round's length to wait, no more.
        busy.note(now, &mut flows[0]);
        assert_eq!(busy.share(), QUEUE / 512);
        now += ROUND;
        busy.note(now, &mut flows[0]);
        assert_eq!(busy.share(), QUEUE);
    }

    #[test]
    fn a_flow_counts_once_in_a_round() {
        let mut busy = Busy::new(QUEUE);
        let now = Instant::now();
        let mut flow = Round::default();
        for _ in 0..100 {
            busy.note(now, &mut flow);
        }
        assert_eq!(busy.share(), QUEUE);
    }

    #[test]
    fn a_long_silence_is_no_round() {
        let mut busy = Busy::new(QUEUE);
        let now = Instant::now();
        let mut flows = [Round::default(); 8];
        for flow in &mut flows {
            busy.note(now, flow);
        }
        busy.note(now + 5 * ROUND, &mut flows[0]);
        assert_eq!(busy.share(), QUEUE);
    }
}
