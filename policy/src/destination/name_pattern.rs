//! Conditions on the other end's name: `example.com`, `.example.com`, `*.example.com`, wildcards, `/regex/`.

use std::fmt;
use std::hash::{Hash, Hasher};

use regex::bytes::{Regex, RegexBuilder};

use crate::document::Refusal;
use crate::glob::Glob;
use crate::name::Name;

/// What a compiled expression may take, in bytes.
const LARGEST_REGEX: usize = 64 << 10;
/// What its matcher may keep while it matches, in bytes.
const LARGEST_REGEX_CACHE: usize = 256 << 10;

/// A condition on a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NamePattern {
    /// `example.com`: this name.
    Exact(Name),
    /// `.example.com`: this name and all beneath it.
    Within(Name),
    /// `*.example.com`: all beneath this name.
    Below(Name),
    /// `ads*.example.com`: wildcards; `*` stands for any number of characters, dots too.
    Glob(Glob),
    /// `/^ads[0-9]+\./`: a regular expression that is found somewhere in the name.
    Regex(NameRegex),
}

/// A regular expression over names in their ASCII form. Its time is linear in the name's length.
#[derive(Clone, Debug)]
pub struct NameRegex(Regex);

impl NamePattern {
    /// Reads a name condition as it stands in `to`; nothing if the text has not the looks of one.
    pub(super) fn parse(text: &str) -> Option<Result<Self, Refusal>> {
        if let Some(regex) = text.strip_prefix('/') {
            let regex = regex.strip_suffix('/')?;
            return Some(NameRegex::parse(regex).map(Self::Regex));
        }
        if text.contains(['/', ':', '%']) || text.chars().any(char::is_whitespace) {
            return None;
        }
        if let Some(name) = text.strip_prefix("*.")
            && !Glob::has_wildcard(name)
        {
            return Some(Name::parse(name).map(Self::Below));
        }
        if Glob::has_wildcard(text) {
            return Some(glob(text).map(Self::Glob));
        }
        if let Some(name) = text.strip_prefix('.') {
            return Some(Name::parse(name).map(Self::Within));
        }
        let top = text.strip_suffix('.').unwrap_or(text).rsplit('.').next()?;
        let is_number = top.bytes().all(|byte| byte.is_ascii_digit());
        (text.contains('.') && !is_number).then(|| Name::parse(text).map(Self::Exact))
    }

    /// Whether `name` is meant.
    pub fn matches(&self, name: &Name) -> bool {
        match self {
            Self::Exact(own) => own == name,
            Self::Within(own) => name.is_within(own),
            Self::Below(own) => name != own && name.is_within(own),
            Self::Glob(glob) => glob.matches(name.as_str().as_bytes()),
            Self::Regex(NameRegex(regex)) => regex.is_match(name.as_str().as_bytes()),
        }
    }

    /// Whether names can only be held against it one by one: there is nothing to look it up by.
    pub(crate) fn is_loose(&self) -> bool {
        matches!(self, Self::Glob(_) | Self::Regex(_)) && self.fixed_end().is_none()
    }

    /// The labels that every name which a wildcard stands for ends with: `example.com` of `ads*.example.com`.
    pub(crate) fn fixed_end(&self) -> Option<&str> {
        let Self::Glob(glob) = self else { return None };
        let text = glob.as_str();
        let (_, end) = text.rsplit_once(['*', '?', ']', '}'])?;
        end.split_once('.').map(|(_, labels)| labels)
    }
}

/// Wildcards over names, which are lower case and ASCII.
fn glob(text: &str) -> Result<Glob, Refusal> {
    if !text.is_ascii() {
        return Err(Refusal::new(
            "wildcards stand beside ASCII characters only",
            "write international labels in their ASCII form, from `xn--` on",
        ));
    }
    let text = text.to_ascii_lowercase();
    if text.bytes().all(|byte| matches!(byte, b'*' | b'.')) {
        return Err(Refusal::new(
            "the wildcard stands for every name",
            "leave `to` out for everywhere",
        ));
    }
    Glob::new(&text)
}

impl NameRegex {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let hint = "it is held against names such as ads1.example.com; see rules.md for what may stand in it";
        if text.is_empty() {
            return Err(Refusal::new("the regular expression is empty", hint));
        }
        RegexBuilder::new(text)
            .unicode(false)
            .case_insensitive(true)
            .size_limit(LARGEST_REGEX)
            .dfa_size_limit(LARGEST_REGEX_CACHE)
            .nest_limit(50)
            .build()
            .map(Self)
            .map_err(|error| {
                if matches!(error, regex::Error::CompiledTooBig(_)) {
                    return Refusal::new("the regular expression is too large", "make it simpler");
                }
                let error = error.to_string();
                let reason = error.lines().last().unwrap_or_default();
                let reason = reason.strip_prefix("error: ").unwrap_or(reason);
                let message = format!("the regular expression is not valid: {reason}");
                Refusal::new(message, hint)
            })
    }

    fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for NameRegex {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for NameRegex {}

impl Hash for NameRegex {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // With a dot at the end, so that a name of one label is read back as a name.
            Self::Exact(name) if !name.as_str().contains('.') => write!(f, "{name}."),
            Self::Exact(name) => name.fmt(f),
            Self::Within(name) => write!(f, ".{name}"),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Glob(glob) => glob.fmt(f),
            Self::Regex(regex) => write!(f, "/{}/", regex.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Result<NamePattern, Refusal> {
        NamePattern::parse(text).expect("it has the looks of a name")
    }

    #[test]
    fn each_form_means_the_names_that_it_says() {
        for (text, meant, others) in [
            (
                "example.com",
                "example.com",
                "www.example.com com xexample.com",
            ),
            ("EXAMPLE.com.", "example.com", "example.org"),
            ("printer.", "printer", "printer.example"),
            (
                ".example.com",
                "example.com www.example.com a.b.example.com",
                "xexample.com com",
            ),
            (
                "*.example.com",
                "www.example.com a.b.example.com",
                "example.com xexample.com",
            ),
            (".com", "com example.com", "example.org"),
            (
                "ads*.example.com",
                "ads.example.com ads1.x.example.com",
                "xads.example.com",
            ),
            ("*ads*", "ads example-ads.com", "example.com"),
            ("example.*", "example.com example.co.uk", "www.example.com"),
            (
                "AD?.example.[a-c]om",
                "ads.example.com ad1.example.bom",
                "ad.example.com",
            ),
            (
                "{a,b}.example.com",
                "a.example.com b.example.com",
                "c.example.com",
            ),
            (
                "/^ads?[0-9]+\\./",
                "ad1.example.com ADS22.net",
                "xads1.com ads.com",
            ),
            ("bücher.example", "xn--bcher-kva.example", "bucher.example"),
        ] {
            let pattern = pattern(text).unwrap();
            let matches = |name: &str| pattern.matches(&Name::parse(name).unwrap());
            assert!(meant.split(' ').all(matches), "{text}: {meant}");
            assert!(!others.split(' ').any(matches), "{text}: {others}");
        }
    }

    #[test]
    fn a_word_without_a_dot_is_no_name() {
        for text in [
            "lann",
            "printer",
            "10.0.0.300",
            "1.2.3",
            "fe80::g",
            "a b.c",
            "a/b.c",
            "/x",
        ] {
            assert_eq!(NamePattern::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_cannot_match_or_costs_too_much_is_refused() {
        let huge = format!("/{}/", "(a{1,100}){1,100}");
        for text in [
            "a..b",
            "..",
            "*.",
            "**",
            "*.*",
            "*.bücher?",
            "[a.com",
            "/(/",
            "//",
            "/\\p{Greek}/",
            &huge,
        ] {
            assert!(pattern(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_fixed_end_of_a_wildcard_is_whole_labels() {
        for (text, end) in [
            ("ads*.example.com", Some("example.com")),
            ("ads*example.com", Some("com")),
            ("*ads", None),
            ("{a,b}.c", Some("c")),
            ("a.[!b]", None),
        ] {
            assert_eq!(pattern(text).unwrap().fixed_end(), end, "{text}");
        }
    }
}
