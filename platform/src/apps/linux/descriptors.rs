//! Reading `/proc` with as few system calls as it takes: this is where a look-up's time goes.
//!
//! The `procfs` crate takes about twice as long for a descriptor (it opens, allocates and looks at each), and reads by path,
//! which may belong to another process the next moment.
//!
//! A [`ProcessDirectory`] is an open `/proc/PID`. What is read through it belongs to that process and to no later one with
//! the same id: once the process has ended, everything fails with `ESRCH` or `ENOENT`.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::fs::{CWD, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::mounts::Opened;
use crate::apps::process_stat::{self, ProcessStat};

/// Longest `/proc` file that is read: a command line may be megabytes long and is not needed whole.
const LONGEST_FILE: usize = 64 << 10;
/// Longest table of a process's mounts or mappings that is read.
const LONGEST_TABLE: usize = 8 << 20;
/// `socket:[4294967295]` is the longest link of interest.
const LINK: usize = 32;

/// An open `/proc/PID`.
#[derive(Debug)]
pub(super) struct ProcessDirectory {
    directory: OwnedFd,
    pub(super) pid: u32,
}

/// What a look through descriptors found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looked {
    pub(super) found: Option<u32>,
    /// How many descriptors were looked at.
    pub(super) looked: usize,
}

/// Whether a look failed because its process has ended. After any other failure nothing is known.
pub(super) fn is_of_the_ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

/// The id that the last process or thread got. Takes one system call.
pub(super) fn last_process_id() -> io::Result<u32> {
    /// Kept open: each read tells of the process-id namespace of who reads.
    static TABLE: OnceLock<File> = OnceLock::new();
    let table = match TABLE.get() {
        Some(table) => table,
        None => {
            let opened = File::open("/proc/loadavg")?;
            TABLE.get_or_init(|| opened)
        }
    };
    let mut buffer = [0; 128];
    let length = table.read_at(&mut buffer, 0)?;
    let text = buffer
        .get(..length)
        .and_then(|text| str::from_utf8(text).ok());
    let last = text.and_then(|text| text.split_ascii_whitespace().nth(4));
    last.and_then(|id| id.parse().ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Whether the id is that of a thread of this process.
pub(super) fn is_own_thread(id: u32) -> bool {
    let is_own = || {
        let path = path::<32>(format_args!("/proc/self/task/{id}"))?;
        Ok::<_, io::Error>(rustix::fs::access(
            c_str(&path)?,
            rustix::fs::Access::EXISTS,
        )?)
    };
    is_own().is_ok()
}

/// Ids of all processes, newest first as far as ids tell.
pub(super) fn process_ids() -> io::Result<Vec<u32>> {
    let proc = rustix::fs::open(
        c"/proc",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut ids = Vec::with_capacity(256);
    for_each_number(&proc, |id, _| {
        ids.push(id);
        Continue::On
    })?;
    ids.sort_unstable_by(|a, b| b.cmp(a));
    Ok(ids)
}

/// Whether to go on with the next entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Continue {
    On,
    Stop,
}

/// Calls `each` with every entry whose name is a number.
fn for_each_number(
    directory: &OwnedFd,
    mut each: impl FnMut(u32, &CStr) -> Continue,
) -> io::Result<()> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 8192];
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(number) = name.to_str().ok().and_then(|name| name.parse().ok())
            && each(number, name) == Continue::Stop
        {
            break;
        }
    }
    Ok(())
}

/// Writes a path without allocating. Numbers are short, so it always fits.
fn path<const N: usize>(arguments: std::fmt::Arguments<'_>) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let (_, text) = bytes.split_last_mut().ok_or(io::ErrorKind::InvalidInput)?;
    (&mut *text).write_fmt(arguments)?;
    Ok(bytes)
}

fn c_str(bytes: &[u8]) -> io::Result<&CStr> {
    CStr::from_bytes_until_nul(bytes).map_err(io::Error::other)
}

impl ProcessDirectory {
    /// As [`ProcessDirectory::open`]. `None` if there is no such process.
    pub(super) fn find(pid: u32) -> io::Result<Option<Self>> {
        match Self::open(pid) {
            Ok(process) => Ok(Some(process)),
            Err(error) if is_of_the_ended(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn open(pid: u32) -> io::Result<Self> {
        let path = path::<24>(format_args!("/proc/{pid}"))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, c_str(&path)?, flags, Mode::empty())?;
        Ok(Self { directory, pid })
    }

    /// Its effective user; root's for programs that do not let others look.
    pub(super) fn user(&self) -> io::Result<u32> {
        Ok(rustix::fs::fstat(&self.directory)?.st_uid)
    }

    pub(super) fn stat(&self) -> io::Result<ProcessStat> {
        let text = self.read(c"stat")?;
        process_stat::parse(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// Whether it has one thread only, which waits for something.
    pub(super) fn is_one_sleeping_thread(&self) -> io::Result<bool> {
        Ok(process_stat::is_one_sleeping_thread(&self.read(c"stat")?))
    }

    pub(super) fn open_file(&self, name: &CStr) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.directory, name, flags, Mode::empty())?.into())
    }

    /// The bytes of one of its files, up to a limit.
    pub(super) fn read(&self, name: &CStr) -> io::Result<Vec<u8>> {
        self.read_up_to(name, LONGEST_FILE)
    }

    /// The bytes of a table that may be long, up to a limit.
    pub(super) fn read_table(&self, name: &CStr) -> io::Result<Vec<u8>> {
        self.read_up_to(name, LONGEST_TABLE)
    }

    /// A path to one of its links to folders, `root` or `cwd`, that is this process's for as long as `self` is there.
    pub(super) fn folder(&self, name: &str) -> PathBuf {
        PathBuf::from(format!(
            "/proc/self/fd/{}/{name}",
            self.directory.as_raw_fd()
        ))
    }

    fn read_up_to(&self, name: &CStr, longest: usize) -> io::Result<Vec<u8>> {
        let file = self.open_file(name)?;
        let mut bytes = Vec::with_capacity(1024);
        loop {
            let room = longest.saturating_sub(bytes.len());
            if room == 0 {
                return Ok(bytes);
            }
            bytes.reserve(room.min(4096));
            if rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes))? == 0 {
                return Ok(bytes);
            }
        }
    }

    /// Where one of its links points.
    pub(super) fn link(&self, name: &CStr) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&self.directory, name, Vec::with_capacity(256))?.into_bytes())
    }

    /// The file that it runs.
    pub(super) fn executable(&self) -> io::Result<Opened> {
        Opened::at(&self.directory, c"exe")
    }

    /// The id of the process, if this is the directory of one of its threads.
    pub(super) fn process_id(&self) -> io::Result<u32> {
        let status = self.read(c"status")?;
        process_stat::thread_group(&status)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// Whether the thread `id` is one of its own.
    pub(super) fn has_thread(&self, id: u32) -> bool {
        let has = || {
            let name = path::<20>(format_args!("task/{id}"))?;
            let access = rustix::fs::Access::EXISTS;
            let flags = rustix::fs::AtFlags::empty();
            rustix::fs::accessat(&self.directory, c_str(&name)?, access, flags)?;
            Ok::<_, io::Error>(())
        };
        has().is_ok()
    }

    /// Looks for the first of its descriptors that is the socket `inode`, through at most `most` of them.
    pub(super) fn find_socket(&self, inode: u32, most: usize) -> io::Result<Looked> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(&self.directory, c"fd", flags, Mode::empty())?;
        let wanted = path::<LINK>(format_args!("socket:[{inode}]"))?;
        let wanted = c_str(&wanted)?.to_bytes();
        let (mut found, mut looked) = (None, 0);
        for_each_number(&directory, |number, name| {
            looked += 1;
            if links_to(&directory, name, wanted) {
                found = Some(number);
                return Continue::Stop;
            }
            if looked < most {
                Continue::On
            } else {
                Continue::Stop
            }
        })?;
        Ok(Looked { found, looked })
    }

    /// Calls `each` with the inode and the descriptor of every socket among its first `most` descriptors. Returns how many
    /// it looked at.
    pub(super) fn for_each_socket(
        &self,
        most: usize,
        mut each: impl FnMut(u32, u32),
    ) -> io::Result<usize> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(&self.directory, c"fd", flags, Mode::empty())?;
        let mut looked = 0;
        for_each_number(&directory, |number, name| {
            looked += 1;
            let mut buffer = [MaybeUninit::<u8>::uninit(); LINK];
            if let Ok((target, _)) = rustix::fs::readlinkat_raw(&directory, name, &mut buffer)
                && let Some(inode) = socket_inode(target)
            {
                each(inode, number);
            }
            if looked < most {
                Continue::On
            } else {
                Continue::Stop
            }
        })?;
        Ok(looked)
    }

    /// Which socket its descriptor `number` is.
    pub(super) fn socket_at(&self, number: u32) -> Option<u32> {
        let name = path::<16>(format_args!("fd/{number}")).ok()?;
        let mut buffer = [MaybeUninit::<u8>::uninit(); LINK];
        let (target, _) =
            rustix::fs::readlinkat_raw(&self.directory, c_str(&name).ok()?, &mut buffer).ok()?;
        socket_inode(target)
    }

    /// Whether its descriptor `number` still is the socket `inode`.
    pub(super) fn holds(&self, number: u32, inode: u32) -> bool {
        let holds = || {
            let name = path::<16>(format_args!("fd/{number}"))?;
            let wanted = path::<LINK>(format_args!("socket:[{inode}]"))?;
            Ok::<_, io::Error>(links_to(
                &self.directory,
                c_str(&name)?,
                c_str(&wanted)?.to_bytes(),
            ))
        };
        holds().unwrap_or(false)
    }
}

/// The inode in `socket:[INODE]`.
fn socket_inode(link: &[u8]) -> Option<u32> {
    let number = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

fn links_to(directory: impl AsFd, name: &CStr, wanted: &[u8]) -> bool {
    let mut buffer = [MaybeUninit::<u8>::uninit(); LINK];
    rustix::fs::readlinkat_raw(directory, name, &mut buffer)
        .is_ok_and(|(target, _)| *target == *wanted)
}
