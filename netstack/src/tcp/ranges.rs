//! A bounded set of stretches of sequence space: what arrived behind a gap, on either side of a connection.
//!
//! The receiver keeps one of what it holds out of order and tells it in SACK blocks; the sender keeps one of what it was
//! told so (RFC 2018, RFC 6675). Both hold nothing while nothing is lost.

use crate::tcp::sequence::{ahead, earlier, is_before, later};

/// Most stretches: what a receiver holds back or a sender remembers beyond it is forgotten, which costs a retransmission.
const MOST: usize = 64;

/// Sequence numbers from `start` up to, without, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Range {
    pub(crate) fn len(self) -> u32 {
        ahead(self.start, self.end)
    }
}

/// Stretches in order, apart from each other, all within half of the sequence space.
#[derive(Debug, Default)]
pub(crate) struct Ranges(Vec<Range>);

impl Ranges {
    /// Adds a stretch; false if there are too many already.
    pub(crate) fn insert(&mut self, new: Range) -> bool {
        let from = self.0.partition_point(|old| is_before(old.end, new.start));
        let to = self.0.partition_point(|old| !is_before(new.end, old.start));
        let Some(touched) = self.0.get(from..to).filter(|touched| !touched.is_empty()) else {
            if self.0.len() >= MOST {
                return false;
            }
            self.0.insert(from, new);
            return true;
        };
        let merged = touched.iter().fold(new, |merged, old| Range {
            start: earlier(merged.start, old.start),
            end: later(merged.end, old.end),
        });
        self.0.splice(from..to, [merged]);
        true
    }

    /// Forgets everything before `sequence`.
    pub(crate) fn remove_before(&mut self, sequence: u32) {
        if self.0.is_empty() {
            return;
        }
        let gone = self
            .0
            .partition_point(|range| !is_before(sequence, range.end));
        self.0.drain(..gone);
        match self.0.first_mut() {
            Some(first) => first.start = later(first.start, sequence),
            None => self.clear(),
        }
    }

    /// Forgets everything, and gives the memory back.
    pub(crate) fn clear(&mut self) {
        self.0 = Vec::new();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = Range> {
        self.0.iter().copied()
    }

    /// The first stretch.
    pub(crate) fn first(&self) -> Option<Range> {
        self.0.first().copied()
    }

    /// The end of the last stretch.
    pub(crate) fn end(&self) -> Option<u32> {
        self.0.last().map(|range| range.end)
    }

    /// The stretch that holds `sequence` or ends there.
    pub(crate) fn around(&self, sequence: u32) -> Option<Range> {
        let at = self
            .0
            .partition_point(|range| is_before(range.end, sequence));
        self.0
            .get(at)
            .copied()
            .filter(|range| !is_before(sequence, range.start))
    }

    /// The first stretch of `within` that is not in the set.
    pub(crate) fn first_gap(&self, within: Range) -> Option<Range> {
        let mut start = within.start;
        for range in &self.0 {
            if is_before(start, range.start) {
                let end = earlier(range.start, within.end);
                return Some(Range { start, end }).filter(|gap| gap.len() > 0);
            }
            start = later(start, range.end);
        }
        Some(Range {
            start,
            end: within.end,
        })
        .filter(|gap| gap.len() > 0)
    }

    /// How many sequence numbers of `within` are in the set.
    pub(crate) fn covered(&self, within: Range) -> u32 {
        self.0
            .iter()
            .map(|range| {
                ahead(
                    later(range.start, within.start),
                    earlier(range.end, within.end),
                )
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_a_set_of_numbers(
            base: u32,
            stretches in prop::collection::vec((0u32..400, 1u32..40), 1..30),
            cut in 0u32..400,
        ) {
            let mut ranges = Ranges::default();
            let mut model = [false; 500];
            for (start, len) in stretches {
                let range = Range { start: base.wrapping_add(start), end: base.wrapping_add(start + len) };
                prop_assert!(ranges.insert(range));
                model[start as usize..(start + len) as usize].fill(true);
            }
            ranges.remove_before(base.wrapping_add(cut));
            model[..cut as usize].fill(false);
            let mut seen = [false; 500];
            let mut last_end = None;
            for range in ranges.iter() {
                let (start, end) = (range.start.wrapping_sub(base), range.end.wrapping_sub(base));
                prop_assert!(start < end && last_end.is_none_or(|last| last < start));
                last_end = Some(end);
                seen[start as usize..end as usize].fill(true);
            }
            prop_assert_eq!(seen, model);
            let whole = Range { start: base, end: base.wrapping_add(500) };
            let count = model.iter().filter(|set| **set).count();
            prop_assert_eq!(ranges.covered(whole) as usize, count);
            let gap = ranges.first_gap(whole).unwrap();
            let first = model.iter().position(|set| !set).unwrap();
            prop_assert_eq!(gap.start.wrapping_sub(base) as usize, first);
        }
    }

    #[test]
    fn more_stretches_than_a_connection_remembers_are_refused() {
        let mut ranges = Ranges::default();
        for n in 0..64 {
            let start = n * 10;
            assert!(ranges.insert(Range {
                start,
                end: start + 5
            }));
        }
        assert!(!ranges.insert(Range {
            start: 1_000,
            end: 1_005
        }));
        assert!(ranges.insert(Range { start: 3, end: 12 }), "it joins two");
        assert!(ranges.insert(Range {
            start: 1_000,
            end: 1_005
        }));
    }
}
