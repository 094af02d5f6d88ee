//! File descriptors: taking them over, and their flags.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

/// Takes the descriptor out of a foreign type.
pub(crate) fn own(device: impl IntoRawFd) -> OwnedFd {
    // SAFETY: `into_raw_fd` gives the descriptor and its ownership away.
    unsafe { OwnedFd::from_raw_fd(device.into_raw_fd()) }
}

/// Makes reads and writes return `WouldBlock` instead of waiting.
///
/// # Errors
/// The system's.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: F_GETFL takes no argument.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: F_SETFL takes its argument by value.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
