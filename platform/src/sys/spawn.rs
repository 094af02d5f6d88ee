//! Starting a process that inherits a descriptor, and taking it over there.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::thread::UnshareFlags;

/// Lets `command` inherit `descriptor`, and appends its number to the arguments.
pub(crate) fn hand_over(command: &mut Command, descriptor: OwnedFd) {
    command.arg(descriptor.as_raw_fd().to_string());
    let inherit = move || {
        rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::empty())?;
        Ok(())
    };
    // SAFETY: after fork the closure only makes one system call: it allocates nothing and takes no lock.
    unsafe { command.pre_exec(inherit) };
}

/// Takes over the descriptor that [`hand_over`] passed, and keeps it from being inherited further.
///
/// # Errors
/// `EBADF` if it is not open.
pub(crate) fn take_over(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_SETFD takes its argument by value.
    let result = unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open (the call above succeeded), and its number was made known to this process as its own.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Moves the calling thread into new namespaces.
///
/// # Errors
/// The system's.
pub(crate) fn unshare(namespaces: UnshareFlags) -> io::Result<()> {
    // SAFETY: the descriptor table is not unshared (no `UnshareFlags::FILES`), the only flag that can break ownership.
    let result = unsafe { rustix::thread::unshare_unsafe(namespaces) };
    Ok(result?)
}
