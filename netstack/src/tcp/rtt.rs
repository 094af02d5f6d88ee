//! How long an acknowledgement takes, and so when one is overdue (RFC 6298).
//!
//! One segment at a time is timed, and never one that was sent twice (Karn's algorithm).

use std::time::{Duration, Instant};

use crate::tcp::sequence::is_before;

/// The time-out before anything was measured (RFC 6298 section 2.1).
const INITIAL: Duration = Duration::from_secs(1);
/// Shortest time-out: longer than any receiver delays its acknowledgements (RFC 9293 section 3.8.6.3), as in Linux.
const SHORTEST: Duration = Duration::from_millis(200);
/// Longest time-out (RFC 6298 section 2.5).
const LONGEST: Duration = Duration::from_secs(60);
/// Most doublings: more do not matter.
const MOST_BACKOFF: u32 = 9;

/// The measured round trip and what follows from it.
#[derive(Debug, Default)]
pub(crate) struct RoundTrip {
    smoothed: Option<Duration>,
    variation: Duration,
    backoff: u32,
    /// The end of the segment that is timed, and when it was sent.
    timed: Option<(u32, Instant)>,
}

impl RoundTrip {
    /// After how long something unacknowledged is lost (RTO), doubled for each time it was.
    pub(crate) fn timeout(&self) -> Duration {
        let base = match self.smoothed {
            None => INITIAL,
            Some(smoothed) => (smoothed + 4 * self.variation).max(SHORTEST),
        };
        (base * (1 << self.backoff)).min(LONGEST)
    }

    /// The smoothed round trip (SRTT), once there is one.
    pub(crate) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// A segment that ends at `end` is sent for the first time.
    pub(crate) fn sent(&mut self, end: u32, now: Instant) {
        self.timed.get_or_insert((end, now));
    }

    /// Something is sent again: what is timed says nothing any more.
    pub(crate) fn sent_again(&mut self) {
        self.timed = None;
    }

    /// Everything before `snd_una` is acknowledged.
    pub(crate) fn acknowledged(&mut self, snd_una: u32, now: Instant) {
        self.backoff = 0;
        if let Some((end, at)) = self.timed
            && !is_before(snd_una, end)
        {
            self.timed = None;
            self.sample(now.saturating_duration_since(at));
        }
    }

    /// The time-outs that passed in vain had another cause than a loss.
    pub(crate) fn forgive(&mut self) {
        self.backoff = 0;
    }

    /// A time-out passed in vain.
    pub(crate) fn back_off(&mut self) {
        self.backoff = (self.backoff + 1).min(MOST_BACKOFF);
        self.timed = None;
    }

    fn sample(&mut self, measured: Duration) {
        let Some(smoothed) = self.smoothed else {
            self.smoothed = Some(measured);
            self.variation = measured / 2;
            return;
        };
        self.variation = (3 * self.variation + smoothed.abs_diff(measured)) / 4;
        self.smoothed = Some((7 * smoothed + measured) / 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn measured(samples: &[u32]) -> RoundTrip {
        let mut rtt = RoundTrip::default();
        let mut now = Instant::now();
        for (n, &sample) in (0..).zip(samples) {
            rtt.sent(n, now);
            now += sample * MS;
            rtt.acknowledged(n, now);
        }
        rtt
    }

    #[test]
    fn the_timeout_is_that_of_rfc_6298() {
        assert_eq!(RoundTrip::default().timeout(), 1_000 * MS);
        assert_eq!(measured(&[100]).timeout(), 300 * MS);
        // RTTVAR = 3/4 * 50 + 1/4 * 100, SRTT = 7/8 * 100 + 1/8 * 200
        assert_eq!(
            measured(&[100, 200]).smoothed(),
            Some(Duration::from_micros(112_500))
        );
        assert_eq!(
            measured(&[100, 200]).timeout(),
            Duration::from_micros(362_500)
        );
    }

    #[test]
    fn a_short_way_does_not_make_it_shorter_than_a_delayed_acknowledgement() {
        assert_eq!(measured(&[1; 50]).timeout(), SHORTEST);
    }

    #[test]
    fn each_loss_doubles_it_up_to_a_minute() {
        let mut rtt = measured(&[100]);
        rtt.back_off();
        assert_eq!(rtt.timeout(), 600 * MS);
        for _ in 0..40 {
            rtt.back_off();
        }
        assert_eq!(rtt.timeout(), LONGEST);
        rtt.acknowledged(1, Instant::now());
        assert_eq!(rtt.timeout(), 300 * MS);
    }

    #[test]
    fn what_was_sent_twice_is_not_measured() {
        let mut rtt = measured(&[100]);
        let now = Instant::now();
        rtt.sent(5, now);
        rtt.sent_again();
        rtt.acknowledged(5, now + 900 * MS);
        assert_eq!(rtt.timeout(), 300 * MS);
    }
}
