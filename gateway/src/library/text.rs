//! The text of one list: taken in with care, kept, and read.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tidegate_platform::mapped_file::open_regular;
use tidegate_policy::list::parse::{Parser, Report, Settings};
use tidegate_policy::list::suffixes::PublicSuffixes;
use tidegate_policy::list::{Entry, ListDefinition, ListSource};

use super::folder::{self, Draft};
use crate::record::Timestamp;

/// How much of a text is read at a time.
const PIECE: usize = 64 * 1024;
/// How many entries one list may have.
const MOST_ENTRIES: usize = 5_000_000;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What is known of the text that is kept of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Where it came from: another source's text does not count.
    pub(super) source: String,
    /// Name of the file that holds it.
    pub(super) file: String,
    pub(super) sha256: String,
    pub(super) fetched: Timestamp,
    /// Of the file that it was copied from.
    #[serde(default)]
    pub(super) stamp: Option<Stamp>,
    /// What the server said of it, for the next time.
    #[serde(default)]
    pub(super) etag: Option<String>,
    #[serde(default)]
    pub(super) last_modified: Option<String>,
}

/// Tells whether a file changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

/// Why a text was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum TextError {
    #[error("cannot read {path}: {error}")]
    Unreadable { path: String, error: io::Error },
    #[error("cannot be kept in the state folder: {0}")]
    NotKept(#[from] io::Error),
    #[error("has more than {0} MiB: raise max_mib if that is right")]
    TooLarge(u64),
    #[error(
        "its SHA-256 is {found}, not the one in `sha256`: the text changed, or is not the one that was meant"
    )]
    OtherText { found: String },
    #[error("nothing in it is an entry of a list ({0})")]
    NoEntry(Box<str>),
}

/// Where a source is, as it was written.
pub(super) fn shown(source: &ListSource) -> String {
    match source {
        ListSource::File(path) => path.display().to_string(),
        ListSource::Url(url) => url.to_string(),
    }
}

/// The texts of lists in one folder.
#[derive(Debug)]
pub(super) struct Texts {
    folder: PathBuf,
}

impl Texts {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// A list's name may be `..`.
    fn note_path(&self, list: &ListDefinition) -> PathBuf {
        self.folder.join(format!("list-{}.json", list.name))
    }

    /// What is known of the text that is kept; none where there is none of this source, or not the one that is pinned.
    pub(super) fn note(&self, list: &ListDefinition) -> Option<Note> {
        let note: Note = folder::read_note(&self.note_path(list))?;
        let pinned = list.pin.is_none_or(|pin| hexadecimal(&pin) == note.sha256);
        let plain = !note.file.contains('/') && note.file.starts_with("list-");
        let is_there = || self.folder.join(&note.file).is_file();
        (note.source == shown(&list.source) && pinned && plain && is_there()).then_some(note)
    }

    /// Copies the file that a list comes from, where it changed.
    pub(super) fn take_file(&self, list: &ListDefinition, path: &Path) -> Result<Note, TextError> {
        let unreadable = |error| TextError::Unreadable {
            path: path.display().to_string(),
            error,
        };
        let file = open_regular(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        let stamp = Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        if let Some(note) = self.note(list).filter(|note| note.stamp == Some(stamp)) {
            return Ok(note);
        }
        let mut draft = self.draft()?;
        let most = list.most_bytes.saturating_add(1);
        let mut file = file.take(most);
        let mut piece = vec![0; PIECE];
        loop {
            let length = file.read(&mut piece).map_err(unreadable)?;
            if length == 0 {
                break;
            }
            draft.file.write_all(&piece[..length])?;
        }
        self.take(list, draft, |note| note.stamp = Some(stamp))
    }

    /// A file to write a text to.
    pub(super) fn draft(&self) -> io::Result<Draft> {
        folder::make(&self.folder)?;
        folder::remove_stale_drafts(&self.folder);
        Draft::new(&self.folder)
    }

    /// Keeps a text in the place of the one before, if it is good. `more` fills in what else is known of it.
    pub(super) fn take(
        &self,
        list: &ListDefinition,
        draft: Draft,
        more: impl FnOnce(&mut Note),
    ) -> Result<Note, TextError> {
        let too_large = || TextError::TooLarge(list.most_bytes >> 20);
        if draft.file.metadata()?.len() > list.most_bytes {
            return Err(too_large());
        }
        let sha256 = hash(draft.path())?;
        if list.pin.is_some_and(|pin| hexadecimal(&pin) != sha256) {
            return Err(TextError::OtherText { found: sha256 });
        }
        // Public suffixes do not matter here: some entry or none is the question.
        let suffixes = tidegate_policy::list::suffixes::TopLevel;
        let report = match read(draft.path(), list, &suffixes, &mut drop) {
            Ok(report) => report,
            Err(ReadError::TooLarge) => return Err(too_large()),
            Err(ReadError::Io(error)) => {
                return Err(TextError::Unreadable {
                    path: shown(&list.source),
                    error,
                });
            }
        };
        // Comments alone are a list without entries; lines that mean nothing are another thing than a list.
        if report.accepted == 0 && report.lines > report.comments {
            return Err(TextError::NoEntry(
                report.to_string().replace('\n', ";").into(),
            ));
        }
        let file = format!("list-{}.{}", list.name, &sha256[..16]);
        draft.keep_as(&self.folder.join(&file))?;
        let mut note = Note {
            source: shown(&list.source),
            file,
            sha256,
            fetched: Timestamp::now(),
            stamp: None,
            etag: None,
            last_modified: None,
        };
        more(&mut note);
        folder::write_note(&self.note_path(list), &note)?;
        self.remove_older(list, &note);
        Ok(note)
    }

    /// Removes what the list had before; another list may have a name that begins so.
    fn remove_older(&self, list: &ListDefinition, note: &Note) {
        let prefix = format!("list-{}.", list.name);
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_text = name.strip_prefix(&prefix).is_some_and(|rest| {
                rest.len() == 16 && rest.bytes().all(|b| b.is_ascii_hexdigit())
            });
            if is_text && name != note.file {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Reads the text that is kept.
    pub(super) fn read(
        &self,
        list: &ListDefinition,
        note: &Note,
        suffixes: &dyn PublicSuffixes,
        sink: &mut dyn FnMut(Entry),
    ) -> io::Result<Report> {
        match read(&self.folder.join(&note.file), list, suffixes, sink) {
            Ok(report) => Ok(report),
            Err(ReadError::Io(error)) => Err(error),
            Err(ReadError::TooLarge) => Err(io::ErrorKind::FileTooLarge.into()),
        }
    }
}

enum ReadError {
    Io(io::Error),
    TooLarge,
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a text, compressed or not, and gives its entries to `sink`.
fn read(
    path: &Path,
    list: &ListDefinition,
    suffixes: &dyn PublicSuffixes,
    sink: &mut dyn FnMut(Entry),
) -> Result<Report, ReadError> {
    let settings = Settings {
        format: list.format,
        effect: list.effect(),
        bare: list.bare,
        suffixes,
        most_entries: MOST_ENTRIES,
        ..Settings::default()
    };
    let mut parser = Parser::new(&settings);
    let mut file = BufReader::with_capacity(PIECE, open_regular(path)?);
    let is_compressed = io::BufRead::fill_buf(&mut file)?.starts_with(&GZIP);
    let mut text: Box<dyn Read> = if is_compressed {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut left = list.most_bytes;
    let mut piece = vec![0; PIECE];
    loop {
        let length = match text.read(&mut piece) {
            Ok(0) => return Ok(parser.finish(sink)),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        left = u64::try_from(length)
            .ok()
            .and_then(|length| left.checked_sub(length))
            .ok_or(ReadError::TooLarge)?;
        parser.push(&piece[..length], sink);
    }
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hexadecimal(&hash.finalize())),
            length => hash.update(&piece[..length]),
        }
    }
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
