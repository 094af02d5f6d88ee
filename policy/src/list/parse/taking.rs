//! Where the formats put what they find in a line.

use super::super::{AddressRange, Effect, Entry, Reach, Target};
use super::{Reason, Report, Settings, SuffixRule};
use crate::Name;

/// Takes what is in one line, where it passes.
pub(super) struct Taking<'a> {
    pub(super) settings: &'a Settings<'a>,
    report: &'a mut Report,
    sink: &'a mut dyn FnMut(Entry),
}

impl<'a> Taking<'a> {
    pub(super) fn new(
        settings: &'a Settings<'a>,
        report: &'a mut Report,
        sink: &'a mut dyn FnMut(Entry),
    ) -> Self {
        Self {
            settings,
            report,
            sink,
        }
    }

    pub(super) fn comment(&mut self) {
        self.report.comments += 1;
    }

    pub(super) fn ignore(&mut self, reason: Reason) {
        self.report.ignore(reason);
    }

    /// Takes an entry, unless it reaches too far. One with conditions may reach further, as its author took care.
    pub(super) fn entry(&mut self, mut entry: Entry) {
        if let Target::Name(name, reach) = &entry.target
            && *reach != Reach::Exact
            && self.settings.suffix_rule == SuffixRule::Refuse
            && self.settings.suffixes.contains(name.as_str())
        {
            return self.ignore(Reason::PublicSuffix);
        }
        if let Target::Addresses(range) = &entry.target
            && range.is_whole_family()
        {
            return self.ignore(Reason::TooWide);
        }
        if self.report.accepted >= self.settings.most_entries {
            return self.ignore(Reason::TooMany);
        }
        if self.settings.effect == Effect::Allow {
            entry.effect = Effect::Allow;
        }
        self.report.accepted += 1;
        (self.sink)(entry);
    }

    /// Takes a name as it stands in the text.
    pub(super) fn name(&mut self, text: &str, reach: Reach, effect: Effect) {
        match Name::parse(text) {
            Ok(name) if !is_address(&name) => {
                self.entry(Entry::new(Target::Name(name, reach), effect));
            }
            Ok(_) | Err(_) => self.ignore(Reason::NotAName),
        }
    }

    pub(super) fn addresses(&mut self, range: AddressRange, effect: Effect) {
        self.entry(Entry::new(Target::Addresses(range), effect));
    }
}

/// No name's last label is a number (RFC 3696, 2): such a text is an address, or part of one.
pub(super) fn is_address(name: &Name) -> bool {
    let last = name.as_str().rsplit('.').next().unwrap_or("");
    last.bytes().all(|byte| byte.is_ascii_digit())
}

/// The text before a comment that begins at one of `marks`, at the beginning or after a space.
pub(super) fn without_comment<'t>(text: &'t str, marks: &[char]) -> &'t str {
    let begins = |(at, mark): &(usize, char)| {
        marks.contains(mark) && (*at == 0 || text[..*at].ends_with(char::is_whitespace))
    };
    let end = text
        .char_indices()
        .find(begins)
        .map_or(text.len(), |(at, _)| at);
    text[..end].trim_end()
}

/// Whether an address in the place of an answer means that there is none.
pub(super) fn is_null(text: &str) -> bool {
    text.parse::<std::net::IpAddr>()
        .is_ok_and(|address| address.is_unspecified() || address.is_loopback())
}
