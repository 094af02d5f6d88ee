//! The chain: each line's hash is over the one before it and over the line.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bytes of a hash.
const LEN: usize = 32;

/// SHA-256, written as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Hash([u8; LEN]);

impl Hash {
    /// The hash of a line behind this one: of nothing (zeros) it is the first.
    pub(super) fn then(self, line: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(line);
        Self(hasher.finalize().into())
    }

    /// Of a text on its own.
    pub fn of(text: &[u8]) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Reads lower-case hexadecimal digits.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut hash = [0; LEN];
        let (pairs, []) = text.as_chunks::<2>() else {
            return None;
        };
        if pairs.len() != LEN {
            return None;
        }
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(Self(hash))
    }
}

fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for Hash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(text.as_bytes()).ok_or("not 64 hexadecimal digits")
    }
}

/// One line, without its newline: hash, a space, JSON.
pub(super) fn split(line: &[u8]) -> Option<(Hash, &[u8])> {
    let (hash, json) = line.split_at_checked(2 * LEN)?;
    Some((Hash::parse(hash)?, json.strip_prefix(b" ")?))
}
