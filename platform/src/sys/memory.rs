//! How the kernel treats this process's memory.

use std::io;

/// Keeps the pages between these addresses in memory from their first use on (mlock2(2)). It is no error that some are not
/// mapped any more.
///
/// # Errors
/// The system's.
pub(crate) fn keep_once_read(from: u64, to: u64) -> io::Result<()> {
    let (Ok(start), Ok(length)) = (usize::try_from(from), usize::try_from(to - from)) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = libc::MLOCK_ONFAULT;
    // SAFETY: the kernel only marks pages, whatever lies at the address; nothing is read or written.
    match unsafe { libc::syscall(libc::SYS_mlock2, start, length, flags) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOMEM) => Ok(()),
            error => Err(error),
        },
    }
}
