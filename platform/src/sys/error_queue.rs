//! The error queue of a socket: what safe crates lack for it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

use libc::c_int;

/// Sets a socket option whose value is a flag.
///
/// # Errors
/// The system's.
pub(crate) fn enable(socket: &impl AsFd, level: c_int, option: c_int) -> io::Result<()> {
    let on: c_int = 1;
    let length = libc::socklen_t::try_from(size_of::<c_int>()).map_err(io::Error::other)?;
    // SAFETY: the pointer is to an integer of the length given, and the descriptor is open while it is borrowed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const on).cast::<libc::c_void>(),
            length,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// The bytes of a buffer that was zeroed before the system wrote into it.
pub(crate) fn initialized<const N: usize>(zeroed: [MaybeUninit<u8>; N]) -> [u8; N] {
    // SAFETY: the callers make the buffer of `MaybeUninit::new(0)`; the system only adds initialized bytes.
    zeroed.map(|byte| unsafe { byte.assume_init() })
}
