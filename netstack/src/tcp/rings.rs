//! Engines and their rings: made within a budget, smaller when it runs short, and used again.
//!
//! A connection gets the full ring size while less than half of the budget is handed out, a quarter of it up to three
//! quarters, and a sixteenth until the budget is spent; only then is a connection refused. An engine that comes back is
//! kept for the next connection, with its warm pages, as long as not too many wait.

use crate::tcp::engine::Engine;

/// Most bytes of rings that wait for the next connection.
const MAX_WAITING_BYTES: usize = 8 << 20;
/// Smallest ring, in bytes: a few full segments, so that loss recovery by duplicate ACKs still works.
const MIN_RING: usize = 16 << 10;

/// How large a connection's rings are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RingClass {
    Full,
    Quarter,
    Sixteenth,
}

/// Hands engines out within the budget.
#[derive(Debug)]
pub(crate) struct Rings {
    budget: usize,
    full: usize,
    handed_out: usize,
    waiting: [Vec<Engine>; 3],
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
            (RingClass::Sixteenth, self.budget),
        ];
        let class = steps
            .into_iter()
            .find(|&(class, limit)| self.handed_out + self.bytes(class) <= limit)?
            .0;
        let bytes = self.bytes(class);
        self.handed_out += bytes;
        let engine = match self.waiting[class as usize].pop() {
            Some(engine) => {
                self.waiting_bytes -= bytes;
                engine
            }
            None => Engine::new(bytes / 2),
        };
        Some((engine, class))
    }

    /// Takes an engine back.
    pub(crate) fn put(&mut self, engine: Engine, class: RingClass) {
        let bytes = self.bytes(class);
        self.handed_out -= bytes;
        if self.waiting_bytes + bytes <= MAX_WAITING_BYTES {
            self.waiting_bytes += bytes;
            self.waiting[class as usize].push(engine);
        }
    }

    /// Bytes of both rings.
    fn bytes(&self, class: RingClass) -> usize {
        let bytes = match class {
            RingClass::Full => self.full,
            RingClass::Quarter => self.full / 4,
            RingClass::Sixteenth => self.full / 16,
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
        let mut classes = Vec::new();
        let mut held = Vec::new();
        while let Some((engine, class)) = rings.take() {
            classes.push(class);
            held.push((engine, class));
            assert!(rings.handed_out() <= 8 << 20);
        }
        assert_eq!(
            classes
                .iter()
                .filter(|&&class| class == RingClass::Full)
                .count(),
            4
        );
        assert_eq!(
            classes
                .iter()
                .filter(|&&class| class == RingClass::Quarter)
                .count(),
            8
        );
        assert_eq!(
            classes
                .iter()
                .filter(|&&class| class == RingClass::Sixteenth)
                .count(),
            32
        );
        for (engine, class) in held {
            rings.put(engine, class);
        }
        assert_eq!(rings.handed_out(), 0);
        assert!(rings.waiting_bytes <= MAX_WAITING_BYTES);
        assert!(matches!(rings.take(), Some((_, RingClass::Full))));
    }
}
