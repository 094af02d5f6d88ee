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
use crate::audit::{Author, Change, Subject};
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
    /// Fetch this list, or all, now, because somebody asks for it; then say so.
    Update(Option<String>, Author, SyncSender<()>),
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
    /// When each list is fetched next.
    due: FxHashMap<Key, Due>,
}

/// What decides when a list is fetched: one that is configured otherwise is looked at anew.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    name: Arc<str>,
    url: Arc<str>,
    update: Option<Duration>,
    pin: Option<[u8; 32]>,
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
                Some(Order::Update(name, author, done)) => {
                    for list in self.lists() {
                        if name.as_ref().is_none_or(|name| **name == *list.name) {
                            self.fetch(&list, author);
                        }
                    }
                    self.reloader.refresh_library();
                    let _ = done.try_send(());
                }
                Some(Order::Policy) | None => {}
            }
        }
    }

    /// The lists that come from servers; none where there is no folder for them.
    fn lists(&self) -> Vec<ListDefinition> {
        if self.shared.library.store.is_none() {
            return Vec::new();
        }
        let active = self.shared.policy.load();
        let lists = active.policy.list_definitions().iter();
        lists
            .filter(|list| Key::of(list).is_some())
            .cloned()
            .collect()
    }

    fn next_due(&self) -> Option<Instant> {
        self.due.values().map(|due| due.at).min()
    }

    /// Whether there was anything new.
    fn fetch_what_is_due(&mut self) -> bool {
        let lists = self.lists();
        schedule(&mut self.due, &self.shared.library.state(), &lists);
        let mut any_new = false;
        for list in lists {
            let due = Key::of(&list).and_then(|key| self.due.get(&key));
            let is_due = due.is_some_and(|due| due.at <= Instant::now());
            if is_due && !self.shared.lifecycle.is_stopping() {
                any_new |= self.fetch(&list, Author::Gateway);
            }
        }
        any_new
    }

    /// Whether there was anything new.
    fn fetch(&mut self, list: &ListDefinition, author: Author) -> bool {
        let Some(key) = Key::of(list) else {
            return false;
        };
        let before = self.shared.library.digest(list);
        let fetched = self.shared.library.fetch(&self.fetcher, list);
        let interval = list.update.unwrap_or(NEVER);
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
        let is_new = matches!(fetched, Some(Ok(Fetched::New)));
        if is_new {
            note_new(&self.shared, list, before, author);
        }
        is_new
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

impl Key {
    /// None of a list that comes from no server.
    fn of(list: &ListDefinition) -> Option<Self> {
        let ListSource::Url(url) = &list.source else {
            return None;
        };
        Some(Self {
            name: Arc::clone(&list.name),
            url: Arc::clone(url),
            update: list.update,
            pin: list.pin,
        })
    }
}

/// Records that a list has another text than the one with the SHA-256 `before`.
fn note_new(shared: &Shared, list: &ListDefinition, before: Option<String>, author: Author) {
    let said = |digest| format!("sha256 {digest}");
    shared.note_change(Change {
        author,
        subject: Subject::List(list.name.to_string()),
        before: before.map(said),
        after: shared.library.digest(list).map(said),
    });
}

/// Says when lists are due that were not known so, and forgets those that are configured no longer. One whose text was lost
/// does not wait until it would have been fetched anyway.
fn schedule(due: &mut FxHashMap<Key, Due>, state: &LibraryState, lists: &[ListDefinition]) {
    let now = Instant::now();
    let known = std::mem::take(due);
    for list in lists {
        let Some(key) = Key::of(list) else {
            continue;
        };
        let next = match known.get(&key) {
            // Not at once: a text that cannot be kept would be fetched again and again.
            Some(known) if known.failures == 0 && !has_text(state, list) => Due {
                at: known.at.min(now + RETRY),
                ..*known
            },
            Some(known) => *known,
            None => Due {
                at: now + until_due(state, list),
                failures: 0,
            },
        };
        due.insert(key, next);
    }
}

fn has_text(state: &LibraryState, list: &ListDefinition) -> bool {
    let mut states = state.lists.iter();
    states.any(|own| *own.name == *list.name && own.fetched.is_some())
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tidegate_policy::{Document, Policy, PolicySource};

    use super::*;
    use crate::audit::{self, Audit};
    use crate::library::Library;
    use crate::record::FlowLogLimits;
    use crate::shared::{CaptureKind, CaptureStatus};
    use crate::test_folder::TestFolder;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn lists(more: &str) -> Vec<ListDefinition> {
        let list = "[[list]]\nname = \"one\"\nsource = \"https://192.0.2.1/one\"\n";
        let document = Document::parse("t.toml", &format!("{list}{more}")).unwrap();
        let mut source = PolicySource::default();
        source.read_main(&document);
        assert_eq!((document.finish(), source.review()), (vec![], vec![]));
        source.lists
    }

    /// What is known of these lists, whose texts came now or never.
    fn state(folder: &TestFolder, lists: &[ListDefinition], fetched: bool) -> LibraryState {
        let library = Library::new(Some(folder.path().to_owned()));
        library.refresh(lists, &Default::default());
        let mut state = library.state();
        for list in &mut state.lists {
            list.fetched = fetched.then(Timestamp::now);
        }
        state
    }

    /// In how long the only list is due, in whole minutes.
    fn minutes(due: &FxHashMap<Key, Due>) -> u64 {
        let mut due = due.values();
        let next = due.next().unwrap().at;
        assert!(due.next().is_none(), "the others are forgotten");
        next.saturating_duration_since(Instant::now())
            .as_secs()
            .div_ceil(60)
    }

    #[test]
    fn a_list_that_is_configured_otherwise_or_lost_is_due_anew() {
        let folder = TestFolder::new();
        let mut due = FxHashMap::default();
        let daily = lists("update = \"1d\"\n");
        schedule(&mut due, &state(&folder, &daily, true), &daily);
        assert_eq!(minutes(&due), 24 * 60);
        let hourly = lists("update = \"1h\"\n");
        schedule(&mut due, &state(&folder, &hourly, true), &hourly);
        assert_eq!(minutes(&due), 60);
        let pinned = lists(&format!(
            "update = \"1h\"\nsha256 = \"{}\"\n",
            "0".repeat(64)
        ));
        schedule(&mut due, &state(&folder, &pinned, false), &pinned);
        assert_eq!(minutes(&due), 0, "what is kept is not what is pinned");

        schedule(&mut due, &state(&folder, &daily, true), &daily);
        schedule(&mut due, &state(&folder, &daily, false), &daily);
        assert_eq!(minutes(&due), 1, "the text was lost");
        let failed = Due {
            at: Instant::now() + DAY,
            failures: 12,
        };
        due.values_mut().for_each(|due| *due = failed);
        schedule(&mut due, &state(&folder, &daily, false), &daily);
        assert_eq!(minutes(&due), 24 * 60, "it is not tried more often");
        schedule(&mut due, &LibraryState::default(), &[]);
        assert!(due.is_empty());
    }

    #[test]
    fn a_new_text_is_recorded_by_its_digest() {
        let folder = TestFolder::new();
        let list = lists("").remove(0);
        let library = Library::new(Some(folder.path().to_owned()));
        let capture = CaptureStatus::new(CaptureKind::Host, "tide0");
        let limits = FlowLogLimits::default();
        let shared = Shared::knowing(library, Policy::allow_all(), capture, limits);
        shared.record_changes_in(Audit::in_folder(folder.path().to_owned()));
        let author = Author::Client {
            uid: 1000,
            pid: Some(7),
        };
        for text in ["192.0.2.1\n", "192.0.2.2\n"] {
            let before = shared.library.digest(&list);
            let texts = &shared.library.store.as_ref().unwrap().texts;
            let mut draft = texts.draft().unwrap();
            draft.file.write_all(text.as_bytes()).unwrap();
            texts.take(&list, draft, |_| {}).unwrap();
            note_new(&shared, &list, before, author);
        }
        let records = audit::read(folder.path()).unwrap();
        let changes = records.into_iter().map(|(_, record)| record.change);
        let changes: Vec<Change> = changes.collect();
        assert_eq!(changes[0].subject, Subject::List("one".to_owned()));
        assert_eq!((changes[0].author, changes.len()), (author, 2));
        assert_eq!(changes[0].before, None);
        assert_eq!(changes[1].before, changes[0].after);
        let after = changes[1].after.as_deref().unwrap();
        assert!(after.starts_with("sha256 ") && changes[1].before.as_deref() != Some(after));
    }
}
