//! kqueue, through the `notify` crate.

use std::io;
use std::path::Path;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::FileChange;

#[derive(Debug)]
pub(super) struct FileWatch(RecommendedWatcher);

impl FileWatch {
    pub(super) fn start(mut tell: impl FnMut(FileChange) + Send + 'static) -> io::Result<Self> {
        let watcher =
            notify::recommended_watcher(move |event: Result<Event, notify::Error>| match event {
                Ok(event) if matches!(event.kind, EventKind::Access(_)) => {}
                Ok(event) if event.need_rescan() => tell(FileChange::Anything),
                Ok(event) => event
                    .paths
                    .into_iter()
                    .map(FileChange::At)
                    .for_each(&mut tell),
                Err(_) => tell(FileChange::Anything),
            });
        watcher.map(Self).map_err(io::Error::other)
    }

    pub(super) fn add(&mut self, folder: &Path) -> io::Result<()> {
        self.0
            .watch(folder, RecursiveMode::NonRecursive)
            .map_err(|error| match error.kind {
                notify::ErrorKind::Io(error) => error,
                notify::ErrorKind::PathNotFound => io::ErrorKind::NotFound.into(),
                notify::ErrorKind::Generic(_)
                | notify::ErrorKind::WatchNotFound
                | notify::ErrorKind::InvalidConfig(_)
                | notify::ErrorKind::MaxFilesWatch => io::Error::other(error),
            })
    }
}
