//! Entries with conditions or patterns: kept as the lines that say them, made ready when a file is opened.
//!
//! Those about a name, or a pattern whose names all lie beneath one, are found with that name. The others are compared
//! with every name asked for, in time that grows with the name's length and their number, so the parser takes a bounded
//! number of them.

use super::super::entry_pattern::Matcher;
use super::super::parse::{self, Format, Settings, SuffixRule};
use super::super::{AddressRange, Client, Entry, Purpose, Reach, Target, write};
use super::answer::{Context, Tier};
use crate::Name;

/// How many a file has at most.
pub(super) const MOST: usize = 100_000;
/// How many of them are expressions.
pub(super) const MOST_EXPRESSIONS: usize = 4_000;

/// One of them.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) list: u8,
    pub(super) entry: Entry,
    matcher: Option<Matcher>,
}

/// By what a rule is found.
#[derive(Debug)]
pub(super) enum Anchor {
    /// A name on the way.
    Name(Name),
    /// Addresses.
    Range(AddressRange),
    /// Nothing: it is compared with every name.
    None,
}

fn settings() -> Settings<'static> {
    Settings {
        format: Some(Format::AdGuard),
        suffix_rule: SuffixRule::Accept,
        ..Settings::default()
    }
}

impl Rule {
    pub(super) fn is_expression(&self) -> bool {
        matches!(self.matcher, Some(Matcher::Regex(_)))
    }

    pub(super) fn tier(&self) -> Tier {
        Tier::new(self.entry.effect, self.entry.important)
    }

    pub(super) fn anchor(&self) -> Anchor {
        match &self.entry.target {
            Target::Name(name, _) => Anchor::Name(name.clone()),
            Target::Addresses(range) => Anchor::Range(*range),
            Target::Matching(pattern) => pattern
                .parent()
                .and_then(|parent| Name::parse(parent).ok())
                .map_or(Anchor::None, Anchor::Name),
        }
    }

    /// Whether it counts for a name that was reached through its anchor.
    pub(super) fn holds(&self, name: &Name, is_anchor: bool, context: &Context<'_>) -> bool {
        let reached = match &self.entry.target {
            Target::Name(_, Reach::Exact) => is_anchor,
            Target::Name(_, Reach::Below) => !is_anchor,
            Target::Name(_, Reach::Within) => true,
            Target::Matching(_) => self
                .matcher
                .as_ref()
                .is_some_and(|own| own.matches(name.as_str())),
            Target::Addresses(_) => false,
        };
        let excepted = |except: &Name| name.is_within(except);
        reached && self.context_holds(context) && !self.entry.conditions.except.iter().any(excepted)
    }

    /// Whether what it asks of the asker holds.
    pub(super) fn context_holds(&self, context: &Context<'_>) -> bool {
        let conditions = &self.entry.conditions;
        let is = |selector: &str| context.client.is_some_and(|is| is(selector));
        conditions.record_types.contains(context.record_type)
            && (conditions.clients.is_empty() || Client::any_holds(&conditions.clients, &is))
    }

    /// The line that says it; absent: none would be read as the same.
    pub(super) fn line(list: u8, entry: &Entry) -> Option<(Self, String)> {
        let text = write(entry, Format::AdGuard, &settings())?;
        let rule = Self::read(list, &text)?;
        (rule.entry == *entry).then(|| (rule, format!("{list} {text}\n")))
    }

    fn read(list: u8, text: &str) -> Option<Self> {
        let mut entry = None;
        parse::parse(text.as_bytes(), &settings(), |read| entry = Some(read));
        let entry = entry.filter(|entry| entry.purpose == Purpose::Rule)?;
        let matcher = match &entry.target {
            Target::Matching(pattern) => Some(pattern.matcher().ok()?),
            Target::Name(..) | Target::Addresses(_) => None,
        };
        Some(Self {
            list,
            entry,
            matcher,
        })
    }
}

/// All rules of a file, each on a line behind its list's number; absent: some are none, or there are too many.
pub(super) fn read(section: &[u8], lists: usize) -> Option<Vec<Rule>> {
    let text = std::str::from_utf8(section).ok()?;
    let mut rules = Vec::new();
    let mut expressions = 0;
    for line in text.lines() {
        let (list, text) = line.split_once(' ')?;
        let list: u8 = list.parse().ok()?;
        let rule = Rule::read(list, text)?;
        expressions += usize::from(rule.is_expression());
        let known = usize::from(list) < lists;
        (known && rules.len() < MOST && expressions <= MOST_EXPRESSIONS).then_some(())?;
        rules.push(rule);
    }
    Some(rules)
}
