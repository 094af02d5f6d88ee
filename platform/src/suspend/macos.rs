//! `CLOCK_MONOTONIC_RAW`, which goes on during a sleep on macOS (clock_gettime(3)); there is no descriptor that tells of its end.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::sys::clock;

#[derive(Debug)]
pub(super) struct Wakes;

impl Wakes {
    #[expect(clippy::unnecessary_wraps, reason = "Linux may refuse")]
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self)
    }

    pub(super) fn drain(&self) {}

    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

pub(super) fn since_boot() -> io::Result<Duration> {
    clock::since_boot()
}
