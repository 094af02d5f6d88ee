//! Keeps the library up to date: fetches lists when it is time, and reads files again when they change.
//!
//! One thread, asleep until the next list is due, a file changes, the policy does, or someone asks for news.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tidegate_platform::bypass::Bypass;
use tidegate_platform::file_watch::{FileChange, FileWatch};
use tidegate_policy::list::{ListDefinition, ListSource};

use super::fetch::{Fetched, Fetcher};
use super::{LibraryState, lock};
use crate::record::Timestamp;
use crate::reload::Reloader;
use crate::shared::Shared;

/// Orders that wait. What does not fit is said again, or asked again.
const WAITING: usize = 16;
/// How long nothing may change before files are read: whoever writes one does so in several steps.
const QUIET: Duration = Duration::from_millis(200);
/// Files are read at the latest this long after a change.
const LATEST: Duration = Duration::from_secs(2);
/// When a list that could not be fetched is tried again; twice as long each time, up to its own interval.
const RETRY: Duration = Duration::from_secs(60);
/// Longer than any host runs, and short enough to be added to the present.
const NEVER: Duration = Duration::from_secs(u32::MAX as u64);

/// What the thread is to do.
#[derive(Debug)]
pub(super) enum Order {
    /// A file that is watched may have changed.
    Files,
    /// There is another policy, perhaps with other lists.
    Policy,
    /// Fetch this list, or all, now; then say so.
    Update(Option<String>, SyncSender<()>),
}

/// The thread could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the thread that keeps lists up to date: {0}")]
pub struct KeeperError(#[from] io::Error);

/// Why lists were not updated.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// There is no such list.
    #[error("there is no list \"{0}\": `tidegate lists` shows those that are configured")]
    NoSuchList(String),
    /// Nobody is there to do it.
    #[error("the thread that keeps lists up to date has ended: see the log")]
    Ended,
}

/// Files whose change is news.
type Watched = Arc<Mutex<Vec<PathBuf>>>;

struct Keeper {
    shared: Arc<Shared>,
    reloader: Arc<Reloader>,
    fetcher: Fetcher,
    watch: Option<FileWatch>,
    watched: Watched,
    /// Of each list, by its name and source, when it is fetched next.
    due: FxHashMap<(Arc<str>, Arc<str>), Due>,
}

#[derive(Clone, Copy, Debug)]
struct Due {
    at: Instant,
    /// How often it failed in a row.
    failures: u32,
}

/// Starts the thread, which lives as long as the program. `bypass` keeps its sockets out of our own capture.
///
/// # Errors
/// The system gives no thread.
pub fn start(
    shared: &Arc<Shared>,
    reloader: &Arc<Reloader>,
    bypass: Bypass,
) -> Result<(), KeeperError> {
    let (orders, ordered) = sync_channel(WAITING);
    let watched = Watched::default();
    let watch = match watch(&watched, orders.clone()) {
        Ok(watch) => Some(watch),
        Err(error) => {
            tracing::warn!(%error, "changed lists and databases are not noticed: reload with SIGHUP");
            None
        }
    };
    *lock(&shared.library.keeper) = Some(orders.clone());
    shared.on_change(move || {
        // One that waits already is as good.
        let _ = orders.try_send(Order::Policy);
    });
    let keeper = Keeper {
        shared: Arc::clone(shared),
        reloader: Arc::clone(reloader),
        fetcher: Fetcher::new(bypass),
        watch,
        watched,
        due: FxHashMap::default(),
    };
    thread::Builder::new()
        .name("lists".to_owned())
        .spawn(move || keeper.run(&ordered))?;
    Ok(())
}

fn watch(watched: &Watched, orders: SyncSender<Order>) -> io::Result<FileWatch> {
    let watched = Arc::clone(watched);
    FileWatch::start(move |change| {
        let concerns = match &change {
            FileChange::At(path) => lock(&watched)
                .iter()
                .any(|own| own == path || own.starts_with(path)),
            FileChange::Anything => true,
        };
        if concerns {
            let _ = orders.try_send(Order::Files);
        }
    })
}

impl Keeper {
    fn run(mut self, ordered: &Receiver<Order>) {
        let mut next = None;
        while !self.shared.lifecycle.is_stopping() {
            self.arm();
            if self.fetch_what_is_due() {
                self.reloader.refresh_library();
            }
            let order = match next.take() {
                Some(order) => Some(order),
                None => match self.next_due() {
                    None => Some(ordered.recv().unwrap_or(Order::Policy)),
                    Some(at) => ordered
                        .recv_timeout(at.saturating_duration_since(Instant::now()))
                        .ok(),
                },
            };
            match order {
                Some(Order::Files) => {
                    next = wait_for_quiet(ordered);
                    self.reloader.refresh_library();
                }
                Some(Order::Update(name, done)) => {
                    for (list, url) in self.lists() {
                        if name.as_ref().is_none_or(|name| **name == *list.name) {
                            self.fetch(&list, url);
                        }
                    }
                    self.reloader.refresh_library();
                    let _ = done.try_send(());
                }
                Some(Order::Policy) | None => {}
            }
        }
    }

    /// The lists that come from servers.
    fn lists(&self) -> Vec<(ListDefinition, Arc<str>)> {
        let active = self.shared.policy.load();
        let lists = active.policy.list_definitions().iter();
        let fetched = lists.filter_map(|list| match &list.source {
            ListSource::Url(url) => Some((list.clone(), Arc::clone(url))),
            ListSource::File(_) => None,
        });
        fetched.collect()
    }

    fn next_due(&self) -> Option<Instant> {
        let lists = self.lists().into_iter();
        let due = lists.filter_map(|(list, url)| self.due.get(&(list.name, url)));
        due.map(|due| due.at).min()
    }

    /// Whether there was anything new.
    fn fetch_what_is_due(&mut self) -> bool {
        let state = self.shared.library.state();
        let mut any_new = false;
        for (list, url) in self.lists() {
            let now = Instant::now();
            let key = (Arc::clone(&list.name), Arc::clone(&url));
            let due = self.due.entry(key).or_insert_with(|| Due {
                at: now + until_due(&state, &list),
                failures: 0,
            });
            if due.at <= now && !self.shared.lifecycle.is_stopping() {
                any_new |= self.fetch(&list, url);
            }
        }
        any_new
    }

    /// Whether there was anything new.
    fn fetch(&mut self, list: &ListDefinition, url: Arc<str>) -> bool {
        let fetched = self.shared.library.fetch(&self.fetcher, list);
        let interval = list.update.unwrap_or(NEVER);
        let key = (Arc::clone(&list.name), url);
        let (wait, failures) = match fetched {
            Some(Err(())) => {
                let failures = self.due.get(&key).map_or(0, |due| due.failures);
                let wait = RETRY.saturating_mul(1 << failures.min(16));
                (wait.min(interval), failures + 1)
            }
            Some(Ok(_)) => (interval, 0),
            None => (NEVER, 0),
        };
        let at = Instant::now() + wait;
        self.due.insert(key, Due { at, failures });
        matches!(fetched, Some(Ok(Fetched::New)))
    }

    /// Watches the folders of all files that are read. Doing so again is harmless.
    fn arm(&mut self) {
        let active = self.shared.policy.load();
        let lists = active.policy.list_definitions().iter();
        let mut files: Vec<PathBuf> = lists
            .filter_map(|list| match &list.source {
                ListSource::File(path) => Some(path.clone()),
                ListSource::Url(_) => None,
            })
            .collect();
        let places = self.shared.library.state().places;
        files.extend(places.into_iter().map(|places| PathBuf::from(places.file)));
        let Some(watch) = &mut self.watch else {
            return;
        };
        for file in &files {
            let folder = file.ancestors().skip(1).find(|folder| folder.is_dir());
            let folder = folder.unwrap_or(Path::new("/"));
            if let Err(error) = watch.add(folder) {
                tracing::warn!(folder = %folder.display(), %error, "changes will not be noticed: reload with SIGHUP");
            }
        }
        *lock(&self.watched) = files;
    }
}

/// How long a list's text is good for; one that is not there is due at once.
fn until_due(state: &LibraryState, list: &ListDefinition) -> Duration {
    let own = state.lists.iter().find(|state| *state.name == *list.name);
    match (own.and_then(|state| state.fetched), list.update) {
        (Some(fetched), Some(update)) => update.saturating_sub(Timestamp::now().since(fetched)),
        (Some(_), None) => NEVER,
        (None, _) => Duration::ZERO,
    }
}

/// Waits until no file changes any more. An order of another kind is given back, to be carried out next.
fn wait_for_quiet(ordered: &Receiver<Order>) -> Option<Order> {
    let latest = Instant::now() + LATEST;
    loop {
        let left = latest.saturating_duration_since(Instant::now());
        match ordered.recv_timeout(QUIET.min(left)) {
            Ok(order @ Order::Update(..)) => return Some(order),
            Ok(Order::Files | Order::Policy) if !left.is_zero() => {}
            Ok(Order::Files | Order::Policy) | Err(_) => return None,
        }
    }
}
