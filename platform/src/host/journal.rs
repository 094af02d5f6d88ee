//! What was changed on this host, written down before it is done.
//!
//! The journal is a file of JSON lines. The first names the owner; each further one is a [`Change`] that was about to be
//! made, on disk before it was made. So after a death at any moment the file holds at least what there is to undo. The
//! owner holds a lock on the file as long as it lives: a journal that is not locked was left behind.
//!
//! Of each thing only the first change counts: it tells what was there before us, however often the thing changed since.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tidegate_routing::plan::Change;

use super::imp::owner;

/// Who made the changes, and how to go on where it stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Process id.
    pub pid: u32,
    /// When it started: tells it from a later process of this id. On Linux in clock ticks since boot (`/proc/PID/stat`
    /// field 22), on macOS in microseconds since 1970.
    pub started: u64,
    /// The boot it ran in (`/proc/sys/kernel/random/boot_id`, `kern.bootsessionuuid`): changes do not survive a boot.
    pub boot: String,
    /// What it was asked to do, in its own words.
    pub options: serde_json::Value,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Owner(Owner),
    Change(Change),
}

/// The journal could not be kept.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another instance owns it and lives.
    #[error("another instance{} owns {path}: stop it first", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    InUse {
        /// The journal.
        path: PathBuf,
        /// The instance, where the journal tells.
        pid: Option<u32>,
    },
    /// The file could not be read or written.
    #[error("cannot keep the journal {path}: {source}; without it nothing on this host is changed")]
    File {
        /// The journal.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The system does not tell who we are.
    #[error("cannot read our own process: {0}")]
    Process(#[source] io::Error),
}

/// From so many changes on a journal is looked through for those that can be forgotten.
const MANY: usize = 256;

/// An open journal, locked for as long as it lives.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    previous: Option<Owner>,
    owner: Option<Owner>,
    changes: Vec<Change>,
    damaged: usize,
    /// With how many changes it is looked through next.
    next_look: usize,
}

impl Journal {
    /// Opens the journal at `path` as its new owner. What a dead owner left in it stays, to be undone or built upon;
    /// [`Journal::previous_owner`] tells whose it was.
    ///
    /// # Errors
    /// [`JournalError::InUse`] if the owner lives.
    pub fn open(
        path: impl Into<PathBuf>,
        options: serde_json::Value,
    ) -> Result<Self, JournalError> {
        let path = path.into();
        let owner = ourselves(options)?;
        let failed = |source| JournalError::File {
            path: path.clone(),
            source,
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        // Nobody else may open it: who can read a file can lock it, and keep us from starting.
        let how = for_its_owner();
        let mut journal = loop {
            let file = how.open(&path).map_err(failed)?;
            let journal = Self::lock(path.clone(), file)?;
            // Its owner may have removed it between our opening and our locking it.
            if journal.is_at_its_path().map_err(failed)? {
                break journal;
            }
        };
        journal.start_line()?;
        journal.append(&Line::Owner(owner.clone()))?;
        journal.owner = Some(owner);
        journal.sync_folder()?;
        Ok(journal)
    }

    /// Opens what a dead owner left at `path`; `None` if there is nothing.
    ///
    /// # Errors
    /// [`JournalError::InUse`] if the owner lives.
    pub fn load(path: impl Into<PathBuf>) -> Result<Option<Self>, JournalError> {
        let path = path.into();
        let failed = |source| JournalError::File {
            path: path.clone(),
            source,
        };
        loop {
            let file = match OpenOptions::new().read(true).append(true).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed(error)),
            };
            let journal = Self::lock(path.clone(), file)?;
            // Its owner may have put another in its place between our opening and our locking it.
            if journal.is_at_its_path().map_err(failed)? {
                return Ok(Some(journal));
            }
        }
    }

    fn lock(path: PathBuf, mut file: File) -> Result<Self, JournalError> {
        let locked = file.try_lock();
        let mut text = Vec::new();
        let read = file.read_to_end(&mut text);
        let content = Content::parse(&text);
        match locked {
            Err(TryLockError::WouldBlock) => {
                return Err(JournalError::InUse {
                    path,
                    pid: content.owner.map(|owner| owner.pid),
                });
            }
            Err(TryLockError::Error(source)) => return Err(JournalError::File { path, source }),
            Ok(()) => {}
        }
        if let Err(source) = read {
            return Err(JournalError::File { path, source });
        }
        let mut journal = Self {
            path,
            file,
            previous: content.owner,
            owner: None,
            changes: content.changes,
            damaged: content.damaged,
            next_look: MANY,
        };
        journal.forget_an_earlier_boot()?;
        Ok(journal)
    }

    fn is_at_its_path(&self) -> io::Result<bool> {
        let opened = self.file.metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(present) => Ok((present.dev(), present.ino()) == (opened.dev(), opened.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A boot undoes everything by itself, and a setting that has our value now has it for another reason.
    fn forget_an_earlier_boot(&mut self) -> Result<(), JournalError> {
        let earlier = self
            .previous
            .as_ref()
            .is_some_and(|owner| owner.boot != owner::boot());
        if earlier {
            self.changes.clear();
            self.file.set_len(0).map_err(|source| self.failed(source))?;
        }
        Ok(())
    }

    /// Who owned the journal before it was opened now.
    pub fn previous_owner(&self) -> Option<&Owner> {
        self.previous.as_ref()
    }

    /// What there is to undo, in the order in which it was done: for each thing the change that tells what was before.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Lines that could not be read: torn by a death while they were written (then the change was not made), or damaged.
    pub fn damaged_lines(&self) -> usize {
        self.damaged
    }

    /// Writes down that `change` is about to be made. It is on disk when this returns.
    ///
    /// # Errors
    /// The change must not be made then.
    pub fn record(&mut self, change: &Change) -> Result<(), JournalError> {
        let told = self
            .changes
            .iter()
            .any(|earlier| tells_as_much(earlier, change));
        if told {
            return Ok(());
        }
        self.append(&Line::Change(change.clone()))?;
        self.changes.push(change.clone());
        Ok(())
    }

    /// Once they have become many, forgets the changes of which `is_gone` says that nothing is left to take back.
    ///
    /// # Errors
    /// The journal tells at least what there is to take back.
    pub(super) fn forget(&mut self, is_gone: impl Fn(&Change) -> bool) -> Result<(), JournalError> {
        if self.changes.len() < self.next_look {
            return Ok(());
        }
        let is_left = |change: &&Change| !is_gone(change);
        let left: Vec<Change> = self.changes.iter().filter(is_left).cloned().collect();
        self.next_look = MANY.max(2 * left.len());
        if left.len() < self.changes.len() {
            self.file = self
                .rewritten(&left)
                .map_err(|source| self.failed(source))?;
            self.changes = left;
            self.sync_folder()?;
        }
        Ok(())
    }

    /// A journal with these changes in the place of this one: at any moment there is one of the two, and it is locked.
    fn rewritten(&self, changes: &[Change]) -> io::Result<File> {
        let beside = self.path.with_extension("new");
        let mut file = for_its_owner().open(&beside)?;
        file.try_lock()?;
        file.set_len(0)?;
        let owner = self.owner.iter().cloned().map(Line::Owner);
        let lines = owner.chain(changes.iter().cloned().map(Line::Change));
        let mut bytes = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut bytes, &line)?;
            bytes.push(b'\n');
        }
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, &self.path)?;
        Ok(file)
    }

    /// Everything is undone: removes the file.
    ///
    /// # Errors
    /// The file is still there.
    pub fn clear(self) -> Result<(), JournalError> {
        std::fs::remove_file(&self.path).map_err(|source| self.failed(source))?;
        self.sync_folder()
    }

    fn append(&mut self, line: &Line) -> Result<(), JournalError> {
        let write = |file: &mut File| {
            let mut bytes = serde_json::to_vec(line)?;
            bytes.push(b'\n');
            file.write_all(&bytes)?;
            file.sync_data()
        };
        write(&mut self.file).map_err(|source| self.failed(source))
    }

    /// A line torn by a death is ended, so that the next one stands alone.
    fn start_line(&mut self) -> Result<(), JournalError> {
        let last_byte = |file: &mut File| -> io::Result<Option<u8>> {
            if file.seek(io::SeekFrom::End(0))? == 0 {
                return Ok(None);
            }
            file.seek(io::SeekFrom::End(-1))?;
            let mut byte = [0];
            file.read_exact(&mut byte)?;
            Ok(Some(byte[0]))
        };
        let last = last_byte(&mut self.file).map_err(|source| self.failed(source))?;
        if matches!(last, None | Some(b'\n')) {
            return Ok(());
        }
        self.file
            .write_all(b"\n")
            .map_err(|source| self.failed(source))
    }

    /// The file's name is as durable as its content only once its folder is.
    fn sync_folder(&self) -> Result<(), JournalError> {
        let folder = self
            .path
            .parent()
            .filter(|folder| *folder != Path::new(""))
            .unwrap_or(Path::new("."));
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> JournalError {
        JournalError::File {
            path: self.path.clone(),
            source,
        }
    }
}

impl Drop for Journal {
    /// Closing would leave the lock to a child that was forked and has not yet executed its program.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "the journal stays locked until it is closed");
        }
    }
}

/// For who may read a file can lock it too.
fn for_its_owner() -> OpenOptions {
    let mut how = OpenOptions::new();
    how.read(true).append(true).create(true).mode(0o600);
    how
}

/// Whether `earlier` already tells what was there before `change`: it is about the same thing. A setting's further values
/// are told too, because only a value of ours is put back.
fn tells_as_much(earlier: &Change, change: &Change) -> bool {
    match (earlier, change) {
        (
            Change::AddRoute(a) | Change::RemoveRoute(a),
            Change::AddRoute(b) | Change::RemoveRoute(b),
        ) => a == b,
        (
            Change::AddRule(a) | Change::RemoveRule(a),
            Change::AddRule(b) | Change::RemoveRule(b),
        ) => a == b,
        (Change::Set { path: a, to: x, .. }, Change::Set { path: b, to: y, .. }) => {
            a == b && x == y
        }
        _ => false,
    }
}

pub(crate) struct Content {
    owner: Option<Owner>,
    changes: Vec<Change>,
    damaged: usize,
}

impl Content {
    pub(crate) fn parse(text: &[u8]) -> Self {
        let mut content = Self {
            owner: None,
            changes: Vec::new(),
            damaged: 0,
        };
        for line in text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            match serde_json::from_slice(line) {
                Ok(Line::Owner(owner)) => content.owner = Some(owner),
                Ok(Line::Change(change)) => content.changes.push(change),
                Err(_) => content.damaged += 1,
            }
        }
        content
    }
}

fn ourselves(options: serde_json::Value) -> Result<Owner, JournalError> {
    Ok(Owner {
        pid: std::process::id(),
        started: owner::started().map_err(JournalError::Process)?,
        boot: owner::boot(),
        options,
    })
}
