//! From a path or name to the patterns, of those that rules name, it may match.

use rustc_hash::FxHashMap;

use crate::glob::Landmark;

/// Keys of patterns, found by what a text must have in order to match.
#[derive(Debug, Default)]
pub(super) struct TextIndex {
    whole: FxHashMap<Box<[u8]>, u32>,
    beneath: FxHashMap<Box<[u8]>, u32>,
    /// A bit for each length that a key of `beneath` has, the last for all longer ones.
    beneath_lengths: u128,
    last: FxHashMap<Box<[u8]>, u32>,
}

impl TextIndex {
    /// The key under which this landmark is found, `next` if it is a new one; absent: there is nothing to find it by.
    pub(super) fn key_of(&mut self, landmark: Landmark, next: u32) -> Option<u32> {
        let entry = match landmark {
            Landmark::Whole(text) => self.whole.entry(text),
            Landmark::Beneath(folder) => {
                self.beneath_lengths |= length_bit(folder.len());
                self.beneath.entry(folder)
            }
            Landmark::Last(component) => self.last.entry(component),
            Landmark::None => return None,
        };
        Some(*entry.or_insert(next))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.beneath.is_empty() && self.last.is_empty()
    }

    /// Calls `visit` with the key of each landmark that `text` has.
    pub(super) fn each_key(&self, text: &[u8], visit: &mut impl FnMut(u32)) {
        if let Some(key) = self.whole.get(text) {
            visit(*key);
        }
        if !self.last.is_empty() {
            let last = text.rsplit(|byte| *byte == b'/').next();
            if let Some(key) = last.and_then(|last| self.last.get(last)) {
                visit(*key);
            }
        }
        if self.beneath.is_empty() {
            return;
        }
        for (at, byte) in text.iter().enumerate() {
            if *byte == b'/'
                && self.beneath_lengths & length_bit(at) != 0
                && let Some(key) = self.beneath.get(&text[..at])
            {
                visit(*key);
            }
        }
    }
}

fn length_bit(length: usize) -> u128 {
    1 << length.min(127)
}
