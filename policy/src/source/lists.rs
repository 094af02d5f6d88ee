//! `[[list]]`: lists, and what is wrong with those of all files taken together.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashSet;

use super::app::read_app;
use super::destinations::ListUse;
use super::review::problem;
use super::values::read_list;
use crate::destination::label;
use crate::document::{Item, Problem, Refusal, Section, Severity, nearest};
use crate::feed::Feed;
use crate::list::catalogue::{self, CatalogueEntry};
use crate::list::compiled::MOST_LISTS;
use crate::list::parse::Format;
use crate::list::{ListDefinition, ListSource, Reach};
use crate::verdict::Verdict;

/// Lists, and what rules call them, that a configuration may hold.
const MOST_NAMED: usize = 2 * MOST_LISTS;
/// Categories of one list.
const MOST_CATEGORIES: usize = 16;
const DAY: u64 = 24 * 60 * 60;
/// Between two fetches by itself, in seconds.
const SOONEST: u64 = 60;
const DEFAULT_MIB: u64 = 64;
const MOST_MIB: u64 = 1024;
const DEFAULT_SECONDS: u64 = 60;
const MOST_SECONDS: u64 = 3600;
/// Problems for which a similar name is looked for, which takes its time.
const MOST_HINTS: usize = 100;

/// What becomes of flows to what is on a list.
const ACTIONS: [(&str, Verdict); 3] = [
    ("allow", Verdict::Allow),
    ("block", Verdict::Block),
    ("drop", Verdict::Drop),
];
const REACHES: [(&str, Reach); 2] = [("exact", Reach::Exact), ("subdomains", Reach::Within)];

/// Absent when the list cannot be used; the reason was noted. All its keys are read in any case.
pub(super) fn read_definition(section: &Section<'_>) -> Option<ListDefinition> {
    let catalogued = section.item("use").map(|item| item.parse(catalogued));
    let entry = catalogued.as_ref().and_then(Option::as_ref);
    let name = match section.item("name") {
        Some(item) => item.parse(label),
        None => entry.map(|entry| entry.name.as_str().into()),
    };
    let source = section.item("source").map(|item| item.parse(source));
    let format = section.item("format").map(|item| read_format(&item));
    let bare = section.choice("match", &REACHES);
    let categories = section.item("category").map(|item| read_categories(&item));
    let action = section.choice("action", &ACTIONS);
    let app = section.item("app").map(read_app);
    let pin = section.item("sha256").map(|item| item.parse(sha256));
    let update = section.item("update").map(|item| item.parse(interval));
    let most_mib = bounded(section, "max_mib", DEFAULT_MIB, MOST_MIB);
    let most_seconds = bounded(section, "max_seconds", DEFAULT_SECONDS, MOST_SECONDS);
    if section.item("name").is_none() && section.item("use").is_none() {
        let hint = "add name = \"...\"; rules refer to it as list:NAME";
        section.error("the list has no `name`", Some(hint.to_owned()));
    }
    match (section.item("use"), section.item("source")) {
        (Some(_), Some(item)) => item.error(
            "the list has both `use` and `source`",
            Some("`use` brings the source along: leave one of them out".to_owned()),
        ),
        (None, None) => section.error(
            "the list has no `source`",
            Some("add source = \"/path/of/a/file\" or \"https://...\", or use = \"...\" (see `tidegate lists catalogue`)".to_owned()),
        ),
        (Some(_), None) | (None, Some(_)) => {}
    }
    let source = match (source, entry) {
        (Some(source), _) => source?,
        (None, Some(entry)) => ListSource::Url(entry.url.as_str().into()),
        (None, None) => return None,
    };
    let update = match (&source, update) {
        (ListSource::File(_), _) => None,
        (ListSource::Url(_), Some(update)) => update?,
        (ListSource::Url(_), None) => Some(Duration::from_secs(DAY)),
    };
    Some(ListDefinition {
        name: name?,
        origin: section.origin(),
        format: match format {
            Some(format) => format,
            None => entry.and_then(|entry| entry.format),
        },
        bare: bare
            .or(entry.map(|entry| entry.bare))
            .unwrap_or(Reach::Exact),
        categories: categories
            .or(entry.map(CatalogueEntry::labels))
            .unwrap_or_default(),
        source,
        action,
        app,
        pin: pin.flatten(),
        update,
        most_bytes: most_mib << 20,
        most_time: Duration::from_secs(most_seconds),
    })
}

fn catalogued(text: &str) -> Result<CatalogueEntry, Refusal> {
    let all = catalogue::entries();
    let names: Vec<&str> = all.iter().map(|entry| entry.name.as_str()).collect();
    let hint = match nearest(text, &names) {
        Some(name) => format!("did you mean \"{name}\"?"),
        None => "`tidegate lists catalogue` shows what there is".to_owned(),
    };
    let found = all.into_iter().find(|entry| entry.name == text);
    found.ok_or_else(|| Refusal::new(format!("the catalogue has no list \"{text}\""), hint))
}

fn source(text: &str) -> Result<ListSource, Refusal> {
    let is_url = text.starts_with("https://");
    if is_url && text.len() > "https://".len() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(ListSource::Url(text.into()));
    }
    let path = PathBuf::from(text);
    if path.is_absolute() && path.file_name().is_some() {
        return Ok(ListSource::File(path));
    }
    Err(Refusal::new(
        format!("\"{text}\" is neither the full path of a file nor an https address"),
        "write source = \"/path/of/a/file\" or source = \"https://...\"; what is not encrypted is not fetched",
    ))
}

/// None stands for a format that the list's first lines tell.
fn read_format(item: &Item<'_>) -> Option<Format> {
    let mut choices = vec![("auto", None)];
    choices.extend(Format::ALL.map(|format| (format.as_str(), Some(format))));
    item.choice(&choices).flatten()
}

fn read_categories(item: &Item<'_>) -> Vec<Arc<str>> {
    let categories = read_list(item, |item| item.parse(label));
    if categories.len() > MOST_CATEGORIES {
        let message = format!("more than {MOST_CATEGORIES} categories");
        item.error(message, Some("leave some out".to_owned()));
    }
    categories
}

fn sha256(text: &str) -> Result<[u8; 32], Refusal> {
    let digit = |at: usize| char::from(*text.as_bytes().get(at)?).to_digit(16);
    let byte = |at: usize| u8::try_from(digit(2 * at)? << 4 | digit(2 * at + 1)?).ok();
    let bytes: Option<Vec<u8>> = (0..32).map(byte).collect();
    bytes
        .filter(|_| text.len() == 64)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| {
            Refusal::new(
                format!("\"{text}\" is no SHA-256"),
                "write the 64 hexadecimal digits that `sha256sum` prints",
            )
        })
}

/// None stands for never.
fn interval(text: &str) -> Result<Option<Duration>, Refusal> {
    if text == "never" {
        return Ok(None);
    }
    let unit = text.len() - text.chars().last().map_or(0, char::len_utf8);
    let seconds = match &text[unit..] {
        "m" => 60,
        "h" => 60 * 60,
        "d" => DAY,
        _ => 0,
    };
    let number = text[..unit].parse::<u64>().ok();
    let interval = number.and_then(|number| number.checked_mul(seconds));
    match interval.filter(|interval| (SOONEST..=365 * DAY).contains(interval)) {
        Some(interval) => Ok(Some(Duration::from_secs(interval))),
        None => Err(Refusal::new(
            format!("\"{text}\" is no time between a minute and a year"),
            "write \"30m\", \"12h\", \"7d\" or \"never\"",
        )),
    }
}

fn bounded(section: &Section<'_>, key: &'static str, default: u64, most: u64) -> u64 {
    let Some(item) = section.item(key) else {
        return default;
    };
    let number = item.integer::<u64>();
    if number.is_some_and(|number| !(1..=most).contains(&number)) {
        let hint = format!("write a number from 1 to {most}");
        item.error("the number is out of range", Some(hint));
    }
    number.unwrap_or(default)
}

/// Lists named twice, too many of them, references to those that are not there, and lists that do nothing yet.
pub(super) fn problems(lists: &[ListDefinition], uses: &[ListUse], feeds: &[Feed]) -> Vec<Problem> {
    let mut found = Vec::new();
    for (position, list) in lists.iter().enumerate() {
        let before = lists[..position]
            .iter()
            .find(|other| other.name == list.name);
        if let Some(before) = before {
            let message = format!(
                "the list \"{}\" is there before, at {}",
                list.name, before.origin
            );
            let hint = "give each list its own name";
            found.push(problem(&list.origin, Severity::Error, message, hint));
        }
        if !feeds.contains(&Feed::Names) && list.format != Some(Format::Addresses) {
            let message = format!(
                "the names on the list \"{}\" do nothing for live flows: this version does not learn the names of flows",
                list.name
            );
            let hint = "addresses on it count; names count in `tidegate explain` only";
            found.push(problem(&list.origin, Severity::Warning, message, hint));
        }
    }
    if let Some(list) = lists.get(MOST_LISTS) {
        let message = format!("there are more than {MOST_LISTS} lists");
        let hint = "leave some out, or join files into one";
        found.push(problem(&list.origin, Severity::Error, message, hint));
    }
    let mut names: Vec<&str> = lists.iter().map(|list| &*list.name).collect();
    names.extend(
        lists
            .iter()
            .flat_map(|list| list.categories.iter().map(|category| &**category)),
    );
    let known: FxHashSet<&str> = names.iter().copied().collect();
    let mut named = FxHashSet::default();
    for ListUse { name, origin } in uses {
        if named.insert(&**name) && lists.len() + named.len() > MOST_NAMED {
            let message = format!("rules name more than {} lists", MOST_NAMED - lists.len());
            let hint = "give lists a common category, and name that";
            found.push(problem(origin, Severity::Error, message, hint));
            break;
        }
        if known.contains(&**name) {
            continue;
        }
        let near = (found.len() < MOST_HINTS).then(|| nearest(name, &names));
        let hint = match near.flatten() {
            Some(name) => format!("did you mean list:{name}?"),
            None => "write [[list]] with this name or category, in any of the files".to_owned(),
        };
        let message = format!("there is no list \"{name}\"");
        found.push(problem(origin, Severity::Error, message, &hint));
    }
    found
}

#[cfg(test)]
mod tests;
