//! Where this kernel keeps the members of its structures: from the description that it carries along (BTF,
//! Documentation/bpf/btf.rst), so that a program fits every kernel and configuration.

use std::path::Path;
use std::{fs, io};

use thiserror::Error;

/// The kernel's own description.
pub(crate) const KERNEL: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
/// `sizeof(struct btf_header)`.
const HEADER: usize = 24;
/// How deep structures without a name are searched.
const DEEPEST: u8 = 8;

/// The description cannot be used.
#[derive(Debug, Error)]
pub(crate) enum BtfError {
    #[error("cannot read {KERNEL}: {0}; is the kernel built with CONFIG_DEBUG_INFO_BTF?")]
    Read(#[source] io::Error),
    #[error("{KERNEL} is malformed")]
    Malformed,
    #[error("this kernel has no {structure}.{member}")]
    NoMember {
        structure: &'static str,
        member: &'static str,
    },
}

/// A description of types. Numbers of types count from 1.
#[derive(Debug)]
pub(crate) struct Btf {
    bytes: Vec<u8>,
    /// Where in `bytes` each type begins.
    types: Vec<usize>,
    /// The structures with a name among them.
    structures: Vec<usize>,
    /// Where the names begin.
    strings: usize,
}

/// The head of a type, the same for all kinds.
struct Head {
    name: usize,
    kind: u32,
    /// How many entries follow.
    count: usize,
    /// Whether offsets of members hold a width in their upper 8 bits.
    has_widths: bool,
}

const STRUCT: u32 = 4;
const UNION: u32 = 5;

impl Btf {
    /// The running kernel's.
    pub(crate) fn of_kernel() -> Result<Self, BtfError> {
        Self::parse(fs::read(Path::new(KERNEL)).map_err(BtfError::Read)?).ok_or(BtfError::Malformed)
    }

    /// Finds where each type begins. `None` if lengths contradict each other.
    pub(crate) fn parse(bytes: Vec<u8>) -> Option<Self> {
        let header = bytes.get(..HEADER)?;
        if u16::from_ne_bytes([*header.first()?, *header.get(1)?]) != MAGIC {
            return None;
        }
        let header_length = number(&bytes, 4)?;
        let begin = header_length.checked_add(number(&bytes, 8)?)?;
        let end = begin.checked_add(number(&bytes, 12)?)?;
        let strings = header_length.checked_add(number(&bytes, 16)?)?;
        let mut btf = Self {
            bytes,
            types: Vec::new(),
            structures: Vec::new(),
            strings,
        };
        let mut at = begin;
        while at < end {
            btf.types.push(at);
            let head = btf.head(at)?;
            if head.kind == STRUCT && head.name != 0 {
                btf.structures.push(at);
            }
            at = at.checked_add(12)?.checked_add(extra(&head)?)?;
        }
        Some(btf)
    }

    fn head(&self, at: usize) -> Option<Head> {
        let info = word(&self.bytes, at.checked_add(4)?)?;
        Some(Head {
            name: number(&self.bytes, at)?,
            kind: info >> 24 & 0x1f,
            count: usize::try_from(info & 0xffff).ok()?,
            has_widths: info >> 31 == 1,
        })
    }

    fn name_is(&self, name: usize, wanted: &str) -> bool {
        let begin = self.strings.saturating_add(name);
        let text = self.bytes.get(begin..).unwrap_or_default();
        text.strip_prefix(wanted.as_bytes())
            .is_some_and(|rest| rest.first() == Some(&0))
    }

    /// Offset in bytes of a structure's member, those of nameless structures within it included.
    pub(crate) fn offset(
        &self,
        structure: &'static str,
        member: &'static str,
    ) -> Result<i16, BtfError> {
        let is_it = |head: Head| self.name_is(head.name, structure);
        let mut described = self.structures.iter();
        // Parts of the kernel may use one name for different things.
        described
            .find_map(|at| {
                self.head(*at).is_some_and(is_it).then_some(())?;
                self.member(*at, member, 0)
            })
            .filter(|bits| bits % 8 == 0)
            .and_then(|bits| i16::try_from(bits / 8).ok())
            .ok_or(BtfError::NoMember { structure, member })
    }

    /// Offset in bits of a member of the type that begins at `at`.
    fn member(&self, at: usize, wanted: &str, depth: u8) -> Option<u32> {
        let head = self.head(at)?;
        if depth > DEEPEST || !matches!(head.kind, STRUCT | UNION) {
            return None;
        }
        (0..head.count).find_map(|index| {
            let entry = at + 12 + index * 12;
            let name = number(&self.bytes, entry)?;
            let offset = word(&self.bytes, entry + 8)?;
            let offset = if head.has_widths {
                offset & 0xff_ffff
            } else {
                offset
            };
            if self.name_is(name, wanted) {
                return Some(offset);
            }
            if !self.name_is(name, "") {
                return None;
            }
            let inner = number(&self.bytes, entry + 4)?.checked_sub(1)?;
            let within = self.member(*self.types.get(inner)?, wanted, depth + 1)?;
            offset.checked_add(within)
        })
    }
}

/// How many bytes follow the head of a type.
fn extra(head: &Head) -> Option<usize> {
    let each = match head.kind {
        // INT, VAR, DECL_TAG
        1 | 14 | 17 => return Some(4),
        // ARRAY
        3 => return Some(12),
        // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
        2 | 7..=12 | 16 | 18 => return Some(0),
        STRUCT | UNION => 12,
        // ENUM, FUNC_PROTO
        6 | 13 => 8,
        // DATASEC, ENUM64
        15 | 19 => 12,
        _ => return None,
    };
    head.count.checked_mul(each)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(word(bytes, at)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `struct outer { int first; union { int second; struct { int third; int fourth : 3; }; }; }`, its nameless parts first.
    fn described() -> Vec<u8> {
        let strings = b"\0int\0outer\0first\0second\0third\0fourth\0";
        let name = |wanted: &str| {
            let wanted = format!("\0{wanted}\0");
            let at = strings
                .windows(wanted.len())
                .position(|part| part == wanted.as_bytes());
            u32::try_from(at.unwrap() + 1).unwrap()
        };
        let kind = |kind: u32, count: u32| kind << 24 | count;
        let types: [&[u32]; 4] = [
            &[name("int"), kind(1, 0), 4, 32],
            // Offsets with widths.
            &[
                0,
                1 << 31 | kind(STRUCT, 2),
                8,
                name("third"),
                1,
                0,
                name("fourth"),
                1,
                3 << 24 | 32,
            ],
            &[0, kind(UNION, 2), 8, name("second"), 1, 0, 0, 2, 0],
            &[
                name("outer"),
                kind(STRUCT, 2),
                12,
                name("first"),
                1,
                0,
                0,
                3,
                32,
            ],
        ];
        let types = types.concat();
        let length = |of: usize| u32::try_from(of).unwrap();
        let header = [
            24,
            0,
            length(types.len() * 4),
            length(types.len() * 4),
            length(strings.len()),
        ];
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for number in header.iter().chain(&types) {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn members_of_nameless_structures_belong_to_what_holds_them() {
        let btf = Btf::parse(described()).unwrap();
        let offset = |member| btf.offset("outer", member).unwrap();
        let offsets = ["first", "second", "third", "fourth"].map(offset);
        assert_eq!(offsets, [0, 4, 4, 8]);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let btf = Btf::parse(described()).unwrap();
        let error = btf.offset("outer", "fifth").unwrap_err();
        assert_eq!(error.to_string(), "this kernel has no outer.fifth");
        assert!(btf.offset("inner", "first").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(place: prop::sample::Index, value: u8, end: prop::sample::Index) {
            let mut bytes = described();
            *place.get_mut(&mut bytes[..]) = value;
            bytes.truncate(bytes.len() - end.index(8));
            if let Some(btf) = Btf::parse(bytes) {
                let _ = btf.offset("outer", "third");
            }
        }
    }
}
