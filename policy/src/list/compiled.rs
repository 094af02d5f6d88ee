//! Many lists in one compact file, asked straight from its bytes.
//!
//! [`Builder`] makes the file, [`Compiled::open`] looks at all of it once, and every question after that reads a few
//! lines of memory and allocates nothing. Names are held in buckets by a keyed hash, their letters in Huffman's code,
//! without the bits that the bucket tells: about ten bytes for a name, which is there in full, so an answer is never
//! about another name. What lists say of a name is one of few combinations, and held once for each.
//!
//! Bytes that were changed or cut are refused, as are those that make no sense though their checksum is right: an
//! opened file answers for exactly the names that [`Compiled::each_name`] lists. A file that changes while it is open
//! gives wrong answers, never a panic.
//!
//! ```
//! use tidegate_policy::Name;
//! use tidegate_policy::list::compiled::{Builder, Compiled, Context, ListInfo};
//! use tidegate_policy::list::{Effect, parse};
//!
//! let mut builder = Builder::new(1);
//! for (name, text) in [("ads", "||example.com^\n192.0.2.1 x\n"), ("mine", "@@||shop.example.com^$dnstype=A\n")] {
//!     let list = builder.list(ListInfo::new(name)).unwrap();
//!     parse::parse(text.as_bytes(), &parse::Settings::default(), |entry| builder.add(list, entry));
//! }
//! let lists = Compiled::open(builder.finish().unwrap()).unwrap();
//! let shop = Name::parse("www.shop.example.com").unwrap();
//! let mut context = Context::default();
//! assert_eq!(lists.name(&shop, &context).effect(lists.all()), Some(Effect::Block));
//! context.record_type = Some(tidegate_policy::list::RecordType::A);
//! let (effect, who) = lists.name(&shop, &context).decided(lists.all()).unwrap();
//! assert_eq!(effect, Effect::Allow);
//! assert_eq!(who.iter().map(|list| &*lists.info(list).unwrap().name).collect::<Vec<_>>(), ["mine"]);
//! ```

mod answer;
mod builder;
mod code;
mod file;
mod groups;
mod info;
mod key;
mod names;
mod ranges;
mod rules;

use std::net::IpAddr;

pub use answer::{Answer, Context, ListNumber, ListSet, MOST_LISTS};
pub use builder::{BuildError, Builder};
use code::Code;
pub use file::OpenError;
#[cfg(any(test, fuzzing))]
pub use file::sealed;
use file::{Header, Section, u32_at};
use groups::Group;
pub use info::{Cancels, ListInfo};
use key::{Key, Trail};
use names::Names;
use rules::{Anchor, Rule};

use super::{AddressRange, Effect, Entry, Reach};
use crate::Name;

/// Compiled lists, in bytes that may be a file's that is mapped into memory.
#[derive(Debug)]
pub struct Compiled<B> {
    bytes: B,
    header: Header,
    code: Code,
    lists: Vec<ListInfo>,
    rules: Vec<Rule>,
    /// Rules that are compared with every name.
    loose: Vec<u32>,
}

/// Why a name or an address is on lists.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found<'a> {
    /// What is to be done.
    pub effect: Effect,
    /// Whether it wins over what is not important.
    pub important: bool,
    /// Which lists say so.
    pub lists: ListSet,
    /// How they say it.
    pub by: By<'a>,
}

/// How lists say something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum By<'a> {
    /// By the name, or one above it.
    Name(&'a str, Reach),
    /// By addresses of which it is one.
    Addresses(AddressRange),
    /// By an entry with conditions or a pattern.
    Entry(&'a Entry),
}

/// How many names above a name are looked for side by side, so that memory answers for all at once.
const TOGETHER: usize = 8;

impl<B: AsRef<[u8]>> Compiled<B> {
    /// Looks at all of a file, once.
    ///
    /// # Errors
    /// Whatever [`Builder`] did not write.
    pub fn open(bytes: B) -> Result<Self, OpenError> {
        let all = bytes.as_ref();
        let header = Header::read(all)?;
        let part = |section| header.section(all, section);
        let code =
            read_code(part(Section::Code)).ok_or(OpenError::Senseless("the code of names"))?;
        let lists =
            ListInfo::read_all(part(Section::Lists)).ok_or(OpenError::Senseless("the lists"))?;
        let rules = rules::read(part(Section::Rules), lists.len());
        let rules = rules.ok_or(OpenError::Senseless("entries with conditions"))?;
        let loose = (0_u32..)
            .zip(&rules)
            .filter(|(_, rule)| matches!(rule.anchor(), Anchor::None));
        let loose = loose.map(|(number, _)| number).collect();
        let own = Self {
            header,
            code,
            lists,
            rules,
            loose,
            bytes,
        };
        own.validate()?;
        Ok(own)
    }

    fn validate(&self) -> Result<(), OpenError> {
        let references = self.part(Section::References);
        let count = references.len() / 4;
        let known = (0..count).all(|at| {
            u32_at(references, at).is_some_and(|rule| (rule as usize) < self.rules.len())
        });
        if !known || !references.len().is_multiple_of(4) {
            return Err(OpenError::Senseless("references to entries"));
        }
        let groups = groups::validate(
            self.part(Section::GroupStarts),
            self.part(Section::Groups),
            self.all(),
            count,
        );
        let groups = groups.ok_or(OpenError::Senseless("combinations of lists"))?;
        let mut depths = 0_u128;
        let names = self.each_entry(&mut |name, group| {
            depths |= 1 << name.bytes().filter(|byte| *byte == b'.').count();
            (group as usize) < groups
        });
        let largest = || {
            (0..1 << self.header.bucket_bits)
                .all(|at| self.names().bucket(at).len() <= names::LARGEST)
        };
        if !names || depths != self.header.depths || !largest() {
            return Err(OpenError::Senseless("names"));
        }
        let v4 = ranges::each::<u32>(self.part(Section::V4), &mut |_, _, group| {
            (group as usize) < groups
        });
        let v6 = ranges::each::<u128>(self.part(Section::V6), &mut |_, _, group| {
            (group as usize) < groups
        });
        if v4 && v6 {
            Ok(())
        } else {
            Err(OpenError::Senseless("addresses"))
        }
    }

    /// How many bytes it has.
    pub fn size(&self) -> usize {
        self.bytes.as_ref().len()
    }

    /// Its lists.
    pub fn all(&self) -> ListSet {
        self.lists().map(|(list, _)| list).collect()
    }

    /// Each list, and what is kept about it.
    pub fn lists(&self) -> impl Iterator<Item = (ListNumber, &ListInfo)> {
        (0..).map(ListNumber).zip(&self.lists)
    }

    /// What is kept about a list.
    pub fn info(&self, list: ListNumber) -> Option<&ListInfo> {
        self.lists.get(usize::from(list.0))
    }

    /// The lists of this name, or in this category.
    pub fn lists_called(&self, name_or_category: &str) -> ListSet {
        let called = |info: &ListInfo| {
            info.name == name_or_category
                || info.categories.iter().any(|own| own == name_or_category)
        };
        let lists = self.lists().filter(|(_, info)| called(info));
        lists.map(|(list, _)| list).collect()
    }

    /// What the lists say about a name.
    pub fn name(&self, name: &Name, context: &Context<'_>) -> Answer {
        let mut answer = Answer::default();
        self.each_reason(name, context, &mut |found| add(&mut answer, &found));
        answer
    }

    /// Calls `visit` with each reason why a name is on lists.
    pub fn each_reason<'a>(
        &'a self,
        name: &'a Name,
        context: &Context<'_>,
        visit: &mut impl FnMut(Found<'a>),
    ) {
        self.each_group(name, &mut |above, group| {
            let is_own = above.len() == name.as_str().len();
            for (tier, reach, lists) in group.sets() {
                let reached = match reach {
                    Reach::Exact => is_own,
                    Reach::Below => !is_own,
                    Reach::Within => true,
                };
                if reached {
                    visit(Found {
                        effect: tier.effect(),
                        important: tier.is_important(),
                        lists,
                        by: By::Name(above, reach),
                    });
                }
            }
            for rule in self.rules_of(group) {
                if rule.holds(name, is_own, context) {
                    visit(by_rule(rule));
                }
            }
        });
        for rule in self
            .loose
            .iter()
            .filter_map(|number| self.rules.get(*number as usize))
        {
            if rule.holds(name, false, context) {
                visit(by_rule(rule));
            }
        }
    }

    /// What the lists say about an address.
    pub fn address(&self, address: IpAddr, context: &Context<'_>) -> Answer {
        let mut answer = Answer::default();
        self.each_address_reason(address, context, &mut |found| add(&mut answer, &found));
        answer
    }

    /// Calls `visit` with each reason why an address is on lists.
    pub fn each_address_reason<'a>(
        &'a self,
        address: IpAddr,
        context: &Context<'_>,
        visit: &mut impl FnMut(Found<'a>),
    ) {
        let found = match address.to_canonical() {
            IpAddr::V4(address) => ranges::find(self.part(Section::V4), address.to_bits())
                .map(|(first, last, group)| (AddressRange::V4(first.into(), last.into()), group)),
            IpAddr::V6(address) => ranges::find(self.part(Section::V6), address.to_bits())
                .map(|(first, last, group)| (AddressRange::V6(first.into(), last.into()), group)),
        };
        let Some((range, group)) =
            found.and_then(|(range, group)| Some((range, self.group(group)?)))
        else {
            return;
        };
        for (tier, _, lists) in group.sets() {
            visit(Found {
                effect: tier.effect(),
                important: tier.is_important(),
                lists,
                by: By::Addresses(range),
            });
        }
        for rule in self.rules_of(group) {
            if rule.context_holds(context) {
                visit(by_rule(rule));
            }
        }
    }

    /// Calls `visit` with each name that entries without conditions are about, in no order.
    pub fn each_name(&self, visit: &mut impl FnMut(&str)) {
        self.each_entry(&mut |name, group| {
            if self
                .group(group)
                .is_some_and(|group| group.sets().next().is_some())
            {
                visit(name);
            }
            true
        });
    }

    fn each_entry(&self, visit: &mut dyn FnMut(&str, u32) -> bool) -> bool {
        let Header {
            seed, bucket_bits, ..
        } = self.header;
        self.names().each(&self.code, seed, bucket_bits, visit)
    }

    /// Calls `visit` with each group of the name and of what is above it.
    fn each_group<'a>(&'a self, name: &'a Name, visit: &mut impl FnMut(&'a str, Group<'a>)) {
        let text = name.as_str();
        let mut trail = Trail::new(self.header.seed, self.header.bucket_bits);
        let mut together = [(Key::default(), 0); TOGETHER];
        let mut waiting = 0;
        let (mut end, mut depths) = (text.len(), self.header.depths);
        while depths != 0 {
            let start = text[..end].rfind('.').map_or(0, |dot| dot + 1);
            if !trail.label(&self.code, &text.as_bytes()[start..end], end == text.len()) {
                break;
            }
            if depths & 1 == 1 {
                together[waiting] = (trail.key(&self.code), start);
                waiting += 1;
                if waiting == TOGETHER {
                    self.find(text, &trail, &together, visit);
                    waiting = 0;
                }
            }
            if start == 0 {
                break;
            }
            end = start - 1;
            depths >>= 1;
        }
        self.find(text, &trail, &together[..waiting], visit);
    }

    fn find<'a>(
        &'a self,
        text: &'a str,
        trail: &Trail,
        keys: &[(Key, usize)],
        visit: &mut impl FnMut(&'a str, Group<'a>),
    ) {
        let names = self.names();
        let mut buckets: [&[u8]; TOGETHER] = [&[]; TOGETHER];
        for (bucket, (key, _)) in buckets.iter_mut().zip(keys) {
            *bucket = names.bucket(key.bucket);
        }
        // Nothing but a first touch of each, so that they are fetched side by side.
        std::hint::black_box(
            buckets
                .iter()
                .fold(0, |all, bucket| all ^ bucket.first().unwrap_or(&0)),
        );
        for (bucket, (key, start)) in buckets.iter().zip(keys) {
            if let Some(group) =
                Names::group(bucket, trail, key).and_then(|group| self.group(group))
            {
                visit(&text[*start..], group);
            }
        }
    }

    fn part(&self, section: Section) -> &[u8] {
        self.header.section(self.bytes.as_ref(), section)
    }

    fn names(&self) -> Names<'_> {
        Names {
            buckets: self.part(Section::Buckets),
            entries: self.part(Section::Names),
        }
    }

    fn group(&self, number: u32) -> Option<Group<'_>> {
        Group::at(
            self.part(Section::GroupStarts),
            self.part(Section::Groups),
            number,
        )
    }

    fn rules_of(&self, group: Group<'_>) -> impl Iterator<Item = &Rule> {
        let references = self.part(Section::References);
        let numbers = group.rules().filter_map(|at| u32_at(references, at));
        numbers.filter_map(|number| self.rules.get(number as usize))
    }
}

fn add(answer: &mut Answer, found: &Found<'_>) {
    answer.add(
        answer::Tier::new(found.effect, found.important),
        found.lists,
    );
}

fn by_rule(rule: &Rule) -> Found<'_> {
    Found {
        effect: rule.tier().effect(),
        important: rule.tier().is_important(),
        lists: ListNumber(rule.list).into(),
        by: By::Entry(&rule.entry),
    }
}

fn read_code(bytes: &[u8]) -> Option<Code> {
    let (symbols, bytes) = bytes.split_at_checked(code::SYMBOLS)?;
    let (count, bytes) = bytes.split_first()?;
    let (last, mut bytes) = bytes.split_at_checked(usize::from(*count) + 1)?;
    let labels = (0..*count)
        .map(|_| info::take_text(&mut bytes))
        .collect::<Option<Vec<_>>>()?;
    let labels = labels
        .into_iter()
        .map(|label| label.into_bytes().into())
        .collect();
    bytes.is_empty().then(|| Code::new(symbols, last, labels))?
}

#[cfg(test)]
mod tests;
