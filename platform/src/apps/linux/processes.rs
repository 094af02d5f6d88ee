//! Which processes hold a socket: a search through `/proc` that remembers what it found.
//!
//! What is remembered is never believed. A holder counts only if the process with that id is still the one that was seen
//! (by its start time) and its descriptor still is the socket; a program counts only if the process still runs it (by its
//! executable and command line, because `exec` changes neither id nor start time).

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tidegate_policy::App;

use super::descriptors::ProcessDirectory;
use super::process::{Image, Program};
use super::search::{self, Found, Seen};
use crate::apps::{Coverage, Owners, SocketInfo, Unattributed};
use crate::users::Users;

/// How long a search is remembered: a later `fork` may have added holders.
const SEARCH_LIFETIME: Duration = Duration::from_secs(1);
/// Most searches and programs that are remembered. When full, all are forgotten: filling takes longer than they live.
const MOST_SEARCHES: usize = 4096;
const MOST_PROGRAMS: usize = 4096;
/// How many processes are remembered that made sockets last.
const MOST_RECENT: usize = 8;

/// The processes of this host, as far as sockets led to them. Shared by all threads that look up programs.
#[derive(Debug, Default)]
pub struct Processes {
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    searches: FxHashMap<SocketKey, Search>,
    programs: FxHashMap<ProcessKey, (Image, Program)>,
    users: Users,
    /// Sockets that searches came by, by inode.
    seen: FxHashMap<u32, Seen>,
    /// Processes that held sockets, each with its user and its last descriptor; the last one first.
    recent: VecDeque<(u32, Holder)>,
}

/// Numbers of socket files are used again; with the cookie they are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct SocketKey {
    inode: u32,
    cookie: u64,
}

/// Process ids are used again; with the start time they are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ProcessKey {
    pid: u32,
    started: u64,
}

#[derive(Clone, Debug)]
struct Search {
    at: Instant,
    holders: Vec<Holder>,
    coverage: Coverage,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    process: ProcessKey,
    descriptor: u32,
}

impl From<&SocketInfo> for SocketKey {
    fn from(socket: &SocketInfo) -> Self {
        Self {
            inode: socket.inode,
            cookie: socket.cookie,
        }
    }
}

impl Processes {
    /// The programs that hold the socket: the likely ones, or else by a search through `/proc`. Of many sockets that one
    /// program made at once the first costs milliseconds and the others microseconds.
    ///
    /// # Errors
    /// [`Unattributed`]: why none is known.
    pub fn owners_somewhere(&self, socket: &SocketInfo) -> Result<Owners, Unattributed> {
        if let Some(owners) = self.owners_nearby(socket) {
            return Ok(owners);
        }
        let found = search::among(socket, &self.recent(socket.uid));
        match self.name(&found, socket) {
            Some(owners) => Ok(owners),
            None => self.owners(socket),
        }
    }

    /// The programs that hold the socket, by a search through `/proc`: microseconds to milliseconds.
    ///
    /// # Errors
    /// [`Unattributed`]: why none is known.
    pub fn owners(&self, socket: &SocketInfo) -> Result<Owners, Unattributed> {
        if socket.inode == 0 {
            return Err(Unattributed::NoProcess);
        }
        let cached = self.owners_cached(socket);
        if let Some(owners) = cached.filter(|owners| owners.coverage != Coverage::Nearby) {
            return Ok(owners);
        }
        let found = search::everywhere(socket)?;
        self.name(&found, socket).ok_or_else(|| found.why_none())
    }

    /// See [`crate::apps::AppFinder::owners_nearby`].
    pub(in crate::apps) fn owners_nearby(&self, socket: &SocketInfo) -> Option<Owners> {
        if socket.inode == 0 {
            return None;
        }
        let cached = self.owners_cached(socket);
        cached.or_else(|| {
            let seen = self.memory().seen.get(&socket.inode).copied();
            let found = search::nearby(socket, seen, &self.recent(socket.uid));
            self.name(&found, socket)
        })
    }

    /// The programs of the processes with ids from `first` on that hold the socket. `None` if there are too many to look at.
    pub(in crate::apps) fn holders_from(
        &self,
        socket: &SocketInfo,
        first: NonZeroU32,
    ) -> Option<Vec<App>> {
        let holders = search::from(socket, first)?;
        // Who has gone in the meantime is none.
        let apps = holders
            .iter()
            .filter_map(|(process, descriptor)| self.app(process, *descriptor, socket).ok());
        Some(apps.map(|(_, app)| app).collect())
    }

    /// The programs of those who were found, and a note of them and of what was seen by the way.
    fn name(&self, found: &Found, socket: &SocketInfo) -> Option<Owners> {
        if !found.seen.is_empty() {
            let seen = found.seen.iter().copied().collect();
            self.memory().seen = seen;
        }
        // A holder that has gone in the meantime is none.
        let named = found
            .holders
            .iter()
            .filter_map(|(process, descriptor)| self.app(process, *descriptor, socket).ok());
        let (holders, apps): (Vec<Holder>, Vec<App>) = named.unzip();
        let first = *holders.first()?;
        let coverage = found.coverage;
        let mut memory = self.memory();
        if memory.searches.len() >= MOST_SEARCHES {
            memory.searches.clear();
        }
        let at = Instant::now();
        memory.searches.insert(
            socket.into(),
            Search {
                at,
                holders,
                coverage,
            },
        );
        memory
            .recent
            .retain(|(_, holder)| holder.process != first.process);
        memory.recent.push_front((socket.uid, first));
        memory.recent.truncate(MOST_RECENT);
        Some(Owners {
            apps: apps.into(),
            coverage,
        })
    }

    /// Process ids that sockets of `uid` led to, and the descriptor that each had.
    fn recent(&self, uid: u32) -> Vec<(u32, u32)> {
        let memory = self.memory();
        let of_user = memory.recent.iter().filter(|(user, _)| *user == uid);
        of_user
            .map(|(_, holder)| (holder.process.pid, holder.descriptor))
            .collect()
    }

    /// See [`crate::apps::AppFinder::owners_cached`].
    pub(in crate::apps) fn owners_cached(&self, socket: &SocketInfo) -> Option<Owners> {
        let search = self.memory().searches.get(&socket.into()).cloned()?;
        if search.at.elapsed() > SEARCH_LIFETIME {
            self.memory().searches.remove(&socket.into());
            return None;
        }
        let apps = search
            .holders
            .iter()
            .map(|holder| self.verified(holder, socket))
            .collect::<Option<_>>();
        if apps.is_none() {
            self.memory().searches.remove(&socket.into());
        }
        Some(Owners {
            apps: apps?,
            coverage: search.coverage,
        })
    }

    fn verified(&self, holder: &Holder, socket: &SocketInfo) -> Option<App> {
        let process = ProcessDirectory::open(holder.process.pid).ok()?;
        let (now, app) = self.app(&process, holder.descriptor, socket).ok()?;
        (now.process == holder.process).then_some(app)
    }

    /// The program of a process that holds the socket. Whether it does is looked at after the program: a process that
    /// inherits a socket, closes it and becomes another program is then never taken for a holder.
    fn app(
        &self,
        process: &ProcessDirectory,
        descriptor: u32,
        socket: &SocketInfo,
    ) -> io::Result<(Holder, App)> {
        let stat = process.stat()?;
        let key = ProcessKey {
            pid: process.pid,
            started: stat.started,
        };
        let image = Image::read(process)?;
        let known = self
            .memory()
            .programs
            .get(&key)
            .filter(|(known, _)| *known == image)
            .map(|(_, program)| program.clone());
        let is_known = known.is_some();
        let program = known.unwrap_or_else(|| Program::read(process, stat, &image));
        if !process.holds(descriptor, socket.inode) || !image.is_still_of(process)? {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        let mut memory = self.memory();
        if !is_known {
            if memory.programs.len() >= MOST_PROGRAMS {
                memory.programs.clear();
            }
            memory.programs.insert(key, (image, program.clone()));
        }
        let user = memory.users.name(socket.uid).map(str::to_owned);
        let Program {
            path,
            name,
            command_line,
            parents,
            unit,
            container,
        } = program;
        let app = App {
            path,
            name,
            pid: process.pid,
            uid: socket.uid,
            user,
            command_line,
            parents,
            unit,
            container,
        };
        Ok((
            Holder {
                process: key,
                descriptor,
            },
            app,
        ))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // What is remembered is verified before use, so it cannot be left in a state that misleads.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
