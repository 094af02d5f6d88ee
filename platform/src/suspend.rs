//! Whether this machine slept: a suspended machine's clock for time-outs stands still, that for time since boot does not.
//!
//! On Linux a timer that is cancelled when the clock of day is set wakes whoever waits, as that happens at the end of a sleep
//! too; nobody needs to look again and again. macOS tells by network events instead: its links go down for a sleep.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as imp;
#[cfg(target_os = "macos")]
use macos as imp;

/// Tells how long the machine slept between two looks.
#[derive(Debug)]
pub struct SuspendWatch {
    wakes: imp::Wakes,
    last: Reading,
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// Stands still during a sleep.
    awake: Instant,
    /// Time since boot, sleep and all.
    since_boot: Duration,
}

impl SuspendWatch {
    /// Counts from now on.
    ///
    /// # Errors
    /// The system's: it shows no clock, or gives no timer.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            wakes: imp::Wakes::open()?,
            last: Reading::take()?,
        })
    }

    /// How long the machine slept since the last look, to a hundredth of a second.
    ///
    /// # Errors
    /// The system shows no clock.
    pub fn slept(&mut self) -> io::Result<Duration> {
        self.wakes.drain();
        let now = Reading::take()?;
        let slept = now.slept_since(self.last);
        self.last = now;
        Ok(slept)
    }

    /// Becomes readable when the machine wakes, and when somebody sets its clock; `None` where network events tell.
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.wakes.as_fd()
    }
}

impl Reading {
    fn take() -> io::Result<Self> {
        let since_boot = imp::since_boot()?;
        Ok(Self {
            awake: Instant::now(),
            since_boot,
        })
    }

    fn slept_since(self, earlier: Self) -> Duration {
        let passed = self.since_boot.saturating_sub(earlier.since_boot);
        passed.saturating_sub(self.awake.saturating_duration_since(earlier.awake))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_clock_since_boot_counts_was_slept() {
        let second = Duration::from_secs(1);
        let before = Reading {
            awake: Instant::now(),
            since_boot: 100 * second,
        };
        let after = Reading {
            awake: before.awake + 3 * second,
            since_boot: 110 * second,
        };
        assert_eq!(after.slept_since(before), 7 * second);
        assert_eq!(before.slept_since(after), Duration::ZERO);
    }

    #[test]
    fn a_machine_that_is_awake_has_not_slept() {
        let mut watch = SuspendWatch::open().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        assert!(watch.slept().unwrap() < Duration::from_millis(100));
    }
}
