//! What stands behind the `$` of a rule.

use super::super::{Client, Entry, Purpose, RecordTypes};
use super::Reason;
use crate::Name;

/// How many values a modifier takes.
const MOST_VALUES: usize = 256;

/// The pattern and its modifiers. A `$` within an expression belongs to it.
pub(super) fn split(text: &str) -> (&str, Option<&str>) {
    if text.starts_with('/') {
        let ends = text.match_indices('/').map(|(at, _)| at + 1).skip(1);
        for end in ends {
            let rest = &text[end..];
            let modifiers = rest.strip_prefix('$');
            if modifiers
                .is_some_and(|rest| rest.starts_with(|next: char| next.is_ascii_lowercase()))
            {
                return (&text[..end], modifiers);
            }
        }
        return (text, None);
    }
    match text.split_once('$') {
        Some((pattern, modifiers)) => (pattern, Some(modifiers)),
        None => (text, None),
    }
}

/// Puts the modifiers of `options` into `entry`.
pub(super) fn read(options: &str, entry: &mut Entry) -> Result<(), Reason> {
    for option in parts(options, ',') {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, value),
            None => (option, ""),
        };
        match (name, value) {
            ("important", "") => entry.important = true,
            ("badfilter", "") => entry.purpose = Purpose::Cancel,
            ("client", value) => {
                let clients = values(value)?.into_iter().map(Client::parse);
                entry.conditions.clients =
                    clients.collect::<Option<_>>().ok_or(Reason::BadModifier)?;
            }
            ("denyallow", value) => {
                let names = values(value)?.into_iter().map(Name::parse);
                entry.conditions.except = names
                    .collect::<Result<_, _>>()
                    .map_err(|_| Reason::BadModifier)?;
            }
            ("dnstype", value) => {
                values(value)?;
                entry.conditions.record_types =
                    RecordTypes::parse(value).ok_or(Reason::BadModifier)?;
            }
            ("dnsrewrite", _) => return Err(Reason::Rewrite),
            ("important" | "badfilter", _) => return Err(Reason::BadModifier),
            _ => return Err(Reason::UnknownModifier),
        }
    }
    Ok(())
}

fn values(text: &str) -> Result<Vec<&str>, Reason> {
    let values: Vec<_> = parts(text, '|').take(MOST_VALUES + 1).collect();
    if text.is_empty() || values.len() > MOST_VALUES {
        return Err(Reason::BadModifier);
    }
    Ok(values)
}

/// The parts between separators that no `\` stands before.
fn parts(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    text.split(move |next| {
        let separates = next == separator && !escaped;
        escaped = next == '\\' && !escaped;
        separates
    })
}
