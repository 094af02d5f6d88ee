//! The kernel's tables and settings on macOS (sysctl(3)).

use std::ffi::CStr;
use std::io;

use libc::{c_int, c_uint, c_void};

/// How often a table is read that grows while it is read.
const ATTEMPTS: u32 = 8;
/// A larger answer is none that we ask for.
const LARGEST: usize = 256 << 20;

/// The bytes of a table, by its path of numbers.
///
/// # Errors
/// The system's; `ENOMEM` if the table grew at each attempt.
pub(crate) fn read(path: &[c_int]) -> io::Result<Vec<u8>> {
    let mut path = path.to_vec();
    let count = c_uint::try_from(path.len()).map_err(io::Error::other)?;
    read_whole(|buffer, length| {
        // SAFETY: `path` holds `count` numbers; the kernel writes at most `*length` bytes to `buffer`, which is null or has
        // that many, and the length into `length`; nothing is set.
        unsafe {
            libc::sysctl(
                path.as_mut_ptr(),
                count,
                buffer,
                length,
                std::ptr::null_mut(),
                0,
            )
        }
    })
}

/// The bytes of a table or setting, by its name.
///
/// # Errors
/// The system's; `ENOENT` if it has none of this name.
pub(crate) fn read_named(name: &CStr) -> io::Result<Vec<u8>> {
    read_whole(|buffer, length| {
        // SAFETY: `name` ends with NUL; the kernel writes at most `*length` bytes to `buffer`, which is null or has that
        // many, and the length into `length`; nothing is set.
        unsafe { libc::sysctlbyname(name.as_ptr(), buffer, length, std::ptr::null_mut(), 0) }
    })
}

/// A setting that is an `int`.
///
/// # Errors
/// The system's; `InvalidData` if it is something else.
pub(crate) fn number(name: &CStr) -> io::Result<c_int> {
    let bytes = read_named(name)?;
    let number: [u8; size_of::<c_int>()] = bytes
        .try_into()
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(c_int::from_ne_bytes(number))
}

/// Asks for the size, then for the content with some room for what comes in between.
fn read_whole(mut ask: impl FnMut(*mut c_void, *mut usize) -> c_int) -> io::Result<Vec<u8>> {
    for _ in 0..ATTEMPTS {
        let mut size = 0;
        if ask(std::ptr::null_mut(), &raw mut size) < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut buffer = vec![0_u8; size.saturating_add(size / 8).min(LARGEST)];
        let mut length = buffer.len();
        if ask(buffer.as_mut_ptr().cast(), &raw mut length) == 0 {
            buffer.truncate(length);
            return Ok(buffer);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ENOMEM) {
            return Err(error);
        }
    }
    Err(io::Error::from_raw_os_error(libc::ENOMEM))
}
