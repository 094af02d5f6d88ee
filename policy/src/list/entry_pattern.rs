//! Names of a certain look: wildcards as blockers write them, and regular expressions.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

/// What a pattern's text holds at most.
const LONGEST: usize = 1024;
/// What one compiled expression and its cache take at most, in bytes.
const REGEX_SIZE: usize = 1 << 18;

/// A pattern of names, by its text: `||ads*.example^` or `/^ads[0-9]+\./`.
///
/// In wildcards `*` stands for any run of characters; `||` in front for the beginning of the name or of a label, `|`
/// for the beginning of the name; `^` or `|` behind for the end of the name. What has none of these may begin and
/// end anywhere. Expressions are those of the `regex` crate, which look at each character of a name a bounded number
/// of times; there are no back-references. Case means nothing.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryPattern(Box<str>);

impl EntryPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        if text.len() > LONGEST {
            return Err(BadPattern::TooLong);
        }
        if regex_of(text).is_some() {
            let own = Self(text.into());
            own.matcher()?;
            return Ok(own);
        }
        let wildcards = Wildcards::parse(&text.to_ascii_lowercase())?;
        Ok(Self(wildcards.written().into()))
    }

    /// The pattern in its one form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name in its one form looks so. It is compiled for this.
    pub fn matches(&self, name: &str) -> bool {
        self.matcher().is_ok_and(|matcher| matcher.matches(name))
    }

    /// How many characters a name must have to match, in all: what has few is about nearly every name.
    pub(crate) fn weight(&self) -> usize {
        match Wildcards::parse(&self.0) {
            _ if regex_of(&self.0).is_some() => self.0.len(),
            Ok(wildcards) => wildcards.pieces.iter().map(|piece| piece.len()).sum(),
            Err(_) => 0,
        }
    }

    /// The name above all that match, where the pattern's end says so: `example.com` of `||ads*.example.com^`.
    pub fn parent(&self) -> Option<&str> {
        let text = self.0.strip_suffix('^')?;
        if regex_of(&self.0).is_some() {
            return None;
        }
        let last = &text[text.rfind('*')? + 1..];
        let parent = &last[last.find('.')? + 1..];
        (!parent.is_empty()).then_some(parent)
    }

    /// What compares names with it.
    pub(crate) fn matcher(&self) -> Result<Matcher, BadPattern> {
        match regex_of(&self.0) {
            Some(expression) => RegexBuilder::new(expression)
                .case_insensitive(true)
                .unicode(false)
                .size_limit(REGEX_SIZE)
                .dfa_size_limit(REGEX_SIZE)
                .nest_limit(32)
                .build()
                .map(Matcher::Regex)
                .map_err(|_| BadPattern::Regex),
            None => Wildcards::parse(&self.0).map(Matcher::Wildcards),
        }
    }
}

impl fmt::Debug for EntryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EntryPattern").field(&self.0).finish()
    }
}

impl fmt::Display for EntryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is between the slashes.
fn regex_of(text: &str) -> Option<&str> {
    text.strip_prefix('/')?.strip_suffix('/')
}

/// Why a pattern is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// Over a kilobyte.
    #[error("a pattern has at most 1024 characters")]
    TooLong,
    /// No expression, one with back-references or look-around, or one that would take too much memory.
    #[error("not an expression that takes linear time and little memory")]
    Regex,
    /// A character that no name has, such as those of URLs.
    #[error("a pattern of names holds letters, digits, `-`, `_`, `.` and `*`")]
    Character,
}

/// Compares names with one pattern.
#[derive(Debug)]
pub(crate) enum Matcher {
    Wildcards(Wildcards),
    Regex(Regex),
}

impl Matcher {
    pub(crate) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Wildcards(wildcards) => wildcards.matches(name),
            Self::Regex(regex) => regex.is_match(name.as_bytes()),
        }
    }
}

/// Where the first piece stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Anywhere,
    Label,
    Name,
}

/// Pieces that follow one another in a name, with anything between.
#[derive(Debug)]
pub(crate) struct Wildcards {
    start: Start,
    /// The first and the last are empty where a `*` stands at that end.
    pieces: Box<[Box<str>]>,
    ends_name: bool,
}

impl Wildcards {
    fn parse(text: &str) -> Result<Self, BadPattern> {
        let (start, body) = if let Some(body) = text.strip_prefix("||") {
            (Start::Label, body)
        } else if let Some(body) = text.strip_prefix("://").or_else(|| text.strip_prefix('|')) {
            (Start::Name, body)
        } else {
            (Start::Anywhere, text)
        };
        let ends = ["^|", "^*", "/*", "^", "|"];
        let body_without_end = ends.iter().find_map(|end| body.strip_suffix(end));
        let ends_name = body_without_end.is_some();
        let body = body_without_end.unwrap_or(body);
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !body.bytes().all(|byte| byte == b'*' || in_name(byte)) {
            return Err(BadPattern::Character);
        }
        let mut pieces: Vec<Box<str>> = body.split('*').map(Box::from).collect();
        // `a**b` is `a*b`.
        let last = pieces.len() - 1;
        let mut at = 0;
        pieces.retain(|piece| {
            at += 1;
            at == 1 || at == last + 1 || !piece.is_empty()
        });
        Ok(Self {
            start,
            pieces: pieces.into(),
            ends_name,
        })
    }

    fn written(&self) -> String {
        let start = match self.start {
            Start::Anywhere => "",
            Start::Label => "||",
            Start::Name => "|",
        };
        let end = if self.ends_name { "^" } else { "" };
        format!("{start}{}{end}", self.pieces.join("*"))
    }

    fn matches(&self, name: &str) -> bool {
        match self.start {
            Start::Name => self.matches_from(name),
            Start::Label => {
                // What follows a `*` is found from the first place on as well as from any later one.
                let first = &*self.pieces[0];
                let mut starts =
                    std::iter::once(0).chain(name.match_indices('.').map(|(dot, _)| dot + 1));
                if self.pieces.len() > 1 {
                    let first_fit = starts.find(|at| name[*at..].starts_with(first));
                    first_fit.is_some_and(|at| self.matches_from(&name[at..]))
                } else {
                    starts.any(|at| self.matches_from(&name[at..]))
                }
            }
            Start::Anywhere => {
                let first = &*self.pieces[0];
                if self.pieces.len() > 1 {
                    name.find(first)
                        .is_some_and(|at| self.matches_from(&name[at..]))
                } else if self.ends_name {
                    name.ends_with(first)
                } else {
                    name.contains(first)
                }
            }
        }
    }

    /// Whether the pieces follow one another, the first at the beginning of `rest`. Each is taken where it is found
    /// first: a later place leaves less for those behind it.
    fn matches_from(&self, rest: &str) -> bool {
        let [first, between @ ..] = &*self.pieces else {
            return false;
        };
        let Some(mut rest) = rest.strip_prefix(&**first) else {
            return false;
        };
        let Some((last, between)) = between.split_last() else {
            return !self.ends_name || rest.is_empty();
        };
        for piece in between {
            let Some(at) = rest.find(&**piece) else {
                return false;
            };
            rest = &rest[at + piece.len()..];
        }
        if self.ends_name {
            rest.ends_with(&**last)
        } else {
            rest.contains(&**last)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_anchor_holds_its_end() {
        for (pattern, yes, no) in [
            ("||ads*.example^", "x.ads1.example", "xads1.example"),
            ("||ads*.example^", "ads.b.example", "ads.example.com"),
            ("|ads*", "ads1.example", "x.ads1.example"),
            ("://ads.", "ads.example", "x.ads.example"),
            ("-ads.", "my-ads.example", "my.ads.example"),
            (".ads^", "my.ads", "my.ads.example"),
            ("*ads*^", "my-ads.example", "add.example"),
            ("a*b*c^", "xaxbxc", "xaxbxcx"),
            ("||b.*.d^", "a.b.c.d", "b.d"),
            ("/^ads[0-9]+\\./", "ads12.example", "ads.example"),
            ("/BANNER/", "a-banner.example", "a-baner.example"),
        ] {
            let pattern = EntryPattern::parse(pattern).unwrap();
            assert!(pattern.matches(yes), "{pattern} {yes}");
            assert!(!pattern.matches(no), "{pattern} {no}");
        }
    }

    #[test]
    fn what_no_name_looks_like_is_refused() {
        let refused = |text: &str| EntryPattern::parse(text).unwrap_err();
        assert_eq!(refused("||example.com/banner"), BadPattern::Character);
        assert_eq!(refused("a^b"), BadPattern::Character);
        assert_eq!(refused("/(a)\\1/"), BadPattern::Regex);
        assert_eq!(refused("/(?=a)/"), BadPattern::Regex);
        assert_eq!(refused("/((((a{9}){9}){9}){9}){9}/"), BadPattern::Regex);
        assert_eq!(refused(&"a".repeat(1025)), BadPattern::TooLong);
    }

    #[test]
    fn the_parent_is_what_all_that_match_lie_beneath() {
        let parent = |text: &str| {
            let pattern = EntryPattern::parse(text).unwrap();
            pattern.parent().map(str::to_owned)
        };
        assert_eq!(
            parent("||ads*.example.com^").as_deref(),
            Some("example.com")
        );
        assert_eq!(
            parent("||ads*x.example.com^").as_deref(),
            Some("example.com")
        );
        assert_eq!(parent("||ads.*^"), None);
        assert_eq!(parent("||ads*.example.com"), None);
        assert_eq!(parent("/ads*.example^/"), None);
    }

    proptest! {
        /// Against the same pattern as an expression.
        #[test]
        fn wildcards_are_the_expression_they_stand_for(
            start in "(\\|\\||\\|)?", body in "[ab.*]{1,6}", end in "\\^?", name in "[ab]{1,3}(\\.[ab]{1,3}){0,3}",
        ) {
            let pattern = EntryPattern::parse(&format!("{start}{body}{end}")).unwrap();
            let start = match &*start { "||" => "(^|\\.)", "|" => "^", _ => "" };
            let end = if end.is_empty() { "" } else { "$" };
            let body = body.replace('.', "\\.").replace('*', ".*");
            let expression = Regex::new(&format!("{start}{body}{end}")).unwrap();
            prop_assert_eq!(pattern.matches(&name), expression.is_match(name.as_bytes()), "{}", pattern);
            if let Some(parent) = pattern.parent() && pattern.matches(&name) {
                let beneath = name.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
                prop_assert!(beneath);
            }
        }

        #[test]
        fn the_one_form_is_read_as_itself(text in any::<String>()) {
            if let Ok(pattern) = EntryPattern::parse(&text) {
                prop_assert_eq!(EntryPattern::parse(pattern.as_str()).unwrap(), pattern);
            }
        }
    }
}
