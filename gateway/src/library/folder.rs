//! The folder in which texts of lists, and what they were compiled to, are kept.
//!
//! `texts/` holds the last good text of each list under the name of its list and its hash, and beside it what is known
//! of it; `compiled-…` is what they were compiled to. A file never changes: a new one is written under a new name, and
//! counts from the moment when the small file that names it is replaced. So a death at any moment leaves either the old
//! or the new, and what is mapped by another process stays whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tidegate_platform::mapped_file::open_regular;

/// What a small file has at most.
const LARGEST_NOTE: u64 = 1 << 20;
/// Nobody writes one file for so long.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes a folder, and those on the way to it, for everyone to read.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(folder)
}

/// Removes what those left behind who died while they wrote.
pub(super) fn remove_stale_drafts(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let is_old = |entry: &fs::DirEntry| {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > ABANDONED))
    };
    for entry in entries.flatten() {
        let is_draft = entry.file_name().to_string_lossy().starts_with(".draft-");
        if is_draft && is_old(&entry) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A file in the making, removed unless it is kept.
#[derive(Debug)]
pub(super) struct Draft {
    path: PathBuf,
    pub(super) file: File,
    kept: bool,
}

impl Draft {
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".draft-{}-{number}", std::process::id()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&path)?;
        Ok(Self {
            path,
            file,
            kept: false,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it where it belongs, in the place of what was there.
    pub(super) fn keep_as(mut self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, path)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Writes a whole file in one step.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut draft = Draft::new(folder)?;
    draft.file.write_all(bytes)?;
    draft.keep_as(path)
}

pub(super) fn write_note(path: &Path, note: &impl Serialize) -> io::Result<()> {
    write(path, &serde_json::to_vec_pretty(note)?)
}

/// None: it is not there, or says nothing that we understand.
pub(super) fn read_note<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let file = open_regular(path).ok()?;
    serde_json::from_reader(io::Read::take(io::BufReader::new(file), LARGEST_NOTE)).ok()
}

/// Removes files that begin so, but for one. What another process has mapped stays until it lets go.
pub(super) fn remove_others(folder: &Path, prefix: &str, kept: &str) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name != kept && name.to_string_lossy().starts_with(prefix) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
