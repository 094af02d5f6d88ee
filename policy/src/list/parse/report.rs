//! What became of a list's lines.

use std::fmt;

use super::Format;

/// How many lines are named for each reason.
const NAMED: usize = 5;

/// What became of a list's lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How the list was read.
    pub format: Format,
    /// Whether its first lines told, because nobody said.
    pub detected: bool,
    /// Lines, with comments and empty ones.
    pub lines: usize,
    /// Lines that are comments, empty, or belong to the format's frame.
    pub comments: usize,
    /// Entries taken; a line of some formats has several.
    pub accepted: usize,
    ignored: [Ignored; Reason::ALL.len()],
}

/// What was ignored for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// How much of it there was.
    pub count: usize,
    lines: [usize; NAMED],
}

impl Ignored {
    /// The first lines where it was, counted from 1; some may hold several.
    pub fn first_lines(&self) -> &[usize] {
        &self.lines[..self.count.min(NAMED)]
    }
}

/// Why an entry does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A line of more than four kilobytes.
    LongLine,
    /// Not UTF-8.
    NotText,
    /// Nothing of this format.
    Syntax,
    /// Something else where a name should be.
    NotAName,
    /// Something else where an address should be.
    NotAnAddress,
    /// Names that every hosts file has for the machine itself.
    Local,
    /// It reaches below a public suffix, so is about everyone there.
    PublicSuffix,
    /// It is about nearly every name, or every address.
    TooWide,
    /// Another answer than none: lists cannot send names elsewhere.
    Rewrite,
    /// A modifier we do not know, or that is for browsers.
    UnknownModifier,
    /// A modifier whose value means nothing.
    BadModifier,
    /// About pages or their parts, not names.
    NotForNames,
    /// No pattern of names, or an expression that takes too long.
    BadPattern,
    /// Something of the format that we do not do.
    Unsupported,
    /// More than is taken of one list.
    TooMany,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::LongLine,
        Self::NotText,
        Self::Syntax,
        Self::NotAName,
        Self::NotAnAddress,
        Self::Local,
        Self::PublicSuffix,
        Self::TooWide,
        Self::Rewrite,
        Self::UnknownModifier,
        Self::BadModifier,
        Self::NotForNames,
        Self::BadPattern,
        Self::Unsupported,
        Self::TooMany,
    ];
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LongLine => "lines of more than 4 KiB",
            Self::NotText => "not UTF-8",
            Self::Syntax => "nothing of this format",
            Self::NotAName => "no name",
            Self::NotAnAddress => "no address",
            Self::Local => "names of the machine itself",
            Self::PublicSuffix => "all beneath a public suffix",
            Self::TooWide => "about nearly everything",
            Self::Rewrite => "another answer instead of none",
            Self::UnknownModifier => "an unknown modifier",
            Self::BadModifier => "a modifier's value means nothing",
            Self::NotForNames => "about pages, not names",
            Self::BadPattern => "no pattern that takes linear time",
            Self::Unsupported => "not supported",
            Self::TooMany => "too many entries",
        })
    }
}

impl Report {
    pub(super) fn new(format: Option<Format>) -> Self {
        Self {
            format: format.unwrap_or(Format::Domains),
            detected: false,
            lines: 0,
            comments: 0,
            accepted: 0,
            ignored: Default::default(),
        }
    }

    pub(super) fn ignore(&mut self, reason: Reason) {
        let ignored = &mut self.ignored[reason as usize];
        if let Some(line) = ignored.lines.get_mut(ignored.count) {
            *line = self.lines;
        }
        ignored.count += 1;
    }

    /// What was ignored, by reason, without those that nothing was ignored for.
    pub fn ignored(&self) -> impl Iterator<Item = (Reason, Ignored)> {
        let all = Reason::ALL.into_iter().zip(self.ignored);
        all.filter(|(_, ignored)| ignored.count > 0)
    }

    /// How much was ignored for this reason.
    pub fn count(&self, reason: Reason) -> usize {
        self.ignored[reason as usize].count
    }
}

/// A line for what was taken, then one for each reason.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = if self.detected { ", by its look" } else { "" };
        write!(
            f,
            "{} entries of {} lines ({}{told})",
            self.accepted, self.lines, self.format
        )?;
        for (reason, ignored) in self.ignored() {
            let lines: Vec<_> = ignored.first_lines().iter().map(usize::to_string).collect();
            let more = if ignored.count > NAMED { ", …" } else { "" };
            write!(
                f,
                "\n  ignored {}: {reason} (line {}{more})",
                ignored.count,
                lines.join(", ")
            )?;
        }
        Ok(())
    }
}
