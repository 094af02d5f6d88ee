//! How much may be under way: nothing that limits it for programs of this host, CUBIC (RFC 9438) for clients behind a link
//! that is shared and loses packets.

use std::time::{Duration, Instant};

/// Congestion control towards a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CongestionControl {
    /// For programs of this host: the device's queue holds more than a window and loses nothing, and nobody is there to
    /// share it with. Only after a time-out it sends carefully until all is acknowledged.
    #[default]
    None,
    /// CUBIC, for clients behind a link that loses packets. What their own hosts would do, so that they lose nothing by us.
    Cubic,
}

/// More than any window: no limit.
const UNLIMITED: u32 = 1 << 30;
/// What a loss leaves of the window (RFC 9438 section 4.6: beta).
const LEFT: f64 = 0.7;
/// How fast the window comes back to where it was, in segments per cubic second (section 5.1: C).
const PACE: f64 = 0.4;
/// What a window that is halved less grows less by, to be no greedier than one that is halved (section 4.3: alpha).
const SHARE: f64 = 3.0 * (1.0 - LEFT) / (1.0 + LEFT);

/// The congestion window.
#[derive(Debug)]
pub(crate) struct Congestion {
    control: CongestionControl,
    mss: u32,
    cwnd: u32,
    ssthresh: u32,
    /// Bytes by which the window is to grow, less than one.
    rest: f64,
    cubic: Cubic,
}

/// The way back to the window before a loss, in bytes.
#[derive(Debug, Default)]
struct Cubic {
    /// The window before the last loss.
    most: f64,
    /// What the window was reduced from, at the last loss.
    prior: f64,
    epoch: Option<Epoch>,
}

/// Growth since congestion avoidance began anew.
#[derive(Debug)]
struct Epoch {
    began: Instant,
    /// Seconds until the window is where it was (section 4.2: K).
    back_after: f64,
    /// What the window of a connection that halves and grows by a segment a round trip would be (section 4.3: W_est).
    fair: f64,
}

impl Congestion {
    pub(crate) fn new(control: CongestionControl, mss: u32) -> Self {
        Self {
            control,
            mss,
            cwnd: match control {
                CongestionControl::None => UNLIMITED,
                CongestionControl::Cubic => initial_window(mss),
            },
            ssthresh: UNLIMITED,
            rest: 0.0,
            cubic: Cubic::default(),
        }
    }

    pub(crate) fn cwnd(&self) -> u32 {
        self.cwnd
    }

    /// `acked` bytes were acknowledged, and none of them is known to be lost; `used` were under way after the last of them
    /// was sent. A round trip takes `round_trip`.
    pub(crate) fn acknowledged(
        &mut self,
        now: Instant,
        acked: u32,
        used: u32,
        round_trip: Duration,
    ) {
        // A window that is not used says nothing about the link (RFC 7661).
        if self.cwnd >= UNLIMITED || used < self.cwnd / 2 {
            return;
        }
        if self.cwnd < self.ssthresh {
            self.cwnd = (self.cwnd + acked).min(UNLIMITED);
            return;
        }
        let growth = self
            .cubic
            .growth(now + round_trip, self.cwnd, self.mss, acked);
        self.rest += growth;
        let whole = whole_bytes(self.rest);
        self.rest -= f64::from(whole);
        self.cwnd = (self.cwnd + whole).min(UNLIMITED);
    }

    /// A loss was seen, by what arrived behind it; `used` as in [`acknowledged`](Self::acknowledged).
    pub(crate) fn lost(&mut self, used: u32) {
        if self.control == CongestionControl::Cubic {
            self.cwnd = self.reduced(used);
            self.ssthresh = self.cwnd;
        }
    }

    /// A time-out passed: everything under way may be lost.
    pub(crate) fn timed_out(&mut self, flight: u32) {
        if self.control == CongestionControl::Cubic {
            self.ssthresh = self.reduced(flight);
        }
        self.cwnd = self.mss;
    }

    /// Everything that was under way when the loss was noticed is acknowledged.
    pub(crate) fn recovered(&mut self) {
        if self.control == CongestionControl::None {
            self.cwnd = UNLIMITED;
        }
    }

    /// What a loss leaves of what was under way.
    fn reduced(&mut self, flight: u32) -> u32 {
        let used = flight.min(self.cwnd);
        self.cubic.reduced_from(f64::from(used));
        self.rest = 0.0;
        whole_bytes(f64::from(used) * LEFT).max(2 * self.mss)
    }
}

impl Cubic {
    fn reduced_from(&mut self, window: f64) {
        // Two losses in a row at ever less: others want their share (section 4.7).
        self.most = if window < self.most {
            window * (1.0 + LEFT) / 2.0
        } else {
            window
        };
        self.prior = window;
        self.epoch = None;
    }

    /// By how many bytes a window of `cwnd` grows for `acked` bytes, looking ahead to `then`.
    fn growth(&mut self, then: Instant, cwnd: u32, mss: u32, acked: u32) -> f64 {
        let (cwnd, mss, acked) = (f64::from(cwnd), f64::from(mss), f64::from(acked));
        let most = self.most.max(cwnd);
        let epoch = self.epoch.get_or_insert_with(|| Epoch {
            began: then,
            back_after: ((most - cwnd) / mss / PACE).cbrt(),
            fair: cwnd,
        });
        let share = if epoch.fair < self.prior { SHARE } else { 1.0 };
        epoch.fair += share * mss * acked / cwnd;
        let since = then.saturating_duration_since(epoch.began).as_secs_f64();
        let target = PACE * mss * (since - epoch.back_after).powi(3) + most;
        // No faster than by half in a round trip (section 4.2).
        let target = target.clamp(cwnd, 1.5 * cwnd);
        let steady = (target - cwnd) * acked / cwnd;
        steady.max(epoch.fair - cwnd)
    }
}

/// The whole bytes of a number that is no less than 0 and no more than a window.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the fraction is what is to go, and the range is checked"
)]
fn whole_bytes(bytes: f64) -> u32 {
    bytes.clamp(0.0, f64::from(UNLIMITED)) as u32
}

/// RFC 6928 section 2.
fn initial_window(mss: u32) -> u32 {
    (10 * mss).min((2 * mss).max(14_600))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1_000;
    /// Long enough that the time counts and not the round trips.
    const ROUND_TRIP: Duration = Duration::from_millis(200);

    /// Acknowledges all of a window, segment by segment, as often as round trips fit.
    fn pass(congestion: &mut Congestion, now: &mut Instant, time: Duration) {
        let end = *now + time;
        while *now < end {
            let window = congestion.cwnd();
            for _ in 0..window / MSS {
                congestion.acknowledged(*now, MSS, window, ROUND_TRIP);
            }
            *now += ROUND_TRIP;
        }
    }

    #[test]
    fn a_program_of_this_host_is_limited_by_a_timeout_only() {
        let now = Instant::now();
        let mut congestion = Congestion::new(CongestionControl::None, MSS);
        congestion.lost(50_000);
        assert_eq!(congestion.cwnd(), UNLIMITED);
        congestion.timed_out(50_000);
        assert_eq!(congestion.cwnd(), MSS);
        congestion.acknowledged(now, MSS, MSS, ROUND_TRIP);
        assert_eq!(congestion.cwnd(), 2 * MSS);
        congestion.recovered();
        assert_eq!(congestion.cwnd(), UNLIMITED);
    }

    #[test]
    fn a_window_doubles_then_loses_three_tenths_then_comes_back_to_where_it_was() {
        let mut now = Instant::now();
        let mut congestion = Congestion::new(CongestionControl::Cubic, MSS);
        assert_eq!(congestion.cwnd(), 10 * MSS);
        congestion.acknowledged(now, 10 * MSS, 10 * MSS, ROUND_TRIP);
        assert_eq!(congestion.cwnd(), 20 * MSS);
        congestion.acknowledged(now, 80 * MSS, 20 * MSS, ROUND_TRIP);
        congestion.lost(100 * MSS);
        congestion.recovered();
        assert_eq!(congestion.cwnd(), 70 * MSS);
        // K of RFC 9438 section 4.2: cbrt(30 / 0.4) seconds, most of the way back in half of them.
        pass(&mut congestion, &mut now, Duration::from_millis(2_100));
        assert!(
            (93 * MSS..100 * MSS).contains(&congestion.cwnd()),
            "{congestion:?}"
        );
        pass(&mut congestion, &mut now, Duration::from_millis(2_100));
        assert!(
            (98 * MSS..103 * MSS).contains(&congestion.cwnd()),
            "{congestion:?}"
        );
        pass(&mut congestion, &mut now, Duration::from_secs(4));
        assert!(
            congestion.cwnd() > 120 * MSS,
            "further, ever faster: {congestion:?}"
        );
    }

    #[test]
    fn a_small_window_is_no_less_greedy_than_one_that_is_halved() {
        let mut now = Instant::now();
        let mut congestion = Congestion::new(CongestionControl::Cubic, MSS);
        congestion.lost(10 * MSS);
        assert_eq!(congestion.cwnd(), 7 * MSS);
        pass(&mut congestion, &mut now, 12 * ROUND_TRIP);
        assert!(
            (14 * MSS..18 * MSS).contains(&congestion.cwnd()),
            "{congestion:?}"
        );
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow_and_a_timeout_leaves_a_segment() {
        let now = Instant::now();
        let mut congestion = Congestion::new(CongestionControl::Cubic, MSS);
        congestion.acknowledged(now, 4 * MSS, 4 * MSS, ROUND_TRIP);
        assert_eq!(congestion.cwnd(), 10 * MSS);
        congestion.timed_out(10 * MSS);
        assert_eq!(congestion.cwnd(), MSS);
        for _ in 0..3 {
            let window = congestion.cwnd();
            congestion.acknowledged(now, window, window, ROUND_TRIP);
        }
        assert_eq!(
            congestion.cwnd(),
            8 * MSS,
            "doubles up to seven, and then no more"
        );
        congestion.acknowledged(now, 8 * MSS, 8 * MSS, ROUND_TRIP);
        assert!(congestion.cwnd() < 10 * MSS);
    }
}
