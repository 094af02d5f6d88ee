//! Datagrams with control messages beside them (recvmsg(2), sendmsg(2)).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sets an integer option.
///
/// # Errors
/// The system's.
pub(crate) fn set_option(
    socket: BorrowedFd<'_>,
    level: i32,
    option: i32,
    value: libc::c_int,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(&value)).map_err(io::Error::other)?;
    // SAFETY: the pointer is to an integer of the length given, and the descriptor is open while it is borrowed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A buffer as calls take it that only write into it.
pub(crate) fn uninit(buffer: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    let (start, len) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: the same bytes, borrowed for as long; the system calls that this is for only put initialised bytes in.
    unsafe { std::slice::from_raw_parts_mut(start, len) }
}

/// The bytes of a buffer that was made of zeros.
#[cfg(target_os = "linux")]
pub(crate) fn zeroed(buffer: &[MaybeUninit<u8>]) -> &[u8] {
    let (start, len) = (buffer.as_ptr().cast(), buffer.len());
    // SAFETY: the caller gave every byte of the buffer a value, and the system only writes others over them.
    unsafe { std::slice::from_raw_parts(start, len) }
}
