//! How many answers to strangers go out: a bucket of tokens, refilled by time.

use std::time::{Duration, Instant};

/// A token bucket that holds one second's worth.
#[derive(Debug)]
pub(crate) struct Limiter {
    per_second: u32,
    tokens: u32,
    refilled: Instant,
}

impl Limiter {
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        Self {
            per_second,
            tokens: per_second,
            refilled: now,
        }
    }

    /// Takes a token, if there is one.
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        if self.per_second == 0 {
            return false;
        }
        let each = Duration::from_secs(1) / self.per_second;
        let elapsed = now.saturating_duration_since(self.refilled);
        let earned = elapsed.as_nanos() / each.as_nanos().max(1);
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.tokens = self.tokens.saturating_add(earned).min(self.per_second);
            self.refilled = if self.tokens == self.per_second {
                now
            } else {
                self.refilled + each * earned
            };
        }
        let allowed = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_out_no_more_than_a_seconds_worth_at_once_and_its_rate_after() {
        let start = Instant::now();
        let mut limiter = Limiter::new(10, start);
        assert_eq!((0..100).filter(|_| limiter.allows(start)).count(), 10);
        let later = start + Duration::from_millis(350);
        assert_eq!((0..100).filter(|_| limiter.allows(later)).count(), 3);
        let much_later = start + Duration::from_secs(60);
        assert_eq!((0..100).filter(|_| limiter.allows(much_later)).count(), 10);
    }

    #[test]
    fn a_rate_of_zero_lets_nothing_out() {
        let start = Instant::now();
        assert!(!Limiter::new(0, start).allows(start + Duration::from_secs(5)));
    }
}
