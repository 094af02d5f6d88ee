//! The user and groups of this process.

use std::io;

/// Whether this process has root's power.
pub(crate) fn is_root() -> bool {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Leaves every group but the process's own.
///
/// # Errors
/// The system's: `EPERM` for all but root.
pub(crate) fn leave_supplementary_groups() -> io::Result<()> {
    // SAFETY: takes nothing and cannot fail.
    let own = unsafe { libc::getegid() };
    // SAFETY: the pointer is to one group id, as the count says, and outlives the call.
    match unsafe { libc::setgroups(1, &raw const own) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
