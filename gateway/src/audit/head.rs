//! The number and the hash of the last line, in a file of their own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::chain::Hash;

/// The end of the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) number: u64,
    pub(super) hash: Hash,
}

impl Head {
    /// What the folder says; none where there is no such file.
    ///
    /// # Errors
    /// It cannot be read, or says something else.
    pub(super) fn read(folder: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read(path(folder)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Self::parse(&text)
            .map(Some)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a number and a hash"))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok()?;
        let (number, hash) = text.strip_suffix('\n')?.split_once(' ')?;
        Some(Self {
            number: number.parse().ok()?,
            hash: Hash::parse(hash.as_bytes())?,
        })
    }

    /// From where the chain goes on. Where lines are missing at the end of the file it goes on from those, so that the gap stays
    /// to be seen.
    pub(super) fn or_later(self, said: Option<Self>) -> Self {
        said.filter(|said| said.number >= self.number)
            .unwrap_or(self)
    }

    /// Replaces what the folder says in one step.
    pub(super) fn write(self, folder: &Path) -> io::Result<()> {
        let new = folder.join(".audit.head.new");
        fs::write(&new, format!("{} {}\n", self.number, self.hash))?;
        fs::rename(new, path(folder))
    }
}

/// Where it is.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("audit.head")
}
