//! Whether the path of an executable means the same file here as where its process runs.
//!
//! Anybody may have mounts of his own (`unshare --user --mount`), and put any file in the place of any other there, run it, or
//! open it and hand it to a process with our mounts to run (`fexecve`). The kernel tells the path that the file has among the
//! mounts that it is opened in. So it is asked whether that mount is one of ours ([`table`]), and else whether it is the same file.
//! A path is only followed as far as the kernel remembers it: on a network's disk the rest may wait for a server, and so for us.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

mod table;

use super::descriptors::ProcessDirectory;
use crate::apps::{FileId, NotedPath};

/// Where files stand that have no path here: `/proc` has no such folder. What follows names the file.
const ELSEWHERE: &str = "/proc/inode";
/// How often a path is followed again that a change of names or mounts came between.
const ATTEMPTS: usize = 4;

/// A file and the mount that it is opened in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    file: FileId,
    /// The kernel's number of the mount, as far as it was asked for.
    mount: Option<u64>,
}

impl Opened {
    pub(super) fn at(folder: impl AsFd, name: &CStr) -> io::Result<Self> {
        let found = Self::look(&folder, name, AtFlags::empty())?;
        // Before Linux 5.8.
        let mount = found
            .mount
            .or_else(|| mount_of(folder, name).ok().flatten());
        Ok(Self { mount, ..found })
    }

    /// Of a path that the kernel need ask no disk or server for, as that of a file in use. An error for others, and before
    /// Linux 5.12.
    fn of(path: &Path) -> io::Result<Self> {
        let follow = || {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED)
        };
        let mut followed = follow();
        for _ in 1..ATTEMPTS {
            if !matches!(followed, Err(Errno::AGAIN)) {
                break;
            }
            followed = follow();
        }
        Self::look(followed?, c"", AtFlags::EMPTY_PATH)
    }

    fn look(folder: impl AsFd, path: &CStr, flags: AtFlags) -> io::Result<Self> {
        let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
        let found = rustix::fs::statx(folder, path, flags | AtFlags::STATX_DONT_SYNC, wanted)?;
        let told = found.stx_mask & StatxFlags::MNT_ID.bits() != 0;
        Ok(Self {
            file: FileId {
                major: found.stx_dev_major,
                minor: found.stx_dev_minor,
                inode: found.stx_ino,
            },
            mount: told.then_some(found.stx_mnt_id),
        })
    }

    /// The kernel's number of the mount, as far as it tells.
    pub(super) fn mount(&self) -> Option<u64> {
        self.mount
    }

    /// Whether the file has this path here, or had it until another was put in its place or it was removed.
    fn is_here(&self, path: &Path) -> bool {
        self.mount.is_some_and(table::is_ours)
            || Self::of(path).is_ok_and(|here| here.file == self.file)
    }
}

/// The number of the mount that a file is opened in, as an open descriptor tells it.
fn mount_of(folder: impl AsFd, name: &CStr) -> io::Result<Option<u64>> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    let told = std::fs::read_to_string(format!("/proc/thread-self/fdinfo/{}", file.as_raw_fd()))?;
    let mut numbers = told.lines().filter_map(|line| line.strip_prefix("mnt_id:"));
    Ok(numbers.next().and_then(|number| number.trim().parse().ok()))
}

/// The path of a process's executable, which the process calls `path`, as it is called here. Takes two system calls
/// where it is on our mounts.
pub(super) fn path_here(process: &ProcessDirectory, path: PathBuf) -> io::Result<PathBuf> {
    let executable = process.executable()?;
    Ok(if is_of_memory(&path) || executable.is_here(&path) {
        path
    } else {
        path_elsewhere(&executable.file, &path)
    })
}

/// Whether this path leads to the executable here.
pub(super) fn is_name_of(process: &ProcessDirectory, path: &Path) -> bool {
    let leads_there = || Ok::<_, io::Error>(Opened::of(path)?.file == process.executable()?.file);
    leads_there().unwrap_or(false)
}

/// The path, as it is called here, of what was noted of a process, which may have ended.
pub(super) fn noted_path(process: Option<&ProcessDirectory>, noted: NotedPath) -> PathBuf {
    let NotedPath { path, file, mounts } = noted;
    let is_here = || Opened::of(&path).is_ok_and(|here| here.file == file);
    if is_of_memory(&path) || own() == Some(mounts) || is_here() {
        return path;
    }
    // Some file systems (btrfs) tell another device than they note. If it still runs the same file, that can be looked at.
    let executable = process.and_then(|process| process.executable().ok());
    match executable.filter(|executable| executable.file.inode == file.inode) {
        Some(executable) if executable.is_here(&path) => path,
        Some(executable) => path_elsewhere(&executable.file, &path),
        None => path_elsewhere(&file, &path),
    }
}

/// Whether the kernel names a file so that was made by memfd_create(2), and so is on no mount of anybody's.
pub(super) fn is_of_memory(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().starts_with(b"/memfd:")
}

/// The path of a file that is not what has this path here: no rule for a path of this host means it.
fn path_elsewhere(file: &FileId, path: &Path) -> PathBuf {
    let FileId {
        major,
        minor,
        inode,
    } = file;
    let root = Path::new(ELSEWHERE).join(format!("{major}:{minor}:{inode}"));
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Whether an executable, called `path` here, may be called `by_itself` by its process.
pub(in crate::apps) fn may_be_called(path: &Path, by_itself: &Path) -> bool {
    let elsewhere = || {
        let mut rest = path.strip_prefix(ELSEWHERE).ok()?.components();
        rest.next()?;
        Some(rest.as_path() == by_itself.strip_prefix("/").ok()?)
    };
    path == by_itself || elsewhere().unwrap_or(false)
}

/// The number of our mounts' namespace.
fn own() -> Option<u64> {
    static OWN: OnceLock<Option<u64>> = OnceLock::new();
    *OWN.get_or_init(|| Some(rustix::fs::stat("/proc/self/ns/mnt").ok()?.st_ino))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::process::Command;

    use super::*;
    use crate::apps::linux::running::Running;

    const WAIT: &str = "-c 'echo ready; read end'";

    /// A shell that runs a script, which prints a line and waits for the end of its input.
    fn in_own_mounts(script: &str) -> Running {
        Running::new(Command::new("unshare").args(["--mount", "/bin/sh", "-ec", script]))
    }

    #[test]
    fn the_mount_of_a_file_is_known_in_two_ways() {
        let process = ProcessDirectory::open(std::process::id()).unwrap();
        let told = process.executable().unwrap().mount;
        let process = std::fs::File::open("/proc/self").unwrap();
        assert!(told.is_some());
        assert_eq!(mount_of(process, c"exe").unwrap(), told);
    }

    fn shell() -> String {
        let shell = std::fs::canonicalize("/bin/sh").unwrap();
        shell.into_os_string().into_string().unwrap()
    }

    /// The path of the shell's file under a name that is another file's here.
    fn elsewhere(name: &str) -> String {
        let opened = Opened::of(Path::new(&shell())).unwrap();
        let path = path_elsewhere(&opened.file, Path::new(name));
        path.into_os_string().into_string().unwrap()
    }

    fn in_place(of: &str) -> String {
        format!("mount --bind {} {of}", shell())
    }

    #[test]
    fn a_file_in_the_place_of_another_does_not_have_its_path() {
        let script = format!("{}; exec /usr/bin/env {WAIT}", in_place("/usr/bin/env"));
        let one = in_own_mounts(&script);
        assert_eq!(one.path(), elsewhere("/usr/bin/env"));
        // Of however many processes it is one program.
        assert_eq!(in_own_mounts(&script).path(), one.path());
        let same = in_own_mounts(&format!("exec {} {WAIT}", shell()));
        assert_eq!(same.path(), shell());
    }

    /// On a network's disk to ask the server may take without end. Here it is `/proc` that has to be asked.
    #[test]
    fn what_the_kernel_does_not_remember_is_not_looked_for() {
        let path = Path::new("/proc/self/exe");
        assert!(path.metadata().is_ok());
        let error = Opened::of(path).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::AGAIN.raw_os_error()));
        assert!(Opened::of(&std::env::current_exe().unwrap()).is_ok());
    }

    #[test]
    fn a_file_of_other_mounts_that_is_run_in_ours_does_not_have_our_path() {
        let holder = format!("{}; exec {} {WAIT}", in_place("/usr/bin/env"), shell());
        let holder = in_own_mounts(&holder);
        let there = format!("/proc/{}/root/usr/bin/env", holder.0.id());
        let ours = Running::new(Command::new(&there).args(["-c", "echo ready; read end"]));
        assert_eq!(ours.path(), elsewhere("/usr/bin/env"));

        // On no mount any more that anybody has.
        let script = format!(
            "mount -t tmpfs none /mnt; mkdir -p /mnt/usr/bin; cp {} /mnt/usr/bin/env; exec 3</mnt/usr/bin/env; umount -l /mnt; \
             exec /proc/self/fd/3 {WAIT}",
            shell()
        );
        let path = in_own_mounts(&script).path();
        assert!(
            path.starts_with("/proc/inode/") && path.ends_with("/usr/bin/env"),
            "{path}"
        );
    }

    #[test]
    fn a_file_that_was_replaced_or_removed_while_it_runs_keeps_its_path() {
        let folder = std::env::temp_dir().join(format!("tidegate-mounts-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let program = folder.join("program");
        std::fs::copy(shell(), &program).unwrap();
        let program = program.to_str().unwrap();
        let running = Running::new(Command::new(program).args(["-c", "echo ready; read end"]));
        // It may have another name, or be called as if it had been removed.
        let link = folder.join("program (deleted)");
        std::fs::hard_link(program, &link).unwrap();
        std::fs::remove_file(program).unwrap();
        assert_eq!(
            running.path(),
            link.to_str().unwrap(),
            "the kernel's words for both"
        );
        let other = folder.join("other");
        std::fs::rename(&link, &other).unwrap();
        assert_eq!(running.path(), program);
        let strange = folder.join("strange (deleted)");
        std::fs::copy(shell(), &strange).unwrap();
        let strange = strange.to_str().unwrap();
        assert_eq!(
            Running::new(Command::new(strange).args(["-c", "echo ready; read end"])).path(),
            strange
        );
        std::fs::copy(shell(), program).unwrap();
        assert_eq!(running.path(), program);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(running.path(), program);
    }

    #[test]
    fn what_was_noted_is_compared_with_what_is_here_where_it_was_in_other_mounts() {
        let path = PathBuf::from(shell());
        let found = std::fs::metadata(&path).unwrap();
        let file = Opened::of(&path).unwrap().file;
        assert_eq!(file.inode, found.ino());
        let noted = |file, mounts| NotedPath {
            path: path.clone(),
            file,
            mounts,
        };
        let other = FileId { inode: 1, ..file };
        let mounts = own().unwrap();
        assert_eq!(noted_path(None, noted(other, mounts)), path);
        assert_eq!(noted_path(None, noted(file, 0)), path);
        let elsewhere = noted_path(None, noted(other, 0));
        assert_eq!(elsewhere, path_elsewhere(&other, &path));
        assert!(may_be_called(&elsewhere, &path) && may_be_called(&path, &path));
        assert!(!may_be_called(&elsewhere, Path::new("/bin/other")));
    }
}
