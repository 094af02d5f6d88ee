//! The file of records: lines are added under a lock, one process at a time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::chain::{Hash, split};
use super::change::{Change, Record};
use super::head::Head;
use crate::record::Timestamp;

/// Longest line in bytes: two texts of bounded length, each byte of which JSON may write as six, and what is beside them.
pub(super) const LONGEST_LINE: u64 = 256 << 10;

/// Adds records.
#[derive(Debug)]
pub struct Audit {
    folder: PathBuf,
}

/// A change could not be recorded, or the record not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} the change record {}: {source}", path.display())]
pub struct AuditError {
    step: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Audit {
    /// A record in this folder, which is made when the first change is recorded.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Records a change. It was made: where it cannot be recorded that is logged.
    pub fn note(&self, change: Change) {
        if let Err(error) = self.append(change) {
            tracing::warn!("{error}: a change is not recorded");
        }
    }

    /// Records a change.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append(&self, change: Change) -> Result<Record, AuditError> {
        let path = path(&self.folder);
        let step = |step, path: &Path| {
            let path = path.to_owned();
            move |source| AuditError { step, path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(step("make the folder of", &path))?;
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(step("open", &path))?;
        file.lock().map_err(step("lock", &path))?;
        let last = last(&mut file).map_err(step("read", &path))?;
        let end = last.head.or_later(Head::read(&self.folder).ok().flatten());
        let record = Record {
            number: end.number + 1,
            at: Timestamp::now(),
            change: change.shortened(),
        };
        let json = serde_json::to_vec(&record)
            .map_err(io::Error::from)
            .map_err(step("write", &path))?;
        let hash = end.hash.then(&json);
        let mut line = Vec::with_capacity(json.len() + 70);
        if last.is_torn {
            line.push(b'\n');
        }
        line.extend(hash.to_string().bytes());
        line.push(b' ');
        line.extend(json);
        line.push(b'\n');
        file.write_all(&line)
            .and_then(|()| file.sync_data())
            .map_err(step("write", &path))?;
        let head = Head {
            number: record.number,
            hash,
        };
        head.write(&self.folder)
            .map_err(step("write the head of", &path))?;
        Ok(record)
    }
}

/// The end of the file.
struct Last {
    head: Head,
    /// It does not end with a newline: whoever wrote it was interrupted.
    is_torn: bool,
}

/// The last whole line of the chain, from the file's last bytes.
fn last(file: &mut File) -> io::Result<Last> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(2 * LONGEST_LINE)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let is_torn = bytes.last().is_some_and(|last| *last != b'\n');
    let head = bytes.rsplit(|byte| *byte == b'\n').find_map(|line| {
        let (hash, json) = split(line)?;
        let record: Record = serde_json::from_slice(json).ok()?;
        Some(Head {
            number: record.number,
            hash,
        })
    });
    Ok(Last {
        head: head.unwrap_or_default(),
        is_torn,
    })
}

/// Gives each line to `each`, without its newline; a line that is too long is given in part.
pub(super) fn each_line(folder: &Path, mut each: impl FnMut(&[u8])) -> Result<(), AuditError> {
    let path = path(folder);
    let error = |source| AuditError {
        step: "read",
        path: path.clone(),
        source,
    };
    let mut file = match File::open(&path) {
        Ok(file) => BufReader::new(file),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(other) => return Err(error(other)),
    };
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut file)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .map_err(error)?;
        if read == 0 {
            return Ok(());
        }
        each(line.strip_suffix(b"\n").unwrap_or(&line));
    }
}

/// The records that can be read, oldest first, each with its hash.
///
/// # Errors
/// The file cannot be read. That there is none is no error.
pub fn read(folder: &Path) -> Result<Vec<(Hash, Record)>, AuditError> {
    let mut records = Vec::new();
    each_line(folder, |line| {
        let record = split(line).and_then(|(hash, json)| {
            let record = serde_json::from_slice(json).ok()?;
            Some((hash, record))
        });
        records.extend(record);
    })?;
    Ok(records)
}

pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("audit.log")
}
