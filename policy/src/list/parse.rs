//! From the bytes of a list to its entries.
//!
//! Lines are taken as they arrive, in pieces of any size, and nothing is kept of them: a list of a million names costs
//! no more memory than its longest line, and a line has a bound. What a line does not say clearly is ignored, counted
//! by reason, and never widened: a rule with a modifier we do not know is no rule.
//!
//! ```
//! use tidegate_policy::list::parse::{Format, Parser, Settings};
//!
//! let settings = Settings::default();
//! let mut parser = Parser::new(&settings);
//! let mut entries = Vec::new();
//! for piece in ["# a list\n0.0.0.0 ads.exa", "mple\n0.0.0.0 com\n0.0.0.0 a b c\n"] {
//!     parser.push(piece.as_bytes(), &mut |entry| entries.push(entry));
//! }
//! let report = parser.finish(&mut |entry| entries.push(entry));
//! assert_eq!((report.format, report.detected), (Format::Hosts, true));
//! assert_eq!((report.lines, report.accepted, entries.len()), (4, 5, 5));
//! ```

mod addresses;
mod adguard;
mod detect;
mod dnsmasq;
mod hosts;
mod modifiers;
mod names;
mod report;
mod rpz;
mod taking;
mod unbound;

use std::fmt;

pub use report::{Ignored, Reason, Report};
pub(super) use rpz::trigger as rpz_trigger;
use taking::Taking;

use super::suffixes::{PublicSuffixes, TopLevel};
use super::{Effect, Entry, Reach};

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// `0.0.0.0 name name`, as in `/etc/hosts`: exact names.
    Hosts,
    /// A name on each line; how far it reaches is for [`Settings::bare`] to say.
    Domains,
    /// `*.name` on each line; how far it reaches is for [`Settings::asterisk`] to say. A name without it is exact.
    Wildcards,
    /// Rules of AdGuard's DNS filters, which those of ad blockers resemble.
    AdGuard,
    /// `address=/name/`, `server=/name/`, `local=/name/` of dnsmasq's configuration.
    Dnsmasq,
    /// `local-zone: "name" always_null` of unbound's configuration.
    Unbound,
    /// A response policy zone of BIND.
    Rpz,
    /// An address, a network or a range on each line.
    Addresses,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Hosts,
        Self::Domains,
        Self::Wildcards,
        Self::AdGuard,
        Self::Dnsmasq,
        Self::Unbound,
        Self::Rpz,
        Self::Addresses,
    ];

    /// The word for it in configuration and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::Domains => "domains",
            Self::Wildcards => "wildcards",
            Self::AdGuard => "adguard",
            Self::Dnsmasq => "dnsmasq",
            Self::Unbound => "unbound",
            Self::Rpz => "rpz",
            Self::Addresses => "addresses",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is done with an entry that reaches below a public suffix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SuffixRule {
    /// It is ignored, with a reason.
    #[default]
    Refuse,
    /// It counts: the list is about whole suffixes.
    Accept,
}

/// What is known about a list beside its text.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// How it is written; where absent, its first lines tell.
    pub format: Option<Format>,
    /// What its entries want done: lists of what is allowed look the same. What a list itself excepts is allowed
    /// in either.
    pub effect: Effect,
    /// How far a bare name reaches in [`Format::Domains`].
    pub bare: Reach,
    /// How far `*.name` reaches in [`Format::Domains`] and [`Format::Wildcards`]: its authors mean one or the other.
    pub asterisk: Reach,
    /// Which names are public suffixes.
    pub suffixes: &'a dyn PublicSuffixes,
    /// What is done with an entry that reaches below one.
    pub suffix_rule: SuffixRule,
    /// How many entries are taken.
    pub most_entries: usize,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            format: None,
            effect: Effect::Block,
            bare: Reach::Exact,
            asterisk: Reach::Below,
            suffixes: &TopLevel,
            suffix_rule: SuffixRule::Refuse,
            most_entries: 10_000_000,
        }
    }
}

impl fmt::Debug for Settings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("format", &self.format)
            .field("effect", &self.effect)
            .field("bare", &self.bare)
            .field("asterisk", &self.asterisk)
            .field("suffix_rule", &self.suffix_rule)
            .field("most_entries", &self.most_entries)
            .finish_non_exhaustive()
    }
}

/// What a line holds at most; a longer one is ignored.
const LONGEST_LINE: usize = 4096;
/// How much of a list is looked at to tell its format.
const TELLING: usize = 64 * 1024;

/// Reads all of a list at once.
pub fn parse(text: &[u8], settings: &Settings<'_>, mut sink: impl FnMut(Entry)) -> Report {
    let mut parser = Parser::new(settings);
    parser.push(text, &mut sink);
    parser.finish(&mut sink)
}

/// Reads a list piece by piece: `push` each, then `finish`.
#[derive(Debug)]
pub struct Parser<'a> {
    settings: &'a Settings<'a>,
    /// The beginning of a line whose end has not arrived.
    partial: Vec<u8>,
    /// Whether what arrives belongs to a line that is too long.
    skipping: bool,
    /// The first lines, while the format is not known.
    first: Vec<u8>,
    format: Option<Format>,
    state: State,
    report: Report,
}

/// What lines leave behind for those that follow, in the formats that have this.
#[derive(Debug, Default)]
struct State {
    rpz: rpz::Zone,
    unbound: unbound::Zone,
    patterns: adguard::Count,
}

impl<'a> Parser<'a> {
    /// A parser at the beginning of a list.
    pub fn new(settings: &'a Settings<'a>) -> Self {
        Self {
            settings,
            partial: Vec::new(),
            skipping: false,
            first: Vec::new(),
            format: settings.format,
            state: State::default(),
            report: Report::new(settings.format),
        }
    }

    /// Takes the next bytes; entries of lines that they end go to `sink`.
    pub fn push(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Entry)) {
        if self.format.is_some() {
            return self.take(bytes, sink);
        }
        let missing = TELLING.saturating_sub(self.first.len());
        let (now, later) = bytes.split_at(missing.min(bytes.len()));
        self.first.extend_from_slice(now);
        if self.first.len() >= TELLING {
            self.tell(sink);
            self.take(later, sink);
        }
    }

    /// Takes the last line, and says how it went.
    pub fn finish(mut self, sink: &mut dyn FnMut(Entry)) -> Report {
        if self.format.is_none() {
            self.tell(sink);
        }
        if self.skipping || !self.partial.is_empty() {
            self.take(b"\n", sink);
        }
        self.report
    }

    /// Finds out the format from the first lines, and takes them.
    fn tell(&mut self, sink: &mut dyn FnMut(Entry)) {
        let first = std::mem::take(&mut self.first);
        let format = detect::format(&first);
        self.format = Some(format);
        self.report.format = format;
        self.report.detected = true;
        self.take(&first, sink);
    }

    fn take(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Entry)) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            if self.partial.is_empty() && !self.skipping {
                self.line(line, sink);
            } else {
                self.hold(line);
                let whole = std::mem::take(&mut self.partial);
                self.line(&whole, sink);
                self.partial = whole;
                self.partial.clear();
                self.skipping = false;
            }
        }
        self.hold(rest);
    }

    /// Keeps the beginning of a line, unless it is too long already.
    fn hold(&mut self, part: &[u8]) {
        if self.partial.len() + part.len() > LONGEST_LINE {
            self.skipping = true;
            self.partial.clear();
        }
        if !self.skipping {
            self.partial.extend_from_slice(part);
        }
    }

    fn line(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Entry)) {
        self.report.lines += 1;
        let mut taking = Taking::new(self.settings, &mut self.report, sink);
        if self.skipping || bytes.len() > LONGEST_LINE {
            return taking.ignore(Reason::LongLine);
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return taking.ignore(Reason::NotText);
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
        match self.format.unwrap_or(Format::Domains) {
            Format::Hosts => hosts::line(text, &mut taking),
            Format::Domains => names::line(text, self.settings.bare, &mut taking),
            Format::Wildcards => names::line(text, Reach::Exact, &mut taking),
            Format::AdGuard => adguard::line(text, &mut self.state.patterns, &mut taking),
            Format::Dnsmasq => dnsmasq::line(text, &mut taking),
            Format::Unbound => unbound::line(text, &mut self.state.unbound, &mut taking),
            Format::Rpz => {
                // A line that begins with a space belongs to the name before it.
                let indented = bytes.first().is_some_and(u8::is_ascii_whitespace);
                self.state.rpz.line(text, indented, &mut taking);
            }
            Format::Addresses => addresses::line(text, &mut taking),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
