//! Where descriptors or ports run out, quiet UDP flows give theirs up for new flows.
//!
//! Nobody says when a UDP flow has ended, so each holds its socket until its time-out. Those that were quiet for some seconds
//! go first, and of these, and then of the others, those that were never answered; what is just being asked is not taken for
//! what nobody answers. A socket that several flows share stays. TCP flows are not ended.

use std::io;
use std::time::{Duration, Instant};

use tidegate_platform::bypass::Bypass;
use tidegate_platform::limits::Spent;

use super::Worker;
use super::entry::Path;

/// Of all UDP sockets, the part that is given up at a time, one of so many: to find out which takes a walk over all flows.
const BATCH: usize = 256;
/// How long an answer may take, of a resolver that asks others: who has none after that goes first.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// Which sockets can make room for a new one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Yielding {
    /// A UDP socket of the same family, for its port; any, for its descriptor.
    Udp { ipv6: bool },
    /// Any UDP socket, for its descriptor.
    Others,
}

/// Which flows give their sockets up first; in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    QuietUnanswered,
    QuietAnswered,
    /// Its answer may be on its way.
    FreshUnanswered,
    FreshAnswered,
}

impl Standing {
    fn of(quiet_for: Duration, is_answered: bool) -> Self {
        match (quiet_for >= ANSWERED_WITHIN, is_answered) {
            (true, false) => Self::QuietUnanswered,
            (true, true) => Self::QuietAnswered,
            (false, false) => Self::FreshUnanswered,
            (false, true) => Self::FreshAnswered,
        }
    }
}

/// The `most` flows that go first, of all in the order of their silence, the longest first.
fn first_to_go<F>(flows: impl Iterator<Item = (F, Standing)>, most: usize) -> Vec<F> {
    let mut lists = [const { Vec::new() }; 4];
    for (flow, standing) in flows {
        let [
            quiet_unanswered,
            quiet_answered,
            fresh_unanswered,
            fresh_answered,
        ] = &mut lists;
        let list = match standing {
            Standing::QuietUnanswered => &mut *quiet_unanswered,
            Standing::QuietAnswered => &mut *quiet_answered,
            Standing::FreshUnanswered => &mut *fresh_unanswered,
            Standing::FreshAnswered => fresh_answered,
        };
        if list.len() < most {
            list.push(flow);
        }
        let settled = match standing {
            Standing::QuietUnanswered | Standing::QuietAnswered => quiet_unanswered.len(),
            Standing::FreshUnanswered | Standing::FreshAnswered => {
                quiet_unanswered.len() + quiet_answered.len() + fresh_unanswered.len()
            }
        };
        // Nothing that follows goes before these.
        if settled >= most {
            break;
        }
    }
    lists.into_iter().flatten().take(most).collect()
}

impl Worker {
    /// Opens an upstream socket; tries again once others have given up what was missing.
    pub(super) fn open_socket<S>(
        &mut self,
        yielding: Yielding,
        open: impl Fn(&Bypass) -> io::Result<S>,
    ) -> io::Result<S> {
        if self.sources.len() >= self.most_sockets {
            self.give_up_quiet(|_| true);
        }
        if self.sources.len() >= self.most_sockets {
            return Err(out_of_sockets());
        }
        if let Yielding::Udp { ipv6 } = yielding
            && self.associations.len_of(ipv6) >= self.most_udp
        {
            self.give_up_quiet(|v6| v6 == ipv6);
        }
        let error = match open(&self.bypass) {
            Err(error) => error,
            opened => return opened,
        };
        let has_room = match (Spent::of(&error), yielding) {
            (Some(Spent::Descriptors), _) => self.give_up_quiet(|_| true),
            (Some(Spent::Ports), Yielding::Udp { ipv6 }) => self.give_up_quiet(|v6| v6 == ipv6),
            (Some(Spent::Ports), Yielding::Others) | (None, _) => false,
        };
        if has_room {
            open(&self.bypass)
        } else {
            Err(error)
        }
    }

    /// Ends the flows that [go first](first_to_go), of those whose socket ends with them and is of a family that `fits`; false if
    /// there are none.
    fn give_up_quiet(&mut self, fits: impl Fn(bool) -> bool) -> bool {
        let most = self.associations.len().div_ceil(BATCH);
        let now = Instant::now();
        let flows = self.stack.quietest_first().filter_map(|(flow, since)| {
            let Path::Udp(path) = &self.flows.get(&flow)?.path else {
                return None;
            };
            let sole = self.associations.sole(path.association()?)?;
            let quiet_for = now.saturating_duration_since(since);
            fits(sole.ipv6).then(|| (flow, Standing::of(quiet_for, path.is_answered())))
        });
        let given = first_to_go(flows, most);
        for flow in &given {
            self.stack.forget(*flow);
            self.end(*flow, "evicted");
            self.shared.counters.count_evicted();
        }
        !given.is_empty()
    }
}

/// As the system says it.
fn out_of_sockets() -> io::Error {
    io::Error::from_raw_os_error(Spent::TOO_MANY_FILES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(50);

    #[test]
    fn an_idle_answered_flow_goes_before_a_question_that_was_just_asked() {
        let idle = (0..100).map(|flow| (flow, Standing::of(10 * ANSWERED_WITHIN, true)));
        let asked = (100..200).map(|flow| (flow, Standing::of(MOMENT, false)));
        assert_eq!(first_to_go(idle.chain(asked), 3), [0, 1, 2]);
    }

    #[test]
    fn what_nobody_answers_goes_first_and_a_conversation_last() {
        let flows = [
            (0, Standing::of(3 * ANSWERED_WITHIN, true)),
            (1, Standing::of(2 * ANSWERED_WITHIN, false)),
            (2, Standing::of(2 * MOMENT, true)),
            (3, Standing::of(MOMENT, false)),
        ];
        for (most, expected) in [&[1][..], &[1, 0], &[1, 0, 3], &[1, 0, 3, 2]]
            .into_iter()
            .enumerate()
        {
            assert_eq!(first_to_go(flows.into_iter(), most + 1), expected);
        }
    }

    #[test]
    fn those_that_go_are_the_first_of_all_by_standing_and_then_by_silence() {
        const FLOWS: usize = 7;
        for answered in 0u32..1 << FLOWS {
            for quiet in 0..=FLOWS {
                let flows = (0..FLOWS).map(|flow| {
                    let quiet_for = if flow < quiet {
                        ANSWERED_WITHIN
                    } else {
                        MOMENT
                    };
                    (flow, Standing::of(quiet_for, answered >> flow & 1 == 1))
                });
                let mut sorted: Vec<_> = flows.clone().collect();
                sorted.sort_by_key(|(_, standing)| *standing);
                for most in 1..=FLOWS {
                    let first = sorted.iter().map(|(flow, _)| *flow).take(most);
                    assert_eq!(first_to_go(flows.clone(), most), first.collect::<Vec<_>>());
                }
            }
        }
    }
}
