//! Pages of a file (mmap(2)).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// A file's bytes in memory, read when they are looked at.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// None: no bytes, for which nothing can be mapped.
    start: Option<NonNull<u8>>,
    length: usize,
}

// SAFETY: the pages are only ever read, and belong to no thread.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `length` bytes. The file must not become shorter, or be written, while this lives.
    pub(crate) fn new(file: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        if length == 0 {
            return Ok(Self {
                start: None,
                length,
            });
        }
        let (protection, flags) = (libc::PROT_READ, libc::MAP_PRIVATE);
        // SAFETY: the kernel chooses a place where nothing is.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                flags,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            start: NonNull::new(start.cast()),
            length,
        })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        let Some(start) = self.start else {
            return &[];
        };
        // SAFETY: these pages are mapped for reading as long as this lives, and nobody writes to them.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), self.length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if let Some(start) = self.start {
            // SAFETY: mapped by `new` with this length, and no reference to it outlives this.
            unsafe { libc::munmap(start.as_ptr().cast(), self.length) };
        }
    }
}
