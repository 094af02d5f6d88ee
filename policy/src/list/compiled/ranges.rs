//! Addresses: ranges that lie apart, in order, with a group each.
//!
//! First all first addresses, then all last ones, then the groups' numbers.

use std::collections::BTreeMap;

use super::file::u32_at;
use super::groups::{Groups, Said};

/// An address as a number of some bytes.
pub(super) trait Number: Copy + Ord {
    const BYTES: usize;
    fn read(bytes: &[u8]) -> Option<Self>;
    fn put(self, bytes: &mut Vec<u8>);
    fn next(self) -> Option<Self>;
    fn before(self) -> Option<Self>;
}

impl Number for u32 {
    const BYTES: usize = 4;
    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_le_bytes)
    }
    fn put(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_le_bytes());
    }
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn before(self) -> Option<Self> {
        self.checked_sub(1)
    }
}

impl Number for u128 {
    const BYTES: usize = 16;
    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_le_bytes)
    }
    fn put(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_le_bytes());
    }
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn before(self) -> Option<Self> {
        self.checked_sub(1)
    }
}

fn count<N: Number>(section: &[u8]) -> usize {
    section.len() / (2 * N::BYTES + 4)
}

fn number<N: Number>(section: &[u8], at: usize) -> Option<N> {
    let start = at.checked_mul(N::BYTES)?;
    N::read(section.get(start..start.checked_add(N::BYTES)?)?)
}

/// The range at a place, and its group.
fn range<N: Number>(section: &[u8], at: usize) -> Option<(N, N, u32)> {
    let count = count::<N>(section);
    let groups = section.get(count * 2 * N::BYTES..)?;
    Some((
        number(section, at)?,
        number(section, count + at)?,
        u32_at(groups, at)?,
    ))
}

/// The range that an address is in, and its group.
pub(super) fn find<N: Number>(section: &[u8], address: N) -> Option<(N, N, u32)> {
    let (mut low, mut high) = (0, count::<N>(section));
    while low < high {
        let middle = low.midpoint(high);
        if number::<N>(section, middle)? <= address {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let found = range(section, low.checked_sub(1)?)?;
    (address <= found.1).then_some(found)
}

/// Calls `visit` with each range and its group; false: they are not in order, or not whole.
pub(super) fn each<N: Number>(section: &[u8], visit: &mut dyn FnMut(N, N, u32) -> bool) -> bool {
    let count = count::<N>(section);
    let mut before: Option<N> = None;
    section.len() == count * (2 * N::BYTES + 4)
        && (0..count).all(|at| {
            let Some((first, last, group)) = range::<N>(section, at) else {
                return false;
            };
            let in_order = first <= last && before.is_none_or(|before| before < first);
            before = Some(last);
            in_order && visit(first, last, group)
        })
}

/// What an entry says about a range.
#[derive(Clone, Copy, Debug)]
pub(super) enum Saying {
    /// This list, in this slot.
    List { list: u8, slot: u8 },
    /// This rule.
    Rule(u32),
}

/// Lays ranges that overlap side by side: the section, with groups numbered as `groups` does. Absent: there are too
/// many groups.
pub(super) fn flattened<N: Number>(
    said: &[(N, N, Saying)],
    groups: &mut Groups,
) -> Option<Vec<(N, N, u32)>> {
    // Where something begins, and behind its end.
    let mut turns: Vec<(N, bool, Saying)> = Vec::new();
    for (first, last, saying) in said {
        turns.push((*first, true, *saying));
        if let Some(end) = last.next() {
            turns.push((end, false, *saying));
        }
    }
    turns.sort_unstable_by_key(|(at, _, _)| *at);
    let mut lists: BTreeMap<(u8, u8), u32> = BTreeMap::new();
    let mut rules: BTreeMap<u32, u32> = BTreeMap::new();
    let mut ranges: Vec<(N, N, u32)> = Vec::new();
    let mut rest = &*turns;
    while let Some((at, _, _)) = rest.first() {
        let here = rest.iter().take_while(|(turn, _, _)| turn == at).count();
        for (_, begins, saying) in &rest[..here] {
            match saying {
                Saying::List { list, slot } => turn(&mut lists, (*slot, *list), *begins),
                Saying::Rule(rule) => turn(&mut rules, *rule, *begins),
            }
        }
        rest = &rest[here..];
        if lists.is_empty() && rules.is_empty() {
            continue;
        }
        let last = match rest.first() {
            Some((next, _, _)) => next.before()?,
            None => said.iter().map(|(_, last, _)| *last).max()?,
        };
        let mut all = Said {
            rules: rules.keys().copied().collect(),
            ..Said::default()
        };
        for (slot, list) in lists.keys() {
            all.sets[usize::from(*slot)] |= 1 << list;
        }
        let group = groups.number(&mut all)?;
        match ranges.last_mut() {
            Some(before) if before.2 == group && before.1.next() == Some(*at) => before.1 = last,
            _ => ranges.push((*at, last, group)),
        }
    }
    Some(ranges)
}

fn turn<K: Ord + Copy>(open: &mut BTreeMap<K, u32>, key: K, begins: bool) {
    let count = open.entry(key).or_default();
    if begins {
        *count += 1;
    } else {
        *count -= 1;
    }
    if *count == 0 {
        open.remove(&key);
    }
}

/// The section of these ranges, whose groups have new numbers.
pub(super) fn section<N: Number>(ranges: &[(N, N, u32)], numbers: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ranges.len() * (2 * N::BYTES + 4));
    for (first, _, _) in ranges {
        first.put(&mut bytes);
    }
    for (_, last, _) in ranges {
        last.put(&mut bytes);
    }
    for (_, _, group) in ranges {
        bytes.extend(numbers[*group as usize].to_le_bytes());
    }
    bytes
}
