//! What is known of addresses and names beside the rules: lists, and databases of places.
//!
//! The texts of lists are kept in the state folder, the last good one of each, and compiled there to one file that is
//! mapped into memory. Whatever is bad about a new text, a file or a database changes nothing but a message; what was
//! known before stays known. Databases are mapped from a copy of their own, so that no one who writes to the file can
//! harm us.

mod aside;
mod fetch;
mod folder;
mod keeper;
mod places;
mod resolve;
mod state;
mod store;
mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_platform::bypass::Bypass;
use tidegate_platform::mapped_file::MappedFile;
use tidegate_policy::list::compiled::Compiled;
use tidegate_policy::list::{ListDefinition, ListSource};

use crate::audit::Author;
use crate::config::Geo;

pub use aside::Aside;
pub use keeper::{KeeperError, UpdateError, start as keep_up_to_date};
pub use places::Places;
pub use state::{LibraryState, ListState, PlacesState};

use fetch::{Fetched, Fetcher};
use keeper::Order;
use store::{Loaded, Store};

/// Compiled lists of a file.
pub type Lists = Compiled<MappedFile>;

/// All that is known of addresses and names, to be brought up to date by whoever learns of news.
#[derive(Debug, Default)]
pub struct Library {
    store: Option<Store>,
    known: Mutex<Known>,
    /// What is being fetched, and what could not be.
    fetches: Mutex<BTreeMap<String, Fetch>>,
    /// Reaches the thread that fetches.
    keeper: Mutex<Option<SyncSender<Order>>>,
    /// Held while files are read and compiled.
    one_at_a_time: Mutex<()>,
}

/// What is known now.
#[derive(Clone, Debug, Default)]
struct Known {
    lists: Option<Loaded>,
    places: Arc<Places>,
    state: LibraryState,
    /// What the configuration names.
    wanted: (Arc<[ListDefinition]>, Geo),
}

/// How a fetch stands that is not over, or did not succeed.
#[derive(Clone, Debug)]
enum Fetch {
    Going,
    Failed(String),
}

impl Library {
    /// A library that keeps its files beneath `state_folder`; without one it can hold no lists.
    pub fn new(state_folder: Option<PathBuf>) -> Self {
        Self {
            store: state_folder.map(|folder| Store::new(folder.join("lists"))),
            ..Self::default()
        }
    }

    /// Reads what changed of the files that are named, compiles lists where needed, and reads databases anew. Reaches
    /// for no network: of lists that are fetched the last good text counts.
    ///
    /// Whether anything is known that was not, or no longer.
    pub fn refresh(&self, lists: &[ListDefinition], geo: &Geo) -> bool {
        let _turn = lock(&self.one_at_a_time);
        self.bring_up_to_date(lists.into(), geo.clone())
    }

    /// The same for the lists and databases that were wanted last.
    pub fn refresh_again(&self) -> bool {
        let _turn = lock(&self.one_at_a_time);
        let (lists, geo) = lock(&self.known).wanted.clone();
        self.bring_up_to_date(lists, geo)
    }

    fn bring_up_to_date(&self, lists: Arc<[ListDefinition]>, geo: Geo) -> bool {
        let before = lock(&self.known).clone();
        let (compiled, states) = match &self.store {
            _ if lists.is_empty() => (None, Vec::new()),
            Some(store) => store.prepare(&lists, before.lists.clone()),
            None => (None, store::without_folder(&lists)),
        };
        let folder = self.store.as_ref().map(Store::folder);
        let (places, places_states) = Places::load(&geo, folder, &before.places);
        let state = LibraryState {
            bytes: compiled.as_ref().map_or(0, |loaded| loaded.lists.size()),
            lists: states,
            places: places_states,
        };
        for problem in state.problems() {
            if before.state.problems().all(|earlier| earlier != problem) {
                tracing::warn!("{problem}");
            }
        }
        let file = |loaded: &Option<Loaded>| loaded.as_ref().map(|loaded| loaded.file.clone());
        let changed = file(&compiled) != file(&before.lists) || !places.is_same(&before.places);
        *lock(&self.known) = Known {
            lists: compiled,
            places: Arc::new(places),
            state,
            wanted: (lists, geo),
        };
        changed
    }

    /// The compiled lists; none while none is loaded.
    pub fn lists(&self) -> Option<Arc<Lists>> {
        let known = lock(&self.known);
        known.lists.as_ref().map(|loaded| Arc::clone(&loaded.lists))
    }

    /// The databases of places.
    pub fn places(&self) -> Arc<Places> {
        Arc::clone(&lock(&self.known).places)
    }

    /// What there is, and how it is.
    pub fn state(&self) -> LibraryState {
        let mut state = lock(&self.known).state.clone();
        let fetches = lock(&self.fetches);
        for list in &mut state.lists {
            match fetches.get(&list.name) {
                Some(Fetch::Going) => list.doing = Some("being fetched".to_owned()),
                Some(Fetch::Failed(problem)) if list.problem.is_none() => {
                    list.problem = Some(problem.clone());
                }
                Some(Fetch::Failed(_)) | None => {}
            }
        }
        state
    }

    /// Has the thread that keeps lists up to date fetch this list, or all, and waits until that is done.
    ///
    /// # Errors
    /// There is no such list, or no such thread.
    pub fn update(
        &self,
        name: Option<String>,
        author: Author,
    ) -> Result<LibraryState, UpdateError> {
        self.find(name.as_deref())?;
        let keeper = lock(&self.keeper).clone().ok_or(UpdateError::Ended)?;
        let (done, finished) = sync_channel(1);
        let sent = keeper.send(Order::Update(name, author, done));
        sent.map_err(|_| UpdateError::Ended)?;
        finished.recv().map_err(|_| UpdateError::Ended)?;
        Ok(self.state())
    }

    /// Fetches this list, or all, here and now: where no gateway runs.
    ///
    /// # Errors
    /// There is no such list.
    pub fn update_here(&self, name: Option<&str>) -> Result<LibraryState, UpdateError> {
        self.find(name)?;
        let fetcher = Fetcher::new(Bypass::none());
        let lists = Arc::clone(&lock(&self.known).wanted.0);
        for list in lists
            .iter()
            .filter(|list| name.is_none_or(|name| name == &*list.name))
        {
            self.fetch(&fetcher, list);
        }
        self.refresh_again();
        Ok(self.state())
    }

    fn find(&self, name: Option<&str>) -> Result<(), UpdateError> {
        let known = lock(&self.known);
        match name {
            Some(name) if known.wanted.0.iter().all(|list| *list.name != *name) => {
                Err(UpdateError::NoSuchList(name.to_owned()))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The SHA-256 of the text that is kept of a list.
    fn digest(&self, list: &ListDefinition) -> Option<String> {
        let note = self.store.as_ref()?.texts.note(list)?;
        Some(note.sha256)
    }

    /// Fetches one list. Absent: it comes from no server, or there is no folder for it.
    fn fetch(&self, fetcher: &Fetcher, list: &ListDefinition) -> Option<Result<Fetched, ()>> {
        let (Some(store), ListSource::Url(url)) = (&self.store, &list.source) else {
            return None;
        };
        lock(&self.fetches).insert(list.name.to_string(), Fetch::Going);
        let fetched = fetcher.fetch(&store.texts, list, url);
        let mut fetches = lock(&self.fetches);
        Some(match fetched {
            Ok(fetched) => {
                fetches.remove(&*list.name);
                tracing::info!(list = &*list.name, ?fetched, "fetched");
                Ok(fetched)
            }
            Err(error) => {
                let problem = error.to_string();
                tracing::warn!(list = &*list.name, "{problem}");
                fetches.insert(list.name.to_string(), Fetch::Failed(problem));
                Err(())
            }
        })
    }
}

/// Every holder leaves what it locked whole, so the lock of a thread that panicked is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
