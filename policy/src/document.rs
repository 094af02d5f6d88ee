//! Reading a TOML file so that all that is wrong with it is said at once.
//!
//! A [`Document`] is parsed, then read through [`Section`]s and [`Item`]s. A reader asks for what it knows by name; a
//! value of the wrong kind, or out of bounds, is noted with its place and the reader goes on. [`Document::finish`] then
//! gives every problem in the order of the file, and among them each key that nobody asked for: so a misspelt key can
//! never pass unnoticed, and no reader has to list its keys twice.
//!
//! ```
//! use tidegate_policy::document::Document;
//!
//! let document = Document::parse("demo.toml", "[capture]\ntun = \"tide0\"\nstrict_mark = true\n").unwrap();
//! let capture = document.root().section("capture").unwrap();
//! assert_eq!(capture.string("tun").as_deref(), Some("tide0"));
//! assert_eq!(capture.boolean("strict_marks"), None);
//!
//! let problems = document.finish();
//! assert_eq!(
//!     problems[0].to_string(),
//!     "demo.toml:3:1: error: unknown key `strict_mark`\n  hint: did you mean `strict_marks`?"
//! );
//! ```

mod item;
mod problem;
mod section;
mod suggest;
mod tree;

use std::cell::RefCell;
use std::sync::Arc;

use toml::de::DeTable;

use crate::rule::Origin;

pub use item::Item;
pub use problem::{Problem, Refusal, Severity};
pub use section::Section;

pub(crate) use suggest::nearest;
use tree::{Entry, Table};

/// A parsed configuration file and what was found wrong with it so far.
#[derive(Debug)]
pub struct Document {
    file: Arc<str>,
    lines: Lines,
    root: Table,
    problems: RefCell<Vec<Found>>,
}

/// A problem at a byte offset.
#[derive(Debug)]
struct Found {
    start: usize,
    severity: Severity,
    message: String,
    hint: Option<String>,
}

impl Document {
    /// Parses `text`; `file` is the name that problems and rule origins carry.
    ///
    /// # Errors
    ///
    /// Every violation of TOML's syntax that the parser could tell apart.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let document = Self {
            file: file.into(),
            lines: Lines::new(text),
            root: table.into_inner().into(),
            problems: RefCell::default(),
        };
        if errors.is_empty() {
            return Ok(document);
        }
        for error in errors {
            let start = error.span().map_or(text.len(), |span| span.start);
            document.note(start, Severity::Error, error.message().to_owned(), None);
        }
        Err(document.into_problems())
    }

    /// The file's name.
    pub fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// The top of the file.
    pub fn root(&self) -> Section<'_> {
        Section::new(self, &self.root, 0)
    }

    /// All problems in the order of the file, with every key that nobody asked for.
    pub fn finish(self) -> Vec<Problem> {
        self.root
            .each_unread(&mut |table, entry| self.note_unknown(table, entry));
        self.into_problems()
    }

    fn origin(&self, start: usize) -> Origin {
        let (line, column) = self.lines.position(start);
        Origin {
            file: Arc::clone(&self.file),
            line,
            column,
        }
    }

    fn note(&self, start: usize, severity: Severity, message: String, hint: Option<String>) {
        self.problems.borrow_mut().push(Found {
            start,
            severity,
            message,
            hint,
        });
    }

    fn note_unknown(&self, table: &Table, entry: &Entry) {
        let mut asked = table.asked.borrow().clone();
        asked.sort_unstable();
        let hint = match nearest(&entry.key, &asked) {
            Some(key) => format!("did you mean `{key}`?"),
            None => format!("known here: {}", asked.join(", ")),
        };
        let message = format!("unknown key `{}`", entry.key);
        self.note(
            entry.key_start,
            Severity::Error,
            message,
            (!asked.is_empty()).then_some(hint),
        );
    }

    fn into_problems(self) -> Vec<Problem> {
        let mut found = self.problems.into_inner();
        found.sort_by_key(|found| found.start);
        found
            .into_iter()
            .map(
                |Found {
                     start,
                     severity,
                     message,
                     hint,
                 }| {
                    let (line, column) = self.lines.position(start);
                    Problem {
                        file: self.file.to_string(),
                        line,
                        column,
                        severity,
                        message,
                        hint,
                    }
                },
            )
            .collect()
    }
}

/// Byte offsets to lines and columns.
#[derive(Debug)]
struct Lines {
    text: String,
    starts: Vec<usize>,
}

impl Lines {
    fn new(text: &str) -> Self {
        let after_newlines = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at + 1);
        Self {
            text: text.to_owned(),
            starts: std::iter::once(0).chain(after_newlines).collect(),
        }
    }

    /// Line and column, counted from 1, the column in characters.
    fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        let before = self.text.get(start..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }
}

#[cfg(test)]
mod tests;
