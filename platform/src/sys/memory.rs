//! How the kernel treats this process's memory.

use std::io;

/// Keeps the pages between these addresses in memory from their first use on (mlock2(2)).
///
/// # Errors
/// The system's: [`io::ErrorKind::OutOfMemory`] where some are not mapped any more, and where they are more than may be kept.
pub(crate) fn keep_once_read(from: u64, to: u64) -> io::Result<()> {
    let (Ok(start), Ok(length)) = (usize::try_from(from), usize::try_from(to - from)) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = libc::MLOCK_ONFAULT;
    // SAFETY: the kernel only marks pages, whatever lies at the address; nothing is read or written.
    match unsafe { libc::syscall(libc::SYS_mlock2, start, length, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
