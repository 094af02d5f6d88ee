//! What lists say about names and ranges: few different things, so each is written once.
//!
//! A group is a mask and a word for each of its bits, lowest first: the lists that say something of a tier about what
//! is of a reach; last, where rules with conditions belong to it, their references.

use rustc_hash::FxHashMap;

use super::super::Reach;
use super::answer::{ListSet, Tier};
use super::file::{u32_at, u64_at};

/// Tiers by reaches.
pub(super) const SLOTS: usize = 12;
/// The bit that says that references follow.
const RULES: u64 = 1 << SLOTS;
/// How many different groups a file has at most; their numbers take three bytes.
const MOST: usize = 1 << 21;

const REACHES: [Reach; 3] = [Reach::Exact, Reach::Within, Reach::Below];

pub(super) fn slot(tier: Tier, reach: Reach) -> u8 {
    tier as u8 * 3 + reach as u8
}

pub(super) fn parts(slot: usize) -> (Tier, Reach) {
    (Tier::ALL[slot / 3 % 4], REACHES[slot % 3])
}

/// One group of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group<'b> {
    /// The words behind the mask.
    words: &'b [u8],
    mask: u64,
}

impl<'b> Group<'b> {
    pub(super) fn at(starts: &[u8], words: &'b [u8], number: u32) -> Option<Self> {
        let start = u32_at(starts, number as usize)? as usize;
        let words = words.get(start.checked_mul(8)?..)?;
        let mask = u64_at(words, 0)?;
        Some(Self {
            words: words.get(8..)?,
            mask,
        })
    }

    /// Each tier and reach of which lists say something, and these.
    pub(super) fn sets(self) -> impl Iterator<Item = (Tier, Reach, ListSet)> + use<'b> {
        let mut bits = self.mask & (RULES - 1);
        let mut at = 0;
        std::iter::from_fn(move || {
            let slot = bits.trailing_zeros() as usize;
            (slot < SLOTS).then_some(())?;
            bits &= bits - 1;
            let lists = ListSet(u64_at(self.words, at)?);
            at += 1;
            let (tier, reach) = parts(slot);
            Some((tier, reach, lists))
        })
    }

    /// Where the references of its rules are.
    pub(super) fn rules(self) -> std::ops::Range<usize> {
        let at = (self.mask & (RULES - 1)).count_ones() as usize;
        let word = if self.mask & RULES == 0 {
            None
        } else {
            u64_at(self.words, at)
        };
        let word = word.unwrap_or(0);
        let low = |word: u64| usize::try_from(word & u64::from(u32::MAX)).unwrap_or(0);
        let start = low(word >> 32);
        start..start.saturating_add(low(word))
    }

    /// Whether it is whole, speaks of so many lists and references only, and says something.
    fn is_sound(self, lists: ListSet, references: usize) -> bool {
        let words = self.mask.count_ones() as usize;
        let known = self
            .sets()
            .all(|(_, _, set)| !set.is_empty() && set.and(lists) == set);
        let rules = self.rules();
        self.mask != 0
            && self.mask < RULES << 1
            && self.words.len() >= words * 8
            && known
            && rules.end <= references
            && (self.mask & RULES == 0 || !rules.is_empty())
    }
}

/// How many groups there are, where all are sound.
pub(super) fn validate(
    starts: &[u8],
    words: &[u8],
    lists: ListSet,
    references: usize,
) -> Option<usize> {
    let count = starts.len() / 4;
    let all = (0..count).all(|number| {
        let number = u32::try_from(number).ok();
        let group = number.and_then(|number| Group::at(starts, words, number));
        group.is_some_and(|group| group.is_sound(lists, references))
    });
    (all && starts.len().is_multiple_of(4) && count <= MOST).then_some(count)
}

/// What is said about one name or range, while it is gathered.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) sets: [u64; SLOTS],
    /// Numbers of rules.
    pub(super) rules: Vec<u32>,
}

/// Groups while a file is made.
#[derive(Debug, Default)]
pub(super) struct Groups {
    numbers: FxHashMap<Box<[u64]>, u32>,
    uses: Vec<u64>,
    references: Vec<u32>,
    reference_starts: FxHashMap<Box<[u32]>, u32>,
    scratch: Vec<u64>,
}

/// Groups as they are written, the most used first.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) starts: Vec<u8>,
    pub(super) words: Vec<u8>,
    pub(super) references: Vec<u8>,
    /// From the number a group had to the one it has.
    pub(super) numbers: Vec<u32>,
}

impl Groups {
    /// The number of the group that says this; absent: there are too many.
    pub(super) fn number(&mut self, said: &mut Said) -> Option<u32> {
        self.scratch.clear();
        self.scratch.push(0);
        for (slot, lists) in said.sets.iter().enumerate() {
            if *lists != 0 {
                self.scratch[0] |= 1 << slot;
                self.scratch.push(*lists);
            }
        }
        if !said.rules.is_empty() {
            said.rules.sort_unstable();
            said.rules.dedup();
            self.scratch[0] |= RULES;
            let start = self.reference(&said.rules)?;
            let count = u32::try_from(said.rules.len()).ok()?;
            self.scratch.push(u64::from(start) << 32 | u64::from(count));
        }
        if let Some(number) = self.numbers.get(&*self.scratch) {
            self.uses[*number as usize] += 1;
            return Some(*number);
        }
        let number = u32::try_from(self.uses.len()).ok()?;
        (self.uses.len() < MOST).then_some(())?;
        self.numbers.insert(self.scratch.as_slice().into(), number);
        self.uses.push(1);
        Some(number)
    }

    fn reference(&mut self, rules: &[u32]) -> Option<u32> {
        if let Some(start) = self.reference_starts.get(rules) {
            return Some(*start);
        }
        let start = u32::try_from(self.references.len()).ok()?;
        self.references.extend(rules);
        self.reference_starts.insert(rules.into(), start);
        Some(start)
    }

    pub(super) fn written(self) -> Written {
        let mut groups: Vec<_> = self.numbers.into_iter().collect();
        groups
            .sort_unstable_by_key(|(_, number)| (u64::MAX - self.uses[*number as usize], *number));
        let mut numbers = vec![0; groups.len()];
        let (mut starts, mut words) = (Vec::new(), Vec::new());
        for (new, (group, old)) in (0_u32..).zip(&groups) {
            numbers[*old as usize] = new;
            starts.extend(
                u32::try_from(words.len() / 8)
                    .unwrap_or(u32::MAX)
                    .to_le_bytes(),
            );
            words.extend(group.iter().flat_map(|word| word.to_le_bytes()));
        }
        Written {
            starts,
            words,
            references: super::file::numbers(self.references),
            numbers,
        }
    }
}
