//! Queues within queues: each that is not empty has its turn, and within it each of its own.

use std::collections::VecDeque;
use std::hash::Hash;

use rustc_hash::FxHashMap;

/// What waits in order.
pub(super) trait Queue<F> {
    /// Names a place within.
    type Place;

    fn len(&self) -> usize;
    fn push(&mut self, place: Self::Place, item: F);
    fn pop(&mut self) -> Option<F>;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<F> Queue<F> for VecDeque<F> {
    type Place = ();

    fn len(&self) -> usize {
        Self::len(self)
    }

    fn push(&mut self, (): (), item: F) {
        self.push_back(item);
    }

    fn pop(&mut self) -> Option<F> {
        self.pop_front()
    }
}

/// A queue for each key, which take turns.
#[derive(Debug)]
pub(super) struct Branch<K, Q> {
    pub(super) of: FxHashMap<K, Q>,
    /// Each key, once.
    turns: VecDeque<K>,
    waiting: usize,
}

impl<K, Q> Default for Branch<K, Q> {
    fn default() -> Self {
        Self {
            of: FxHashMap::default(),
            turns: VecDeque::new(),
            waiting: 0,
        }
    }
}

impl<F, K: Copy + Eq + Hash, Q: Queue<F> + Default> Queue<F> for Branch<K, Q> {
    type Place = (K, Q::Place);

    fn len(&self) -> usize {
        self.waiting
    }

    fn push(&mut self, (key, place): Self::Place, item: F) {
        let turns = &mut self.turns;
        let queue = self.of.entry(key).or_insert_with(|| {
            turns.push_back(key);
            Q::default()
        });
        queue.push(place, item);
        self.waiting += 1;
    }

    fn pop(&mut self) -> Option<F> {
        let key = self.turns.pop_front()?;
        let queue = self.of.get_mut(&key)?;
        let item = queue.pop();
        self.waiting -= usize::from(item.is_some());
        if queue.is_empty() {
            self.of.remove(&key);
        } else {
            self.turns.push_back(key);
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_turn_and_nothing_stays_of_who_is_done() {
        let mut queues = Branch::<u8, Branch<u8, VecDeque<u32>>>::default();
        for (at, item) in [((1, 1), 0), ((1, 1), 1), ((1, 2), 2), ((2, 1), 3)] {
            queues.push((at.0, (at.1, ())), item);
        }
        assert_eq!(queues.len(), 4);
        let popped = std::iter::from_fn(|| queues.pop());
        assert_eq!(popped.collect::<Vec<_>>(), [0, 3, 2, 1]);
        assert!(queues.is_empty() && queues.of.is_empty() && queues.turns.is_empty());
    }
}
