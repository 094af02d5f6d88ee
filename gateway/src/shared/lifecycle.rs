//! When and why the gateway ends: someone asked, or a trial (`run --try`) was not confirmed in time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::lock;

/// The end of the gateway, asked for by any thread and awaited by one.
#[derive(Debug, Default)]
pub struct Lifecycle {
    stopping: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    shutdown: Option<String>,
    trial_ends: Option<Instant>,
}

/// Why the gateway ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Someone asked, for this reason.
    Requested(String),
    /// The trial ran out before it was confirmed.
    TrialExpired,
}

/// There is nothing to confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "nothing waits for a confirmation: this gateway was not started with --try, or it was confirmed before"
)]
pub struct ConfirmError;

impl Lifecycle {
    /// Begins a trial that ends the gateway after `length` unless it is confirmed.
    pub fn begin_trial(&self, length: Duration) {
        lock(&self.state).trial_ends = Instant::now().checked_add(length);
        self.changed.notify_all();
    }

    /// Makes the trial permanent.
    ///
    /// # Errors
    /// No trial is running.
    pub fn confirm(&self) -> Result<(), ConfirmError> {
        let confirmed = lock(&self.state).trial_ends.take();
        self.changed.notify_all();
        confirmed.map(|_| ()).ok_or(ConfirmError)
    }

    /// How long the running trial still lasts.
    pub fn trial_left(&self) -> Option<Duration> {
        let ends = lock(&self.state).trial_ends?;
        Some(ends.saturating_duration_since(Instant::now()))
    }

    /// Whether the end was asked for. One atomic load: for the loops of workers.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(super) fn request_shutdown(&self, reason: String) {
        lock(&self.state).shutdown.get_or_insert(reason);
        self.stopping.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    /// Blocks until the end was asked for or the trial ran out.
    pub fn wait(&self) -> Ending {
        let mut state = lock(&self.state);
        loop {
            if let Some(reason) = &state.shutdown {
                return Ending::Requested(reason.clone());
            }
            let left = state
                .trial_ends
                .map(|ends| ends.saturating_duration_since(Instant::now()));
            state = match left {
                Some(Duration::ZERO) => return Ending::TrialExpired,
                Some(left) => {
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_that_nobody_confirms_runs_out() {
        let lifecycle = Lifecycle::default();
        lifecycle.begin_trial(Duration::from_millis(10));
        assert_eq!(lifecycle.wait(), Ending::TrialExpired);
    }

    #[test]
    fn a_confirmed_trial_goes_on_until_the_end_is_asked_for() {
        let lifecycle = Lifecycle::default();
        lifecycle.begin_trial(Duration::from_secs(3600));
        assert_eq!(lifecycle.confirm(), Ok(()));
        assert_eq!(lifecycle.confirm(), Err(ConfirmError));
        assert_eq!(lifecycle.trial_left(), None);
        lifecycle.request_shutdown("first".to_owned());
        lifecycle.request_shutdown("second".to_owned());
        assert!(lifecycle.is_stopping());
        assert_eq!(lifecycle.wait(), Ending::Requested("first".to_owned()));
    }
}
