//! The control socket of a utun (net/if_utun.h).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Which interface a utun descriptor belongs to.
///
/// # Errors
/// The system's if it belongs to none.
pub(crate) fn name(fd: BorrowedFd<'_>) -> io::Result<String> {
    let mut name = [0_u8; libc::IFNAMSIZ];
    let mut len = libc::socklen_t::try_from(name.len()).map_err(io::Error::other)?;
    // SAFETY: the option writes at most `len` bytes into `name` and the length into `len`; both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SYSPROTO_CONTROL,
            libc::UTUN_OPT_IFNAME,
            name.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let text = name.iter().copied().take_while(|byte| *byte != 0).collect();
    String::from_utf8(text).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}
