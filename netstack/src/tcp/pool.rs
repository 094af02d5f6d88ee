//! The memory of all TCP flows of a stack: chunks lent out within a budget, and windows promised within it.
//!
//! A flow holds chunks only for bytes that it holds, so an idle flow holds none. Chunks that come back are lent out again last
//! in, first out, while they are still in the processor's cache. The closer the budget is to its end, the smaller the chunks
//! and windows; only new flows are refused, never bytes that were acknowledged. Each flow may always hold one small chunk
//! in each direction, for which the budget keeps room: so each flow goes on, however slowly.

use std::time::Instant;

use crate::tcp::busy::{Busy, Pace};

/// Sizes of chunks, in bytes.
const SIZES: [usize; 4] = [SMALLEST, 16 << 10, 64 << 10, LARGEST];
const SMALLEST: usize = 4 << 10;
/// The largest chunk: what is received from upstream at once.
pub(crate) const LARGEST: usize = 256 << 10;
/// Up to how many eighths of the budget chunks of each size are lent out.
const SHARES: [usize; 4] = [7, 6, 5, 4];
/// What the budget keeps for each flow: a smallest chunk in each direction.
const RESERVE: usize = 2 * SMALLEST;
/// Chunks that wait for their next use take no more than this, or as much as is in use. Too few, and a handful of busy flows make
/// the system map and clear pages again and again: 4 MiB cost eight downloads a third of their speed.
const MAX_WAITING: usize = 24 << 20;
/// Bytes lent out from which on more is worth less than what it pushes out of the processor's caches: programs that send on 512
/// connections read late, and had us keep 600 MB for them.
const MUCH: usize = 64 << 20;
/// Windows of new flows, in bytes, and up to how many eighths of the budget they are promised.
const FIRST_WINDOWS: [(usize, usize); 3] = [(64 << 10, 6), (16 << 10, 7), (SMALLEST, 8)];

/// Whether a flow holds a chunk in this direction already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    Nothing,
    Something,
}

/// Lends chunks out and counts promises.
#[derive(Debug)]
pub(crate) struct Pool {
    budget: usize,
    flows: usize,
    lent: usize,
    promised: usize,
    busy: Busy,
    waiting: [Vec<Box<[u8]>>; SIZES.len()],
    waiting_bytes: usize,
    /// What upstream bytes are received into before it is known how many they are.
    spare: Box<[u8]>,
}

impl Pool {
    /// `queue` bytes may wait in the device.
    pub(crate) fn new(budget: usize, queue: usize) -> Self {
        Self {
            budget,
            flows: 0,
            lent: 0,
            promised: 0,
            busy: Busy::new(queue),
            waiting: Default::default(),
            waiting_bytes: 0,
            spare: Box::default(),
        }
    }

    /// Bytes of the chunks lent out.
    pub(crate) fn lent(&self) -> usize {
        self.lent
    }

    /// Admits one more flow, and says what window it may promise; `None` if the budget has no room for it.
    pub(crate) fn admit(&mut self) -> Option<usize> {
        let room = self.budget.saturating_sub(self.lent);
        if (self.flows + 1) * RESERVE > room {
            return None;
        }
        let (window, _) = FIRST_WINDOWS
            .into_iter()
            .find(|&(window, share)| self.promised + window <= self.budget / 8 * share)?;
        self.flows += 1;
        self.promised += window;
        Some(window)
    }

    /// A flow that promised `window` is gone.
    pub(crate) fn dismiss(&mut self, window: usize) {
        self.flows -= 1;
        self.promised -= window;
    }

    /// Lets a flow promise `more` bytes, if half of the budget is still free.
    pub(crate) fn promise(&mut self, more: usize) -> bool {
        let half = self.budget / 2;
        let granted = self.promised + more <= half && self.lent <= half;
        if granted {
            self.promised += more;
        }
        granted
    }

    /// A flow began.
    pub(crate) fn note_begin(&mut self, now: Instant, pace: &mut Pace) {
        self.busy.note_begin(now, pace);
    }

    /// A flow took bytes in, or the program acknowledged some.
    pub(crate) fn note_moved(&mut self, now: Instant, pace: &mut Pace, bytes: usize) {
        self.busy.note(now, pace, bytes);
    }

    /// The most that any busy flow should promise now.
    pub(crate) fn most_window(&self) -> usize {
        let share = self.busy.share();
        if self.lent <= self.budget / 8 * 5 {
            share
        } else {
            share.min(FIRST_WINDOWS[1].0)
        }
    }

    /// Whether a flow for which enough waits should hold no more.
    pub(crate) fn lends_much(&self) -> bool {
        self.lent > MUCH
    }

    /// The size of the largest chunk that may be lent out now; 0 if none may.
    pub(crate) fn largest(&self, holds: Holds) -> usize {
        let kept = self.flows * RESERVE;
        let fits = |&(size, share): &(usize, usize)| {
            self.lent + size <= self.budget / 8 * share && self.lent + size + kept <= self.budget
        };
        let largest = SIZES.into_iter().zip(SHARES).rev().find(fits);
        match (largest, holds) {
            (Some((size, _)), _) => size,
            (None, Holds::Nothing) => SMALLEST,
            (None, Holds::Something) => 0,
        }
    }

    /// Lends a chunk for `wanted` bytes, smaller where the budget is short; `None` if none may be lent.
    pub(crate) fn take(&mut self, wanted: usize, holds: Holds) -> Option<Box<[u8]>> {
        let largest = self.largest(holds);
        let class = SIZES
            .iter()
            .position(|&size| size >= wanted.min(largest))
            .filter(|_| largest > 0)?;
        let size = SIZES[class];
        self.lent += size;
        Some(match self.waiting[class].pop() {
            Some(chunk) => {
                self.waiting_bytes -= size;
                chunk
            }
            None => fresh(size),
        })
    }

    /// Takes a chunk back.
    pub(crate) fn put(&mut self, chunk: Box<[u8]>) {
        let size = chunk.len();
        self.lent -= size;
        self.keep(chunk);
        while self.waiting_bytes > MAX_WAITING.max(self.lent) {
            let Some(class) = (0..SIZES.len()).rfind(|&class| !self.waiting[class].is_empty())
            else {
                break;
            };
            // The one that waits for longest is the coldest.
            self.waiting[class].swap_remove(0);
            self.waiting_bytes -= SIZES[class];
        }
    }

    fn keep(&mut self, chunk: Box<[u8]>) {
        if let Some(class) = SIZES.iter().position(|&size| size == chunk.len()) {
            self.waiting_bytes += chunk.len();
            self.waiting[class].push(chunk);
        }
    }

    /// The chunk that is received into before it is known who needs how much of it.
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        if self.spare.is_empty() {
            self.spare = match self.waiting[SIZES.len() - 1].pop() {
                Some(chunk) => {
                    self.waiting_bytes -= LARGEST;
                    chunk
                }
                None => fresh(LARGEST),
            };
        }
        &mut self.spare
    }

    /// Lends the spare chunk out, with what it holds. Only where [`largest`](Self::largest) allows it.
    pub(crate) fn take_spare(&mut self) -> Box<[u8]> {
        let spare = self.lift_spare();
        self.lent += spare.len();
        spare
    }

    /// The spare chunk, to be copied from and [laid back](Self::lay_back).
    pub(crate) fn lift_spare(&mut self) -> Box<[u8]> {
        std::mem::take(&mut self.spare)
    }

    pub(crate) fn lay_back(&mut self, spare: Box<[u8]>) {
        self.spare = spare;
    }
}

fn fresh(size: usize) -> Box<[u8]> {
    vec![0; size].into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: usize = 8 << 20;

    #[test]
    fn chunks_shrink_as_the_budget_runs_short_and_each_flow_still_gets_one() {
        let budget = 8 << 20;
        let mut pool = Pool::new(budget, QUEUE);
        for _ in 0..10 {
            pool.admit().unwrap();
        }
        let mut held = Vec::new();
        while let Some(chunk) = pool.take(LARGEST, Holds::Something) {
            held.push(chunk);
        }
        let sizes: Vec<usize> = held.iter().map(|chunk| chunk.len()).collect();
        assert!(sizes.is_sorted_by(|a, b| a >= b));
        assert!(SIZES.iter().all(|size| sizes.contains(size)), "{sizes:?}");
        for _ in 0..20 {
            held.push(pool.take(LARGEST, Holds::Nothing).unwrap());
        }
        assert!(pool.lent() <= budget, "what was kept for them was enough");
        for chunk in held {
            pool.put(chunk);
        }
        assert_eq!(pool.lent(), 0);
        assert!(pool.waiting_bytes <= MAX_WAITING);
    }

    #[test]
    fn windows_shrink_as_more_is_promised_and_then_flows_are_refused() {
        let mut pool = Pool::new(16 << 20, QUEUE);
        let windows: Vec<usize> = std::iter::from_fn(|| pool.admit()).collect();
        assert_eq!(windows.iter().sum::<usize>(), pool.promised);
        assert!(pool.promised <= 16 << 20);
        assert!(windows.is_sorted_by(|a, b| a >= b));
        for (window, _) in FIRST_WINDOWS {
            assert!(windows.contains(&window), "{window}");
        }
        for window in windows {
            pool.dismiss(window);
        }
        assert_eq!((pool.flows, pool.promised), (0, 0));
        assert!(pool.admit().is_some());
    }

    #[test]
    fn a_pool_full_of_bytes_refuses_flows_and_wants_small_windows() {
        let mut pool = Pool::new(1 << 20, QUEUE);
        assert_eq!(pool.most_window(), QUEUE);
        while pool.take(LARGEST, Holds::Something).is_some() {}
        assert_eq!(pool.most_window(), 16 << 10);
        assert!(!pool.promise(1));
        let admitted = std::iter::from_fn(|| pool.admit()).count();
        assert!((1..=16).contains(&admitted), "{admitted}");
    }

    #[test]
    fn the_last_chunk_that_came_back_is_the_first_to_go_out() {
        let mut pool = Pool::new(8 << 20, QUEUE);
        let mut chunk = pool.take(LARGEST, Holds::Nothing).unwrap();
        chunk[0] = 7;
        let other = pool.take(LARGEST, Holds::Something).unwrap();
        pool.put(other);
        pool.put(chunk);
        assert_eq!(pool.take(100 << 10, Holds::Nothing).unwrap()[0], 7);
    }
}
