//! Processes of macOS and their descriptors (libproc.h, sys/proc_info.h).

use std::ffi::{OsString, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use libc::c_int;

/// `PROC_ALL_PIDS`, `PROC_PIDFDSOCKETINFO`, `PROX_FDTYPE_SOCKET`.
const ALL_PROCESSES: u32 = 1;
const SOCKET_INFO: c_int = 3;
const SOCKET: u32 = 2;
/// `struct socket_fdinfo`.
pub(crate) const SOCKET_INFO_LEN: usize = 792;

// The kernel refuses a buffer that is smaller than its own structure.
const _: () = assert!(size_of::<libc::proc_bsdinfo>() == 136);
const _: () = assert!(size_of::<libc::proc_fdinfo>() == 8);

/// What tells one life of a process id from the next, and who it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Basics {
    /// Process id of the parent.
    pub(crate) parent: u32,
    /// When it was forked, in microseconds since 1970.
    pub(crate) started: u64,
}

/// Ids of all processes.
///
/// # Errors
/// The system's.
pub(crate) fn all() -> io::Result<Vec<u32>> {
    let ids: Vec<c_int> = list(|buffer, size| {
        // SAFETY: the system writes at most `size` bytes to `buffer`, which is null or has that many.
        unsafe { libc::proc_listpids(ALL_PROCESSES, 0, buffer, size) }
    })?;
    let ids = ids.into_iter().filter_map(|id| u32::try_from(id).ok());
    Ok(ids.filter(|id| *id != 0).collect())
}

/// The descriptors of a process that are sockets.
///
/// # Errors
/// The system's: `EPERM` for another user's process, `ESRCH` if it has ended.
pub(crate) fn sockets(process: u32) -> io::Result<Vec<i32>> {
    let process = id(process)?;
    let descriptors: Vec<libc::proc_fdinfo> = list(|buffer, size| {
        // SAFETY: the system writes at most `size` bytes to `buffer`, which is null or has that many.
        unsafe { libc::proc_pidinfo(process, libc::PROC_PIDLISTFDS, 0, buffer, size) }
    })?;
    let sockets = descriptors
        .iter()
        .filter(|entry| entry.proc_fdtype == SOCKET);
    Ok(sockets.map(|entry| entry.proc_fd).collect())
}

/// The bytes of `struct socket_fdinfo` of a process's descriptor.
///
/// # Errors
/// The system's: `EBADF` if there is none, `ENOTSUP` if it is no socket.
pub(crate) fn socket(process: u32, descriptor: i32) -> io::Result<[u8; SOCKET_INFO_LEN]> {
    let process = id(process)?;
    let mut info = [0; SOCKET_INFO_LEN];
    let size = c_int::try_from(info.len()).map_err(io::Error::other)?;
    let buffer = info.as_mut_ptr().cast();
    // SAFETY: the system writes at most `size` bytes to `buffer`, which has that many.
    let written = unsafe { libc::proc_pidfdinfo(process, descriptor, SOCKET_INFO, buffer, size) };
    complete(written, size)?;
    Ok(info)
}

/// What tells the process from a later one of its id.
///
/// # Errors
/// The system's: `ESRCH` if it has ended.
pub(crate) fn basics(process: u32) -> io::Result<Basics> {
    let process = id(process)?;
    let mut info = MaybeUninit::<libc::proc_bsdinfo>::zeroed();
    let size = c_int::try_from(size_of::<libc::proc_bsdinfo>()).map_err(io::Error::other)?;
    let buffer = info.as_mut_ptr().cast();
    // SAFETY: the system writes at most `size` bytes to `buffer`, which has that many.
    let written = unsafe { libc::proc_pidinfo(process, libc::PROC_PIDTBSDINFO, 0, buffer, size) };
    complete(written, size)?;
    // SAFETY: the system filled the structure, which is numbers only, and zeros before that were numbers too.
    let info = unsafe { info.assume_init() };
    let seconds = info.pbi_start_tvsec.saturating_mul(1_000_000);
    Ok(Basics {
        parent: info.pbi_ppid,
        started: seconds.saturating_add(info.pbi_start_tvusec),
    })
}

/// The path of the program that the process runs.
///
/// # Errors
/// The system's: `ESRCH` if it has ended, `ENOENT` if the file is gone.
pub(crate) fn executable(process: u32) -> io::Result<PathBuf> {
    let process = id(process)?;
    let room = usize::try_from(libc::PROC_PIDPATHINFO_MAXSIZE).map_err(io::Error::other)?;
    let mut path = vec![0_u8; room];
    let size = u32::try_from(path.len()).map_err(io::Error::other)?;
    // SAFETY: the system writes at most `size` bytes to `path`, which has that many.
    let length = unsafe { libc::proc_pidpath(process, path.as_mut_ptr().cast(), size) };
    match usize::try_from(length) {
        Ok(length) if length > 0 => {
            path.truncate(length);
            Ok(OsString::from_vec(path).into())
        }
        _ => Err(io::Error::last_os_error()),
    }
}

fn id(process: u32) -> io::Result<c_int> {
    c_int::try_from(process).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// These calls give the bytes they wrote, or 0 and an error.
fn complete(written: c_int, size: c_int) -> io::Result<()> {
    match written {
        ..=0 => Err(io::Error::last_os_error()),
        _ if written < size => Err(io::ErrorKind::InvalidData.into()),
        _ => Ok(()),
    }
}

/// Numbers, or structures of them: every bit pattern is one.
trait Plain: Copy {
    const ZERO: Self;
}

impl Plain for c_int {
    const ZERO: Self = 0;
}

impl Plain for libc::proc_fdinfo {
    const ZERO: Self = Self {
        proc_fd: 0,
        proc_fdtype: 0,
    };
}

/// A list of which the system first tells the size in bytes, and then writes as much as there is room for.
fn list<T: Plain>(mut ask: impl FnMut(*mut c_void, c_int) -> c_int) -> io::Result<Vec<T>> {
    let bytes = |answer: c_int| match usize::try_from(answer) {
        Ok(bytes) if bytes > 0 => Ok(bytes),
        _ => Err(io::Error::last_os_error()),
    };
    let expected = bytes(ask(std::ptr::null_mut(), 0))? / size_of::<T>();
    // Some more may come in between.
    let mut entries = vec![T::ZERO; expected.saturating_add(16)];
    let size = c_int::try_from(size_of_val(entries.as_slice())).map_err(io::Error::other)?;
    let written = bytes(ask(entries.as_mut_ptr().cast(), size))?;
    entries.truncate(written / size_of::<T>());
    Ok(entries)
}
