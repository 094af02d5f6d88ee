//! Notices that a configuration file changed.
//!
//! Editors and package managers replace files by renaming, so the folders are watched, not the files. A folder that is
//! missing is waited for in the nearest folder above it that exists. What lies behind a symbolic link is not watched:
//! whoever manages files that way sends SIGHUP.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tidegate_platform::file_watch::{FileChange, FileWatch};

use super::Reloader;
use crate::audit::Author;
use crate::quick;

/// How long nothing may change before a reload: an editor writes in several steps.
const QUIET: Duration = Duration::from_millis(200);

/// A reload comes at the latest this long after a change, however busy the files are.
const LATEST: Duration = Duration::from_secs(2);

/// Changes that wait to be looked at. All of them mean the same, so what does not fit may be forgotten.
const WAITING: usize = 16;

/// Reloads when a file changes, until dropped.
#[derive(Debug)]
pub struct ConfigWatch {
    wake: SyncSender<Wake>,
    thread: Option<JoinHandle<()>>,
}

/// The files cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch the configuration for changes: {0}: reload with SIGHUP instead")]
pub struct WatchError(#[from] io::Error);

#[derive(Debug)]
enum Wake {
    Changed,
    Stop,
}

/// What is watched, and what counts as a change.
#[derive(Debug)]
struct Watched {
    main_file: PathBuf,
    quick_file: PathBuf,
    folders: [PathBuf; 2],
}

impl ConfigWatch {
    /// Watches the files that `reloader` reads.
    ///
    /// # Errors
    /// The system gives no file events; SIGHUP and `reload` requests work all the same.
    pub fn start(reloader: Arc<Reloader>) -> Result<Self, WatchError> {
        let source = reloader.source();
        let main_file = std::path::absolute(source.file())?;
        let [main, rules] = source.folders();
        let folders = [std::path::absolute(main)?, std::path::absolute(rules)?];
        let quick_file = folders[0].join(quick::FILE);
        let (wake, woken) = sync_channel(WAITING);
        let watched = Arc::new(Watched {
            main_file,
            quick_file,
            folders,
        });
        let mut watcher = watcher(Arc::clone(&watched), wake.clone())?;
        watched.arm(&mut watcher);
        let thread = thread::Builder::new()
            .name("config-watch".to_owned())
            .spawn(move || {
                while wait_for_change(&woken) {
                    // Armed before reading: a change in between is seen as the next one.
                    watched.arm(&mut watcher);
                    // What went wrong was logged and noted for `status`.
                    let _ = reloader.reload_by(author(&reloader));
                }
            })?;
        Ok(Self {
            wake,
            thread: Some(thread),
        })
    }
}

impl Drop for ConfigWatch {
    fn drop(&mut self) {
        // Waits while the queue is full; the thread empties it. An error means that the thread is gone.
        let _ = self.wake.send(Wake::Stop);
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread that watches the configuration panicked");
        }
    }
}

/// Who may have changed the files: the owner of the main one.
fn author(reloader: &Reloader) -> Author {
    let found = fs::metadata(reloader.source().file());
    Author::File {
        uid: found.ok().map(|found| found.uid()),
    }
}

fn watcher(watched: Arc<Watched>, wake: SyncSender<Wake>) -> io::Result<FileWatch> {
    FileWatch::start(move |change| {
        if watched.concerns(&change) {
            let _ = wake.try_send(Wake::Changed);
        }
    })
}

/// Waits for a change and for quiet after it. False when it is time to stop.
fn wait_for_change(woken: &Receiver<Wake>) -> bool {
    match woken.recv() {
        Ok(Wake::Changed) => {}
        Ok(Wake::Stop) | Err(_) => return false,
    }
    let latest = Instant::now() + LATEST;
    loop {
        let left = latest.saturating_duration_since(Instant::now());
        match woken.recv_timeout(QUIET.min(left)) {
            Ok(Wake::Changed) if left.is_zero() => return true,
            Ok(Wake::Changed) => {}
            Err(RecvTimeoutError::Timeout) => return true,
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}

impl Watched {
    /// Watches each folder, or the nearest above it that exists. Doing so again is harmless.
    fn arm(&self, watcher: &mut FileWatch) {
        for folder in &self.folders {
            let Some(existing) = folder.ancestors().find(|folder| folder.is_dir()) else {
                continue;
            };
            if let Err(error) = watcher.add(existing) {
                tracing::warn!(folder = %existing.display(), %error, "changes will not be noticed: reload with SIGHUP");
            }
        }
    }

    /// Whether it can change what the configuration says.
    fn concerns(&self, change: &FileChange) -> bool {
        match change {
            FileChange::At(path) => self.is_ours(path),
            FileChange::Anything => true,
        }
    }

    fn is_ours(&self, path: &Path) -> bool {
        let [_, rules] = &self.folders;
        let is_rule_file = path.parent() == Some(rules)
            && path
                .extension()
                .is_some_and(|extension| extension == "toml");
        // A folder on the way, made or renamed, may bring the files with it.
        path == self.main_file
            || path == self.quick_file
            || is_rule_file
            || self.folders.iter().any(|own| own.starts_with(path))
    }
}
