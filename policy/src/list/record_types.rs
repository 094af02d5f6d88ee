//! Types of DNS records, as a list's `$dnstype` names them.

use std::fmt;

/// The number of a record's type (IANA, DNS parameters).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordType(pub u16);

/// Names of the types that lists use; others are written `TYPE123` (RFC 3597).
const NAMES: [(&str, u16); 27] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("HINFO", 13),
    ("MX", 15),
    ("TXT", 16),
    ("RP", 17),
    ("AFSDB", 18),
    ("AAAA", 28),
    ("LOC", 29),
    ("SRV", 33),
    ("NAPTR", 35),
    ("DNAME", 39),
    ("DS", 43),
    ("SSHFP", 44),
    ("RRSIG", 46),
    ("NSEC", 47),
    ("DNSKEY", 48),
    ("NSEC3", 50),
    ("TLSA", 52),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("SPF", 99),
    ("ANY", 255),
    ("CAA", 257),
];

impl RecordType {
    /// Addresses of IPv4.
    pub const A: Self = Self(1);
    /// Addresses of IPv6.
    pub const AAAA: Self = Self(28);

    /// Reads a type's name.
    pub fn parse(text: &str) -> Option<Self> {
        let known = NAMES
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text));
        if let Some((_, number)) = known {
            return Some(Self(*number));
        }
        let (word, number) = text.split_at_checked(4)?;
        let digits =
            word.eq_ignore_ascii_case("TYPE") && number.bytes().all(|b| b.is_ascii_digit());
        if digits {
            number.parse().ok().map(Self)
        } else {
            None
        }
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

/// Which types of record an entry is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum RecordTypes {
    /// All, and names that nobody asks DNS for.
    #[default]
    Any,
    /// These.
    Only(Vec<RecordType>),
    /// All but these.
    Not(Vec<RecordType>),
}

impl RecordTypes {
    /// Whether every type will do.
    pub fn is_any(&self) -> bool {
        matches!(self, Self::Any)
    }

    /// Whether this type is meant; one that is not known is never guessed.
    pub fn contains(&self, asked: Option<RecordType>) -> bool {
        match (self, asked) {
            (Self::Any, _) => true,
            (Self::Only(types), Some(asked)) => types.contains(&asked),
            (Self::Not(types), Some(asked)) => !types.contains(&asked),
            (Self::Only(_) | Self::Not(_), None) => false,
        }
    }

    /// Reads `A|AAAA` or `~A|~AAAA`; where both stand, those without `~` count alone.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (mut only, mut not) = (Vec::new(), Vec::new());
        for part in text.split('|') {
            match part.strip_prefix('~') {
                Some(part) => not.push(RecordType::parse(part)?),
                None => only.push(RecordType::parse(part)?),
            }
        }
        Some(if only.is_empty() {
            Self::Not(not)
        } else {
            Self::Only(only)
        })
    }

    /// The form that [`Self::parse`] reads; nothing where every type will do.
    pub(crate) fn written(&self) -> String {
        let (types, mark) = match self {
            Self::Any => return String::new(),
            Self::Only(types) => (types, ""),
            Self::Not(types) => (types, "~"),
        };
        let parts: Vec<_> = types.iter().map(|kind| format!("{mark}{kind}")).collect();
        parts.join("|")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_without_a_mark_count_alone() {
        let types = RecordTypes::parse("A|~MX").unwrap();
        assert!(types.contains(Some(RecordType::A)) && !types.contains(Some(RecordType(15))));
        let types = RecordTypes::parse("~MX|~TYPE300").unwrap();
        assert!(types.contains(Some(RecordType::AAAA)) && !types.contains(Some(RecordType(300))));
        assert!(!types.contains(None) && RecordTypes::Any.contains(None));
        assert_eq!(RecordTypes::parse(&types.written()), Some(types));
        assert_eq!(RecordTypes::parse("A|NOPE"), None);
        assert_eq!(RecordTypes::parse("TYPE+1"), None);
    }
}
