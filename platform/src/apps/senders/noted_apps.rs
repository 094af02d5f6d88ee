//! The programs behind noted processes. What names a process in the notes names one executable in one life of it for good,
//! so a program that was put together once needs no second look.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;
use tidegate_policy::App;

use super::records::{self, Details, ImageKey, ProcessKey, Send};
use super::{Sender, Senders};
use crate::apps::cgroup::{self, Membership};
use crate::apps::{Coverage, FileId, NotedPath, Owners, Unattributed, linux};
use crate::sys::bpf;
use crate::users::Users;

/// Most programs that are remembered. When full, all are forgotten.
const MOST_APPS: usize = 1024;

/// Reads the tables of processes and executables.
#[derive(Debug)]
pub(super) struct NotedApps {
    processes: OwnedFd,
    paths: OwnedFd,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    users: Users,
    apps: FxHashMap<ProcessKey, Arc<[App]>>,
}

/// A program of a user, as far as the notes alone tell it from others: all processes that run one file are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NotedProgram {
    /// Owner of the socket.
    pub uid: u32,
    executable: Executable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Executable {
    File(FileId),
    /// It was not noted what the process runs.
    Process(u32),
}

impl NotedApps {
    pub(super) fn new(processes: OwnedFd, paths: OwnedFd) -> Self {
        Self {
            processes,
            paths,
            memory: Mutex::default(),
        }
    }

    /// The program of a process, with a socket of `uid`, as a list of one. `None` where the note is gone.
    pub(super) fn of(&self, process: &ProcessKey, uid: u32) -> Option<Arc<[App]>> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = memory.apps.get(process)
            && known.iter().all(|app| app.uid == uid)
        {
            return Some(Arc::clone(known));
        }
        let user = memory.users.name(uid).map(str::to_owned);
        let app: Arc<[App]> = Arc::from([App {
            uid,
            user,
            ..self.read(process)?
        }]);
        if memory.apps.len() >= MOST_APPS {
            memory.apps.clear();
        }
        memory.apps.insert(*process, Arc::clone(&app));
        Some(app)
    }

    fn read(&self, process: &ProcessKey) -> Option<App> {
        let mut value = [0; records::DETAILS];
        if !bpf::look_up(self.processes.as_fd(), process, &mut value).ok()? {
            return None;
        }
        let details = records::details(&value);
        let path = self.path_here(&records::image(process))?;
        let parents = details.ancestors.iter();
        // As far up as they are known.
        let parents = parents.map_while(|image| self.path_here(image));
        let membership = membership(process, &details);
        Some(App {
            name: crate::apps::file_name(&path),
            path,
            pid: records::process_id(process),
            uid: 0,
            user: None,
            command_line: crate::apps::command_line::split(&details.command_line),
            parents: parents.collect(),
            unit: membership.unit,
            container: membership.container,
            identity: tidegate_policy::Identity::default(),
        })
    }

    fn path_here(&self, image: &ImageKey) -> Option<PathBuf> {
        let (pid, started) = (records::process_id(image), records::started(image));
        Some(linux::noted_path(pid, started, self.path(image)?))
    }

    fn path(&self, image: &ImageKey) -> Option<NotedPath> {
        let mut value = [0; records::PATH];
        let found = bpf::look_up(self.paths.as_fd(), image, &mut value).ok()?;
        found.then(|| records::path(&value)).flatten()
    }
}

impl Senders {
    /// Which program sent the last datagram from `local` to `remote`, and the id of its process. Takes two system calls.
    pub fn program(&self, local: SocketAddr, remote: SocketAddr) -> Option<(NotedProgram, u32)> {
        let (last, _) = self.sends(local, remote).ok().flatten()?;
        let noted = self.apps.path(&records::image(&last.process));
        let process = records::process_id(&last.process);
        let unknown = Executable::Process(process);
        let program = NotedProgram {
            uid: last.uid,
            executable: noted.map_or(unknown, |noted| Executable::File(noted.file)),
        };
        Some((program, process))
    }

    /// Adds what was noted of a datagram's sender to what was found out about its socket: a program that sent belongs to the
    /// owners, also if it has let the socket go meanwhile; and where no owner is found, those who sent are it.
    ///
    /// # Errors
    /// [`Unattributed::NoteLost`], where the note of the process is gone too.
    pub fn complete(
        &self,
        sender: &Sender,
        found: Result<Owners, Unattributed>,
    ) -> Result<Owners, Unattributed> {
        let sends = sender.sends();
        let Ok(mut owners) = found else {
            let apps: Option<Vec<App>> = sends
                .map(|send| Some(self.app(send)?.first()?.clone()))
                .collect();
            let coverage = Coverage::Noted;
            return apps
                .map(|apps| Owners {
                    apps: apps.into(),
                    coverage,
                })
                .ok_or(Unattributed::NoteLost);
        };
        for send in sends {
            let noted = self.apps.path(&records::image(&send.process));
            let pid = records::process_id(&send.process);
            let is_known = owners.apps.iter().any(|app| {
                let is_path = |noted: &NotedPath| linux::may_be_called(&app.path, &noted.path);
                app.pid == pid && noted.as_ref().is_some_and(is_path)
            });
            if !is_known {
                let sent = self.app(send);
                let all = owners
                    .apps
                    .iter()
                    .chain(sent.iter().flat_map(|app| app.iter()));
                owners.apps = all.cloned().collect();
            }
        }
        Ok(owners)
    }

    /// The one program, in the form of a list.
    pub(super) fn app(&self, send: &Send) -> Option<Arc<[App]>> {
        self.apps.of(&send.process, send.uid)
    }
}

/// Of a process that is still there its own file tells more: the control groups of version 1 too.
fn membership(process: &ProcessKey, details: &Details) -> Membership {
    let (pid, started) = (records::process_id(process), records::started(process));
    linux::control_groups(pid, started).unwrap_or_else(|| cgroup::parse(&details.control_group))
}
