//! Nested intervals: which of many networks, or aligned blocks of ports, contain a value.
//!
//! Networks either contain one another or are disjoint. So their bounds cut the number line into stretches, each with
//! one innermost interval, and every interval has at most one parent. A look-up is one binary search and a walk up.

/// A number with a successor.
pub(super) trait Bound: Copy + Ord {
    fn successor(self) -> Option<Self>;
}

impl Bound for u32 {
    fn successor(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Bound for u128 {
    fn successor(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// Marks the stretch outside all intervals, and the parent of an outermost one.
const NONE: u32 = u32::MAX;

/// Intervals of which any two are nested or disjoint.
#[derive(Debug)]
pub(super) struct Nested<B> {
    /// Where each stretch begins, ascending.
    starts: Box<[B]>,
    /// The innermost interval of each stretch.
    innermost: Box<[u32]>,
    /// Of each interval the key it was given, and the interval around it.
    intervals: Box<[Interval]>,
}

#[derive(Clone, Copy, Debug)]
struct Interval {
    key: u32,
    parent: u32,
}

impl<B: Bound> Nested<B> {
    /// From intervals `(first, last, key)`, both ends included, no two equal.
    pub(super) fn new(mut spans: Vec<(B, B, u32)>) -> Self {
        spans.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        let mut stretches = Stretches {
            starts: Vec::new(),
            innermost: Vec::new(),
        };
        let mut intervals = Vec::with_capacity(spans.len());
        let mut open: Vec<(B, u32)> = Vec::new();
        for (index, (first, last, key)) in (0_u32..).zip(spans) {
            while let Some((end, _)) = open.pop_if(|(end, _)| *end < first) {
                stretches.begin(end.successor(), parent_of(&open));
            }
            intervals.push(Interval {
                key,
                parent: parent_of(&open),
            });
            stretches.begin(Some(first), index);
            open.push((last, index));
        }
        while let Some((end, _)) = open.pop() {
            stretches.begin(end.successor(), parent_of(&open));
        }
        Self {
            starts: stretches.starts.into(),
            innermost: stretches.innermost.into(),
            intervals: intervals.into(),
        }
    }

    /// The keys of all intervals that contain `value`, innermost first.
    pub(super) fn containing(&self, value: B) -> impl Iterator<Item = u32> + '_ {
        let stretch = self.starts.partition_point(|start| *start <= value);
        let mut index = stretch
            .checked_sub(1)
            .map_or(NONE, |stretch| self.innermost[stretch]);
        std::iter::from_fn(move || {
            let interval = self.intervals.get(usize::try_from(index).ok()?)?;
            index = interval.parent;
            Some(interval.key)
        })
    }
}

fn parent_of<B>(open: &[(B, u32)]) -> u32 {
    open.last().map_or(NONE, |(_, index)| *index)
}

struct Stretches<B> {
    starts: Vec<B>,
    innermost: Vec<u32>,
}

impl<B: Bound> Stretches<B> {
    /// A later stretch that begins at the same place replaces the one before; none begins after the last number.
    fn begin(&mut self, start: Option<B>, innermost: u32) {
        let Some(start) = start else { return };
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.innermost.pop();
        }
        self.starts.push(start);
        self.innermost.push(innermost);
    }
}

/// The fewest aligned blocks, `(first, last)`, that make up `first..=last`; such blocks are nested or disjoint.
pub(super) fn aligned_blocks(first: u32, last: u32) -> impl Iterator<Item = (u32, u32)> {
    let mut next = Some(first);
    std::iter::from_fn(move || {
        let start = next.filter(|start| *start <= last)?;
        let mut rest = 1_u32
            .checked_shl(start.trailing_zeros())
            .map_or(u32::MAX, |size| size - 1);
        while rest > last - start {
            rest >>= 1;
        }
        next = (start + rest).checked_add(1);
        Some((start, start + rest))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ends_of_the_number_line_are_found() {
        let table = Nested::new(vec![(0, u32::MAX, 7), (u32::MAX, u32::MAX, 8), (0, 0, 9)]);
        assert_eq!(table.containing(0).collect::<Vec<_>>(), [9, 7]);
        assert_eq!(table.containing(1).collect::<Vec<_>>(), [7]);
        assert_eq!(table.containing(u32::MAX).collect::<Vec<_>>(), [8, 7]);
        assert_eq!(Nested::<u32>::new(Vec::new()).containing(3).count(), 0);
    }

    proptest! {
        #[test]
        fn exactly_the_intervals_around_a_value_are_found(
            blocks in proptest::collection::btree_set((0_u32..8, 0_u32..256), 0..40),
            value in 0_u32..300,
        ) {
            let spans: std::collections::BTreeSet<_> = blocks
                .iter()
                .map(|(bits, at)| (at >> bits << bits, (at >> bits << bits) + (1 << bits) - 1))
                .collect();
            let spans: Vec<_> = spans.into_iter().zip(0..).map(|((first, last), key)| (first, last, key)).collect();
            let mut found: Vec<_> = Nested::new(spans.clone()).containing(value).collect();
            found.sort_unstable();
            let wanted: Vec<_> =
                spans.iter().filter(|(first, last, _)| (*first..=*last).contains(&value)).map(|span| span.2).collect();
            prop_assert_eq!(found, wanted);
        }

        #[test]
        fn blocks_make_up_the_range(first: u32, length in 0_u32..70_000, to_the_end: bool) {
            let last = if to_the_end { u32::MAX } else { first.saturating_add(length) };
            let mut next = u64::from(first);
            for (start, end) in aligned_blocks(first, last) {
                prop_assert_eq!(u64::from(start), next);
                let size = u64::from(end) - u64::from(start) + 1;
                prop_assert!(size.is_power_of_two() && u64::from(start) % size == 0);
                next = u64::from(end) + 1;
            }
            prop_assert_eq!(next, u64::from(last) + 1);
        }
    }
}
