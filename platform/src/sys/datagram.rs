//! Datagrams with control messages beside them (recvmsg(2), sendmsg(2)).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

#[cfg(target_os = "linux")]
use socket2::{MaybeUninitSlice, MsgHdrMut};
use socket2::{SockAddr, SockRef};

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

/// How much a call put into its buffers.
#[cfg(target_os = "linux")]
pub(crate) struct Received {
    /// Bytes of the datagram.
    pub(crate) len: usize,
    /// Bytes of control messages.
    pub(crate) control_len: usize,
}

/// Receives one datagram with its control messages. The other address goes into `address`, whose room must do for it.
///
/// # Errors
/// The system's.
#[cfg(target_os = "linux")]
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    address: &mut SockAddr,
    buffer: &mut [u8],
    control: &mut [u8],
    flags: libc::c_int,
) -> io::Result<Received> {
    let mut parts = [MaybeUninitSlice::new(uninit(buffer))];
    let mut message = MsgHdrMut::new()
        .with_addr(address)
        .with_buffers(&mut parts)
        .with_control(uninit(control));
    let len = SockRef::from(&socket).recvmsg(&mut message, flags)?;
    Ok(Received {
        len,
        control_len: message.control_len(),
    })
}

/// Receives one datagram, and says how long it is and whose.
///
/// # Errors
/// The system's.
#[cfg(target_os = "macos")]
pub(crate) fn receive_from(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<(usize, SockAddr)> {
    SockRef::from(&socket).recv_from(uninit(buffer))
}

/// A buffer as calls take it that only put initialised bytes in.
fn uninit(buffer: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    let (start, len) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: the same bytes, borrowed for as long; the callers give them to the system only.
    unsafe { std::slice::from_raw_parts_mut(start, len) }
}
