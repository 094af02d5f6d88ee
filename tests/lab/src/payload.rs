//! Files to upload, and programs under many names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::network::Lab;
use crate::service::Pattern;

impl Lab {
    /// A file of the first `size` bytes of the [`Pattern`].
    pub fn payload(&self, size: u64) -> Result<PathBuf> {
        let path = self.file(&format!("payload-{size}"), "")?;
        io::copy(&mut Pattern::new(size), &mut fs::File::create(&path)?)
            .with_context(|| format!("cannot fill {}", path.display()))?;
        Ok(path)
    }

    /// Puts a program into [`folder`](Self::folder) under each of these names: one copy, the rest hard links to it.
    pub fn program_under_names(&self, original: impl AsRef<Path>, names: &[String]) -> Result<()> {
        let Some((first, rest)) = names.split_first() else {
            return Ok(());
        };
        let copy = self.program(original, first)?;
        for name in rest {
            fs::hard_link(&copy, self.folder().join(name))
                .with_context(|| format!("cannot link {name}"))?;
        }
        Ok(())
    }
}
