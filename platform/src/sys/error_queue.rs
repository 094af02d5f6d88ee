//! The error queue of a socket (ip(7), `IP_RECVERR`).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use socket2::{MsgHdrMut, SockAddr, SockRef};

/// Room for one report: the extended error, the address of who sent it, and headers.
const CONTROL: usize = 256;

/// Turns an integer option on.
///
/// # Errors
/// The system's.
pub(crate) fn turn_on(socket: BorrowedFd<'_>, level: i32, option: i32) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).map_err(io::Error::other)?;
    // SAFETY: the pointer is to an integer of the length given, and the descriptor is open while it is borrowed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Takes the oldest message out of the error queue: its control messages go into `control`, where the datagram was sent to
/// into `destination`, whose family must be the socket's. False if the queue is empty.
///
/// # Errors
/// The system's.
pub(crate) fn take(
    socket: BorrowedFd<'_>,
    destination: &mut SockAddr,
    control: &mut Vec<u8>,
) -> io::Result<bool> {
    let mut buffer = [MaybeUninit::new(0_u8); CONTROL];
    let mut message = MsgHdrMut::new()
        .with_addr(destination)
        .with_control(&mut buffer);
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    match SockRef::from(&socket).recvmsg(&mut message, flags) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
        Err(error) => return Err(error),
    }
    let length = message.control_len();
    control.clear();
    for byte in buffer.iter().take(length) {
        // SAFETY: every byte of the buffer was given a value above.
        control.push(unsafe { byte.assume_init() });
    }
    Ok(true)
}
