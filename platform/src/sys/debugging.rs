//! Keeping debuggers out (ptrace(2) of macOS).

use std::io;

/// From now on nobody, root included, may attach to this process.
///
/// # Errors
/// The system's. Where one is attached already, the process ends.
pub(crate) fn deny() -> io::Result<()> {
    // SAFETY: PT_DENY_ATTACH looks at none of the other arguments.
    match unsafe { libc::ptrace(libc::PT_DENY_ATTACH, 0, std::ptr::null_mut(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
