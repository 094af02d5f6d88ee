//! The clock since boot from `/proc/uptime` (proc_uptime(5)), and a timer that the end of a sleep cancels (timerfd_create(2)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

const UPTIME: &str = "/proc/uptime";
/// The timer itself never rings: in the year 2255.
const NEVER: i64 = 9_000_000_000;

#[derive(Debug)]
pub(super) struct Wakes(OwnedFd);

impl Wakes {
    pub(super) fn open() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let never = Itimerspec {
            it_interval: zero,
            it_value: Timespec {
                tv_sec: NEVER,
                ..zero
            },
        };
        let told = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        timerfd_settime(&timer, told, &never)?;
        Ok(Self(timer))
    }

    /// That it was cancelled is told once by an error of the read; the timer stays armed.
    pub(super) fn drain(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }

    #[expect(clippy::unnecessary_wraps, reason = "macOS has none")]
    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

/// The first number of the file, in seconds.
pub(super) fn since_boot() -> io::Result<Duration> {
    let text = std::fs::read_to_string(UPTIME)?;
    let seconds = text
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok());
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| io::Error::other(format!("{UPTIME} holds no time: {text:?}")))
}
