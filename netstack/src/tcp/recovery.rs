//! What is lost, and what of it to send again (RFC 6675 with SACK, RFC 6582 without, RFC 8985 section 7 for the tail).
//!
//! Knows sequence numbers only. Something is *lost* when enough arrived behind it, or when a time-out passed; each lost
//! byte is sent once more in a recovery, which lasts until all that was under way at its beginning is acknowledged. Should
//! a retransmission be lost too, the time-out finds it.

use crate::tcp::ranges::{Range, Ranges};
use crate::tcp::sequence::{ahead, earlier, is_before, later};

/// Segments behind a gap from which on it is a loss (RFC 5681 section 3.2).
const DUPLICATES: u32 = 3;

/// Loss detection and recovery of one connection.
#[derive(Debug)]
pub(crate) struct Recovery {
    phase: Phase,
    /// What arrived behind gaps, by what the program said.
    sacked: Ranges,
    /// When `snd_una` gets here the recovery is over (RFC 6675: RecoveryPoint).
    point: u32,
    /// Everything before was sent again in this recovery, where it was lost (RFC 6675: HighRxt).
    high_rxt: u32,
    /// What lies before and did not arrive is lost.
    lost_until: u32,
    duplicates: u32,
    /// The end of what was sent as a probe for a lost tail.
    probe: Option<u32>,
    /// Whether the time-out may have been nothing but a slow program.
    doubt: Doubt,
    mss: u32,
}

/// Whether a time-out is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    No,
    /// The program says what arrives behind a gap, and said nothing.
    Reasonable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is known to be lost.
    Open,
    /// A loss was seen by what arrived behind it.
    Fast,
    /// A time-out passed.
    TimedOut,
}

/// What an acknowledgement means for congestion control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing was lost, or the loss is known.
    Nothing,
    /// A loss was seen just now.
    Lost,
    /// The recovery is over.
    Recovered,
}

impl Recovery {
    /// For a connection that begins at `iss`, with segments of `mss` bytes.
    pub(crate) fn new(iss: u32, mss: u32) -> Self {
        Self {
            phase: Phase::Open,
            sacked: Ranges::default(),
            point: iss,
            high_rxt: iss,
            lost_until: iss,
            duplicates: 0,
            probe: None,
            doubt: Doubt::No,
            mss,
        }
    }

    /// Whether nothing is known to be lost.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether congestion control should count what is acknowledged: always but in fast recovery.
    pub(crate) fn is_fast(&self) -> bool {
        self.phase == Phase::Fast
    }

    /// Whether a tail probe is under way.
    pub(crate) fn has_probed(&self) -> bool {
        self.probe.is_some()
    }

    /// The tail up to `end` is sent again, to see whether it arrives.
    pub(crate) fn probed(&mut self, end: u32) {
        self.probe = Some(end);
    }

    /// `snd_una` went on.
    pub(crate) fn acknowledged(&mut self, snd_una: u32) -> Verdict {
        self.sacked.remove_before(snd_una);
        self.duplicates = 0;
        if self.probe.is_some_and(|end| !is_before(snd_una, end)) {
            self.probe = None;
        }
        match self.phase {
            Phase::Open => Verdict::Nothing,
            Phase::Fast | Phase::TimedOut if !is_before(snd_una, self.point) => {
                self.phase = Phase::Open;
                self.probe = None;
                Verdict::Recovered
            }
            // More arrived than was sent again, and none of it behind a gap: it was only slow (RFC 5682's idea).
            Phase::TimedOut
                if self.doubt == Doubt::Reasonable && is_before(self.high_rxt, snd_una) =>
            {
                self.phase = Phase::Open;
                Verdict::Recovered
            }
            Phase::Fast if self.sacked.is_empty() => {
                // A partial acknowledgement: the next segment is missing too (RFC 6582 section 3.2).
                self.lost_until = later(self.lost_until, snd_una.wrapping_add(self.mss));
                Verdict::Nothing
            }
            Phase::Fast | Phase::TimedOut => Verdict::Nothing,
        }
    }

    /// The program says that it holds `range` (RFC 2018); within what is under way.
    pub(crate) fn sacked(&mut self, range: Range) {
        self.sacked.insert(range);
    }

    /// An acknowledgement came that said nothing new but that something arrived.
    pub(crate) fn duplicate(&mut self) {
        self.duplicates = self.duplicates.saturating_add(1);
    }

    /// Looks for losses in what is under way.
    pub(crate) fn detect(&mut self, flight: Range) -> Verdict {
        let Some(lost) = self.lost_before(flight) else {
            return Verdict::Nothing;
        };
        match self.phase {
            Phase::TimedOut => Verdict::Nothing,
            Phase::Fast => {
                self.lost_until = later(self.lost_until, lost);
                Verdict::Nothing
            }
            Phase::Open => {
                self.phase = Phase::Fast;
                self.point = flight.end;
                self.high_rxt = flight.start;
                self.lost_until = lost;
                Verdict::Lost
            }
        }
    }

    /// Before where what did not arrive is lost, if anything is (RFC 6675 section 4: IsLost).
    fn lost_before(&self, flight: Range) -> Option<u32> {
        // A probe that arrived alone behind a gap says enough.
        let probe_arrived = self
            .probe
            .is_some_and(|end| self.sacked.end().is_some_and(|last| !is_before(last, end)));
        let enough = if probe_arrived {
            0
        } else {
            (DUPLICATES - 1) * self.mss
        };
        let mut above = 0;
        for (n, range) in (1..).zip(self.sacked.iter().rev()) {
            above += range.len();
            if above > enough || n >= DUPLICATES {
                return Some(range.start);
            }
        }
        let by_count = self.duplicates >= DUPLICATES && flight.len() > self.mss;
        by_count.then(|| earlier(flight.start.wrapping_add(self.mss), flight.end))
    }

    /// A time-out passed: what is under way and did not arrive is lost. `says_gaps`: the program uses SACK.
    pub(crate) fn timed_out(&mut self, flight: Range, says_gaps: bool) {
        self.doubt = if says_gaps && self.sacked.is_empty() {
            Doubt::Reasonable
        } else {
            Doubt::No
        };
        self.phase = Phase::TimedOut;
        self.point = flight.end;
        self.high_rxt = flight.start;
        self.lost_until = flight.end;
        self.duplicates = 0;
        self.probe = None;
    }

    /// The first stretch of what is under way to send again.
    pub(crate) fn next(&self, flight: Range) -> Option<Range> {
        if self.phase == Phase::Open {
            return None;
        }
        self.sacked.first_gap(Range {
            start: later(self.high_rxt, flight.start),
            end: earlier(self.lost_until, flight.end),
        })
    }

    /// Everything that is lost before `end` was sent again.
    pub(crate) fn sent_again(&mut self, end: u32) {
        self.high_rxt = end;
    }

    /// Whether nothing was sent again yet in this recovery: its first segment goes out whatever the congestion window says
    /// (RFC 6675 section 5).
    pub(crate) fn has_just_begun(&self, snd_una: u32) -> bool {
        self.high_rxt == snd_una
    }

    /// How many bytes are still under way (RFC 6675: pipe).
    pub(crate) fn pipe(&self, flight: Range) -> u32 {
        if self.phase == Phase::Open && self.sacked.is_empty() {
            return flight.len();
        }
        let arrived = if self.sacked.is_empty() {
            self.duplicates.saturating_mul(self.mss)
        } else {
            self.sacked.covered(flight)
        };
        let lost = if self.phase == Phase::Open {
            0
        } else {
            let lost = Range {
                start: later(self.high_rxt, flight.start),
                end: earlier(self.lost_until, flight.end),
            };
            ahead(lost.start, lost.end).saturating_sub(self.sacked.covered(lost))
        };
        flight.len().saturating_sub(arrived).saturating_sub(lost)
    }

    /// Gives all memory back.
    pub(crate) fn clear(&mut self) {
        self.sacked.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MSS: u32 = 1_000;

    fn range(start: u32, end: u32) -> Range {
        Range { start, end }
    }

    /// Everything to be sent again now.
    fn again(recovery: &mut Recovery, flight: Range) -> Vec<Range> {
        let mut all = Vec::new();
        while let Some(range) = recovery.next(flight) {
            recovery.sent_again(range.end);
            all.push(range);
        }
        all
    }

    #[test]
    fn a_gap_is_lost_once_more_than_two_segments_arrived_behind_it() {
        let mut recovery = Recovery::new(0, MSS);
        let flight = range(0, 10_000);
        recovery.sacked(range(1_000, 3_000));
        assert_eq!(recovery.detect(flight), Verdict::Nothing);
        recovery.sacked(range(4_000, 5_000));
        assert_eq!(recovery.detect(flight), Verdict::Lost);
        assert_eq!(again(&mut recovery, flight), [range(0, 1_000)]);
        recovery.sacked(range(5_000, 7_000));
        assert_eq!(recovery.detect(flight), Verdict::Nothing, "known already");
        assert_eq!(again(&mut recovery, flight), [range(3_000, 4_000)]);
        assert_eq!(recovery.pipe(flight), 10_000 - 5_000);
        assert_eq!(recovery.acknowledged(7_000), Verdict::Nothing);
        assert_eq!(recovery.acknowledged(10_000), Verdict::Recovered);
        assert!(recovery.is_open());
    }

    #[test]
    fn without_sack_three_duplicates_and_each_partial_acknowledgement_name_one_segment() {
        let mut recovery = Recovery::new(0, MSS);
        let flight = range(0, 10_000);
        for _ in 0..3 {
            assert_eq!(recovery.detect(flight), Verdict::Nothing);
            recovery.duplicate();
        }
        assert_eq!(recovery.detect(flight), Verdict::Lost);
        assert_eq!(again(&mut recovery, flight), [range(0, 1_000)]);
        recovery.acknowledged(4_000);
        assert_eq!(
            again(&mut recovery, range(4_000, 10_000)),
            [range(4_000, 5_000)]
        );
        assert_eq!(recovery.acknowledged(10_000), Verdict::Recovered);
    }

    #[test]
    fn a_lone_segment_is_not_lost_by_count() {
        let mut recovery = Recovery::new(0, MSS);
        for _ in 0..9 {
            recovery.duplicate();
        }
        assert_eq!(recovery.detect(range(0, 1)), Verdict::Nothing);
    }

    #[test]
    fn a_timeout_that_was_only_slowness_sends_no_more_than_one_segment_again() {
        for (says_gaps, verdict) in [(true, Verdict::Recovered), (false, Verdict::Nothing)] {
            let mut recovery = Recovery::new(0, MSS);
            recovery.timed_out(range(0, 10_000), says_gaps);
            recovery.sent_again(1_000);
            assert_eq!(recovery.acknowledged(1_000), Verdict::Nothing);
            assert_eq!(recovery.acknowledged(3_000), verdict);
        }
    }

    #[test]
    fn a_probe_that_arrives_shows_the_gap_before_it() {
        let mut recovery = Recovery::new(0, MSS);
        recovery.probed(3_000);
        recovery.sacked(range(2_000, 3_000));
        assert_eq!(recovery.detect(range(0, 3_000)), Verdict::Lost);
        assert_eq!(again(&mut recovery, range(0, 3_000)), [range(0, 2_000)]);
    }

    proptest! {
        /// After a time-out exactly what did not arrive is sent again, once.
        #[test]
        fn a_timeout_sends_what_did_not_arrive(arrived in prop::collection::vec(any::<bool>(), 1..50)) {
            let mut recovery = Recovery::new(0, MSS);
            for (start, _) in (0..).step_by(1_000).zip(&arrived).filter(|(_, arrived)| **arrived) {
                recovery.sacked(range(start, start + MSS));
            }
            let end = u32::try_from(arrived.len()).unwrap() * MSS;
            recovery.timed_out(range(0, end), true);
            prop_assert_eq!(recovery.pipe(range(0, end)), 0);
            let sent: u32 = again(&mut recovery, range(0, end)).iter().map(|range| range.len()).sum();
            let missing = arrived.iter().filter(|arrived| !**arrived).count();
            prop_assert_eq!(sent, u32::try_from(missing).unwrap() * MSS);
            prop_assert_eq!(recovery.pipe(range(0, end)), sent);
        }
    }
}
