//! Where a name is found: the bucket, and what of its bits is kept there.
//!
//! The first bits of a name, as many as a bucket's number has, are not kept: mixed with a hash of the rest they are the
//! bucket's number, so bucket and rest together are the whole name, and equal only for equal names. The hash begins at
//! a seed of the file's, so nobody who does not know it can fill one bucket.

use super::code::{Bits, Code};

/// What a name's bits fill at most: 253 characters and the end, of 15 bits, behind the unused part of the first word.
const WORDS: usize = 64;

/// The bits of a name, label after label from the last; what lies above it can be looked up on the way.
#[derive(Debug)]
pub(super) struct Trail {
    /// The first holds what is not kept, in its lowest bits.
    words: [u64; WORDS],
    at: usize,
    /// The hash of the words before `hashed`.
    hash: u64,
    hashed: usize,
    mask: u64,
}

/// What one name is found by.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Key {
    pub(super) bucket: u32,
    /// Bytes of the rest.
    pub(super) len: usize,
    /// The last words of the rest, of which the end mark is part; those before are the trail's.
    tail: [u64; 2],
    tail_at: usize,
}

impl Trail {
    /// Of a file with `1 << bucket_bits` buckets.
    pub(super) fn new(seed: u64, bucket_bits: u32) -> Self {
        Self {
            words: [0; WORDS],
            at: 64 - bucket_bits as usize,
            hash: seed,
            hashed: 1,
            mask: (1 << bucket_bits) - 1,
        }
    }

    /// Adds a label; false: it does not fit, and no name is so long.
    pub(super) fn label(&mut self, code: &Code, label: &[u8], is_last: bool) -> bool {
        let mut fits = true;
        let mut spelled = true;
        if is_last {
            let (bits, spell) = code.last(label);
            fits &= self.bits(bits);
            spelled = spell;
        } else {
            fits &= self.bits(code.symbol(b'.'));
        }
        if spelled {
            for byte in label.iter().rev() {
                fits &= self.bits(code.symbol(*byte));
            }
        }
        fits
    }

    fn bits(&mut self, bits: Bits) -> bool {
        let (word, off) = (self.at / 64, self.at % 64);
        let Some([first, second]) = self.words.get_mut(word..word + 2) else {
            return false;
        };
        let (a, b) = placed(bits, off);
        *first |= a;
        *second |= b;
        self.at += usize::from(bits.len);
        true
    }

    /// What the name of the labels so far is found by.
    pub(super) fn key(&mut self, code: &Code) -> Key {
        let end = code.end();
        let (word, off) = (self.at / 64, self.at % 64);
        while self.hashed < word {
            self.hash = mixed(self.hash, self.words[self.hashed]);
            self.hashed += 1;
        }
        let (a, b) = placed(end, off);
        let tail = [self.words[word] | a, b];
        let bits = (self.at + usize::from(end.len)).saturating_sub(64);
        let head = if word == 0 { tail[0] } else { self.words[0] };
        let mut hash = self.hash;
        if word > 0 {
            hash = mixed(hash, tail[0]);
        }
        if off + usize::from(end.len) > 64 {
            hash = mixed(hash, b);
        }
        Key {
            bucket: bucket(head, hash, self.mask),
            len: bits.div_ceil(8),
            tail,
            tail_at: word,
        }
    }

    /// One word of a key's rest.
    fn word(&self, key: &Key, at: usize) -> u64 {
        let at = at + 1;
        match at.checked_sub(key.tail_at) {
            Some(in_tail) => key.tail.get(in_tail).copied().unwrap_or(0),
            None => self.words[at],
        }
    }

    /// Whether `rest` is what is kept of the key's name.
    pub(super) fn is(&self, key: &Key, rest: &[u8]) -> bool {
        rest.len() == key.len
            && rest
                .chunks(8)
                .enumerate()
                .all(|(at, chunk)| padded(chunk) == self.word(key, at))
    }

    /// What is kept of the key's name.
    pub(super) fn rest(&self, key: &Key, into: &mut Vec<u8>) {
        let begin = into.len();
        for at in 0..key.len.div_ceil(8) {
            into.extend(self.word(key, at).to_be_bytes());
        }
        into.truncate(begin + key.len);
    }
}

/// Bits at a place of a word, and those that fall into the next.
fn placed(bits: Bits, off: usize) -> (u64, u64) {
    let both = u128::from(bits.value) << (128 - off - usize::from(bits.len));
    let [high, low] = [both >> 64, both & u128::from(u64::MAX)];
    (
        u64::try_from(high).unwrap_or(0),
        u64::try_from(low).unwrap_or(0),
    )
}

/// Bytes as a word, zeros behind them.
fn padded(chunk: &[u8]) -> u64 {
    match chunk.try_into() {
        Ok(whole) => u64::from_be_bytes(whole),
        Err(_) => {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            u64::from_be_bytes(bytes)
        }
    }
}

/// The halves of a product, put together: each bit depends on all.
pub(super) fn mixed(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word) * 0xa076_1d64_78bd_642f;
    u64::try_from((product >> 64) ^ (product & u128::from(u64::MAX))).unwrap_or(0)
}

fn bucket(head: u64, hash: u64, mask: u64) -> u32 {
    u32::try_from((head ^ (hash ^ hash >> 32)) & mask).unwrap_or(0)
}

/// The first bits of the name whose `rest` is kept in `bucket`.
pub(super) fn head(seed: u64, bucket_bits: u32, own: u32, rest: &[u8]) -> u64 {
    let hash = rest
        .chunks(8)
        .fold(seed, |hash, chunk| mixed(hash, padded(chunk)));
    let mask = (1 << bucket_bits) - 1;
    u64::from(bucket(u64::from(own), hash, mask))
}
