//! Sockets get no reports on macOS.

use std::io;
use std::os::fd::BorrowedFd;

use super::Report;

pub(super) fn enable(_socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(())
}

pub(super) fn disable(_socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(())
}

pub(super) fn next(_socket: BorrowedFd<'_>) -> io::Result<Option<Report>> {
    Ok(None)
}
