//! Which programs hold a socket, and a short memory of it.
//!
//! What is remembered is never believed. A holder counts only if the process with that id is still the one that was seen
//! (by its start time) and its descriptor still is the socket; its program is read anew, because `exec` changes neither.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tidegate_policy::App;

use super::program::Program;
use super::search::{self, Found, Holder};
use crate::apps::{Coverage, Owners, SocketInfo, Unattributed};
use crate::sys::process;
use crate::users::Users;

/// How long a search is remembered: a later `fork` may have added holders.
const SEARCH_LIFETIME: Duration = Duration::from_secs(1);
/// Most searches that are remembered. When full, all are forgotten: filling takes longer than they live.
const MOST_SEARCHES: usize = 4096;

/// The processes of this host, as far as sockets led to them. Shared by all threads that look up programs.
#[derive(Debug, Default)]
pub struct Processes {
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// By the socket's cookie.
    searches: FxHashMap<u64, Search>,
    users: Users,
}

#[derive(Clone, Debug)]
struct Search {
    at: Instant,
    /// Each with when its process was started.
    holders: Vec<(Holder, u64)>,
    coverage: Coverage,
}

impl Processes {
    /// The programs that hold the socket: the likely ones, or else by a search through all processes.
    ///
    /// # Errors
    /// [`Unattributed`]: why none is known.
    pub fn owners_somewhere(&self, socket: &SocketInfo) -> Result<Owners, Unattributed> {
        self.owners_nearby(socket)
            .map_or_else(|| self.owners(socket), Ok)
    }

    /// The programs that hold the socket, by a search through all processes: milliseconds. Where one holds it on another's
    /// behalf, the program is that other's.
    ///
    /// # Errors
    /// [`Unattributed`]: why none is known.
    pub fn owners(&self, socket: &SocketInfo) -> Result<Owners, Unattributed> {
        let cached = self.owners_cached(socket);
        if let Some(owners) = cached.filter(|owners| owners.coverage != Coverage::Nearby) {
            return Ok(owners);
        }
        if socket.effective_process.is_some() {
            // Whoever else has a descriptor of it has it for the same one.
            let named = search::nearby(socket).covering(Coverage::Everything);
            if let Some(owners) = self.name(&named, socket) {
                return Ok(owners);
            }
        }
        let found = search::everywhere(socket)?;
        self.name(&found, socket).ok_or_else(|| found.why_none())
    }

    /// See [`crate::apps::AppFinder::owners_nearby`].
    pub(in crate::apps) fn owners_nearby(&self, socket: &SocketInfo) -> Option<Owners> {
        let cached = self.owners_cached(socket);
        cached.or_else(|| self.name(&search::nearby(socket), socket))
    }

    /// See [`crate::apps::AppFinder::owners_cached`].
    pub(in crate::apps) fn owners_cached(&self, socket: &SocketInfo) -> Option<Owners> {
        let search = self.memory().searches.get(&socket.cookie).cloned()?;
        let is_fresh = search.at.elapsed() <= SEARCH_LIFETIME;
        let apps = search
            .holders
            .iter()
            .filter(|_| is_fresh)
            .map(|(holder, started)| {
                let (now, app) = self.app(*holder, socket).ok()?;
                (now == *started).then_some(app)
            })
            .collect::<Option<Arc<[App]>>>()
            .filter(|apps| !apps.is_empty());
        if apps.is_none() {
            self.memory().searches.remove(&socket.cookie);
        }
        Some(Owners {
            apps: apps?,
            coverage: search.coverage,
        })
    }

    /// The programs of those who were found, and a note of them. A holder that has gone in the meantime is none.
    fn name(&self, found: &Found, socket: &SocketInfo) -> Option<Owners> {
        let named = found.holders.iter().filter_map(|holder| {
            let (started, app) = self.app(*holder, socket).ok()?;
            Some(((*holder, started), app))
        });
        let (holders, apps): (Vec<_>, Vec<App>) = named.unzip();
        if apps.is_empty() {
            return None;
        }
        let mut memory = self.memory();
        if memory.searches.len() >= MOST_SEARCHES {
            memory.searches.clear();
        }
        let search = Search {
            at: Instant::now(),
            holders,
            coverage: found.coverage,
        };
        memory.searches.insert(socket.cookie, search);
        Some(Owners {
            apps: apps.into(),
            coverage: found.coverage,
        })
    }

    /// When a process that holds the socket was started, and its program. Whether it holds the socket is looked at after
    /// the program: a process that inherits a socket, closes it and becomes another program is then never taken for a holder.
    fn app(&self, holder: Holder, socket: &SocketInfo) -> io::Result<(u64, App)> {
        let basics = process::basics(holder.process)?;
        let program = Program::read(holder.process, basics)?;
        let is_same = process::basics(holder.process)?.started == basics.started;
        if !is_same || !holder.holds(socket) || process::executable(holder.process)? != program.path
        {
            return Err(io::ErrorKind::NotFound.into());
        }
        let user = self.memory().users.name(socket.uid).map(str::to_owned);
        let Program {
            path,
            name,
            command_line,
            parents,
        } = program;
        let app = App {
            path,
            name,
            pid: holder.process,
            uid: socket.uid,
            user,
            command_line,
            parents,
            unit: None,
            container: None,
            identity: tidegate_policy::Identity::default(),
        };
        Ok((basics.started, app))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // What is remembered is verified before use, so it cannot be left in a state that misleads.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
