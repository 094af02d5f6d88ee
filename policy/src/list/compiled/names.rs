//! Names in buckets: what of each is kept, and its group.
//!
//! An entry begins with a byte: five bits for the length of what is kept, three for the number of the group. Where
//! either is too large all its bits are set, and it follows: a length in two bytes, a group's number in groups of seven
//! bits, lowest first.

use super::code::Code;
use super::file::u32_at;
use super::key::{Key, Trail, head};

const LONG: u8 = 31;
const MANY: u8 = 7;
/// What a bucket holds at most, so that no file makes looking slow.
pub(super) const LARGEST: usize = 1 << 16;

/// One entry of a bucket.
#[derive(Clone, Copy, Debug)]
struct Kept<'b> {
    rest: &'b [u8],
    group: u32,
}

/// The entry at the beginning of `bytes`, and what follows it.
fn split(bytes: &[u8]) -> Option<(Kept<'_>, &[u8])> {
    let (first, mut bytes) = bytes.split_first()?;
    let mut len = usize::from(first & LONG);
    if len == usize::from(LONG) {
        let (long, after) = bytes.split_first_chunk::<2>()?;
        len = u16::from_le_bytes(*long).into();
        bytes = after;
    }
    let mut group = u32::from(first >> 5);
    if group == u32::from(MANY) {
        group = 0;
        for shift in [0, 7, 14] {
            let (part, after) = bytes.split_first()?;
            group |= u32::from(part & 0x7f) << shift;
            bytes = after;
            if part & 0x80 == 0 {
                break;
            }
        }
    }
    let (rest, bytes) = bytes.split_at_checked(len)?;
    Some((Kept { rest, group }, bytes))
}

/// Puts an entry behind those in `bytes`.
pub(super) fn put(rest: &[u8], group: u32, bytes: &mut Vec<u8>) {
    let len = u8::try_from(rest.len()).unwrap_or(LONG).min(LONG);
    let few = u8::try_from(group).unwrap_or(MANY).min(MANY);
    bytes.push(len | few << 5);
    if len == LONG {
        // A name's bits are fewer than 2^15.
        bytes.extend(u16::try_from(rest.len()).unwrap_or(u16::MAX).to_le_bytes());
    }
    if few == MANY {
        let mut left = group;
        loop {
            let part = u8::try_from(left & 0x7f).unwrap_or(0);
            left >>= 7;
            bytes.push(if left == 0 { part } else { part | 0x80 });
            if left == 0 {
                break;
            }
        }
    }
    bytes.extend(rest);
}

/// The names of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'b> {
    pub(super) buckets: &'b [u8],
    pub(super) entries: &'b [u8],
}

impl<'b> Names<'b> {
    /// A bucket's bytes.
    pub(super) fn bucket(self, number: u32) -> &'b [u8] {
        let at = number as usize;
        let bounds = u32_at(self.buckets, at).zip(u32_at(self.buckets, at + 1));
        bounds
            .and_then(|(begin, end)| self.entries.get(begin as usize..end as usize))
            .unwrap_or(&[])
    }

    /// The group of a name in its bucket.
    pub(super) fn group(mut bucket: &[u8], trail: &Trail, key: &Key) -> Option<u32> {
        while let Some((kept, rest)) = split(bucket) {
            if trail.is(key, kept.rest) {
                return Some(kept.group);
            }
            bucket = rest;
        }
        None
    }

    /// Calls `visit` with each name and its group; false: something here is no name, stands where it would not be
    /// found, or twice.
    pub(super) fn each(
        self,
        code: &Code,
        seed: u64,
        bucket_bits: u32,
        visit: &mut dyn FnMut(&str, u32) -> bool,
    ) -> bool {
        let mut name = Vec::new();
        let mut end_before = 0;
        for number in 0..1_u32 << bucket_bits {
            let at = number as usize;
            let bounds = u32_at(self.buckets, at).zip(u32_at(self.buckets, at + 1));
            let Some((begin, end)) = bounds.filter(|(begin, _)| *begin == end_before) else {
                return false;
            };
            end_before = end;
            let Some(mut bucket) = self.entries.get(begin as usize..end as usize) else {
                return false;
            };
            let mut before: Option<&[u8]> = None;
            while !bucket.is_empty() {
                let Some((kept, rest)) = split(bucket) else {
                    return false;
                };
                bucket = rest;
                let in_order = before.is_none_or(|before| before < kept.rest);
                before = Some(kept.rest);
                let head = head(seed, bucket_bits, number, kept.rest);
                let bits = (0..bucket_bits).rev().map(|at| head >> at & 1 == 1).chain(
                    kept.rest
                        .iter()
                        .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1 == 1)),
                );
                let Some(zeros) = code.name(bits, &mut name) else {
                    return false;
                };
                let is_short = kept.rest.is_empty() || zeros < 8;
                let Ok(name) = std::str::from_utf8(&name) else {
                    return false;
                };
                if !in_order || !is_short || !visit(name, kept.group) {
                    return false;
                }
            }
        }
        end_before as usize == self.entries.len()
    }
}
