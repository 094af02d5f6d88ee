//! Interface names and indexes.

#[cfg(target_os = "macos")]
use std::ffi::CStr;
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

/// The name of the interface `index`.
///
/// # Errors
/// The system's (`ENXIO`) if there is no such interface.
#[cfg(target_os = "macos")]
pub(crate) fn name(index: u32) -> io::Result<String> {
    let mut name = [0_u8; libc::IFNAMSIZ];
    // SAFETY: the system writes at most IFNAMSIZ bytes, which `name` has.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if found.is_null() {
        return Err(io::Error::last_os_error());
    }
    let name = CStr::from_bytes_until_nul(&name).map_err(io::Error::other)?;
    Ok(name.to_string_lossy().into_owned())
}
