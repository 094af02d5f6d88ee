//! Where descriptors or ports run out, UDP flows give theirs up for new flows.
//!
//! Nobody says when a UDP flow has ended, so each holds its socket until its time-out. Who holds most sockets gives way
//! ([`Holders`](super::holders::Holders)). Of his, those that were quiet for some seconds go first, and of these, and then of
//! the others, those that were never answered; what is just being asked is not taken for what nobody answers. A socket that
//! several flows share goes last, unless all of them are quiet. TCP flows are not ended.

use std::io;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tidegate_platform::bypass::Bypass;
use tidegate_platform::limits::Spent;

use super::Worker;
use super::caller::Caller;
use super::entry::Path;
use super::holders::{HolderId, Scarce, Shares};

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

/// Which sockets are given up first; in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    QuietUnanswered,
    QuietAnswered,
    /// Its answer may be on its way.
    FreshUnanswered,
    FreshAnswered,
    /// Several flows have it.
    FreshShared,
}

impl Standing {
    fn of(quiet_for: Duration, is_answered: bool, is_shared: bool) -> Self {
        match (quiet_for >= ANSWERED_WITHIN, is_answered) {
            (true, false) => Self::QuietUnanswered,
            (true, true) => Self::QuietAnswered,
            (false, _) if is_shared => Self::FreshShared,
            (false, false) => Self::FreshUnanswered,
            (false, true) => Self::FreshAnswered,
        }
    }
}

/// A socket that may be given up.
#[derive(Clone, Copy, Debug)]
struct Candidate<S> {
    socket: S,
    holder: HolderId,
    standing: Standing,
}

/// The `most` sockets that go first, of those whose holders are to give any, of all in the order of their silence, the longest
/// first.
fn first_to_go<S>(
    mut candidates: impl Iterator<Item = Candidate<S>>,
    shares: &mut Shares,
    most: usize,
) -> Vec<S> {
    let mut given = Vec::new();
    let mut later: [Vec<Candidate<S>>; 5] = Default::default();
    let mut quiet = true;
    let give = |candidate: Candidate<S>, given: &mut Vec<S>, shares: &mut Shares| {
        if given.len() < most && shares.take(candidate.holder) {
            given.push(candidate.socket);
        }
    };
    // The next one may lie behind many that are not asked.
    while given.len() < most
        && !shares.are_used_up()
        && let Some(candidate) = candidates.next()
    {
        let is_quiet = candidate.standing <= Standing::QuietAnswered;
        if quiet && !is_quiet {
            // No quiet one follows.
            quiet = false;
            for candidate in std::mem::take(&mut later[Standing::QuietAnswered as usize]) {
                give(candidate, &mut given, shares);
            }
        }
        match candidate.standing {
            // Nothing that follows goes before these.
            Standing::QuietUnanswered | Standing::FreshUnanswered => {
                give(candidate, &mut given, shares);
            }
            Standing::QuietAnswered | Standing::FreshAnswered | Standing::FreshShared => {
                later[candidate.standing as usize].push(candidate);
            }
        }
    }
    for candidate in later.into_iter().flatten() {
        give(candidate, &mut given, shares);
    }
    given
}

impl Worker {
    /// Opens an upstream socket for `caller`; tries again once others have given up what was missing.
    pub(super) fn open_socket<S>(
        &mut self,
        caller: &Caller,
        yielding: Yielding,
        open: impl Fn(&Bypass) -> io::Result<S>,
    ) -> io::Result<S> {
        if self.sources.len() >= self.most_sockets && !self.give_up_sockets(caller, Scarce::Sockets)
        {
            return Err(io::Error::from_raw_os_error(Spent::TOO_MANY_FILES));
        }
        if let Yielding::Udp { ipv6 } = yielding
            && self.associations.len_of(ipv6) >= self.most_udp
            && !self.give_up_sockets(caller, Scarce::Ports { ipv6 })
        {
            // The others are for programs.
            return Err(io::Error::from_raw_os_error(Spent::NO_PORT));
        }
        let error = match open(&self.bypass) {
            Err(error) => error,
            opened => return opened,
        };
        let scarce = match (Spent::of(&error), yielding) {
            (Some(Spent::Descriptors), _) => Scarce::Sockets,
            (Some(Spent::Ports), Yielding::Udp { ipv6 }) => Scarce::Ports { ipv6 },
            (Some(Spent::Ports), Yielding::Others) | (None, _) => return Err(error),
        };
        if self.give_up_sockets(caller, scarce) {
            open(&self.bypass)
        } else {
            Err(error)
        }
    }

    /// Ends flows whose sockets [go first](first_to_go); false if there are none.
    fn give_up_sockets(&mut self, newcomer: &Caller, scarce: Scarce) -> bool {
        let most = self.associations.len().div_ceil(BATCH);
        let mut shares = self.holders.shares(scarce, newcomer, most);
        if shares.are_used_up() {
            // Nobody is to give any: that takes no walk over all flows.
            return false;
        }
        let asked = shares.holders();
        let now = Instant::now();
        let mut seen = FxHashMap::default();
        let candidates = self.stack.quietest_first().filter_map(|(flow, since)| {
            let Path::Udp(path) = &self.flows.get(&flow)?.path else {
                return None;
            };
            let socket = path.association()?;
            let usage = self.associations.usage(socket)?;
            if !scarce.is_met_by(usage.ipv6) || !asked.contains(&usage.holder) {
                return None;
            }
            let (mut is_answered, is_shared) = (path.is_answered(), usage.flows > 1);
            if is_shared {
                // It is as quiet as the last of its flows.
                let (flows, any_answered): &mut (usize, bool) = seen.entry(socket).or_default();
                *flows += 1;
                *any_answered |= is_answered;
                if *flows < usage.flows {
                    return None;
                }
                is_answered = *any_answered;
            }
            let quiet_for = now.saturating_duration_since(since);
            Some(Candidate {
                socket,
                holder: usage.holder,
                standing: Standing::of(quiet_for, is_answered, is_shared),
            })
        });
        let before = self.associations.len();
        for socket in first_to_go(candidates, &mut shares, most) {
            for flow in self.associations.flows_of(socket) {
                self.stack.forget(flow);
                self.end(flow, "evicted");
                self.shared.counters.count_evicted();
            }
        }
        self.associations.len() < before
    }
}
#[cfg(test)]
mod tests {
    use tidegate_netstack::keyed::keyed_hash;

    use super::*;
    use crate::worker::caller::tests::caller;
    use crate::worker::holders::{Held, Holders};

    const MOMENT: Duration = Duration::from_millis(50);

    /// Of these sockets of one program those that go first.
    fn first(sockets: impl Iterator<Item = (u32, Standing)>, most: usize) -> Vec<u32> {
        let sockets: Vec<_> = sockets.collect();
        let mut holders = Holders::new(keyed_hash(1));
        let only = caller(1000, "/only", 1);
        for _ in &sockets {
            holders.take(only.clone(), Held::Udp { ipv6: false });
        }
        let candidates = sockets.into_iter().map(|(socket, standing)| Candidate {
            socket,
            holder: 0,
            standing,
        });
        let mut shares = holders.shares(Scarce::Sockets, &only, most);
        first_to_go(candidates, &mut shares, most)
    }

    #[test]
    fn an_idle_answered_flow_goes_before_a_question_that_was_just_asked() {
        let idle = (0..100).map(|flow| (flow, Standing::of(10 * ANSWERED_WITHIN, true, false)));
        let asked = (100..200).map(|flow| (flow, Standing::of(MOMENT, false, false)));
        assert_eq!(first(idle.chain(asked), 3), [0, 1, 2]);
    }

    #[test]
    fn what_nobody_answers_goes_first_and_a_conversation_last() {
        let flows = [
            (0, Standing::of(3 * ANSWERED_WITHIN, true, true)),
            (1, Standing::of(2 * ANSWERED_WITHIN, false, false)),
            (2, Standing::of(3 * MOMENT, false, true)),
            (3, Standing::of(2 * MOMENT, true, false)),
            (4, Standing::of(MOMENT, false, false)),
        ];
        let order = [1, 0, 4, 3, 2];
        for most in 1..=order.len() {
            assert_eq!(first(flows.into_iter(), most), order[..most]);
        }
    }

    #[test]
    fn those_that_go_are_the_first_of_all_by_standing_and_then_by_silence() {
        const FLOWS: u32 = 7;
        for answered in 0u32..1 << FLOWS {
            for quiet in 0..=FLOWS {
                let flows = (0..FLOWS).map(|flow| {
                    let quiet_for = if flow < quiet {
                        ANSWERED_WITHIN
                    } else {
                        MOMENT
                    };
                    let is_answered = answered >> flow & 1 == 1;
                    (flow, Standing::of(quiet_for, is_answered, flow % 3 == 0))
                });
                let mut sorted: Vec<_> = flows.clone().collect();
                sorted.sort_by_key(|(_, standing)| *standing);
                for most in 1..=sorted.len() {
                    let expected = sorted.iter().map(|(flow, _)| *flow).take(most);
                    assert_eq!(first(flows.clone(), most), expected.collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn only_who_is_asked_gives_and_its_own_quietest_first() {
        let (busy, modest) = (caller(1000, "/busy", 1), caller(1000, "/modest", 2));
        let mut holders = Holders::new(keyed_hash(1));
        let held = Held::Udp { ipv6: false };
        let ids = [&busy, &modest].map(|caller| holders.take(caller.clone(), held));
        for _ in 0..9 {
            holders.take(busy.clone(), held);
        }
        let quiet = (0, ids[1], Standing::of(2 * ANSWERED_WITHIN, false, false));
        let fresh = (1..=10).map(|socket| (socket, ids[0], Standing::of(MOMENT, true, false)));
        let candidates = [quiet].into_iter().chain(fresh);
        let candidates = candidates.map(|(socket, holder, standing)| Candidate {
            socket,
            holder,
            standing,
        });
        let mut shares = holders.shares(Scarce::Ports { ipv6: false }, &busy, 2);
        assert_eq!(first_to_go(candidates, &mut shares, 2), [1, 2]);
    }

    #[test]
    fn the_walk_ends_where_nobody_is_asked_for_more() {
        let only = caller(1000, "/only", 1);
        let mut holders = Holders::new(keyed_hash(1));
        let holder = holders.take(only.clone(), Held::Udp { ipv6: false });
        let mut walked = 0;
        let candidates = (0..100).map(|socket| {
            walked += 1;
            Candidate {
                socket,
                holder,
                standing: Standing::QuietUnanswered,
            }
        });
        let mut shares = holders.shares(Scarce::Sockets, &only, 10);
        assert_eq!(first_to_go(candidates, &mut shares, 10), [0]);
        assert_eq!(walked, 1);
    }
}
