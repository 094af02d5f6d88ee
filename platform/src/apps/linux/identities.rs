//! What identifies programs beyond their path and user, found when somebody asks.
//!
//! What stays the same while a program runs is found once for it. What may change (who traces it, what it has loaded, its
//! group) is looked at each time. Of a program that has ended only what its path says can be told; the rest is not known.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use tidegate_policy::{App, Fact, Identity, Level, Levels};

use super::descriptors::ProcessDirectory;
use super::process::{self, Image};
use crate::apps::cgroup::{self, ContainerBy, Membership};
use crate::apps::digest::Digests;
use crate::apps::script::{self, Told};
use crate::users::Users;

mod bundles;
mod container_names;
mod dpkg;
mod libraries;
mod packages;
mod pacman;

use packages::Packages;

/// What is found: a value, that there is none, or nothing.
type Found = Fact<Box<str>>;

/// Most programs of which what was found is kept. When full, all are forgotten.
const MOST: usize = 1024;
/// Who may write a package's files, and nobody else.
const ROOT: [u32; 1] = [0];

/// Finds what identifies programs. Shared by all threads that ask.
#[derive(Debug)]
pub struct Identities {
    /// Where the databases of packages and containers are.
    root: PathBuf,
    /// Whose files are what they are called.
    trusted: Vec<u32>,
    known: Mutex<FxHashMap<ProgramKey, Identity>>,
    packages: Mutex<Packages>,
    groups: Mutex<Users>,
    digests: Digests,
}

/// One program of one process: it keeps its id and start time when it becomes another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ProgramKey {
    pid: u32,
    started: u64,
    path: PathBuf,
    command_line: Vec<String>,
}

/// A program as it is looked at.
struct Looked<'a> {
    app: &'a App,
    /// `None` once it has ended, or become another.
    process: Option<ProcessDirectory>,
}

impl Default for Identities {
    fn default() -> Self {
        Self::beneath(PathBuf::from("/"), ROOT.to_vec())
    }
}

impl Identities {
    fn beneath(root: PathBuf, trusted: Vec<u32>) -> Self {
        Self {
            packages: Mutex::new(Packages::beneath(&root)),
            root,
            trusted,
            known: Mutex::default(),
            groups: Mutex::new(Users::in_file(PathBuf::from("/etc/group"))),
            digests: Digests::default(),
        }
    }

    /// The program with these levels of its identity looked at. May take as long as it takes to read its executable, and
    /// belongs on a thread of its own.
    pub fn complete(&self, app: &App, wanted: Levels) -> App {
        let missing = wanted.without(app.identity.looked_at());
        let mut app = app.clone();
        if missing.is_empty() {
            return app;
        }
        let looked = Looked::at(&app);
        let key = looked.key();
        let mut known = key
            .as_ref()
            .and_then(|key| lock(&self.known).get(key).cloned())
            .unwrap_or_default();
        let mut found = app.identity.clone();
        for level in missing.iter() {
            // What could not be read may be readable the next time.
            let is_known = !may_change(level) && known.at(level) != Fact::Unknown;
            if !is_known {
                known.note(level, self.find(&looked, level));
            }
            found.note(level, known.at(level).to_owned());
        }
        if let Some(key) = key {
            let mut all = lock(&self.known);
            if all.len() >= MOST && !all.contains_key(&key) {
                all.clear();
            }
            all.insert(key, known);
        }
        app.identity = found;
        app
    }

    /// The digest of an open file in hexadecimal digits; `None` where it cannot be read.
    pub fn digest(&self, file: File) -> Option<Box<str>> {
        self.digests.of(file).ok()
    }

    fn find(&self, looked: &Looked<'_>, level: Level) -> Found {
        match level {
            Level::Package => self.package(&looked.app.path),
            Level::Snap => match bundles::snap(&looked.app.path) {
                Some(name) if self.is_kept(&looked.app.path) => Fact::Is(name.into()),
                Some(_) | None => Fact::Absent,
            },
            Level::Flatpak => looked.of_process(|process| {
                bundles::flatpak(process, &self.root, |path| self.is_kept(path))
            }),
            Level::AppImage => looked.of_process(bundles::app_image),
            Level::Script => looked.of_process(|process| of_script(process, looked.app)),
            Level::UserUnit => looked.of_membership(|groups| fact(groups.user_unit.as_deref())),
            Level::Slice => looked.of_membership(|groups| fact(groups.slice.as_deref())),
            Level::ContainerName => looked.of_membership(|groups| self.container_name(groups)),
            Level::Gid => looked.of_process(|process| {
                group(process).map_or(Fact::Unknown, |gid| Fact::Is(gid.to_string().into()))
            }),
            Level::Group => looked.of_process(|process| match group(process) {
                Some(gid) => fact(lock(&self.groups).name(gid)),
                None => Fact::Unknown,
            }),
            Level::Sha256 => looked.of_process(|process| self.digest_of(process)),
            Level::Traced => looked.of_process(|process| signal(is_traced(process))),
            Level::Deleted => looked.of_process(|process| signal(is_deleted(process))),
            Level::Preload => looked
                .of_process(|process| signal(libraries::is_open_to_others(process, &self.trusted))),
        }
    }

    fn is_kept(&self, path: &Path) -> bool {
        packages::is_kept_by(path, &self.trusted)
    }

    fn package(&self, path: &Path) -> Found {
        if !self.is_kept(path) {
            return Fact::Absent;
        }
        let owner = packages::of_nix(path).or_else(|| lock(&self.packages).owner(path));
        owner.map_or(Fact::Absent, Fact::Is)
    }

    fn container_name(&self, groups: &Membership) -> Found {
        match (&groups.container, groups.container_by) {
            (None, _) => Fact::Absent,
            // Anybody can give his own groups the id of another's container.
            (Some(_), ContainerBy::User) => Fact::Unknown,
            (Some(id), ContainerBy::Root) => container_names::of(&self.root, id),
        }
    }

    /// What a user's program or another machine serves may be another file at each look, and may keep us waiting.
    fn digest_of(&self, process: &ProcessDirectory) -> Found {
        let digest = || {
            let file = process.open_file(c"exe").ok()?;
            let system = rustix::fs::fstatfs(&file).ok()?;
            if bundles::is_served(system.f_type) {
                return None;
            }
            self.digests.of(file).ok()
        };
        digest().map_or(Fact::Unknown, Fact::Is)
    }
}

impl<'a> Looked<'a> {
    fn at(app: &'a App) -> Self {
        let process = ProcessDirectory::open(app.pid).ok();
        let process = process
            .filter(|process| Image::read(process).is_ok_and(|image| image.path() == app.path));
        Self { app, process }
    }

    fn key(&self) -> Option<ProgramKey> {
        let stat = self.process.as_ref()?.stat().ok()?;
        Some(ProgramKey {
            pid: self.app.pid,
            started: stat.started,
            path: self.app.path.clone(),
            command_line: self.app.command_line.clone(),
        })
    }

    fn of_process(&self, find: impl FnOnce(&ProcessDirectory) -> Found) -> Found {
        self.process.as_ref().map_or(Fact::Unknown, find)
    }

    fn of_membership(&self, find: impl FnOnce(&Membership) -> Found) -> Found {
        self.of_process(|process| match process.read(c"cgroup") {
            Ok(text) => find(&cgroup::parse(&String::from_utf8_lossy(&text))),
            Err(_) => Fact::Unknown,
        })
    }
}

/// Whether what is found at this level is only true for now.
fn may_change(level: Level) -> bool {
    matches!(
        level,
        Level::Gid | Level::Group | Level::Traced | Level::Deleted | Level::Preload
    )
}

fn fact(value: Option<&str>) -> Found {
    value.map_or(Fact::Absent, |value| Fact::Is(value.into()))
}

fn signal(is_so: Option<bool>) -> Found {
    is_so.map_or(Fact::Unknown, |is_so| Fact::Is(is_so.to_string().into()))
}

/// The file that an interpreter was told to run, by its own path here. It must be a file.
fn of_script(process: &ProcessDirectory, app: &App) -> Found {
    let file = match script::told(&app.name, &app.command_line) {
        Told::NoInterpreter | Told::NoFile => return Fact::Absent,
        Told::File(file) => file,
    };
    let (folder, link, file) = match file.strip_prefix('/') {
        Some(file) => ("root", c"root", file),
        None => ("cwd", c"cwd", file),
    };
    let path = || {
        let folder_here = OsString::from_vec(process.link(link).ok()?);
        let here = fs::canonicalize(Path::new(&folder_here).join(file)).ok()?;
        // Another root or other mounts may put any file under that name.
        let seen = fs::metadata(process.folder(folder).join(file)).ok()?;
        let own = fs::metadata(&here).ok()?;
        let is_same = (seen.dev(), seen.ino()) == (own.dev(), own.ino()) && own.is_file();
        is_same.then(|| here.into_os_string().into_string().ok())?
    };
    path().map_or(Fact::Unknown, |path| Fact::Is(path.into()))
}

/// The effective group of its first thread.
fn group(process: &ProcessDirectory) -> Option<u32> {
    let numbers = status(process, "Gid:")?;
    numbers.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn is_traced(process: &ProcessDirectory) -> Option<bool> {
    let tracer: u32 = status(process, "TracerPid:")?.trim().parse().ok()?;
    Some(tracer != 0)
}

/// A line of its `status`.
fn status(process: &ProcessDirectory, name: &str) -> Option<String> {
    let text = String::from_utf8(process.read(c"status").ok()?).ok()?;
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(name).map(str::to_owned))
}

/// Whether its executable has no name any more, or another has its name.
fn is_deleted(process: &ProcessDirectory) -> Option<bool> {
    let link = process.link(c"exe").ok()?;
    Some(process::is_deleted(process, &link))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is complete before the lock is given back.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(super) mod tests;
