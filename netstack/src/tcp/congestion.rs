//! How much may be under way: nothing that limits it for programs of this host, NewReno (RFC 5681, RFC 6582) for clients
//! behind a link that is shared and loses packets.

/// Congestion control towards a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CongestionControl {
    /// For programs of this host: the device's queue holds more than a window and loses nothing, and nobody is there to
    /// share it with. Only after a time-out it sends carefully until all is acknowledged.
    #[default]
    None,
    /// NewReno, for clients behind a link that loses packets.
    NewReno,
}

/// More than any window: no limit.
const UNLIMITED: u32 = 1 << 30;

/// The congestion window.
#[derive(Debug)]
pub(crate) struct Congestion {
    control: CongestionControl,
    mss: u32,
    cwnd: u32,
    ssthresh: u32,
    /// Bytes acknowledged since the window last grew in congestion avoidance.
    acked: u32,
}

impl Congestion {
    pub(crate) fn new(control: CongestionControl, mss: u32) -> Self {
        Self {
            control,
            mss,
            cwnd: match control {
                CongestionControl::None => UNLIMITED,
                CongestionControl::NewReno => initial_window(mss),
            },
            ssthresh: UNLIMITED,
            acked: 0,
        }
    }

    pub(crate) fn cwnd(&self) -> u32 {
        self.cwnd
    }

    /// `acked` bytes were acknowledged while `flight` bytes were under way, and none of them is known to be lost.
    pub(crate) fn acknowledged(&mut self, acked: u32, flight: u32) {
        // A window that is not used says nothing about the link (RFC 7661).
        if self.cwnd >= UNLIMITED || flight < self.cwnd / 2 {
            return;
        }
        if self.cwnd < self.ssthresh {
            self.cwnd = (self.cwnd + acked).min(UNLIMITED);
            return;
        }
        self.acked += acked;
        if self.acked >= self.cwnd {
            self.acked -= self.cwnd;
            self.cwnd += self.mss;
        }
    }

    /// A loss was seen, by what arrived behind it.
    pub(crate) fn lost(&mut self, flight: u32) {
        if self.control == CongestionControl::NewReno {
            self.ssthresh = self.half(flight);
            self.cwnd = self.ssthresh;
            self.acked = 0;
        }
    }

    /// A time-out passed: everything under way may be lost.
    pub(crate) fn timed_out(&mut self, flight: u32) {
        if self.control == CongestionControl::NewReno {
            self.ssthresh = self.half(flight);
        }
        self.cwnd = self.mss;
        self.acked = 0;
    }

    /// Everything that was under way when the loss was noticed is acknowledged.
    pub(crate) fn recovered(&mut self) {
        if self.control == CongestionControl::None {
            self.cwnd = UNLIMITED;
        }
    }

    fn half(&self, flight: u32) -> u32 {
        (flight / 2).max(2 * self.mss)
    }
}

/// RFC 6928 section 2.
fn initial_window(mss: u32) -> u32 {
    (10 * mss).min((2 * mss).max(14_600))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1_000;

    #[test]
    fn a_program_of_this_host_is_limited_by_a_timeout_only() {
        let mut congestion = Congestion::new(CongestionControl::None, MSS);
        congestion.lost(50_000);
        assert_eq!(congestion.cwnd(), UNLIMITED);
        congestion.timed_out(50_000);
        assert_eq!(congestion.cwnd(), MSS);
        congestion.acknowledged(MSS, MSS);
        assert_eq!(congestion.cwnd(), 2 * MSS);
        congestion.recovered();
        assert_eq!(congestion.cwnd(), UNLIMITED);
    }

    #[test]
    fn newreno_doubles_then_halves_then_grows_by_a_segment_a_window() {
        let mut congestion = Congestion::new(CongestionControl::NewReno, MSS);
        assert_eq!(congestion.cwnd(), 10 * MSS);
        congestion.acknowledged(10 * MSS, 10 * MSS);
        assert_eq!(congestion.cwnd(), 20 * MSS);
        congestion.lost(20 * MSS);
        congestion.recovered();
        assert_eq!(congestion.cwnd(), 10 * MSS);
        for _ in 0..10 {
            congestion.acknowledged(MSS, 10 * MSS);
        }
        assert_eq!(congestion.cwnd(), 11 * MSS);
        congestion.acknowledged(11 * MSS, MSS);
        assert_eq!(
            congestion.cwnd(),
            11 * MSS,
            "an unused window does not grow"
        );
        congestion.timed_out(11 * MSS);
        assert_eq!(congestion.cwnd(), MSS);
    }
}
