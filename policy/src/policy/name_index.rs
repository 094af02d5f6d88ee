//! From a name to the name conditions, of those that rules hold, it meets.
//!
//! Conditions with fixed labels at their end are filed under these, and found by looking up each of a name's suffixes:
//! what that costs depends on the name's labels, not on how many conditions there are. The few others are *loose*: each
//! is tried.

use rustc_hash::FxHashMap;

use crate::destination::NamePattern;
use crate::name::Name;

/// Marks that nothing is filed here.
const NONE: u32 = u32::MAX;

/// Keys of name conditions while rules are read.
#[derive(Debug, Default)]
pub(super) struct NameKeys {
    by_suffix: FxHashMap<Box<str>, Filed>,
    loose: Patterns,
}

/// Conditions by their texts, with their keys.
type Patterns = FxHashMap<Box<str>, (NamePattern, u32)>;

/// What is filed under one suffix.
#[derive(Debug)]
struct Filed {
    exact: u32,
    within: u32,
    below: u32,
    /// Wildcards that end in it.
    wildcards: Patterns,
}

impl Default for Filed {
    fn default() -> Self {
        Self {
            exact: NONE,
            within: NONE,
            below: NONE,
            wildcards: Patterns::default(),
        }
    }
}

impl NameKeys {
    /// The key of a condition, `next` if it is a new one.
    pub(super) fn key_of(&mut self, pattern: &NamePattern, next: u32) -> u32 {
        let slot = match pattern {
            NamePattern::Exact(name) => &mut self.under(name.as_str()).exact,
            NamePattern::Within(name) => &mut self.under(name.as_str()).within,
            NamePattern::Below(name) => &mut self.under(name.as_str()).below,
            NamePattern::Glob(_) | NamePattern::Regex(_) => {
                let patterns = match pattern.fixed_end() {
                    Some(end) => &mut self.under(end).wildcards,
                    None => &mut self.loose,
                };
                let text = pattern.to_string().into();
                let (_, key) = patterns
                    .entry(text)
                    .or_insert_with(|| (pattern.clone(), NONE));
                key
            }
        };
        if *slot == NONE {
            *slot = next;
        }
        *slot
    }

    fn under(&mut self, suffix: &str) -> &mut Filed {
        self.by_suffix.entry(suffix.into()).or_default()
    }

    /// `value` gives what is to be found in place of each key.
    pub(super) fn build(self, value: impl Fn(u32) -> u32) -> NameIndex {
        let value = |key| if key == NONE { NONE } else { value(key) };
        let sorted = |patterns: Patterns| {
            let mut patterns: Vec<_> = patterns.into_values().collect();
            patterns.sort_unstable_by_key(|(_, key)| *key);
            let patterns = patterns.into_iter();
            patterns.map(|(pattern, key)| (pattern, value(key)))
        };
        let mut index = NameIndex {
            loose: sorted(self.loose).collect(),
            ..NameIndex::default()
        };
        let mut suffixes: Vec<_> = self.by_suffix.into_iter().collect();
        suffixes.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (suffix, filed) in suffixes {
            index.depths |= depth_bit(depth(&suffix));
            let first = index.wildcards.len();
            index.wildcards.extend(sorted(filed.wildcards));
            let at = Node {
                exact: value(filed.exact),
                within: value(filed.within),
                below: value(filed.below),
                wildcards: (position(first), position(index.wildcards.len())),
            };
            index.by_suffix.insert(suffix, at);
        }
        index
    }
}

/// From a name to the conditions it meets.
#[derive(Debug, Default)]
pub(super) struct NameIndex {
    by_suffix: FxHashMap<Box<str>, Node>,
    /// A bit for each number of labels that a suffix has.
    depths: u128,
    wildcards: Vec<(NamePattern, u32)>,
    loose: Box<[(NamePattern, u32)]>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    exact: u32,
    within: u32,
    below: u32,
    wildcards: (u32, u32),
}

impl NameIndex {
    /// Calls `visit` for every condition that `name` meets.
    pub(super) fn each(&self, name: &Name, visit: &mut impl FnMut(u32)) {
        let mut some = |value: u32| {
            if value != NONE {
                visit(value);
            }
        };
        let labels = depth(name.as_str());
        for (above, suffix) in name.and_above().enumerate() {
            if self.depths & depth_bit(labels - above) == 0 {
                continue;
            }
            let Some(node) = self.by_suffix.get(suffix) else {
                continue;
            };
            some(node.within);
            some(if above == 0 { node.exact } else { node.below });
            let (first, end) = node.wildcards;
            for (pattern, value) in &self.wildcards[index(first)..index(end)] {
                if pattern.matches(name) {
                    some(*value);
                }
            }
        }
        for (pattern, value) in &self.loose {
            if pattern.matches(name) {
                some(*value);
            }
        }
    }
}

/// How many labels a name has.
fn depth(name: &str) -> usize {
    name.bytes().filter(|byte| *byte == b'.').count() + 1
}

/// A name has at most 127 labels.
fn depth_bit(depth: usize) -> u128 {
    1 << depth.min(127)
}

fn position(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn index(position: u32) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}
