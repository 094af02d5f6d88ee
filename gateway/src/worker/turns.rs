//! Whose turn it is to move bytes, and how many.
//!
//! A small exchange must not wait for a large transfer beside it: flows that move little go first, and while there are such, the
//! device and the sockets are looked at again after less. A transfer that is alone moves more at once, which makes a stream
//! down faster by a sixth.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tidegate_netstack::FlowId;

/// Bytes of one turn from which on a flow is one that moves much.
const MUCH: usize = 16 << 10;
/// How long that is remembered: hundreds of them may have their turns in between.
const HEAVY_FOR: Duration = Duration::from_millis(250);
/// How long it is remembered that somebody moved little.
const LATELY: Duration = Duration::from_millis(20);
/// Bytes of a round after which flows that move much wait for the next one, and which one of them may move in its turn.
const ALONE: usize = 1 << 20;
/// The same while there are flows that move little: some tens of microseconds' work.
const IN_COMPANY: usize = 64 << 10;

/// How much a flow moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Load {
    #[default]
    Light,
    /// It moved much, last at this time.
    Heavy(Instant),
}

/// Flows whose sockets or buffers have something to move, each once.
#[derive(Debug)]
pub(super) struct Turns<Flow = FlowId> {
    light: VecDeque<Flow>,
    heavy: VecDeque<Flow>,
    /// When something last moved that was little.
    little_moved: Option<Instant>,
}

/// What is left of a round: no flow has two turns in it.
#[derive(Debug)]
pub(super) struct Round {
    light: usize,
    heavy: usize,
    turn: usize,
    left: usize,
}

impl Load {
    /// The flow moved so many bytes.
    fn note(&mut self, now: Instant, moved: usize) {
        if moved >= MUCH {
            *self = Self::Heavy(now);
        } else if let Self::Heavy(last) = *self
            && now.saturating_duration_since(last) > HEAVY_FOR
        {
            *self = Self::Light;
        }
    }
}

impl<Flow> Default for Turns<Flow> {
    fn default() -> Self {
        Self {
            light: VecDeque::new(),
            heavy: VecDeque::new(),
            little_moved: None,
        }
    }
}

impl<Flow> Turns<Flow> {
    pub(super) fn is_empty(&self) -> bool {
        self.light.is_empty() && self.heavy.is_empty()
    }

    pub(super) fn push(&mut self, flow: Flow, load: Load) {
        match load {
            Load::Light => self.light.push_back(flow),
            Load::Heavy(_) => self.heavy.push_back(flow),
        }
    }

    /// A flow moved so many bytes.
    pub(super) fn note_moved(&mut self, now: Instant, load: &mut Load, moved: usize) {
        load.note(now, moved);
        if moved > 0 && *load == Load::Light {
            self.note_little(now);
        }
    }

    /// Somebody moves little, and wants it soon.
    pub(super) fn note_little(&mut self, now: Instant) {
        self.little_moved = Some(now);
    }

    /// A round of those that wait now.
    pub(super) fn round(&self, now: Instant) -> Round {
        let is_lately = |at| now.saturating_duration_since(at) <= LATELY;
        let turn = if self.little_moved.is_some_and(is_lately) {
            IN_COMPANY
        } else {
            ALONE
        };
        Round {
            light: self.light.len(),
            heavy: self.heavy.len(),
            turn,
            left: turn,
        }
    }

    /// The next flow of this round. At least one that moves much has its turn in each.
    pub(super) fn next(&mut self, round: &mut Round) -> Option<Flow> {
        if round.light > 0 {
            round.light -= 1;
            return self.light.pop_front();
        }
        if round.heavy == 0 || round.left == 0 {
            return None;
        }
        round.heavy -= 1;
        self.heavy.pop_front()
    }
}

impl Round {
    /// Bytes that a flow may move in its turn in one direction.
    pub(super) fn turn(&self) -> usize {
        self.turn
    }

    /// The flow whose turn it was has moved so many bytes. What moves little shuts nobody out.
    pub(super) fn spend(&mut self, moved: usize) {
        if moved >= MUCH {
            self.left = self.left.saturating_sub(moved);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One round in which each flow moves what is said of it; says whose turns there were.
    fn round(turns: &mut Turns<char>, now: Instant, moves: impl Fn(char) -> usize) -> String {
        let mut round = turns.round(now);
        let mut had = String::new();
        while let Some(flow) = turns.next(&mut round) {
            round.spend(moves(flow).min(round.turn()));
            had.push(flow);
        }
        had
    }

    #[test]
    fn who_moves_little_goes_before_who_moves_much() {
        let now = Instant::now();
        let mut turns = Turns::default();
        for flow in ['A', 'B'] {
            turns.push(flow, Load::Heavy(now));
        }
        for flow in ['c', 'd'] {
            turns.push(flow, Load::Light);
        }
        assert_eq!(round(&mut turns, now, |_| 1_000), "cdAB");
        assert!(turns.is_empty());
    }

    #[test]
    fn a_round_of_those_that_move_much_is_shorter_while_somebody_moves_little() {
        let now = Instant::now();
        let turns = || {
            let mut turns = Turns::default();
            for flow in 'A'..='D' {
                turns.push(flow, Load::Heavy(now));
            }
            turns
        };
        let moves = |_| IN_COMPANY / 2;
        assert_eq!(round(&mut turns(), now, moves), "ABCD");
        let mut company = turns();
        company.note_moved(now, &mut Load::Light, 64);
        assert_eq!(round(&mut company, now, moves), "AB");
        assert_eq!(round(&mut company, now, moves), "CD", "each in turn");
        let mut former_company = turns();
        former_company.note_little(now);
        assert_eq!(round(&mut former_company, now + 2 * LATELY, moves), "ABCD");
    }

    #[test]
    fn many_small_flows_do_not_shut_a_large_one_out() {
        let now = Instant::now();
        let mut turns = Turns::default();
        turns.note_little(now);
        turns.push('A', Load::Heavy(now));
        for _ in 0..1_000 {
            turns.push('b', Load::Light);
        }
        assert!(round(&mut turns, now, |_| MUCH - 1).ends_with("bA"));
    }

    #[test]
    fn a_pause_within_a_transfer_does_not_make_it_a_small_exchange() {
        let now = Instant::now();
        let mut turns: Turns = Turns::default();
        let mut load = Load::default();
        turns.note_moved(now, &mut load, MUCH);
        turns.note_moved(now + HEAVY_FOR, &mut load, 100);
        assert_eq!((load, turns.little_moved), (Load::Heavy(now), None));
        let later = now + 2 * HEAVY_FOR;
        turns.note_moved(later, &mut load, 100);
        assert_eq!((load, turns.little_moved), (Load::Light, Some(later)));
    }
}
