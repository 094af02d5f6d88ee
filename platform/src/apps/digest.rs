//! The SHA-256 of files, computed once for each state of a file.
//!
//! A file's state is its device, inode, length and time of change, which no program can set. A file that was changed just
//! now may change again within the same tick of that clock, so its digest is not kept.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};

/// A larger file has none: a flow would wait for seconds.
const LARGEST: u64 = 2 << 30;
/// Most digests that are kept. When full, all are forgotten.
const MOST: usize = 4096;
/// How old a change must be for the next one to show.
const SETTLED_SECONDS: i64 = 2;

/// Digests by the state of their files.
#[derive(Debug, Default)]
pub(super) struct Digests {
    known: Mutex<FxHashMap<State, Box<str>>>,
}

/// A file as it is between two changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    device: u64,
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl From<&Metadata> for State {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl State {
    /// Whether a later change would be seen in it.
    fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.ok().and_then(|now| i64::try_from(now.as_secs()).ok());
        now.is_some_and(|now| now.saturating_sub(self.changed.0) > SETTLED_SECONDS)
    }
}

impl Digests {
    /// The digest of an open file in hexadecimal digits.
    ///
    /// # Errors
    /// The system's; also for what is no file or too large, and for a file that changed meanwhile.
    pub(super) fn of(&self, mut file: File) -> io::Result<Box<str>> {
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > LARGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let state = State::from(&metadata);
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&state) {
            return Ok(known.clone());
        }
        let digest = digest(&mut file)?;
        if State::from(&file.metadata()?) != state {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        if state.is_settled() {
            let mut known = lock();
            if known.len() >= MOST {
                known.clear();
            }
            known.insert(state, digest.clone());
        }
        Ok(digest)
    }
}

fn digest(file: &mut File) -> io::Result<Box<str>> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    let mut left = LARGEST;
    loop {
        let read = match file.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if read == 0 {
            break;
        }
        // It may grow while it is read.
        left = left
            .checked_sub(u64::try_from(read).unwrap_or(u64::MAX))
            .ok_or(io::ErrorKind::FileTooLarge)?;
        hash.update(&buffer[..read]);
    }
    let digits: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(digits.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_the_file_as_it_is_now() {
        let path = std::env::temp_dir().join(format!("tidegate-digest-{}", std::process::id()));
        let digests = Digests::default();
        let of = |text: &str| {
            std::fs::write(&path, text).unwrap();
            digests.of(File::open(&path).unwrap()).unwrap()
        };
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(&*of("abc"), abc, "FIPS 180-2, B.1");
        // The same length, within the same tick.
        for _ in 0..200 {
            assert_ne!(&*of("abd"), abc);
            assert_eq!(&*of("abc"), abc);
        }
        let folder = File::open(std::env::temp_dir()).unwrap();
        assert!(digests.of(folder).is_err());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_was_computed_is_kept_while_the_file_is_as_it_was() {
        let digests = Digests::default();
        let own = || File::open("/proc/self/exe").or_else(|_| File::open(std::env::current_exe()?));
        let small = File::open("/etc/passwd").or_else(|_| own()).unwrap();
        let state = State::from(&small.metadata().unwrap());
        let first = digests.of(small).unwrap();
        let known = || digests.known.lock().unwrap().get(&state).cloned();
        assert_eq!(known(), state.is_settled().then_some(first));
    }
}
