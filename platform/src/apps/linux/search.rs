//! The search for processes that hold a socket: a quick look at the likely ones, or a long one at all.

use std::io;
use std::num::NonZeroU32;

use super::descriptors::{self, Looked, ProcessDirectory};
use crate::apps::{Coverage, SocketInfo, Unattributed};

/// Most owners of one socket that are named.
const MOST_OWNERS: usize = 16;
/// Most descriptors that a long search looks at: about half a second.
const MOST_DESCRIPTORS: usize = 400_000;
/// Most sockets that a long search remembers by the way.
const MOST_SEEN: usize = 65_536;
/// How many of the newest process ids a quick search tries: to find the one, and to find with whom a known one shares.
const NEWEST_TO_FIND: u32 = 24;
const NEWEST_TO_SHARE: u32 = 8;
/// Most descriptors of one process that a quick search looks at.
const MOST_DESCRIPTORS_QUICKLY: usize = 128;
/// What a search found.
#[derive(Debug)]
pub(super) struct Found {
    /// Each holder and the number of its descriptor.
    pub(super) holders: Vec<(ProcessDirectory, u32)>,
    pub(super) coverage: Coverage,
    /// Sockets that a long search came by, each with its process and descriptor.
    pub(super) seen: Vec<(u32, Seen)>,
    descriptors: usize,
    denied: bool,
    /// A look failed, and not because its process has ended.
    failed: bool,
}

/// Where a socket was seen. To be verified: it may be gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) pid: u32,
    pub(super) descriptor: u32,
}

impl Found {
    fn nothing_yet(coverage: Coverage) -> Self {
        Self {
            holders: Vec::new(),
            coverage,
            seen: Vec::new(),
            descriptors: 0,
            denied: false,
            failed: false,
        }
    }

    /// Why no program is known, if it is not.
    pub(super) fn why_none(&self) -> Unattributed {
        if self.failed {
            return Unattributed::Failed;
        }
        Unattributed::after(self.coverage, self.denied)
    }

    /// How far it went; `None` if it was to be a quick one and does not know as much as that promises.
    pub(super) fn coverage(&self) -> Option<Coverage> {
        match (self.coverage, self.failed) {
            (Coverage::Nearby, true) => None,
            (_, true) => Some(Coverage::Limited),
            (coverage, false) => Some(coverage),
        }
    }

    /// What a look at a process told, which may have ended.
    pub(super) fn told<T>(&mut self, look: io::Result<T>) -> Option<T> {
        match look {
            Ok(told) => return Some(told),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => self.denied = true,
            Err(error) if descriptors::is_of_the_ended(&error) => {}
            Err(error) => {
                tracing::debug!(%error, "a process could not be looked at");
                self.failed = true;
            }
        }
        None
    }

    fn open(&mut self, pid: u32) -> Option<ProcessDirectory> {
        self.told(ProcessDirectory::open(pid))
    }

    fn is_full(&mut self) -> bool {
        let full = self.holders.len() >= MOST_OWNERS || self.descriptors >= MOST_DESCRIPTORS;
        if full {
            self.coverage = Coverage::Limited;
        }
        full
    }

    fn knows(&self, pid: u32) -> bool {
        self.holders.iter().any(|(process, _)| process.pid == pid)
    }

    /// Whether a holder has this thread: it holds the same.
    fn has_thread(&self, id: u32) -> bool {
        self.holders
            .iter()
            .any(|(process, _)| process.has_thread(id))
    }

    /// Looks through all of a process's descriptors, as far as the search may go, and notes the sockets among them.
    fn look_through(&mut self, process: ProcessDirectory, inode: u32) {
        let (pid, mut found) = (process.pid, None);
        let most = MOST_DESCRIPTORS.saturating_sub(self.descriptors);
        let looked = process.for_each_socket(most, |socket, descriptor| {
            if socket == inode {
                found.get_or_insert(descriptor);
            }
            if self.seen.len() < MOST_SEEN {
                self.seen.push((socket, Seen { pid, descriptor }));
            }
        });
        self.note(process, looked.map(|looked| Looked { found, looked }));
    }

    /// Looks through a process's descriptors, at most at `most`.
    fn look_into(&mut self, process: ProcessDirectory, inode: u32, most: usize) {
        let looked = process.find_socket(inode, most);
        self.note(process, looked);
    }

    fn note(&mut self, process: ProcessDirectory, looked: io::Result<Looked>) {
        if let Some(Looked { found, looked }) = self.told(looked) {
            self.descriptors += looked;
            self.holders
                .extend(found.map(|descriptor| (process, descriptor)));
        }
    }
}

/// Looks into the processes of the socket's user, newest first, then into all others: a socket may have been handed over,
/// or its process may have changed user.
pub(super) fn everywhere(socket: &SocketInfo) -> Result<Found, Unattributed> {
    let ids = descriptors::process_ids().map_err(|error| {
        tracing::warn!(%error, "cannot list processes");
        Unattributed::Failed
    })?;
    let mut found = Found::nothing_yet(Coverage::Everything);
    let mut others = Vec::new();
    for pid in ids {
        if found.is_full() {
            return Ok(found);
        }
        let Some(process) = found.open(pid) else {
            continue;
        };
        if process.user().is_ok_and(|user| user == socket.uid) {
            found.look_through(process, socket.inode);
        } else {
            others.push(process.pid);
        }
    }
    for pid in others {
        if found.is_full() {
            break;
        }
        if let Some(process) = found.open(pid) {
            found.look_through(process, socket.inode);
        }
    }
    Ok(found)
}

/// Looks through all descriptors of the processes that made sockets last: one that has thousands, and makes another, gives it
/// any number that is free.
pub(super) fn among(socket: &SocketInfo, busiest: &[u32]) -> Found {
    let mut found = Found::nothing_yet(Coverage::Nearby);
    for pid in busiest {
        if let Some(process) = found.open(*pid) {
            found.look_through(process, socket.inode);
        }
    }
    if !found.holders.is_empty() {
        look_for_sharers(&mut found, socket.inode);
    }
    found
}

/// Looks where the socket was seen, into the newest processes, and upwards into the parents of those that hold the socket.
/// What a fresh socket's program has forked since is among the newest.
pub(super) fn nearby(socket: &SocketInfo, seen: Option<Seen>) -> Found {
    let mut found = Found::nothing_yet(Coverage::Nearby);
    if let Some(Seen { pid, descriptor }) = seen
        && let Some(process) = found.open(pid)
        && process.holds(descriptor, socket.inode)
    {
        found.holders.push((process, descriptor));
    }
    look_for_sharers(&mut found, socket.inode);
    found
}

/// Into the processes and threads that got ids from `first` on: each holder and its descriptor. `None` if these are too many,
/// or may not be looked into. Threads of the process `maker` are left out.
pub(super) fn from(
    socket: &SocketInfo,
    first: NonZeroU32,
    maker: u32,
) -> Option<Vec<(ProcessDirectory, u32)>> {
    let newest = descriptors::last_process_id().ok()?;
    // All ids may have been given out, so that it is the low ones' turn again.
    let count = newest.checked_add(1)?.checked_sub(first.get())?;
    let mut found = Found::nothing_yet(Coverage::Nearby);
    if count > NEWEST_TO_FIND {
        return None;
    }
    // Mostly there are none, and it need not be opened.
    let maker = (count > 0).then(|| found.open(maker)).flatten();
    for id in first.get()..=newest {
        let is_its_thread = maker.as_ref().is_some_and(|maker| maker.has_thread(id));
        if !is_its_thread {
            look_at_thread(&mut found, id, socket.inode);
        }
    }
    (!found.denied && !found.failed).then_some(found.holders)
}

/// Into the newest processes, for the first holder or for those with whom it shares, and into the parents of all holders.
fn look_for_sharers(found: &mut Found, inode: u32) {
    let newest = descriptors::last_process_id().unwrap_or(0);
    let tries = if found.holders.is_empty() {
        NEWEST_TO_FIND
    } else {
        NEWEST_TO_SHARE
    };
    for pid in (newest.saturating_sub(tries)..=newest).rev() {
        // What this process holds is not the flow's, and it may be many sockets.
        let is_own = !found.holders.is_empty() && descriptors::is_own_thread(pid);
        if pid != 0 && !is_own && !found.knows(pid) {
            look_at_thread(found, pid, inode);
        }
    }
    look_at_parents(found, inode);
}

/// A number may be that of a thread, which has its process's descriptors.
fn look_at_thread(found: &mut Found, id: u32, inode: u32) {
    let before = found.holders.len();
    let Some(thread) = found.open(id) else {
        return;
    };
    if found.has_thread(id) {
        return;
    }
    found.look_into(thread, inode, MOST_DESCRIPTORS_QUICKLY);
    if found.holders.len() == before {
        return;
    }
    let Some((thread, descriptor)) = found.holders.pop() else {
        return;
    };
    match found.told(thread.process_id()) {
        Some(pid) if pid == id => found.holders.push((thread, descriptor)),
        Some(pid) if !found.knows(pid) => {
            let process = found.open(pid);
            found
                .holders
                .extend(process.map(|process| (process, descriptor)));
        }
        _ => {}
    }
}

fn look_at_parents(found: &mut Found, inode: u32) {
    let mut at = 0;
    while let Some((holder, _)) = found.holders.get(at)
        && found.holders.len() < MOST_OWNERS
    {
        at += 1;
        let stat = holder.stat();
        if let Some(stat) = found.told(stat)
            && stat.parent > 1
            && !found.knows(stat.parent)
            && let Some(parent) = found.open(stat.parent)
        {
            found.look_into(parent, inode, MOST_DESCRIPTORS_QUICKLY);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::unix::fs::MetadataExt;

    use rustix::io::Errno;

    use super::*;
    use crate::apps::SocketState;

    #[test]
    fn only_who_has_ended_holds_nothing() {
        let after = |coverage, error: Errno| {
            let mut found = Found::nothing_yet(coverage);
            assert_eq!(found.told::<()>(Err(error.into())), None);
            (found.coverage(), found.why_none())
        };
        for coverage in [Coverage::Nearby, Coverage::Everything] {
            for ended in [Errno::NOENT, Errno::SRCH] {
                assert_eq!(
                    after(coverage, ended),
                    (Some(coverage), Unattributed::NoProcess)
                );
            }
        }
        for failure in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
            let limited = (Some(Coverage::Limited), Unattributed::Failed);
            assert_eq!(after(Coverage::Everything, failure), limited);
            let unknown = (None, Unattributed::Failed);
            assert_eq!(after(Coverage::Nearby, failure), unknown);
        }
    }

    #[test]
    fn a_long_look_finds_a_socket_beyond_many_descriptors_and_remembers_the_others() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let _crowd: Vec<OwnedFd> = (0..MOST_DESCRIPTORS_QUICKLY)
            .map(|_| file.try_clone().unwrap().into())
            .collect();
        let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let [one, other] = sockets.each_ref().map(|socket| {
            let link = format!("/proc/self/fd/{}", socket.as_raw_fd());
            SocketInfo {
                uid: 0,
                inode: std::fs::metadata(link).unwrap().ino().try_into().unwrap(),
                cookie: 0,
                state: SocketState::Unconnected,
                mark: None,
                device: None,
            }
        });
        let found = among(&one, &[std::process::id()]);
        assert_eq!(found.holders.len(), 1);
        let seen = found.seen.iter().find(|(inode, _)| *inode == other.inode);
        let holders = |seen| nearby(&other, seen).holders.len();
        assert_eq!(holders(seen.map(|(_, seen)| *seen)), 1);
        assert_eq!(holders(None), 0, "it is too far for a quick look");
    }
}
