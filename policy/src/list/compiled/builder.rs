//! From the entries of many lists to one file.

use rustc_hash::{FxHashMap, FxHashSet};

use super::answer::{ListNumber, MOST_LISTS, Tier};
use super::code::{Code, DOT, END, MOST_LAST, SYMBOLS, lengths, symbol};
use super::file::{Section, file, numbers};
use super::groups::{Groups, Said, slot};
use super::info::{Cancels, ListInfo, put_text};
use super::key::{Trail, mixed};
use super::names::{LARGEST, put};
use super::ranges::{Saying, flattened, section};
use super::rules::{Anchor, MOST, MOST_EXPRESSIONS, Rule};
use crate::Name;
use crate::list::{AddressRange, Entry, Purpose, Reach, Target};

/// How many names fall into a bucket, at most, on average.
const LOAD: usize = 11;
/// How many seeds are tried before lists are given up that fill one bucket.
const SEEDS: u64 = 8;
/// What names fill at most.
const MOST_TEXT: usize = u32::MAX as usize;

/// Why lists could not be compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// One more list than a file holds.
    #[error("at most 64 lists are compiled together: leave some out")]
    TooManyLists,
    /// A list's name or category is too long, or it has too many.
    #[error("a list's name and categories have at most 255 bytes each")]
    TooLong,
    /// More, or more different, than a file holds.
    #[error("the lists are too large to be compiled together: leave some out")]
    TooLarge,
}

/// Gathers the entries of lists, and compiles them.
///
/// Deterministic: the same seed, lists and entries make the same file. The seed should be random, so that whoever
/// writes a list cannot choose names that slow others down.
#[derive(Debug)]
pub struct Builder {
    seed: u64,
    lists: Vec<ListInfo>,
    text: Vec<u8>,
    names: Vec<Fact>,
    v4: Vec<(u32, u32, Saying)>,
    v6: Vec<(u128, u128, Saying)>,
    rules: Vec<(u8, Entry)>,
    cancelled: FxHashSet<(Option<u8>, Entry)>,
    left_out: usize,
}

/// What a list says about a name.
#[derive(Clone, Copy, Debug)]
struct Fact {
    start: u32,
    len: u8,
    list: u8,
    saying: u16,
}

/// Distinct names and what is said about each.
type Gathered = Vec<(Fact, u32)>;

impl Builder {
    /// A builder without lists.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            lists: Vec::new(),
            text: Vec::new(),
            names: Vec::new(),
            v4: Vec::new(),
            v6: Vec::new(),
            rules: Vec::new(),
            cancelled: FxHashSet::default(),
            left_out: 0,
        }
    }

    /// Adds a list; its entries may follow in any order.
    ///
    /// # Errors
    /// A file holds 64 lists, and short texts about each.
    pub fn list(&mut self, info: ListInfo) -> Result<ListNumber, BuildError> {
        info.put(&mut Vec::new()).ok_or(BuildError::TooLong)?;
        let number = u8::try_from(self.lists.len()).map_err(|_| BuildError::TooManyLists)?;
        if self.lists.len() >= MOST_LISTS {
            return Err(BuildError::TooManyLists);
        }
        self.lists.push(info);
        Ok(ListNumber(number))
    }

    /// How many entries no file can hold: conditions for a range of addresses, patterns about every name, and what is
    /// beyond 100,000 entries with conditions or patterns.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Adds an entry of a list.
    pub fn add(&mut self, list: ListNumber, mut entry: Entry) {
        if entry.purpose == Purpose::Cancel {
            entry.purpose = Purpose::Rule;
            let all = self.lists.get(usize::from(list.0)).map(|info| info.cancels);
            let scope = if all == Some(Cancels::All) {
                None
            } else {
                Some(list.0)
            };
            self.cancelled.insert((scope, entry));
            return;
        }
        if !entry.conditions.is_empty() {
            return self.rules.push((list.0, entry));
        }
        let tier = Tier::new(entry.effect, entry.important);
        let saying = |reach| Saying::List {
            list: list.0,
            slot: slot(tier, reach),
        };
        match &entry.target {
            Target::Name(name, reach) => {
                self.name(name.as_str(), list.0, slot(tier, *reach).into())
            }
            Target::Addresses(AddressRange::V4(first, last)) => {
                self.v4
                    .push((first.to_bits(), last.to_bits(), saying(Reach::Exact)));
            }
            Target::Addresses(AddressRange::V6(first, last)) => {
                self.v6
                    .push((first.to_bits(), last.to_bits(), saying(Reach::Exact)));
            }
            Target::Matching(_) => self.rules.push((list.0, entry)),
        }
    }

    fn name(&mut self, name: &str, list: u8, saying: u16) {
        let (Ok(start), Ok(len)) = (u32::try_from(self.text.len()), u8::try_from(name.len()))
        else {
            self.left_out += 1;
            return;
        };
        if self.text.len() + name.len() > MOST_TEXT {
            self.left_out += 1;
            return;
        }
        self.text.extend(name.as_bytes());
        self.names.push(Fact {
            start,
            len,
            list,
            saying,
        });
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// The lists are too large: over 4 GB, or two million different combinations of lists.
    pub fn finish(mut self) -> Result<Vec<u8>, BuildError> {
        self.take_back();
        let mut groups = Groups::default();
        let (rule_lines, mut anchored) = self.anchor_rules();
        let code = self.code().ok_or(BuildError::TooLarge)?;
        let gathered = self
            .gather(&mut anchored, &mut groups)
            .ok_or(BuildError::TooLarge)?;
        let v4 = flattened(&self.v4, &mut groups).ok_or(BuildError::TooLarge)?;
        let v6 = flattened(&self.v6, &mut groups).ok_or(BuildError::TooLarge)?;
        let groups = groups.written();
        let bucket_bits = (0..31)
            .find(|bits| gathered.len() >> bits <= LOAD)
            .unwrap_or(31);
        let mut seeds = (0..SEEDS).map(|more| self.seed.wrapping_add(more));
        let table = seeds.find_map(|seed| {
            let (buckets, names) =
                self.table(&gathered, &groups.numbers, &code.1, seed, bucket_bits)?;
            Some((seed, buckets, names))
        });
        let (seed, buckets, names) = table.ok_or(BuildError::TooLarge)?;
        let mut depths = 0;
        for (fact, _) in &gathered {
            let dots = self
                .text_of(fact)
                .iter()
                .filter(|byte| **byte == b'.')
                .count();
            depths |= 1_u128 << dots;
        }
        let mut lists = Vec::new();
        for info in &self.lists {
            info.put(&mut lists).ok_or(BuildError::TooLong)?;
        }
        // In the order of `Section::ALL`.
        let sections: [Vec<u8>; Section::ALL.len()] = [
            code.0,
            lists,
            groups.starts,
            groups.words,
            groups.references,
            rule_lines.into_bytes(),
            buckets,
            names,
            section(&v4, &groups.numbers),
            section(&v6, &groups.numbers),
        ];
        Ok(file(seed, bucket_bits, depths, &sections))
    }

    fn text_of(&self, fact: &Fact) -> &[u8] {
        &self.text[fact.start as usize..][..usize::from(fact.len)]
    }

    /// Leaves out what `$badfilter` takes back.
    fn take_back(&mut self) {
        if self.cancelled.is_empty() {
            return;
        }
        let cancelled = std::mem::take(&mut self.cancelled);
        let counts = |list: u8, entry: Entry| {
            let key = (None, entry);
            if cancelled.contains(&key) {
                return false;
            }
            !cancelled.contains(&(Some(list), key.1))
        };
        let said = |slot: u8, target: &dyn Fn(Reach) -> Option<Target>| {
            let (tier, reach) = super::groups::parts(slot.into());
            let mut entry = Entry::new(target(reach)?, tier.effect());
            entry.important = tier.is_important();
            Some(entry)
        };
        let mut names = std::mem::take(&mut self.names);
        names.retain(|fact| {
            let text = std::str::from_utf8(self.text_of(fact)).ok();
            let name = text.and_then(|text| Name::parse(text).ok());
            let slot = u8::try_from(fact.saying).unwrap_or(0);
            let entry = said(slot, &|reach| Some(Target::Name(name.clone()?, reach)));
            entry.is_none_or(|entry| counts(fact.list, entry))
        });
        self.names = names;
        let range_counts = |saying: &Saying, range: AddressRange| match saying {
            Saying::List { list, slot } => said(*slot, &|_| Some(Target::Addresses(range)))
                .is_none_or(|entry| counts(*list, entry)),
            Saying::Rule(_) => true,
        };
        self.v4.retain(|(first, last, saying)| {
            range_counts(saying, AddressRange::V4((*first).into(), (*last).into()))
        });
        self.v6.retain(|(first, last, saying)| {
            range_counts(saying, AddressRange::V6((*first).into(), (*last).into()))
        });
        self.rules
            .retain(|(list, entry)| counts(*list, entry.clone()));
    }

    /// The lines of rules; and which of them are found with which name.
    fn anchor_rules(&mut self) -> (String, FxHashMap<Box<[u8]>, Vec<u32>>) {
        let mut lines = String::new();
        let mut anchored: FxHashMap<Box<[u8]>, Vec<u32>> = FxHashMap::default();
        let (mut count, mut expressions) = (0_u32, 0);
        for (list, entry) in std::mem::take(&mut self.rules) {
            let Some((rule, line)) = Rule::line(list, &entry).filter(|_| (count as usize) < MOST)
            else {
                self.left_out += 1;
                continue;
            };
            if rule.is_expression() {
                if expressions == MOST_EXPRESSIONS {
                    self.left_out += 1;
                    continue;
                }
                expressions += 1;
            }
            lines.push_str(&line);
            match rule.anchor() {
                Anchor::None => {}
                Anchor::Range(AddressRange::V4(first, last)) => {
                    self.v4
                        .push((first.to_bits(), last.to_bits(), Saying::Rule(count)));
                }
                Anchor::Range(AddressRange::V6(first, last)) => {
                    self.v6
                        .push((first.to_bits(), last.to_bits(), Saying::Rule(count)));
                }
                Anchor::Name(name) => {
                    let rules = anchored.entry(name.as_str().as_bytes().into()).or_default();
                    rules.push(count);
                    if rules.len() == 1 {
                        // Says nothing by itself.
                        self.name(name.as_str(), 0, u16::MAX);
                    }
                }
            }
            count += 1;
        }
        (lines, anchored)
    }

    /// The code of these names, as bytes and ready.
    fn code(&self) -> Option<(Vec<u8>, Code)> {
        let mut symbols = [0_u64; SYMBOLS];
        let mut labels: FxHashMap<&[u8], u64> = FxHashMap::default();
        for fact in &self.names {
            let mut parts = self.text_of(fact).rsplit(|byte| *byte == b'.');
            *labels.entry(parts.next().unwrap_or(&[])).or_default() += 1;
            symbols[END] += 1;
            for part in parts {
                symbols[DOT] += 1;
                for byte in part {
                    symbols[symbol(*byte)] += 1;
                }
            }
        }
        let mut often: Vec<(&[u8], u64)> = labels.into_iter().collect();
        often.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let rare = often.split_off(often.len().min(MOST_LAST));
        let spelled = rare.iter().map(|(_, count)| count).sum();
        let counts: Vec<u64> = std::iter::once(spelled)
            .chain(often.iter().map(|(_, count)| *count))
            .collect();
        let (symbols, last) = (lengths(&symbols), lengths(&counts));
        let mut bytes = symbols.clone();
        bytes.push(u8::try_from(often.len()).ok()?);
        bytes.extend(&last);
        for (label, _) in &often {
            put_text(std::str::from_utf8(label).ok()?, &mut bytes)?;
        }
        let labels = often.iter().map(|(label, _)| Box::from(*label)).collect();
        Some((bytes, Code::new(&symbols, &last, labels)?))
    }

    /// Each name once, with the group of all that is said about it.
    fn gather(
        &self,
        anchored: &mut FxHashMap<Box<[u8]>, Vec<u32>>,
        groups: &mut Groups,
    ) -> Option<Gathered> {
        let mut order: Vec<(u64, Fact)> = self
            .names
            .iter()
            .map(|fact| (self.hash(fact), *fact))
            .collect();
        order.sort_unstable_by(|(a_hash, a), (b_hash, b)| {
            a_hash
                .cmp(b_hash)
                .then_with(|| self.text_of(a).cmp(self.text_of(b)))
        });
        let mut gathered = Vec::with_capacity(order.len());
        for same in order.chunk_by(|a, b| a.0 == b.0 && self.text_of(&a.1) == self.text_of(&b.1)) {
            let mut said = Said::default();
            for (_, fact) in same {
                match said.sets.get_mut(usize::from(fact.saying)) {
                    Some(lists) => *lists |= 1 << fact.list,
                    None => said.rules = anchored.remove(self.text_of(fact)).unwrap_or_default(),
                }
            }
            gathered.push((same[0].1, groups.number(&mut said)?));
        }
        Some(gathered)
    }

    fn hash(&self, fact: &Fact) -> u64 {
        let (words, rest) = self.text_of(fact).as_chunks::<8>();
        let all = words.iter().fold(self.seed, |hash, word| {
            mixed(hash, u64::from_le_bytes(*word))
        });
        rest.iter().fold(all, |hash, byte| {
            mixed(hash.rotate_left(1), u64::from(*byte) + 1)
        })
    }

    /// Buckets' places and entries; absent: they, or one bucket, are too large.
    fn table(
        &self,
        gathered: &Gathered,
        group_numbers: &[u32],
        code: &Code,
        seed: u64,
        bucket_bits: u32,
    ) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut kept = Vec::new();
        let mut places: Vec<(u32, u32, u32, u32)> = Vec::with_capacity(gathered.len());
        for (fact, group) in gathered {
            let mut trail = Trail::new(seed, bucket_bits);
            for (at, label) in self.text_of(fact).rsplit(|byte| *byte == b'.').enumerate() {
                trail.label(code, label, at == 0).then_some(())?;
            }
            let key = trail.key(code);
            let start = u32::try_from(kept.len()).ok()?;
            trail.rest(&key, &mut kept);
            let len = u32::try_from(key.len).ok()?;
            places.push((key.bucket, start, len, group_numbers[*group as usize]));
        }
        let rest =
            |(_, start, len, _): &(u32, u32, u32, u32)| &kept[*start as usize..][..*len as usize];
        places.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| rest(a).cmp(rest(b))));
        let mut entries = Vec::with_capacity(kept.len() + 2 * gathered.len());
        let mut starts = Vec::with_capacity((1 << bucket_bits) + 1);
        let mut places = places.iter().peekable();
        for bucket in 0..1_u32 << bucket_bits {
            starts.push(u32::try_from(entries.len()).ok()?);
            let begin = entries.len();
            while let Some(place) = places.next_if(|place| place.0 == bucket) {
                put(rest(place), place.3, &mut entries);
            }
            (entries.len() - begin <= LARGEST).then_some(())?;
        }
        starts.push(u32::try_from(entries.len()).ok()?);
        Some((numbers(starts), entries))
    }
}
