//! Lists and databases as lines of text.

use super::super::amount::{bytes, counted, grouped};
use crate::library::{LibraryState, ListState};
use crate::record::Timestamp;

use super::duration;

/// A line for each list and each database.
pub(super) fn lines(library: &LibraryState, now: Timestamp) -> Vec<String> {
    let lists = library.lists.iter().map(|list| list_line(list, now));
    let total = (library.bytes > 0).then(|| {
        let size = u64::try_from(library.bytes).unwrap_or(u64::MAX);
        let entries: usize = library.lists.iter().map(|list| list.entries).sum();
        let entries = u64::try_from(entries).unwrap_or(u64::MAX);
        format!(
            "{} entries of {}, {} when compiled",
            grouped(entries),
            counted(library.lists.len(), "list"),
            bytes(size)
        )
    });
    let places = library.places.iter().map(|places| match &places.kind {
        Some(kind) => format!("database {} ({kind})", places.file),
        None => format!("database {} is not loaded", places.file),
    });
    total.into_iter().chain(lists).chain(places).collect()
}

/// One list, as `tidegate lists` shows it too.
pub(crate) fn list_line(list: &ListState, now: Timestamp) -> String {
    let action = match list.action {
        Some(action) => format!("{action}s what is on it"),
        None => "for rules".to_owned(),
    };
    let entries = u64::try_from(list.entries).unwrap_or(u64::MAX);
    let ignored = match list.ignored {
        0 => String::new(),
        ignored => format!(
            " ({} ignored)",
            grouped(u64::try_from(ignored).unwrap_or(u64::MAX))
        ),
    };
    let state = match (list.loaded, list.fetched) {
        (true, Some(fetched)) => format!(
            "{} entries{ignored}, {} old",
            grouped(entries),
            duration(now.since(fetched))
        ),
        (true, None) | (false, Some(_)) => "kept, not loaded".to_owned(),
        (false, None) => "not there yet".to_owned(),
    };
    let doing = list.doing.as_ref().map(|doing| format!("; {doing}"));
    format!(
        "{}: {state}; {action}{}",
        list.name,
        doing.unwrap_or_default()
    )
}
