//! Which processes hold a socket: a search through `/proc` that remembers what it found.
//!
//! What is remembered is never believed. A holder counts only if the process with that id is still the one that was seen
//! (by its start time) and its descriptor still is the socket; a program counts only if the process still runs it (by its
//! executable and command line, because `exec` changes neither id nor start time).

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tidegate_policy::App;

use super::descriptors::{self, ProcessDirectory};
use super::process::{Image, Program};
use crate::apps::{Owners, SocketInfo, Unattributed};
use crate::users::Users;

/// How long a search is remembered: a later `fork` may have added holders.
const SEARCH_LIFETIME: Duration = Duration::from_secs(1);
/// Most searches and programs that are remembered. When full, all are forgotten: filling takes longer than they live.
const MOST_SEARCHES: usize = 4096;
const MOST_PROGRAMS: usize = 4096;
/// Most owners of one socket that are named.
const MOST_OWNERS: usize = 16;
/// Most descriptors that one search looks at: about half a second.
const MOST_DESCRIPTORS: usize = 400_000;

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
    truncated: bool,
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
    /// The programs that hold the socket, by a search through `/proc`: microseconds to milliseconds.
    ///
    /// # Errors
    /// [`Unattributed`]: why none is known.
    pub fn owners(&self, socket: &SocketInfo) -> Result<Owners, Unattributed> {
        if socket.inode == 0 {
            return Err(Unattributed::NoProcess);
        }
        if let Some(owners) = self.owners_cached(socket) {
            return Ok(owners);
        }
        let found = search(socket)?;
        let mut holders = Vec::new();
        let mut apps = Vec::new();
        for (process, descriptor) in &found.holders {
            // A holder that has gone in the meantime is none.
            if let Ok((holder, app)) = self.app(process, *descriptor, socket) {
                holders.push(holder);
                apps.push(app);
            }
        }
        if apps.is_empty() {
            return Err(found.why_none());
        }
        let mut memory = self.memory();
        if memory.searches.len() >= MOST_SEARCHES {
            memory.searches.clear();
        }
        memory.searches.insert(
            socket.into(),
            Search {
                at: Instant::now(),
                holders,
                truncated: found.truncated,
            },
        );
        Ok(Owners {
            apps,
            truncated: found.truncated,
        })
    }

    /// See [`super::AppFinder::owners_cached`].
    pub(super) fn owners_cached(&self, socket: &SocketInfo) -> Option<Owners> {
        let search = self.memory().searches.get(&socket.into()).cloned()?;
        if search.at.elapsed() > SEARCH_LIFETIME {
            self.memory().searches.remove(&socket.into());
            return None;
        }
        let apps = search
            .holders
            .iter()
            .map(|holder| self.verified(holder, socket))
            .collect::<Option<Vec<_>>>();
        if apps.is_none() {
            self.memory().searches.remove(&socket.into());
        }
        Some(Owners {
            apps: apps?,
            truncated: search.truncated,
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
        if !process.holds(descriptor, socket.inode) || Image::read(process)? != image {
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

/// What a search saw.
#[derive(Debug, Default)]
struct Found {
    holders: Vec<(ProcessDirectory, u32)>,
    descriptors: usize,
    denied: bool,
    truncated: bool,
}

impl Found {
    fn why_none(&self) -> Unattributed {
        match self {
            Self {
                truncated: true, ..
            } => Unattributed::TooMany,
            Self { denied: true, .. } => Unattributed::PermissionDenied,
            _ => Unattributed::NoProcess,
        }
    }

    fn is_full(&mut self) -> bool {
        self.truncated |= self.holders.len() >= MOST_OWNERS || self.descriptors >= MOST_DESCRIPTORS;
        self.truncated
    }

    fn look_into(&mut self, process: ProcessDirectory, inode: u32) {
        match process.find_socket(inode) {
            Ok((found, looked)) => {
                self.descriptors += looked;
                self.holders
                    .extend(found.map(|descriptor| (process, descriptor)));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => self.denied = true,
            Err(_) => {} // it has ended
        }
    }
}

/// Looks into the processes of the socket's user, newest first, then into all others: a socket may have been handed over,
/// or its process may have changed user.
fn search(socket: &SocketInfo) -> Result<Found, Unattributed> {
    let ids = descriptors::process_ids().map_err(|error| {
        tracing::warn!(%error, "cannot list processes");
        Unattributed::Failed
    })?;
    let mut found = Found::default();
    let mut others = Vec::new();
    for process in ids
        .into_iter()
        .filter_map(|pid| ProcessDirectory::open(pid).ok())
    {
        if found.is_full() {
            return Ok(found);
        }
        if process.user().is_ok_and(|user| user == socket.uid) {
            found.look_into(process, socket.inode);
        } else {
            others.push(process.pid);
        }
    }
    for process in others
        .into_iter()
        .filter_map(|pid| ProcessDirectory::open(pid).ok())
    {
        if found.is_full() {
            break;
        }
        found.look_into(process, socket.inode);
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
