//! One value of a document, with its place.

use super::problem::{Refusal, Severity};
use super::suggest;
use super::tree::{Node, Value};
use super::{Document, Section};
use crate::moment::{WHOLE_TIME, WallTime};
use crate::rule::Origin;

/// One value of a document, with its place.
///
/// The readers give `None` when the value is of the wrong kind, and note that as a problem.
#[derive(Clone, Copy, Debug)]
pub struct Item<'d> {
    document: &'d Document,
    node: &'d Node,
}

impl<'d> Item<'d> {
    pub(super) fn new(document: &'d Document, node: &'d Node) -> Self {
        Self { document, node }
    }

    /// Where this value begins.
    pub fn origin(&self) -> Origin {
        self.document.origin(self.node.start)
    }

    /// The text of a string.
    pub fn text(&self) -> Option<&'d str> {
        let Value::String(text) = &self.node.value else {
            return self.wrong_kind("a string");
        };
        Some(text)
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        let Value::Boolean(flag) = &self.node.value else {
            return self.wrong_kind("true or false");
        };
        Some(*flag)
    }

    /// A whole number that fits `T`.
    pub fn integer<T: TryFrom<i64>>(&self) -> Option<T> {
        let Value::Integer(number) = &self.node.value else {
            return self.wrong_kind("an integer");
        };
        let fitting = number.and_then(|number| T::try_from(number).ok());
        if fitting.is_none() {
            self.error("the number is out of range", None);
        }
        fitting
    }

    /// A date with its time of day and offset.
    pub fn time(&self) -> Option<WallTime> {
        let Value::Date(time) = &self.node.value else {
            return self.wrong_kind("a date with a time and an offset");
        };
        if time.is_none() {
            self.error("the time is not whole", Some(WHOLE_TIME.to_owned()));
        }
        *time
    }

    /// A table, inline or under a header.
    pub fn section(&self) -> Option<Section<'d>> {
        let Value::Table(table) = &self.node.value else {
            return self.wrong_kind("a table");
        };
        Some(Section::new(self.document, table, self.node.start))
    }

    /// Whether this is a table.
    pub fn is_section(&self) -> bool {
        matches!(self.node.value, Value::Table(_))
    }

    /// Whether this is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.node.value, Value::Array(_))
    }

    /// The elements of a list, or the value itself: `to = "x"` reads as `to = ["x"]`.
    pub fn elements(&self) -> Vec<Self> {
        self.nodes()
            .map_or_else(|| vec![*self], |nodes| self.each(nodes))
    }

    /// The elements of a list that must be one.
    pub(super) fn list(&self) -> Option<Vec<Self>> {
        let Some(nodes) = self.nodes() else {
            return self.wrong_kind("a list");
        };
        Some(self.each(nodes))
    }

    fn nodes(&self) -> Option<&'d [Node]> {
        if let Value::Array(nodes) = &self.node.value {
            Some(nodes)
        } else {
            None
        }
    }

    fn each(&self, nodes: &'d [Node]) -> Vec<Self> {
        nodes
            .iter()
            .map(|node| Self::new(self.document, node))
            .collect()
    }

    /// What `parser` makes of a string; its refusal is noted.
    pub fn parse<T>(&self, parser: impl FnOnce(&str) -> Result<T, Refusal>) -> Option<T> {
        match parser(self.text()?) {
            Ok(value) => Some(value),
            Err(Refusal { message, hint }) => {
                self.error(message, hint);
                None
            }
        }
    }

    /// The value that goes with the word written here, of those in `choices`.
    pub fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.text()?;
        let chosen = choices
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| *value);
        if chosen.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            let hint = match suggest::nearest(text, &words) {
                Some(word) => format!("did you mean \"{word}\"?"),
                None => format!("write one of \"{}\"", words.join("\", \"")),
            };
            self.error(format!("unknown value \"{text}\""), Some(hint));
        }
        chosen
    }

    /// Notes that this value makes the file unusable.
    ///
    /// Keys beneath it are then not reported as unknown.
    pub fn error(&self, message: impl Into<String>, hint: Option<String>) {
        self.node.pass_over();
        self.document
            .note(self.node.start, Severity::Error, message.into(), hint);
    }

    /// Notes that this value hardly does what was meant.
    pub fn warning(&self, message: impl Into<String>, hint: Option<String>) {
        self.document
            .note(self.node.start, Severity::Warning, message.into(), hint);
    }

    fn wrong_kind<T>(&self, expected: &str) -> Option<T> {
        let found = self.node.value.kind();
        self.error(format!("expected {expected}, found {found}"), None);
        None
    }
}
