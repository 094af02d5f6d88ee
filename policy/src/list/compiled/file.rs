//! The frame of a compiled file: a header, a checksum, and sections that follow one another.
//!
//! Numbers are little-endian and need no alignment. The header: eight bytes that say what this is and which version,
//! the checksum of all behind it, the length of the file, the seed, the bits of a bucket's number, the depths that
//! names have, and the length of each section.

use std::ops::Range;

use super::key::mixed;

/// What it is, and the version: what reads another one refuses it, and the lists are compiled again.
const MAGIC: [u8; 8] = *b"TGLISTS\x01";
const HEADER: usize = 8 + 8 + 8 + 8 + 8 + 16 + 8 * Section::ALL.len();

/// Why bytes are no compiled lists, or cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Something else, or of another version.
    #[error("these are no compiled lists of this version: compile them again")]
    NotLists,
    /// Cut off, or changed.
    #[error("the compiled lists are damaged (the checksum differs): compile them again")]
    Damaged,
    /// The checksum is right, what it is of is not.
    #[error("the compiled lists make no sense ({0}): compile them again")]
    Senseless(&'static str),
}

/// The parts of a file, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// Lengths of the bits of symbols, of last labels, and these.
    Code,
    /// Names and categories of lists.
    Lists,
    /// Where each group begins.
    GroupStarts,
    /// Words of groups.
    Groups,
    /// Numbers of rules that groups speak of.
    References,
    /// Rules with conditions and patterns, a line each.
    Rules,
    /// Where each bucket begins.
    Buckets,
    /// Entries of buckets.
    Names,
    /// First addresses, last addresses and groups of ranges.
    V4,
    V6,
}

impl Section {
    pub(super) const ALL: [Self; 10] = [
        Self::Code,
        Self::Lists,
        Self::GroupStarts,
        Self::Groups,
        Self::References,
        Self::Rules,
        Self::Buckets,
        Self::Names,
        Self::V4,
        Self::V6,
    ];
}

/// What the header says.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) seed: u64,
    pub(super) bucket_bits: u32,
    /// A bit for each number of labels that some name has.
    pub(super) depths: u128,
    sections: [Range<usize>; Section::ALL.len()],
}

impl Header {
    /// Reads the header, and looks whether all that it speaks of is there.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, OpenError> {
        let header = bytes.get(..HEADER).ok_or(OpenError::NotLists)?;
        if header[..8] != MAGIC {
            return Err(OpenError::NotLists);
        }
        let word = |at: usize| u64_at(header, at);
        if word(3) != Some(bytes.len() as u64) || word(1) != Some(checksum(&bytes[16..])) {
            return Err(OpenError::Damaged);
        }
        let senseless = OpenError::Senseless("its header");
        let bucket_bits = word(4).and_then(|bits| u32::try_from(bits).ok());
        let mut begin = HEADER;
        let mut sections: [Range<usize>; Section::ALL.len()] = Default::default();
        for (at, section) in sections.iter_mut().enumerate() {
            let len = word(7 + at).and_then(|len| usize::try_from(len).ok());
            let end = len
                .and_then(|len| begin.checked_add(len))
                .ok_or(senseless)?;
            *section = begin..end;
            begin = end;
        }
        if begin != bytes.len() {
            return Err(senseless);
        }
        let bucket_bits = bucket_bits.filter(|bits| *bits <= 31).ok_or(senseless)?;
        // So many buckets as are spoken of are gone through later: they must be there.
        let starts = ((1_u64 << bucket_bits) + 1) * 4;
        if sections[Section::Buckets as usize].len() as u64 != starts {
            return Err(senseless);
        }
        Ok(Self {
            seed: word(2).ok_or(senseless)?,
            bucket_bits,
            depths: u128::from(word(5).ok_or(senseless)?)
                | u128::from(word(6).ok_or(senseless)?) << 64,
            sections,
        })
    }

    /// A section's bytes.
    pub(super) fn section<'b>(&self, bytes: &'b [u8], section: Section) -> &'b [u8] {
        let range = self.sections[section as usize].clone();
        bytes.get(range).unwrap_or(&[])
    }
}

/// The file of these sections, each in its order.
pub(super) fn file(
    seed: u64,
    bucket_bits: u32,
    depths: u128,
    sections: &[Vec<u8>; Section::ALL.len()],
) -> Vec<u8> {
    let len = HEADER + sections.iter().map(Vec::len).sum::<usize>();
    let mut bytes = Vec::with_capacity(len);
    bytes.extend(MAGIC);
    bytes.extend([0; 8]);
    bytes.extend(seed.to_le_bytes());
    bytes.extend((len as u64).to_le_bytes());
    bytes.extend(u64::from(bucket_bits).to_le_bytes());
    bytes.extend(depths.to_le_bytes());
    for section in sections {
        bytes.extend((section.len() as u64).to_le_bytes());
    }
    for section in sections {
        bytes.extend(section);
    }
    let checksum = checksum(&bytes[16..]);
    bytes[8..16].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Finds what happened by accident: four hashes side by side, each of every fourth word.
fn checksum(bytes: &[u8]) -> u64 {
    let mut lanes = [1_u64, 2, 3, 4];
    let (blocks, rest) = bytes.as_chunks::<32>();
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = mixed(lane.rotate_left(1), u64::from_le_bytes(*word));
        }
    }
    let all = lanes.into_iter().fold(bytes.len() as u64, mixed);
    rest.iter().fold(all, |hash, byte| {
        mixed(hash.rotate_left(1), u64::from(*byte) + 1)
    })
}

/// The number at a place in an array of them.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let start = at.checked_mul(4)?;
    let bytes = bytes.get(start..start.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// The number at a place in an array of them.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let start = at.checked_mul(8)?;
    let bytes = bytes.get(start..start.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// Bytes of numbers in their order.
pub(super) fn numbers(all: impl IntoIterator<Item = u32>) -> Vec<u8> {
    all.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// Puts the checksum of changed bytes right, as someone who means harm would.
#[cfg(any(test, fuzzing))]
pub fn sealed(bytes: &mut [u8]) {
    if let Some((head, rest)) = bytes.split_at_mut_checked(16) {
        head[8..].copy_from_slice(&checksum(rest).to_le_bytes());
    }
}
