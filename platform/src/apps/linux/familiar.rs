//! Processes that made sockets of late, kept open, so that the next socket of one costs a few system calls and no search.
//!
//! An open `/proc/PID` belongs to one process for good. What was seen through it is where to look first, and is verified
//! each time: whether the descriptor is the socket, whether the program is still the same, and whether nobody else has come
//! who may hold it too.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tidegate_policy::App;

use super::descriptors::ProcessDirectory;
use super::kin::{Kin, Shared};
use super::process::Image;
use crate::apps::SocketInfo;

/// How many processes are kept.
const MOST: usize = 8;
/// How many of the latest are looked at more closely.
const BUSIEST: usize = 2;
/// How long a program's description is used again: a user may get another name.
const LIFETIME: Duration = Duration::from_secs(1);
/// How far above the descriptor of its last socket a process is likely to have its next.
const NEAR: u32 = 2;
/// How many of the descriptors that were not looked at for longest are tried.
const OLDEST: usize = 32;
/// How far around it the sockets are that a busy process opens at the same time, in several threads or without waiting.
const AROUND: u32 = 64;
/// From this descriptor on a look at a process's first ones does not reach that far.
const MANY: u32 = 64;
/// How many of a process's descriptors a look goes through.
const FIRST: usize = 128;
/// How many of a process's descriptors are remembered.
const MOST_DESCRIPTORS: usize = 1024;

/// The latest first.
#[derive(Debug, Default)]
pub(super) struct Familiars {
    list: VecDeque<Familiar>,
}

/// A process that held sockets of a user.
#[derive(Debug)]
pub(super) struct Familiar {
    pub(super) process: ProcessDirectory,
    started: u64,
    uid: u32,
    descriptors: Descriptors,
    kin: Option<Kin>,
    program: Option<Known>,
}

#[derive(Debug)]
struct Known {
    at: Instant,
    image: Image,
    command_line: File,
    apps: Arc<[App]>,
}

impl Familiars {
    /// The process that holds the socket, and its descriptor.
    pub(super) fn find(&mut self, socket: &SocketInfo) -> Option<(&mut Familiar, u32)> {
        let (at, descriptor) = self.place(socket)?;
        if at > 0 {
            let found = self.list.remove(at)?;
            self.list.push_front(found);
        }
        Some((self.list.front_mut()?, descriptor))
    }

    fn place(&mut self, socket: &SocketInfo) -> Option<(usize, u32)> {
        let likely = |familiar: &mut Familiar| familiar.look_where_likely(socket.inode);
        let closely = |familiar: &mut Familiar| familiar.look_closely(socket.inode);
        self.first(socket.uid, MOST, likely)
            .or_else(|| self.first(socket.uid, BUSIEST, closely))
    }

    fn first(
        &mut self,
        uid: u32,
        most: usize,
        mut look: impl FnMut(&mut Familiar) -> Option<u32>,
    ) -> Option<(usize, u32)> {
        let of_user = self.list.iter_mut().enumerate();
        let mut of_user = of_user
            .filter(|(_, familiar)| familiar.uid == uid)
            .take(most);
        of_user.find_map(|(at, familiar)| Some((at, look(familiar)?)))
    }

    /// Ids of the processes that held a user's sockets last.
    pub(super) fn busiest(&self, uid: u32) -> Vec<u32> {
        let of_user = self.list.iter().filter(|familiar| familiar.uid == uid);
        of_user
            .take(BUSIEST)
            .map(|familiar| familiar.process.pid)
            .collect()
    }

    /// A socket of `uid` was found to be this descriptor of a process that was forked at `started`.
    pub(super) fn note(
        &mut self,
        (process, started): (ProcessDirectory, u64),
        uid: u32,
        descriptor: u32,
        program: Option<(Image, App)>,
    ) {
        let is_it = |known: &Familiar| {
            (known.process.pid, known.started, known.uid) == (process.pid, started, uid)
        };
        let known = self
            .list
            .iter()
            .position(is_it)
            .and_then(|at| self.list.remove(at));
        let mut familiar = known.unwrap_or_else(|| Familiar {
            process,
            started,
            uid,
            descriptors: Descriptors::default(),
            kin: None,
            program: None,
        });
        familiar.descriptors.note(descriptor);
        familiar.program = program.and_then(|(image, app)| {
            Some(Known {
                at: Instant::now(),
                image,
                command_line: familiar.process.open_file(c"cmdline").ok()?,
                apps: Arc::from([app]),
            })
        });
        // Who has ended makes no more, and would only be in the way.
        self.list
            .retain(|familiar| familiar.process.has_thread(familiar.process.pid));
        self.list.push_front(familiar);
        self.list.truncate(MOST);
    }
}

impl Familiar {
    pub(super) fn started(&self) -> u64 {
        self.started
    }

    /// Its program as a list of one, if nobody else holds the socket `inode`, which it was just found to hold, and it still is
    /// what it was before. That is looked at last: a process that closes an inherited socket and becomes another program is
    /// then never taken for a holder.
    pub(super) fn is_sole_owner(&mut self, inode: u32) -> Option<Arc<[App]>> {
        let known = self.program.as_ref()?;
        let is_alone = known.at.elapsed() < LIFETIME
            && Kin::look(&mut self.kin, &self.process, inode) == Shared::WithNobody;
        let is_same = || known.image.is_now_of(&self.process, &known.command_line);
        (is_alone && is_same().ok()?).then(|| Arc::clone(&known.apps))
    }

    fn look_where_likely(&mut self, inode: u32) -> Option<u32> {
        let Self {
            process,
            descriptors,
            ..
        } = self;
        let seen = descriptors.by_inode.remove(&inode);
        let last = descriptors.last;
        let mut likely = seen.into_iter().chain(last..=last.saturating_add(NEAR));
        likely.find(|descriptor| descriptors.try_one(process, *descriptor, inode))
    }

    fn look_closely(&mut self, inode: u32) -> Option<u32> {
        let Self {
            process,
            descriptors,
            ..
        } = self;
        descriptors
            .try_oldest(process, inode)
            .or_else(|| descriptors.try_around(process, inode))
            .or_else(|| descriptors.try_first(process, inode))
    }
}

/// Where a process's sockets were seen.
#[derive(Debug, Default)]
struct Descriptors {
    /// Where the last one was found.
    last: u32,
    /// Those that were sockets. What was not looked at for longest comes first: most likely it is another socket by now.
    looked_at: VecDeque<u32>,
    /// Sockets that were come by and not asked for yet. To be verified.
    by_inode: FxHashMap<u32, u32>,
}

impl Descriptors {
    fn note(&mut self, descriptor: u32) {
        self.last = descriptor;
        self.has_been_looked_at(descriptor);
    }

    fn has_been_looked_at(&mut self, descriptor: u32) {
        self.looked_at.retain(|known| *known != descriptor);
        if self.looked_at.len() >= MOST_DESCRIPTORS {
            self.looked_at.pop_front();
        }
        self.looked_at.push_back(descriptor);
    }

    /// Whether the descriptor is the socket. If it is another, that is remembered.
    fn try_one(&mut self, process: &ProcessDirectory, descriptor: u32, inode: u32) -> bool {
        match process.socket_at(descriptor) {
            Some(socket) if socket == inode => {
                self.note(descriptor);
                true
            }
            Some(other) => {
                self.come_by(descriptor, other);
                false
            }
            None => false,
        }
    }

    fn come_by(&mut self, descriptor: u32, inode: u32) {
        if self.by_inode.len() >= MOST_DESCRIPTORS {
            self.by_inode.clear();
        }
        self.by_inode.insert(inode, descriptor);
        self.has_been_looked_at(descriptor);
    }

    fn try_oldest(&mut self, process: &ProcessDirectory, inode: u32) -> Option<u32> {
        for _ in 0..OLDEST.min(self.looked_at.len()) {
            let oldest = self.looked_at.pop_front()?;
            if self.try_one(process, oldest, inode) {
                return Some(oldest);
            }
        }
        None
    }

    fn try_around(&mut self, process: &ProcessDirectory, inode: u32) -> Option<u32> {
        if self.last < MANY {
            return None;
        }
        around(self.last).find(|descriptor| self.try_one(process, *descriptor, inode))
    }

    fn try_first(&mut self, process: &ProcessDirectory, inode: u32) -> Option<u32> {
        let mut found = None;
        process
            .for_each_socket(FIRST, |socket, descriptor| {
                self.come_by(descriptor, socket);
                if socket == inode {
                    found = Some(descriptor);
                }
            })
            .ok()?;
        found.inspect(|descriptor| self.note(*descriptor))
    }
}

/// The descriptors around `last`, nearest first.
fn around(last: u32) -> impl Iterator<Item = u32> {
    (1..=AROUND).flat_map(move |distance| {
        [last.checked_add(distance), last.checked_sub(distance)]
            .into_iter()
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::UdpSocket;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::unix::fs::MetadataExt;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::apps::SocketState;

    fn descriptor(socket: &impl AsRawFd) -> u32 {
        socket.as_raw_fd().try_into().unwrap()
    }

    fn socket() -> (UdpSocket, SocketInfo) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let link = format!("/proc/self/fd/{}", socket.as_raw_fd());
        let inode = std::fs::metadata(link).unwrap().ino();
        let info = SocketInfo {
            uid: 0,
            inode: inode.try_into().unwrap(),
            cookie: 0,
            state: SocketState::Unconnected,
            mark: None,
            device: None,
        };
        (socket, info)
    }

    /// Of this process one socket is known, at this descriptor.
    fn own(last: u32) -> Familiars {
        let process = ProcessDirectory::open(std::process::id()).unwrap();
        let mut familiars = Familiars::default();
        familiars.note((process, 0), 0, last, None);
        familiars
    }

    fn found(familiars: &mut Familiars, socket: &SocketInfo) -> Option<u32> {
        familiars.find(socket).map(|(_, descriptor)| descriptor)
    }

    #[test]
    fn a_socket_beyond_many_descriptors_is_found_near_the_last_one() {
        let last = UdpSocket::bind("127.0.0.1:0").unwrap();
        let file = File::open("/dev/null").unwrap();
        let crowd: Vec<OwnedFd> = (0..FIRST)
            .map(|_| file.try_clone().unwrap().into())
            .collect();
        let (late, info) = socket();
        let at = descriptor(&late);
        assert_eq!(found(&mut own(at - 40), &info), Some(at), "below");
        assert_eq!(found(&mut own(at + 40), &info), Some(at), "above");
        assert!(descriptor(&crowd[100]) > descriptor(&last));
        assert_eq!(found(&mut own(descriptor(&last)), &info), None, "far");
    }

    #[test]
    fn a_socket_where_another_was_is_found_and_so_is_what_was_seen_by_the_way() {
        let (first, info) = socket();
        let mut familiars = own(descriptor(&first));
        let sockets: Vec<_> = (0..20).map(|_| socket()).collect();
        assert_eq!(found(&mut familiars, &info), Some(descriptor(&first)));
        for (socket, info) in &sockets {
            assert_eq!(found(&mut familiars, info), Some(descriptor(socket)));
        }
        // The same descriptors are other sockets now.
        drop(sockets);
        let again: Vec<_> = (0..20).map(|_| socket()).collect();
        for (socket, info) in again.iter().rev() {
            assert_eq!(found(&mut familiars, info), Some(descriptor(socket)));
        }
        drop(first);
        assert_eq!(found(&mut familiars, &info), None, "nobody has it");
    }

    #[test]
    fn who_became_another_program_is_not_taken_for_the_one_before() {
        let (socket, info) = socket();
        let held: OwnedFd = socket.try_clone().unwrap().into();
        let mut child = Command::new("/bin/bash")
            .args([
                "-c",
                "read line; exec /bin/bash -c 'read line' o${line}ther",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::from(held))
            .spawn()
            .unwrap();
        let pid = child.id();
        let process = || ProcessDirectory::open(pid).unwrap();
        let becomes = |mark: &str| {
            let begin = Instant::now();
            let says = || process().read(c"cmdline").unwrap();
            while !String::from_utf8_lossy(&says()).contains(mark) {
                assert!(begin.elapsed() < Duration::from_secs(20), "{mark}");
            }
            Image::read(&process()).unwrap()
        };
        let image = becomes("exec /bin/bash");
        let app = App {
            pid,
            ..App::new("/bin/bash", 0)
        };
        let mut familiars = Familiars::default();
        familiars.note((process(), 0), 0, 1, Some((image, app)));
        let mut sole = || {
            let (familiar, _) = familiars.find(&info).unwrap();
            familiar.kin = None;
            familiar.is_sole_owner(info.inode)
        };
        assert!(sole().is_some());
        let executable = process().link(c"exe").unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"\n").unwrap();
        becomes("other");
        let same = process().link(c"exe").unwrap() == executable;
        assert!(same, "only its arguments tell");
        assert_eq!(sole(), None);
        drop(input);
        child.wait().unwrap();
    }

    #[test]
    fn who_has_ended_is_forgotten_when_another_comes() {
        let mut child = Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let mut familiars = Familiars::default();
        let open = |pid| (ProcessDirectory::open(pid).unwrap(), 0);
        familiars.note(open(child.id()), 0, 0, None);
        familiars.note(open(std::process::id()), 0, 0, None);
        assert_eq!(familiars.busiest(0), [std::process::id(), child.id()]);
        child.kill().unwrap();
        child.wait().unwrap();
        familiars.note(open(std::os::unix::process::parent_id()), 0, 0, None);
        let living = [std::os::unix::process::parent_id(), std::process::id()];
        assert_eq!(familiars.busiest(0), living);
    }

    #[test]
    fn the_nearest_descriptors_come_first_and_numbers_do_not_wrap() {
        assert_eq!(around(1).take(4).collect::<Vec<_>>(), [2, 0, 3, 4]);
        assert_eq!(around(u32::MAX).next(), Some(u32::MAX - 1));
    }
}
