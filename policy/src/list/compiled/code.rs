//! Names as bits: the last label first, each character by how often it occurs (Huffman's code).
//!
//! A name's bits are its last label, then for each label before it a dot and its characters from the last to the first,
//! then an end mark. So the bits of what lies above a name are a beginning of its own, and no name's bits are the
//! beginning of another's. Last labels that occur often have a code of their own; others are spelled out.

use rustc_hash::FxHashMap;

/// Characters of a label, the dot, and the end.
pub(super) const SYMBOLS: usize = 40;
pub(super) const DOT: usize = 38;
pub(super) const END: usize = 39;
/// How many last labels have a code of their own.
pub(super) const MOST_LAST: usize = 254;
/// The longest code.
const LONGEST: u8 = 15;

/// A symbol's bits, the last of them lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits {
    pub(super) value: u16,
    pub(super) len: u8,
}

/// The symbol of a character; of those that no name has, any.
pub(super) fn symbol(byte: u8) -> usize {
    match byte {
        b'-' => 0,
        b'0'..=b'9' => usize::from(byte - b'0') + 2,
        b'a'..=b'z' => usize::from(byte - b'a') + 12,
        b'.' => DOT,
        _ => 1,
    }
}

fn character(symbol: usize) -> u8 {
    b"-_0123456789abcdefghijklmnopqrstuvwxyz."[symbol]
}

/// Which bits stand for which symbol, in one file.
#[derive(Debug)]
pub(super) struct Code {
    symbols: Tree,
    last: Tree,
    labels: Vec<Box<[u8]>>,
    numbers: FxHashMap<Box<[u8]>, u8>,
}

impl Code {
    /// Made of the lengths of the bits; `labels` are the last labels, whose lengths follow that of the mark that one is
    /// spelled out. Absent: these lengths are no code, or a label is none or stands twice.
    pub(super) fn new(symbols: &[u8], last: &[u8], labels: Vec<Box<[u8]>>) -> Option<Self> {
        let known = symbols.len() == SYMBOLS
            && last.len() == labels.len() + 1
            && labels.len() <= MOST_LAST
            && labels.iter().all(|label| is_label(label));
        let numbers: FxHashMap<_, _> = labels.iter().cloned().zip(1_u8..).collect();
        (known && numbers.len() == labels.len()).then_some(())?;
        Some(Self {
            symbols: Tree::new(symbols)?,
            last: Tree::new(last)?,
            labels,
            numbers,
        })
    }

    pub(super) fn end(&self) -> Bits {
        self.symbols.bits[END]
    }

    pub(super) fn symbol(&self, byte: u8) -> Bits {
        self.symbols.bits[symbol(byte)]
    }

    /// The bits of a last label; spelled out, those of its characters follow.
    pub(super) fn last(&self, label: &[u8]) -> (Bits, bool) {
        match self.numbers.get(label) {
            Some(number) => (self.last.bits[usize::from(*number)], false),
            None => (self.last.bits[0], true),
        }
    }

    /// Writes the name of these bits into `name`, and tells how many zeros follow it; absent where they are no name's in
    /// its one form, or where something else follows.
    pub(super) fn name(
        &self,
        mut bits: impl Iterator<Item = bool>,
        name: &mut Vec<u8>,
    ) -> Option<usize> {
        name.clear();
        let last = self.last.symbol(&mut bits)?;
        if last > 0 {
            name.extend(self.labels[last - 1].iter().rev());
        }
        loop {
            match self.symbols.symbol(&mut bits)? {
                END => break,
                DOT if name.is_empty() => return None,
                symbol
                    if last > 0 && name.len() == self.labels[last - 1].len() && symbol != DOT =>
                {
                    return None;
                }
                symbol => name.push(character(symbol)),
            }
            if name.len() > 253 {
                return None;
            }
        }
        name.reverse();
        let mut labels = name.split(|byte| *byte == b'.');
        let spelled = labels.next_back()?;
        let is_known = last > 0 || !self.numbers.contains_key(spelled);
        let sound = is_known && is_label(spelled) && labels.all(is_label);
        let mut follow = 0;
        let zeros = bits.all(|bit| {
            follow += 1;
            !bit
        });
        (sound && zeros).then_some(follow)
    }
}

fn is_label(label: &[u8]) -> bool {
    let in_label = |byte: &u8| character(symbol(*byte)) == *byte && *byte != b'.';
    (1..=63).contains(&label.len()) && label.iter().all(in_label)
}

/// One canonical code: symbols by the length of their bits, then by number, get the next free bits.
#[derive(Debug)]
struct Tree {
    bits: Vec<Bits>,
    /// Symbols in the order of their bits.
    order: Vec<u8>,
    /// Of each length: how many symbols.
    counts: [u16; 16],
}

impl Tree {
    /// Absent where a length is out of bounds, or the lengths leave bits over or want more than there are.
    fn new(lengths: &[u8]) -> Option<Self> {
        let mut order: Vec<u8> = (0..=u8::MAX).take(lengths.len()).collect();
        if lengths.len() > 256 || lengths.iter().any(|len| *len == 0 || *len > LONGEST) {
            return None;
        }
        order.sort_by_key(|symbol| lengths[usize::from(*symbol)]);
        let mut bits = vec![Bits::default(); lengths.len()];
        let mut counts = [0; 16];
        let (mut next, mut before) = (0_u32, 0_u8);
        for symbol in &order {
            let len = lengths[usize::from(*symbol)];
            next <<= len - before;
            before = len;
            bits[usize::from(*symbol)] = Bits {
                value: u16::try_from(next).ok()?,
                len,
            };
            counts[usize::from(len)] += 1;
            next += 1;
            if next > 1 << len {
                return None;
            }
        }
        Some(Self {
            bits,
            order,
            counts,
        })
    }

    fn symbol(&self, bits: &mut impl Iterator<Item = bool>) -> Option<usize> {
        let (mut value, mut first, mut index) = (0_usize, 0_usize, 0_usize);
        for count in &self.counts[1..] {
            value = value << 1 | usize::from(bits.next()?);
            first <<= 1;
            let count = usize::from(*count);
            if value < first + count {
                let at = index + (value - first);
                return self.order.get(at).map(|symbol| usize::from(*symbol));
            }
            index += count;
            first += count;
        }
        None
    }
}

/// The lengths of the bits of symbols that occur so often, none over [`LONGEST`].
pub(super) fn lengths(counts: &[u64]) -> Vec<u8> {
    let mut counts: Vec<u64> = counts.iter().map(|count| count + 1).collect();
    loop {
        let lengths = huffman(&counts);
        if lengths.iter().all(|len| *len <= LONGEST) {
            return lengths;
        }
        // Flatter counts make a flatter tree.
        for count in &mut counts {
            *count = *count / 4 + 1;
        }
    }
}

fn huffman(counts: &[u64]) -> Vec<u8> {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;
    if counts.len() == 1 {
        return vec![1];
    }
    let mut parents = vec![0; counts.len()];
    let mut heap: BinaryHeap<_> = counts
        .iter()
        .enumerate()
        .map(|(node, count)| Reverse((*count, node)))
        .collect();
    while let (Some(Reverse((a, left))), Some(Reverse((b, right)))) = (heap.pop(), heap.pop()) {
        let parent = parents.len();
        parents.push(parent);
        parents[left] = parent;
        parents[right] = parent;
        heap.push(Reverse((a + b, parent)));
        if heap.len() == 1 {
            break;
        }
    }
    let root = parents.len() - 1;
    let mut depths = vec![0_u8; parents.len()];
    for node in (0..root).rev() {
        depths[node] = depths[parents[node]].saturating_add(1);
    }
    depths.truncate(counts.len());
    depths
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lengths_are_bounded_and_a_code(counts in prop::collection::vec(0..u64::MAX >> 20, 1..255)) {
            let lengths = lengths(&counts);
            prop_assert!(Tree::new(&lengths).is_some());
            let full: u32 = lengths.iter().map(|len| 1 << (LONGEST - len)).sum();
            prop_assert!(full == 1 << LONGEST || counts.len() == 1);
        }

        #[test]
        fn a_symbol_is_read_from_its_bits(counts in prop::collection::vec(0..1_000_000_u64, 2..255)) {
            let tree = Tree::new(&lengths(&counts)).unwrap();
            for (symbol, bits) in tree.bits.iter().enumerate() {
                let mut each = (0..bits.len).rev().map(|at| bits.value >> at & 1 == 1);
                prop_assert_eq!(tree.symbol(&mut each), Some(symbol));
            }
        }

        #[test]
        fn hostile_lengths_make_no_code_or_one_that_reads(lengths: Vec<u8>, bits: Vec<bool>) {
            if let Some(tree) = Tree::new(&lengths) {
                tree.symbol(&mut bits.into_iter());
            }
        }
    }
}
