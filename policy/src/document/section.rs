//! One table of a document, read by key.

use super::Document;
use super::item::Item;
use super::problem::Severity;
use super::tree::Table;
use crate::rule::Origin;

/// One table of a document.
///
/// Each reader gives `None` when the key is absent, or when its value is of the wrong kind, which is noted as a problem.
#[derive(Clone, Copy, Debug)]
pub struct Section<'d> {
    document: &'d Document,
    table: &'d Table,
    start: usize,
}

impl<'d> Section<'d> {
    pub(super) fn new(document: &'d Document, table: &'d Table, start: usize) -> Self {
        Self {
            document,
            table,
            start,
        }
    }

    /// The value of `key`, of any kind.
    pub fn item(&self, key: &'static str) -> Option<Item<'d>> {
        self.table
            .ask(key)
            .map(|entry| Item::new(self.document, &entry.node))
    }

    /// A string.
    pub fn string(&self, key: &'static str) -> Option<String> {
        self.item(key)?.text().map(str::to_owned)
    }

    /// A string, or a list of strings. Elements of another kind are noted and left out.
    pub fn strings(&self, key: &'static str) -> Option<Vec<String>> {
        let elements = self.item(key)?.elements();
        Some(
            elements
                .iter()
                .filter_map(Item::text)
                .map(str::to_owned)
                .collect(),
        )
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        self.item(key)?.boolean()
    }

    /// A whole number that fits `T`.
    pub fn integer<T: TryFrom<i64>>(&self, key: &'static str) -> Option<T> {
        self.item(key)?.integer()
    }

    /// The value that goes with the word written, of those in `choices`.
    pub fn choice<T: Copy>(&self, key: &'static str, choices: &[(&'static str, T)]) -> Option<T> {
        self.item(key)?.choice(choices)
    }

    /// The table `[key]`.
    pub fn section(&self, key: &'static str) -> Option<Self> {
        self.item(key)?.section()
    }

    /// The tables `[[key]]`, in the order written; none when the key is absent.
    pub fn sections(&self, key: &'static str) -> Vec<Self> {
        let list = self.item(key).and_then(|item| {
            if item.is_section() {
                let hint = format!("write [[{key}]], with two brackets: there may be several");
                item.error("expected a list of tables, found a table", Some(hint));
                return None;
            }
            item.list()
        });
        list.unwrap_or_default()
            .iter()
            .filter_map(Item::section)
            .collect()
    }

    /// Refuses `key` where it stands, with a better reason than that it is unknown.
    pub fn refuse(&self, key: &'static str, message: &str, hint: &str) {
        let entry = self.table.entries.iter().find(|entry| entry.key == key);
        if let Some(entry) = entry {
            entry.pass_over();
            self.document.note(
                entry.key_start,
                Severity::Error,
                message.to_owned(),
                Some(hint.to_owned()),
            );
        }
    }

    /// Notes that this table makes the file unusable.
    pub fn error(&self, message: impl Into<String>, hint: Option<String>) {
        self.document
            .note(self.start, Severity::Error, message.into(), hint);
    }

    /// Whether nothing stands in this table.
    pub fn is_empty(&self) -> bool {
        self.table.entries.is_empty()
    }

    /// Where this table begins.
    pub fn origin(&self) -> Origin {
        self.document.origin(self.start)
    }
}
