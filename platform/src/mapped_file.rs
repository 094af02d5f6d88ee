//! Files as bytes in memory, which the system reads when they are looked at and drops when memory is short.
//!
//! A mapped file must neither change nor become shorter: the one who looks at what is gone dies of SIGBUS. So only files
//! are mapped that nobody but us writes, and that we replace, never write again; of other people's files a copy without a
//! name is mapped.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys::mapping::Mapping;

/// A file's bytes.
#[derive(Debug)]
pub struct MappedFile(Mapping);

impl MappedFile {
    /// Maps a file of ours, which is replaced when it changes.
    ///
    /// # Errors
    /// It cannot be read, or is no regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::of(&open_regular(path)?)
    }

    /// Maps a copy of a file that others may write. The copy lies in `folder`, without a name, as long as this lives.
    ///
    /// # Errors
    /// The file cannot be read, is no regular file, or has more than `most` bytes; the copy cannot be made.
    pub fn copy_of(path: &Path, folder: &Path, most: u64) -> io::Result<Self> {
        let file = open_regular(path)?;
        let mut copy = nameless(folder)?;
        // One byte more tells a file that is too large from one that just fits.
        let copied = io::copy(&mut file.take(most.saturating_add(1)), &mut copy)?;
        if copied > most {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it has more than {most} bytes"),
            ));
        }
        Self::of(&copy)
    }

    fn of(file: &File) -> io::Result<Self> {
        let length = usize::try_from(file.metadata()?.len())
            .map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        Mapping::new(file.as_fd(), length).map(Self)
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// A regular file: opening a named pipe would wait for whoever writes.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        ));
    }
    Ok(file)
}

/// A new file that nobody else can open.
fn nameless(folder: &Path) -> io::Result<File> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!(".copy-{}-{number}", std::process::id()));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::{env, process};

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = env::temp_dir().join(format!("tidegate-mapped-{name}-{}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_file_is_there_as_bytes_and_an_empty_one_as_none() {
        let folder = folder("bytes");
        fs::write(folder.join("full"), "some bytes").unwrap();
        fs::write(folder.join("empty"), "").unwrap();
        let full = MappedFile::open(&folder.join("full")).unwrap();
        assert_eq!(full.as_ref(), b"some bytes");
        let empty = MappedFile::open(&folder.join("empty")).unwrap();
        assert_eq!(empty.as_ref(), b"");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_copy_outlives_what_becomes_of_the_file_and_leaves_nothing_behind() {
        let folder = folder("copy");
        let path = folder.join("full");
        fs::write(&path, "some bytes").unwrap();
        let copy = MappedFile::copy_of(&path, &folder, 10).unwrap();
        // Shorter than what is mapped: one who had mapped the file itself would die.
        fs::write(&path, "").unwrap();
        assert_eq!(copy.as_ref(), b"some bytes");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_too_large_or_no_file_is_refused() {
        let folder = folder("refused");
        let path = folder.join("full");
        fs::write(&path, "some bytes").unwrap();
        let error = MappedFile::copy_of(&path, &folder, 9).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let error = MappedFile::open(&folder).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        fs::remove_dir_all(folder).unwrap();
    }
}
