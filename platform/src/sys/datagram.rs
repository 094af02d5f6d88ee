//! Datagrams with control messages beside them (recvmsg(2), sendmsg(2)).

use std::mem::MaybeUninit;

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
