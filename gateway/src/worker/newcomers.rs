//! New UDP flows wait in line, each program's or forwarded host's in one of its own, and a few are taken up at a time.
//!
//! To look a flow up, judge it and open its socket takes a hundred times as long as to pass a datagram on. A program that
//! speaks to thousands of peers at once would keep all others waiting for as long, so a turn of the worker takes up only so
//! many new flows, of each program in turn, and its old flows go on between. What such a program has in line is bounded.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use rustc_hash::FxHashMap;
use tidegate_netstack::{FlowId, LocalAddr, Offload};

use super::Worker;
use super::entry::Path;
use super::udp::Shape;

/// New flows that are taken up before the device and the sockets have their turn again.
const TURN: usize = 8;
/// Of the flows that may wait, the part that is for one line alone: one of so many.
const SHARE: usize = 4;
/// Whose line a flow waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Line {
    /// The kernel noted which process sent.
    Process(u32),
    /// It did not: a socket may be told from others, a program not.
    Socket(LocalAddr),
    /// A container or another host, whose sockets are as many as it likes.
    Host(IpAddr),
}

/// Which line is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    One(Line),
    /// All together.
    All,
}

impl Full {
    /// Why a datagram is thrown away; its name in counters.
    fn name(self) -> &'static str {
        match self {
            Self::One(Line::Process(_) | Line::Socket(_)) => "too many new flows of one program",
            Self::One(Line::Host(_)) => "too many new flows of one host",
            Self::All => "too many new flows",
        }
    }
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

    /// Puts a flow at the end of a line.
    fn join(&mut self, line: Line, flow: F) -> Result<(), Full> {
        let waiting = self.lines.get(&line).map_or(0, VecDeque::len);
        if waiting >= (self.most / SHARE).max(1) {
            return Err(Full::One(line));
        }
        if self.waiting >= self.most {
            return Err(Full::All);
        }
        if waiting == 0 {
            self.turns.push_back(line);
        }
        self.lines.entry(line).or_default().push_back(flow);
        self.waiting += 1;
        Ok(())
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
    /// A datagram, or several, began a flow: they came as this `packet`.
    pub(super) fn begin_udp(
        &mut self,
        now: Instant,
        flow: FlowId,
        payload: &[u8],
        shape: Shape,
        packet: (&[u8], Offload),
    ) {
        let Some(key) = self.stack.key(flow) else {
            return;
        };
        let inner = self.identify.inner(&key);
        if self.answers_unasked(&key, inner.as_ref()) {
            return self.begin_service(now, key, inner, packet);
        }
        if self.newcomers.goes_at_once() {
            self.note_begun(flow, inner, Path::udp());
            self.drive(now, flow);
            return self.datagram_from_program(flow, payload, shape);
        }
        let line = self.identify.line_of(&key, inner.as_ref());
        match self.newcomers.join(line, flow) {
            Ok(()) => {
                self.note_begun(flow, inner, Path::udp());
                self.datagram_from_program(flow, payload, shape);
            }
            Err(full) => {
                self.stack.forget(flow);
                self.shared.counters.packets_dropped.add(full.name());
            }
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
            newcomers.join(Line::Process(1), flow).unwrap();
        }
        newcomers.join(Line::Process(2), 10).unwrap();
        let taken = flows(&mut newcomers, 3);
        assert_eq!(taken, [0, 10, 1]);
        assert_eq!(flows(&mut newcomers, 9), [2, 3, 4]);
        assert!(newcomers.is_empty() && newcomers.lines.is_empty() && newcomers.turns.is_empty());
    }

    #[test]
    fn a_full_line_leaves_room_in_others_until_all_is_full() {
        let mut newcomers = Newcomers::new(8);
        let mut join = |line, flow| newcomers.join(Line::Process(line), flow);
        let full = Err(Full::One(Line::Process(1)));
        assert_eq!([join(1, 0), join(1, 1), join(1, 2)], [Ok(()), Ok(()), full]);
        for line in 2..5 {
            assert_eq!([join(line, 3), join(line, 4)], [Ok(()), Ok(())]);
        }
        assert_eq!(join(5, 5), Err(Full::All));
        assert_eq!(join(1, 6), full, "it is this one that has too many");
    }

    #[test]
    fn who_comes_alone_does_not_wait_and_who_comes_behind_others_does() {
        let mut newcomers = Newcomers::<u32>::new(100);
        assert!((0..TURN).all(|_| newcomers.goes_at_once()));
        assert!(!newcomers.goes_at_once());
        newcomers.join(Line::Process(1), 1).unwrap();
        newcomers.left = TURN;
        assert!(!newcomers.goes_at_once());
        assert_eq!(flows(&mut newcomers, TURN).len(), 1);
    }
}
