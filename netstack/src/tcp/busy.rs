//! How many flows are busy, and what window each of them may have of the device's queue.
//!
//! What programs were promised waits in the device's queue before we read it. That queue drops what is too much and tells
//! nobody, and a drop costs a flow up to a fifth of a second. So busy flows share what the queue holds; idle ones take no
//! part.

use std::time::{Duration, Instant};

/// A flow is busy that began, or moved [`MUCH`], within one of the last two of these.
const ROUND: Duration = Duration::from_millis(100);
/// Bytes of a round from which on a flow counts. Who moves less needs no share; a thousand connections of one program that
/// send a byte each would take everybody's.
const MUCH: usize = 16 << 10;

/// Counts busy flows.
#[derive(Debug)]
pub(crate) struct Busy {
    /// Bytes that may wait in the device's queue.
    queue: usize,
    /// The number of the present round.
    round: u32,
    began: Option<Instant>,
    /// Flows in the present round.
    counted: usize,
    /// Flows in the round before.
    before: usize,
    share: usize,
}

/// What a flow moved in the round in which it last moved anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    round: u32,
    bytes: usize,
}

impl Busy {
    pub(crate) fn new(queue: usize) -> Self {
        Self {
            queue,
            round: 0,
            began: None,
            counted: 0,
            before: 0,
            share: queue,
        }
    }

    /// A flow began.
    pub(crate) fn note_begin(&mut self, now: Instant, pace: &mut Pace) {
        self.note(now, pace, MUCH);
    }

    /// A flow, which has this `pace`, moved `bytes`.
    pub(crate) fn note(&mut self, now: Instant, pace: &mut Pace, bytes: usize) {
        let age = self.began.map(|began| now.saturating_duration_since(began));
        if age.is_none_or(|age| age >= ROUND) {
            let is_next = age.is_some_and(|age| age < 2 * ROUND);
            self.before = if is_next { self.counted } else { 0 };
            self.counted = 0;
            self.round = self.round.wrapping_add(1);
            self.began = Some(now);
            self.set_share();
        }
        if pace.round != self.round {
            *pace = Pace {
                round: self.round,
                bytes: 0,
            };
        }
        let is_new = pace.bytes < MUCH;
        pace.bytes = pace.bytes.saturating_add(bytes);
        if is_new && pace.bytes >= MUCH {
            self.counted += 1;
            self.set_share();
        }
    }

    fn set_share(&mut self) {
        self.share = self.queue / self.counted.max(self.before).max(1);
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
        let mut flows = [Pace::default(); 512];
        assert_eq!(busy.share(), QUEUE);
        for _ in 0..10 {
            for flow in &mut flows {
                busy.note(now, flow, MUCH);
            }
            assert_eq!(busy.share(), QUEUE / 512);
            now += ROUND;
        }
        // One goes on, with the little that it may: it has a round's length to wait, no more.
        busy.note(now, &mut flows[0], 1_000);
        assert_eq!(busy.share(), QUEUE / 512);
        now += ROUND;
        busy.note(now, &mut flows[0], 1_000);
        assert_eq!(busy.share(), QUEUE);
    }

    #[test]
    fn a_flow_counts_once_in_a_round() {
        let mut busy = Busy::new(QUEUE);
        let now = Instant::now();
        let mut flow = Pace::default();
        for _ in 0..100 {
            busy.note(now, &mut flow, MUCH);
        }
        assert_eq!(busy.share(), QUEUE);
    }

    #[test]
    fn flows_that_trickle_take_no_part() {
        let mut busy = Busy::new(QUEUE);
        let now = Instant::now();
        busy.note(now, &mut Pace::default(), MUCH);
        for _ in 0..2_000 {
            let mut flow = Pace::default();
            for _ in 0..10 {
                busy.note(now, &mut flow, 100);
            }
        }
        assert_eq!(busy.share(), QUEUE);
        let mut bulk = Pace::default();
        for _ in 0..MUCH / 1_000 + 1 {
            busy.note(now, &mut bulk, 1_000);
        }
        assert_eq!(busy.share(), QUEUE / 2);
    }

    #[test]
    fn a_long_silence_is_no_round() {
        let mut busy = Busy::new(QUEUE);
        let now = Instant::now();
        let mut flows = [Pace::default(); 8];
        for flow in &mut flows {
            busy.note(now, flow, MUCH);
        }
        busy.note(now + 5 * ROUND, &mut flows[0], MUCH);
        assert_eq!(busy.share(), QUEUE);
    }
}
