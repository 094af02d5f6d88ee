//! Which processes hold a socket: a search through `/proc` that remembers what it found.
//!
//! What is remembered is never believed. A holder counts only if the process with that id is still the one that was seen
//! (by its start time) and its descriptor still is the socket; a program counts only if the process still runs it (by its
//! executable and command line, because `exec` changes neither id nor start time).

use std::io;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tidegate_policy::App;

use super::descriptors::{self, ProcessDirectory};
use super::familiar::Familiars;
use super::process::{Image, Program};
use super::search::{self, Found, Seen};
use crate::apps::{Coverage, Owners, SocketInfo, Unattributed};
use crate::users::Users;

/// How long a search is remembered: a later `fork` may have added holders.
const SEARCH_LIFETIME: Duration = Duration::from_secs(1);
/// Most searches and programs that are remembered. When full, all are forgotten: filling takes longer than they live.
const MOST_SEARCHES: usize = 4096;
const MOST_PROGRAMS: usize = 4096;
/// Most bytes that these have.
const MOST_BYTES: usize = 16 << 20;

/// The processes of this host, as far as sockets led to them. Shared by all threads that look up programs.
#[derive(Debug, Default)]
pub struct Processes {
    memory: Mutex<Memory>,
    /// Locked before `memory`.
    familiars: Mutex<Familiars>,
}

#[derive(Debug, Default)]
struct Memory {
    searches: FxHashMap<SocketKey, Search>,
    programs: FxHashMap<ProcessKey, (Image, Program)>,
    /// Of the programs.
    bytes: usize,
    users: Users,
    /// Sockets that searches came by, by inode.
    seen: FxHashMap<u32, Seen>,
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

impl Memory {
    fn remember(&mut self, socket: &SocketInfo, holders: Vec<Holder>, coverage: Coverage) {
        if self.searches.len() >= MOST_SEARCHES {
            self.searches.clear();
        }
        let at = Instant::now();
        let search = Search {
            at,
            holders,
            coverage,
        };
        self.searches.insert(socket.into(), search);
    }

    fn remember_program(&mut self, process: ProcessKey, image: Image, program: Program) {
        let bytes = image.bytes() + program.bytes();
        if self.programs.len() >= MOST_PROGRAMS || self.bytes + bytes > MOST_BYTES {
            self.programs.clear();
            self.bytes = 0;
        }
        // What one process ran before it became another program counts until all are forgotten.
        self.bytes += bytes;
        self.programs.insert(process, (image, program));
    }
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
        let busiest = self.familiars().busiest(socket.uid);
        match self.name(&mut search::among(socket, &busiest), socket) {
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
        let mut found = search::everywhere(socket)?;
        self.name(&mut found, socket)
            .ok_or_else(|| found.why_none())
    }

    /// See [`crate::apps::AppFinder::owners_nearby`].
    pub(in crate::apps) fn owners_nearby(&self, socket: &SocketInfo) -> Option<Owners> {
        if socket.inode == 0 {
            return None;
        }
        let cached = self.owners_cached(socket);
        cached.or_else(|| {
            let seen = match self.familiar(socket) {
                Ok(owners) => return Some(owners),
                Err(seen) => seen.or_else(|| self.memory().seen.get(&socket.inode).copied()),
            };
            self.name(&mut search::nearby(socket, seen), socket)
        })
    }

    /// The program of a process that made sockets before, if it alone holds this one; if others may, where it was seen.
    /// Not known while another thread looks at them: a worker does not wait for a look-up thread.
    fn familiar(&self, socket: &SocketInfo) -> Result<Owners, Option<Seen>> {
        let mut familiars = self.free_familiars().ok_or(None)?;
        let (familiar, descriptor) = familiars.find(socket).ok_or(None)?;
        let seen = Seen {
            pid: familiar.process.pid,
            descriptor,
        };
        let apps = familiar.is_sole_owner(socket.inode).ok_or(Some(seen))?;
        let process = ProcessKey {
            pid: familiar.process.pid,
            started: familiar.started(),
        };
        let holder = Holder {
            process,
            descriptor,
        };
        let coverage = Coverage::Nearby;
        self.memory().remember(socket, vec![holder], coverage);
        Ok(Owners { apps, coverage })
    }

    /// The programs of the processes with ids from `first` on that hold the socket, beside that of `maker`. `None` if there are
    /// too many to look at.
    pub(in crate::apps) fn holders_from(
        &self,
        socket: &SocketInfo,
        first: NonZeroU32,
        maker: u32,
    ) -> Option<Vec<App>> {
        let holders = search::from(socket, first, maker)?;
        // Who has gone in the meantime is none.
        let apps = holders.iter().filter_map(|(process, descriptor)| {
            match self.app(process, *descriptor, socket) {
                Ok((_, app)) => Some(Some(app)),
                Err(error) if descriptors::is_of_the_ended(&error) => None,
                Err(_) => Some(None),
            }
        });
        apps.collect()
    }

    /// The programs of those who were found, and a note of them and of what was seen by the way.
    fn name(&self, found: &mut Found, socket: &SocketInfo) -> Option<Owners> {
        if !found.seen.is_empty() {
            self.memory().seen = found.seen.iter().copied().collect();
        }
        // A holder that has gone in the meantime is none.
        let holders = std::mem::take(&mut found.holders).into_iter();
        let named = holders.filter_map(|(process, descriptor)| {
            let (holder, app) = found.told(self.app(&process, descriptor, socket))?;
            Some(((process, holder), app))
        });
        let (holders, apps): (Vec<_>, Vec<App>) = named.unzip();
        let coverage = found.coverage()?;
        let known = holders.iter().map(|(_, holder)| *holder).collect();
        let (process, first) = holders.into_iter().next()?;
        let image = {
            let mut memory = self.memory();
            memory.remember(socket, known, coverage);
            let program = memory.programs.get(&first.process);
            program.map(|(image, _)| image.clone())
        };
        let program = image.zip(apps.first().cloned());
        let process = (process, first.process.started);
        if let Some(mut familiars) = self.free_familiars() {
            familiars.note(process, socket.uid, first.descriptor, program);
        }
        Some(Owners {
            apps: apps.into(),
            coverage,
        })
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
            memory.remember_program(key, image, program.clone());
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
            identity: tidegate_policy::Identity::default(),
        };
        Ok((
            Holder {
                process: key,
                descriptor,
            },
            app,
        ))
    }

    fn familiars(&self) -> MutexGuard<'_, Familiars> {
        // As below: all of it is verified.
        self.familiars
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` while another thread has them.
    fn free_familiars(&self) -> Option<MutexGuard<'_, Familiars>> {
        match self.familiars.try_lock() {
            Ok(familiars) => Some(familiars),
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // What is remembered is verified before use, so it cannot be left in a state that misleads.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
