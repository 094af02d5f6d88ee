//! Interface names and indexes.

use std::ffi::CString;
use std::io;
use std::num::NonZeroU32;

/// The index of the interface `name`.
///
/// # Errors
/// `InvalidInput` if the name holds a NUL byte; the system's (`ENXIO`) if there is no such interface.
pub(crate) fn index(name: &str) -> io::Result<NonZeroU32> {
    let name = CString::new(name)?;
    // SAFETY: the argument is a NUL-terminated string that outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    NonZeroU32::new(index).ok_or_else(io::Error::last_os_error)
}
