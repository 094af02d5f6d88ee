//! New UDP flows wait in line, each program's in one of its own, and a few are taken up at a time.
//!
//! To look a flow up, judge it and open its socket takes a hundred times as long as to pass a datagram on. A program that
//! speaks to thousands of peers at once would keep all others waiting for as long, so a turn of the worker takes up only so
//! many new flows, of each program in turn, and its old flows go on between. What such a program has in line is bounded.

use std::collections::VecDeque;
use std::time::Instant;

use rustc_hash::FxHashMap;
use tidegate_netstack::{FlowId, LocalAddr};

use super::Worker;
use super::entry::Path;
use super::udp::Shape;

/// New flows that are taken up before the device and the sockets have their turn again.
const TURN: usize = 8;
/// Of the flows that may wait, the part that is for one line alone: one of so many.
const SHARE: usize = 4;
/// Why a datagram is thrown away; its name in counters.
const TOO_MANY: &str = "too many new flows of one program";

/// Whose line a flow waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Line {
    /// The kernel noted which process sent.
    Process(u32),
    /// It did not: a socket may be told from others, a program not.
    Socket(LocalAddr),
}

/// The lines.
#[derive(Debug)]
pub(super) struct Newcomers<F = FlowId> {
    lines: FxHashMap<Line, VecDeque<F>>,
    /// Each line that is not empty, once.
    turns: VecDeque<Line>,
    waiting: usize,
    most: usize,
    /// How many more may be taken up in this turn.
    left: usize,
}

impl<F> Newcomers<F> {
    /// At most so many wait.
    pub(super) fn new(most: usize) -> Self {
        Self {
            lines: FxHashMap::default(),
            turns: VecDeque::new(),
            waiting: 0,
            most,
            left: TURN,
        }
    }

    /// Whether flows wait.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// A new flow that nobody is in front of need not wait.
    fn goes_at_once(&mut self) -> bool {
        let at_once = self.is_empty() && self.left > 0;
        self.left -= usize::from(at_once);
        at_once
    }

    /// Puts a flow at the end of a line; false if the line, or all of them together, are full.
    fn join(&mut self, line: Line, flow: F) -> bool {
        let waiting = self.lines.get(&line).map_or(0, VecDeque::len);
        if self.waiting >= self.most || waiting >= (self.most / SHARE).max(1) {
            return false;
        }
        if waiting == 0 {
            self.turns.push_back(line);
        }
        self.lines.entry(line).or_default().push_back(flow);
        self.waiting += 1;
        true
    }

    /// The next flow of this turn, of each line in turn.
    fn next(&mut self) -> Option<F> {
        self.left = self.left.checked_sub(1)?;
        let line = self.turns.pop_front()?;
        let flows = self.lines.get_mut(&line)?;
        let flow = flows.pop_front();
        self.waiting -= 1;
        if flows.is_empty() {
            self.lines.remove(&line);
        } else {
            self.turns.push_back(line);
        }
        flow
    }
}

impl Worker {
    /// A datagram, or several, began a flow.
    pub(super) fn begin_udp(&mut self, now: Instant, flow: FlowId, payload: &[u8], shape: Shape) {
        if self.newcomers.goes_at_once() {
            self.begin(now, flow, Path::udp());
            return self.datagram_from_program(flow, payload, shape);
        }
        let Some(key) = self.stack.key(flow) else {
            return;
        };
        if self.newcomers.join(self.identify.line_of(&key), flow) {
            self.note_begun(flow, Path::udp());
            self.datagram_from_program(flow, payload, shape);
        } else {
            self.stack.forget(flow);
            self.shared.counters.packets_dropped.add(TOO_MANY);
        }
    }

    /// Takes up some of the flows that wait. One that has ended meanwhile is nobody's.
    pub(super) fn take_newcomers(&mut self, now: Instant) {
        while let Some(flow) = self.newcomers.next() {
            self.drive(now, flow);
        }
        self.newcomers.left = TURN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flows(newcomers: &mut Newcomers<u32>, count: usize) -> Vec<u32> {
        newcomers.left = count;
        std::iter::from_fn(|| newcomers.next()).collect()
    }

    #[test]
    fn lines_take_turns_and_keep_their_order() {
        let mut newcomers = Newcomers::new(100);
        for flow in 0..5 {
            assert!(newcomers.join(Line::Process(1), flow));
        }
        assert!(newcomers.join(Line::Process(2), 10));
        let taken = flows(&mut newcomers, 3);
        assert_eq!(taken, [0, 10, 1]);
        assert_eq!(flows(&mut newcomers, 9), [2, 3, 4]);
        assert!(newcomers.is_empty() && newcomers.lines.is_empty() && newcomers.turns.is_empty());
    }

    #[test]
    fn a_full_line_leaves_room_in_others_until_all_is_full() {
        let mut newcomers = Newcomers::new(8);
        let mut join = |line, flow| newcomers.join(Line::Process(line), flow);
        assert!(join(1, 0) && join(1, 1) && !join(1, 2));
        for line in 2..5 {
            assert!(join(line, 3) && join(line, 4));
        }
        assert!(!join(5, 5));
    }

    #[test]
    fn who_comes_alone_does_not_wait_and_who_comes_behind_others_does() {
        let mut newcomers = Newcomers::<u32>::new(100);
        assert!((0..TURN).all(|_| newcomers.goes_at_once()));
        assert!(!newcomers.goes_at_once());
        newcomers.join(Line::Process(1), 1);
        newcomers.left = TURN;
        assert!(!newcomers.goes_at_once());
        assert_eq!(flows(&mut newcomers, TURN).len(), 1);
    }
}
