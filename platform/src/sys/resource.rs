//! Limits of this process.

use std::io;

/// How many files may be open: now, and at most.
///
/// # Errors
/// The system's.
pub(crate) fn open_files() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live `rlimit`, which the call fills.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } {
        0 => Ok(limit),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets how many files may be open.
///
/// # Errors
/// The system's; `EPERM` above the maximum.
pub(crate) fn set_open_files(limit: libc::rlimit) -> io::Result<()> {
    // SAFETY: the pointer is to a live `rlimit`, which the call only reads.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes the allocator take blocks of `bytes` and more from the system and give them back when they are freed. False if
/// it does not know such a threshold, or refuses this one.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn map_blocks_from(bytes: libc::c_int) -> bool {
    // SAFETY: takes its arguments by value.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, bytes) == 1 }
}

/// A crash leaves no image of this process's memory behind, nor of those it starts.
///
/// # Errors
/// The system's.
#[cfg(target_os = "macos")]
pub(crate) fn forbid_core_dumps() -> io::Result<()> {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live `rlimit`, which the call only reads.
    match unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
