//! Rules of AdGuard's DNS filters: `||name^`, `@@||name^$important`, `/expression/`, with bare names and hosts lines
//! among them.

use std::net::IpAddr;

use super::super::{AddressRange, Effect, Entry, EntryPattern, Reach, Target};
use super::modifiers;
use super::taking::{Taking, is_address};
use super::{Reason, hosts};
use crate::Name;

/// How many patterns are taken of a list: each is compared with every name asked for.
const MOST_WILDCARDS: usize = 10_000;
/// The same for expressions, which are compiled.
const MOST_EXPRESSIONS: usize = 1_000;
/// A pattern of fewer characters is about nearly every name.
const LEAST_WEIGHT: usize = 3;

/// How many patterns a list has had.
#[derive(Debug, Default)]
pub(super) struct Count {
    wildcards: usize,
    expressions: usize,
}

pub(super) fn line(text: &str, count: &mut Count, taking: &mut Taking<'_>) {
    if text.is_empty() || text.starts_with('!') || text.starts_with("[Adblock") {
        return taking.comment();
    }
    if is_about_pages(text) {
        return taking.ignore(Reason::NotForNames);
    }
    if text.starts_with('#') {
        return taking.comment();
    }
    let mut words = text.split_whitespace();
    if let Some(first) = words.next()
        && first.parse::<IpAddr>().is_ok()
        && words.next().is_some()
    {
        return hosts::line(text, taking);
    }
    match rule(text, count) {
        Ok(entry) => taking.entry(entry),
        Err(reason) => taking.ignore(reason),
    }
}

/// Rules about parts of pages, with the names of the sites before one of these marks, or none.
fn is_about_pages(text: &str) -> bool {
    const MARKS: [&str; 10] = [
        "##", "#@#", "#?#", "#@?#", "#$#", "#@$#", "#%#", "#@%#", "$$", "$@$",
    ];
    let in_sites =
        |next: char| next.is_alphanumeric() || matches!(next, '.' | ',' | '~' | '*' | '-' | '_');
    let rest = text.trim_start_matches(in_sites);
    MARKS.iter().any(|mark| {
        rest.strip_prefix(mark)
            .is_some_and(|rest| !rest.starts_with([' ', '#']))
    })
}

fn rule(text: &str, count: &mut Count) -> Result<Entry, Reason> {
    let (effect, text) = match text.strip_prefix("@@") {
        Some(text) => (Effect::Allow, text),
        None => (Effect::Block, text),
    };
    let (pattern, options) = modifiers::split(text);
    let mut entry = Entry::new(
        Target::Matching(EntryPattern::parse("*").map_err(|_| Reason::Syntax)?),
        effect,
    );
    if let Some(options) = options {
        modifiers::read(options, &mut entry)?;
    }
    entry.target = target(pattern, count)?;
    if let Target::Matching(pattern) = &entry.target
        && pattern.weight() < LEAST_WEIGHT
        && entry.conditions.is_empty()
    {
        return Err(Reason::TooWide);
    }
    Ok(entry)
}

/// What a pattern is about. Where it is a name with an anchor, it is taken as the name: `||example.com` without its
/// `^`, and `*.example.com`, could also be the beginning or the middle of another name, which nobody means.
fn target(pattern: &str, count: &mut Count) -> Result<Target, Reason> {
    let (reach, name) = if let Some(name) = pattern.strip_prefix("||") {
        (Some(Reach::Within), name)
    } else if let Some(name) = pattern.strip_prefix('|') {
        (Some(Reach::Exact), name)
    } else {
        (None, pattern)
    };
    let whole = ["^|", "^*", "/*", "^", "|"]
        .iter()
        .find_map(|end| name.strip_suffix(end));
    let (reach, name) = match (reach, whole, name) {
        // `|name` begins there and ends anywhere.
        (Some(Reach::Exact), None, _) => (None, name),
        (Some(reach), whole, name) => (Some(reach), whole.unwrap_or(name)),
        (None, Some(whole), _) if !whole.starts_with(['.', '*']) => (None, whole),
        (None, whole, name) => (Some(Reach::Exact), whole.unwrap_or(name)),
    };
    let (reach, name) = match (
        reach,
        name.strip_prefix("*.").or_else(|| name.strip_prefix('.')),
    ) {
        (Some(Reach::Within | Reach::Exact), Some(name)) => (Some(Reach::Below), name),
        _ => (reach, name),
    };
    if let Some(reach) = reach {
        if let Ok(address) = name.parse::<IpAddr>() {
            let range = AddressRange::new(address, address).ok_or(Reason::NotAnAddress)?;
            return Ok(Target::Addresses(range));
        }
        let dotted = whole.is_some() || name.contains('.');
        if dotted
            && let Ok(name) = Name::parse(name)
            && !is_address(&name)
        {
            return Ok(Target::Name(name, reach));
        }
    }
    let is_expression = pattern.len() > 1 && pattern.starts_with('/') && pattern.ends_with('/');
    let (counted, most) = if is_expression {
        (&mut count.expressions, MOST_EXPRESSIONS)
    } else {
        (&mut count.wildcards, MOST_WILDCARDS)
    };
    *counted += 1;
    if *counted > most {
        return Err(Reason::TooMany);
    }
    if !is_expression && pattern.contains('/') && !pattern.starts_with("://") {
        return Err(Reason::NotForNames);
    }
    EntryPattern::parse(pattern)
        .map(Target::Matching)
        .map_err(|_| Reason::BadPattern)
}
