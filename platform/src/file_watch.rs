//! Tells when files in a folder change: made, written, renamed or removed; never that they were read.
//!
//! Opening a file is no news, and must not even wake us: in a folder like `/etc` every program's start opens some.

use std::io;
use std::path::{Path, PathBuf};

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as imp;
#[cfg(target_os = "macos")]
use macos as imp;

/// What happened in a watched folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileChange {
    /// This file or folder changed.
    At(PathBuf),
    /// News were lost: anything may have changed.
    Anything,
}

/// Watches folders until dropped.
#[derive(Debug)]
pub struct FileWatch(imp::FileWatch);

impl FileWatch {
    /// Watches nothing yet; `tell` is called on a thread of the watch.
    ///
    /// # Errors
    /// The system gives no file events, or no thread.
    pub fn start(tell: impl FnMut(FileChange) + Send + 'static) -> io::Result<Self> {
        imp::FileWatch::start(tell).map(Self)
    }

    /// Watches this folder as well, not those below it. Doing so again is harmless.
    ///
    /// # Errors
    /// There is no such folder, it may not be read, or the system watches too many.
    pub fn add(&mut self, folder: &Path) -> io::Result<()> {
        self.0.add(folder)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;
    use std::{env, fs, process};

    use super::*;

    fn watched(name: &str) -> (PathBuf, FileWatch, Receiver<FileChange>) {
        let folder = env::temp_dir().join(format!("tidegate-watch-{name}-{}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (sender, receiver) = channel();
        let mut watch =
            FileWatch::start(move |change| sender.send(change).unwrap_or_default()).unwrap();
        watch.add(&folder).unwrap();
        (folder, watch, receiver)
    }

    #[test]
    fn a_file_that_is_renamed_into_the_folder_is_news() {
        let (folder, _watch, news) = watched("rename");
        let file = folder.join("rules.toml");
        fs::write(folder.join("draft"), "x").unwrap();
        fs::rename(folder.join("draft"), &file).unwrap();
        let seen = std::iter::from_fn(|| news.recv_timeout(Duration::from_secs(5)).ok());
        assert!(
            seen.into_iter()
                .any(|change| change == FileChange::At(file.clone()))
        );
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn reading_a_file_is_no_news() {
        let (folder, watch, news) = watched("read");
        let file = folder.join("rules.toml");
        fs::write(&file, "x").unwrap();
        while news.recv_timeout(Duration::from_millis(200)).is_ok() {}
        fs::read(&file).unwrap();
        assert!(news.recv_timeout(Duration::from_millis(200)).is_err());
        drop(watch);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let mut watch = FileWatch::start(|_| {}).unwrap();
        let missing = watch.add(Path::new("/nonexistent-folder")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
