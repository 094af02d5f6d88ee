//! inotify(7), with just the events that are changes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::FileChange;

/// Room for several events with the longest names.
const BUFFER: usize = 4096;

#[derive(Debug)]
pub(super) struct FileWatch {
    events: Arc<OwnedFd>,
    folders: Folders,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// The folder of each watch descriptor.
type Folders = Arc<Mutex<BTreeMap<i32, PathBuf>>>;

impl FileWatch {
    pub(super) fn start(mut tell: impl FnMut(FileChange) + Send + 'static) -> io::Result<Self> {
        let events = Arc::new(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?);
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let folders = Folders::default();
        let (thread_events, thread_stop, known) =
            (Arc::clone(&events), Arc::clone(&stop), Arc::clone(&folders));
        let thread = thread::Builder::new()
            .name("file-watch".to_owned())
            .spawn(move || {
                while wait(&thread_events, &thread_stop) {
                    read(&thread_events, &known, &mut tell);
                }
            })?;
        Ok(Self {
            events,
            folders,
            stop,
            thread: Some(thread),
        })
    }

    pub(super) fn add(&mut self, folder: &Path) -> io::Result<()> {
        let changes = WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::ATTRIB;
        // Held over the call: an event of the new watch is read only when its folder is known.
        let mut folders = lock(&self.folders);
        let watch = inotify::add_watch(&*self.events, folder, changes | WatchFlags::ONLYDIR)?;
        folders.insert(watch, folder.to_owned());
        Ok(())
    }
}

impl Drop for FileWatch {
    fn drop(&mut self) {
        let told = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if told.is_ok()
            && let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches files panicked");
        }
    }
}

/// Waits for events. False when it is time to stop, or nothing can be waited for.
fn wait(events: &OwnedFd, stop: &OwnedFd) -> bool {
    loop {
        let mut sources = [
            PollFd::new(events, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        match poll(&mut sources, None) {
            Ok(_) => return sources[1].revents().is_empty(),
            Err(Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, "files are no longer watched");
                return false;
            }
        }
    }
}

fn read(events: &OwnedFd, folders: &Folders, tell: &mut impl FnMut(FileChange)) {
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let mut reader = Reader::new(events, &mut buffer);
    while let Ok(event) = reader.next() {
        if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
            tell(FileChange::Anything);
            continue;
        }
        let mut folders = lock(folders);
        if event.events().contains(ReadFlags::IGNORED) {
            folders.remove(&event.wd());
            continue;
        }
        let folder = folders.get(&event.wd()).cloned();
        drop(folders);
        if let Some(folder) = folder {
            let name = event
                .file_name()
                .map(|name| OsStr::from_bytes(name.to_bytes()));
            tell(FileChange::At(
                name.map_or(folder.clone(), |name| folder.join(name)),
            ));
        }
    }
}

/// Every holder leaves the map whole, so the lock of a thread that panicked is as good as any.
fn lock(folders: &Mutex<BTreeMap<i32, PathBuf>>) -> MutexGuard<'_, BTreeMap<i32, PathBuf>> {
    folders.lock().unwrap_or_else(PoisonError::into_inner)
}
