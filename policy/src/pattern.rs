//! A text condition: the exact text, or a glob where it holds a wildcard.

use std::fmt;

use crate::document::Refusal;
use crate::glob::{Glob, Landmark};

/// A text condition: the exact text, or a glob where it holds a wildcard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// This text, byte by byte.
    Exact(Box<str>),
    /// Whatever the glob matches.
    Glob(Glob),
}

impl Pattern {
    /// Reads a pattern; one of `*?[{` makes it a glob.
    ///
    /// # Errors
    ///
    /// Empty text, and what [`Glob::new`] refuses.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() {
            return Err(Refusal::new(
                "empty text matches nothing",
                "leave the key out to match everything",
            ));
        }
        if Glob::has_wildcard(text) {
            Glob::new(text).map(Self::Glob)
        } else {
            Ok(Self::Exact(text.into()))
        }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exact(text) => text,
            Self::Glob(glob) => glob.as_str(),
        }
    }

    /// Whether all of `text` matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(own) => own.as_bytes() == text,
            Self::Glob(glob) => glob.matches(text),
        }
    }

    /// What a text must have to match: one of these.
    pub(crate) fn landmarks(&self) -> Vec<Landmark> {
        match self {
            Self::Exact(text) => vec![Landmark::Whole(text.as_bytes().into())],
            Self::Glob(glob) => glob.landmarks().collect(),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
