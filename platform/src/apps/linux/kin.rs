//! Who else may hold a fresh socket of a process: the newest processes, which may have inherited it, and its parent.
//!
//! To look through the descriptors of each for every new socket is most of what a search costs, and nearly always they sleep
//! and hold what they held before. So they are kept open, with the sockets that each had: one that has not run since has got
//! none. The kernel counts how often a thread was given a processor (`schedstat`); where it does not, or a process has
//! several threads, its descriptors are looked through each time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::descriptors::{self, ProcessDirectory};

/// How many of the newest process ids are tried.
const NEWEST: u32 = 8;
/// Most processes that are kept: beyond that all is looked at anew.
const MOST_OTHERS: usize = 16;
/// Most descriptors of one process that are looked at.
const MOST_DESCRIPTORS: usize = 128;
/// How long all this is believed. It takes far longer to give out all process ids once.
const LIFETIME: Duration = Duration::from_secs(1);

/// The processes that may share a process's sockets, as they were at the last look.
#[derive(Debug)]
pub(super) struct Kin {
    at: Instant,
    /// The last process id that had been given out.
    newest: u32,
    others: Vec<Other>,
}

/// Whether any of them holds the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shared {
    WithNobody,
    Perhaps,
}

impl Kin {
    /// Looks whether anybody but `process` holds the socket `inode`. `kin` is what was known before, and what is known then.
    pub(super) fn look(kin: &mut Option<Self>, process: &ProcessDirectory, inode: u32) -> Shared {
        let Ok(newest) = descriptors::last_process_id() else {
            return Shared::Perhaps;
        };
        let known = kin.take().filter(|known| known.is_of_late(newest));
        let Some(mut known) = known.or_else(|| Self::read(process, newest)) else {
            return Shared::Perhaps;
        };
        let Some(()) = known.add_newer(process, newest) else {
            return Shared::Perhaps;
        };
        for other in &mut known.others {
            match other.has(inode) {
                Some(false) => {}
                // One that has ended may have left a child to another parent: the next look begins anew.
                Some(true) | None => return Shared::Perhaps,
            }
        }
        *kin = Some(known);
        Shared::WithNobody
    }

    fn is_of_late(&self, newest: u32) -> bool {
        let new = newest.checked_sub(self.newest);
        new.is_some_and(|new| new <= NEWEST) && self.at.elapsed() < LIFETIME
    }

    fn read(process: &ProcessDirectory, newest: u32) -> Option<Self> {
        let mut kin = Self {
            at: Instant::now(),
            newest: newest.saturating_sub(NEWEST + 1),
            others: Vec::new(),
        };
        let parent = process.stat().ok()?.parent;
        if parent > 1 && parent != std::process::id() {
            kin.others.extend(Other::find(parent).ok()?);
        }
        Some(kin)
    }

    /// Notes the processes that got ids since, threads of `process` and of this one aside.
    fn add_newer(&mut self, process: &ProcessDirectory, newest: u32) -> Option<()> {
        for id in self.newest + 1..=newest {
            let is_known = id == process.pid || self.others.iter().any(|other| other.is(id));
            if is_known {
                continue;
            }
            self.others.extend(
                Other::find(id)
                    .ok()?
                    .filter(|_| !process.has_thread(id) && !descriptors::is_own_thread(id)),
            );
        }
        self.newest = newest;
        (self.others.len() <= MOST_OTHERS).then_some(())
    }
}

/// A process, and the sockets that it held at the last look.
#[derive(Debug)]
struct Other {
    process: ProcessDirectory,
    sockets: Vec<u32>,
    /// Its descriptors may not be looked at.
    closed: bool,
    /// What the kernel counted of its only thread, which slept then.
    asleep: Option<(File, Vec<u8>)>,
}

impl Other {
    /// `None` if there is no such process.
    fn find(id: u32) -> io::Result<Option<Self>> {
        let of = |process| Self {
            process,
            sockets: Vec::new(),
            closed: false,
            asleep: None,
        };
        Ok(ProcessDirectory::find(id)?.map(of))
    }

    fn is(&self, id: u32) -> bool {
        self.process.pid == id
    }

    /// Whether it holds the socket. `None` if it has ended.
    fn has(&mut self, inode: u32) -> Option<bool> {
        if self.closed {
            return Some(false);
        }
        let sleeps = matches!(&self.asleep, Some((file, then)) if counted(file)? == *then);
        if !sleeps {
            self.look_through()?;
        }
        Some(self.sockets.contains(&inode))
    }

    fn look_through(&mut self) -> Option<()> {
        let file = self.asleep.take().map(|(file, _)| file);
        let file = file.or_else(|| self.process.open_file(c"schedstat").ok());
        let before = file.as_ref().and_then(counted);
        let sockets = &mut self.sockets;
        sockets.clear();
        let looked = self
            .process
            .for_each_socket(MOST_DESCRIPTORS, |socket, _| sockets.push(socket));
        match looked {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => self.closed = true,
            looked => drop(looked.ok()?),
        }
        // It is asleep now, and has not run since before the look.
        if let (Some(file), Some(before)) = (file, before)
            && self.process.is_one_sleeping_thread().unwrap_or(false)
            && counted(&file).as_ref() == Some(&before)
        {
            self.asleep = Some((file, before));
        }
        Some(())
    }
}

/// For how long a process's first thread has run and waited, and how often.
fn counted(file: &File) -> Option<Vec<u8>> {
    let mut text = vec![0; 64];
    let length = file.read_at(&mut text, 0).ok()?;
    text.truncate(length);
    (length > 0).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::os::unix::fs::MetadataExt;
    use std::process::{Command, Stdio};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !is_so() {
            assert!(begin.elapsed() < PATIENCE, "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn who_has_not_run_is_not_looked_at_and_who_gets_a_socket_has_run() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = format!("read line; exec 5<>/dev/tcp/127.0.0.1/{port}; read line");
        let mut child = Command::new("/bin/bash")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut other = Other::find(child.id()).unwrap().unwrap();
        wait_until("it waits for its input", || {
            other.has(u32::MAX) == Some(false) && other.asleep.is_some()
        });
        // What it was seen to hold is believed while it sleeps.
        other.sockets.push(7);
        assert_eq!(other.has(7), Some(true));
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"\n").unwrap();
        let link = format!("/proc/{}/fd/5", child.id());
        let mut inode = 0;
        wait_until("it connects", || {
            inode = std::fs::metadata(&link).map_or(0, |file| file.ino());
            inode != 0
        });
        let inode = inode.try_into().unwrap();
        wait_until("it is seen to hold the socket", || {
            other.has(inode) == Some(true)
        });
        assert_eq!(other.has(7), Some(false));
        drop(input);
        child.wait().unwrap();
        assert_eq!(other.has(inode), None, "it has ended");
    }
}
