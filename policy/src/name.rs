//! Domain names in the one form in which they are compared.

use std::borrow::Borrow;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::document::Refusal;

/// What a name holds at most, in its text form without the root's dot (RFC 1035, 2.3.4).
const LONGEST: usize = 253;
/// What a label holds at most (RFC 1035, 2.3.4).
const LONGEST_LABEL: usize = 63;

/// A domain name: lower case, international labels in their ASCII form (UTS 46), no dot at its end.
///
/// ```
/// use tidegate_policy::Name;
///
/// assert_eq!(Name::parse("Bücher.Example.").unwrap().as_str(), "xn--bcher-kva.example");
/// assert!(Name::parse("a..example").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<str>);

impl Name {
    /// Reads a name as people and lists write it.
    ///
    /// Letters, digits, `-` and `_` may stand in a label; `_` is no host's, but services and trackers use it.
    ///
    /// # Errors
    /// What is no name, with the reason.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let refuse = |message: &str| Err(Refusal::new(message, "write a name such as example.com"));
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return refuse("an empty name");
        }
        let ascii = if is_plain(text) {
            text.to_owned()
        } else if text.is_ascii() {
            text.to_ascii_lowercase()
        } else {
            let Ok(ascii) = idna::domain_to_ascii(text) else {
                return refuse("not a domain name");
            };
            ascii
        };
        if ascii.len() > LONGEST {
            return refuse("a name has at most 253 characters");
        }
        for label in ascii.split('.') {
            if label.is_empty() {
                return refuse("a name with an empty label");
            }
            if label.len() > LONGEST_LABEL {
                return refuse("a label has at most 63 characters");
            }
            if !label.bytes().all(is_in_label) {
                return refuse("a name holds letters, digits, `-`, `_` and dots");
            }
        }
        Ok(Self(ascii.into()))
    }

    /// The name in its one form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name itself, then what it lies beneath, up to its last label.
    pub fn and_above(&self) -> impl Iterator<Item = &str> {
        let above = self.0.match_indices('.').map(|(at, _)| &self.0[at + 1..]);
        std::iter::once(&*self.0).chain(above)
    }

    /// Whether this is `other`, or lies beneath it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0
            .strip_suffix(&*other.0)
            .is_some_and(|below| below.is_empty() || below.ends_with('.'))
    }
}

/// In its one form already, as names on the wire and in lists nearly always are.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| is_in_label(byte) || byte == b'.')
}

fn is_in_label(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn a_name_has_one_form() {
        for (written, form) in [
            ("example.com", "example.com"),
            ("EXAMPLE.com.", "example.com"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
            ("_dns.resolver.arpa", "_dns.resolver.arpa"),
            ("a_b-.example", "a_b-.example"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(name(written).as_str(), form, "{written}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let label = "a".repeat(64);
        let long = format!("{}com", "abcdefg.".repeat(32));
        for text in [
            "", ".", "..", "a..b", ".a", "a b", "a/b", "a:1", "*.a", "a\n", "a\u{0}b", &label,
            &long,
        ] {
            assert!(Name::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_name_lies_within_itself_and_what_is_above_it() {
        let full = name("a.b.example");
        let above: Vec<_> = full.and_above().collect();
        assert_eq!(above, ["a.b.example", "b.example", "example"]);
        assert!(full.is_within(&name("b.example")) && full.is_within(&full));
        assert!(!name("xb.example").is_within(&name("b.example")));
        assert!(!name("example").is_within(&name("b.example")));
    }

    proptest! {
        #[test]
        fn reading_the_one_form_again_changes_nothing(text in any::<String>()) {
            if let Ok(name) = Name::parse(&text) {
                prop_assert_eq!(Name::parse(name.as_str()).unwrap(), name);
            }
        }

        #[test]
        fn within_is_what_and_above_lists(a in "[a-c](\\.[a-c]){0,3}", b in "[a-c](\\.[a-c]){0,3}") {
            let (a, b) = (name(&a), name(&b));
            prop_assert_eq!(a.is_within(&b), a.and_above().any(|above| above == b.as_str()));
        }
    }
}
