//! Engines and their rings: made within a budget, smaller when it runs short, and used again.
//!
//! A connection gets the full ring size while less than half of the budget is handed out, a quarter of it up to three
//! quarters, a sixteenth up to seven eighths and the smallest until the budget is spent; only then is a connection
//! refused. An engine that comes back is kept for the next connection, with its warm pages, as long as not too many wait.

use crate::tcp::engine::Engine;

/// Most bytes that engines which wait for the next connection hold in memory: a ring takes what was moved through it.
const MAX_WAITING_BYTES: usize = 8 << 20;
/// Most engines of each class that wait.
const MAX_WAITING: usize = 256;
/// Smallest ring, in bytes: a few full segments, so that loss recovery by duplicate ACKs still works.
const MIN_RING: usize = 16 << 10;

/// How large a connection's rings are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RingClass {
    Full,
    Quarter,
    Sixteenth,
    Smallest,
}

/// Hands engines out within the budget.
#[derive(Debug)]
pub(crate) struct Rings {
    budget: usize,
    full: usize,
    handed_out: usize,
    waiting: [Vec<Engine>; 4],
    waiting_bytes: usize,
}

impl Rings {
    /// `size`: bytes of the two rings of one connection, when the budget allows.
    pub(crate) fn new(budget: usize, size: usize) -> Self {
        Self {
            budget,
            full: size,
            handed_out: 0,
            waiting: Default::default(),
            waiting_bytes: 0,
        }
    }

    /// Bytes handed out.
    pub(crate) fn handed_out(&self) -> usize {
        self.handed_out
    }

    /// An engine for a new connection; `None` if the budget is spent.
    pub(crate) fn take(&mut self) -> Option<(Engine, RingClass)> {
        let steps = [
            (RingClass::Full, self.budget / 2),
            (RingClass::Quarter, self.budget / 4 * 3),
            (RingClass::Sixteenth, self.budget / 8 * 7),
            (RingClass::Smallest, self.budget),
        ];
        let class = steps
            .into_iter()
            .find(|&(class, limit)| self.handed_out + self.bytes(class) <= limit)?
            .0;
        let bytes = self.bytes(class);
        self.handed_out += bytes;
        let engine = match self.waiting[class as usize].pop() {
            Some(engine) => {
                self.waiting_bytes -= engine.touched();
                engine
            }
            None => Engine::new(bytes / 2),
        };
        Some((engine, class))
    }

    /// Takes an engine back.
    pub(crate) fn put(&mut self, engine: Engine, class: RingClass) {
        self.handed_out -= self.bytes(class);
        let waiting = &mut self.waiting[class as usize];
        let touched = engine.touched();
        if waiting.len() < MAX_WAITING && self.waiting_bytes + touched <= MAX_WAITING_BYTES {
            self.waiting_bytes += touched;
            waiting.push(engine);
        }
    }

    /// Bytes of both rings.
    fn bytes(&self, class: RingClass) -> usize {
        let bytes = match class {
            RingClass::Full => self.full,
            RingClass::Quarter => self.full / 4,
            RingClass::Sixteenth => self.full / 16,
            RingClass::Smallest => 0,
        };
        bytes.max(2 * MIN_RING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_shrink_as_the_budget_runs_short_and_then_end() {
        let mut rings = Rings::new(8 << 20, 1 << 20);
        let mut held = Vec::new();
        while let Some(taken) = rings.take() {
            held.push(taken);
            assert!(rings.handed_out() <= 8 << 20);
        }
        let count = |wanted| held.iter().filter(|(_, class)| *class == wanted).count();
        assert_eq!(count(RingClass::Full), 4);
        assert_eq!(count(RingClass::Quarter), 8);
        assert_eq!(count(RingClass::Sixteenth), 16);
        assert_eq!(count(RingClass::Smallest), 32);
        for (engine, class) in held {
            rings.put(engine, class);
        }
        assert_eq!(rings.handed_out(), 0);
        assert!(rings.waiting_bytes <= MAX_WAITING_BYTES);
        assert!(matches!(rings.take(), Some((_, RingClass::Full))));
    }
}
