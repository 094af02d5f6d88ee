//! The flows that the meter has seen, and those that are so busy that it looks away.
//!
//! What was seen once need not be seen again a thousand times a second, and would leave no room for what is new. So the
//! kernel's filter gets a rule for each busy flow, as if it left natively on purpose, and loses it after a while.

use std::time::{Duration, Instant};

use ipnet::IpNet;
use rustc_hash::FxHashMap;
use tidegate_platform::uplink_tap::Departure;
use tidegate_policy::Protocol;
use tidegate_routing::plan::{Family, PortRange, Rule, RuleAction, Selector};

use crate::leaks::Fate;

/// A flow that paused this long is a new one.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// Flows that are remembered. When full, all are forgotten.
const MOST_FLOWS: usize = 8192;
/// A flow of more packets than these in so short a time is busy.
const BURST: u32 = 16;
const BURST_PERIOD: Duration = Duration::from_millis(100);

/// How long a busy flow is not looked at.
const MUTED: Duration = Duration::from_secs(1);
/// Busy flows that are not looked at; the kernel compares every packet that lacks our mark with each. A filter and the one
/// that it replaces have to find room in 20 KiB before Linux 6.8 (`net.core.optmem_max`).
const MOST_MUTED: usize = 4;

/// The flows that were seen on one device.
#[derive(Debug, Default)]
pub(super) struct Flows(FxHashMap<Departure, Seen>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    last: Instant,
    burst_began: Instant,
    burst: u32,
    fate: Fate,
}

/// What a packet says of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// It is new, or paused for long.
    New,
    /// It was seen before.
    Known,
    /// It was seen very often of late.
    Busy,
    /// Its socket was ended before, but still sends.
    Ended,
}

impl Flows {
    /// What this packet says of its flow. A new one is remembered only by [`Flows::remember`].
    pub(super) fn see(&mut self, now: Instant, departure: &Departure) -> Flow {
        let Some(seen) = self.0.get_mut(departure) else {
            return Flow::New;
        };
        if now.saturating_duration_since(seen.last) >= FORGOTTEN {
            return Flow::New;
        }
        seen.last = now;
        if seen.fate == Fate::Ended {
            return Flow::Ended;
        }
        if now.saturating_duration_since(seen.burst_began) >= BURST_PERIOD {
            (seen.burst_began, seen.burst) = (now, 0);
        }
        seen.burst = seen.burst.saturating_add(1);
        if seen.burst > BURST {
            Flow::Busy
        } else {
            Flow::Known
        }
    }

    /// Remembers a new flow.
    pub(super) fn remember(&mut self, now: Instant, departure: Departure, fate: Fate) {
        if self.0.len() >= MOST_FLOWS {
            self.0.clear();
        }
        self.0.insert(
            departure,
            Seen {
                last: now,
                burst_began: now,
                burst: 1,
                fate,
            },
        );
    }
}

/// Whether a busy flow is looked away from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Muting {
    /// It is, which takes another filter.
    Now,
    /// It was already: this came before the filter did.
    Before,
    /// There are too many.
    Full,
}

/// The busy flows of one device that are not looked at, as rules of the kernel's filter.
#[derive(Debug, Default)]
pub(super) struct Muted(Vec<(Rule, Instant)>);

impl Muted {
    /// Looks away from this flow for a while.
    pub(super) fn mute(&mut self, now: Instant, departure: &Departure) -> Muting {
        let rule = rule_of(departure);
        if self.0.iter().any(|(muted, _)| *muted == rule) {
            return Muting::Before;
        }
        if self.0.len() >= MOST_MUTED {
            return Muting::Full;
        }
        self.0.push((rule, now + MUTED));
        Muting::Now
    }

    /// Takes back what was muted last: there is no filter for it.
    pub(super) fn take_back(&mut self) {
        self.0.pop();
    }

    /// Looks again at all flows. Whether there were any.
    pub(super) fn clear(&mut self) -> bool {
        let any = !self.0.is_empty();
        self.0.clear();
        any
    }

    /// Looks again at flows whose time is over. Whether that takes another filter.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let before = self.0.len();
        self.0.retain(|(_, until)| *until > now);
        self.0.len() != before
    }

    /// When the next flow's time is over.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.0.iter().map(|(_, until)| *until).min()
    }

    /// The rules.
    pub(super) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter().map(|(rule, _)| rule)
    }
}

/// A rule that fits this flow only.
fn rule_of(departure: &Departure) -> Rule {
    let (local, remote) = (departure.local, departure.remote);
    let ports = |port| {
        let has_ports = matches!(departure.protocol, Protocol::Tcp | Protocol::Udp);
        has_ports.then_some(PortRange {
            first: port,
            last: port,
        })
    };
    let ip_protocol = match departure.protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Icmp if local.is_ipv4() => 1,
        Protocol::Icmp => 58,
        Protocol::Other(number) => number,
    };
    Rule {
        family: Family::of(local.ip()),
        preference: 0,
        selector: Selector {
            from: Some(IpNet::from(local.ip())),
            to: Some(IpNet::from(remote.ip())),
            ip_protocol: Some(ip_protocol),
            source_ports: ports(local.port()),
            destination_ports: ports(remote.port()),
            ..Selector::default()
        },
        action: RuleAction::Nop,
        protocol: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn departure(port: u16) -> Departure {
        Departure {
            protocol: Protocol::Udp,
            local: ([192, 0, 2, 1], 7).into(),
            remote: ([192, 0, 2, 2], port).into(),
            mark: None,
        }
    }

    #[test]
    fn a_flow_is_new_once_and_again_after_a_long_pause() {
        let (mut flows, begun) = (Flows::default(), Instant::now());
        assert_eq!(flows.see(begun, &departure(1)), Flow::New);
        flows.remember(begun, departure(1), Fate::LetGo);
        assert_eq!(flows.see(begun, &departure(1)), Flow::Known);
        assert_eq!(flows.see(begun, &departure(2)), Flow::New);
        let later = begun + FORGOTTEN;
        assert_eq!(flows.see(later, &departure(1)), Flow::New);
    }

    #[test]
    fn only_a_flow_with_many_packets_in_a_short_time_is_busy() {
        let (mut flows, begun) = (Flows::default(), Instant::now());
        flows.remember(begun, departure(1), Fate::LetGo);
        let steady = (1..1_000).map(|n| flows.see(begun + BURST_PERIOD / 8 * n, &departure(1)));
        assert!(steady.into_iter().all(|flow| flow == Flow::Known));
        let at = begun + BURST_PERIOD * 130;
        let busy = (0..=BURST).filter(|_| flows.see(at, &departure(1)) == Flow::Busy);
        assert_eq!(busy.count(), 1);
    }

    #[test]
    fn a_flow_whose_socket_was_ended_is_never_looked_away_from() {
        let (mut flows, begun) = (Flows::default(), Instant::now());
        flows.remember(begun, departure(1), Fate::Ended);
        let seen = (0..=BURST).map(|_| flows.see(begun, &departure(1)));
        assert!(seen.into_iter().all(|flow| flow == Flow::Ended));
    }

    #[test]
    fn the_flows_that_are_remembered_are_bounded() {
        let (mut flows, now) = (Flows::default(), Instant::now());
        for port in 0..=u16::MAX {
            flows.remember(now, departure(port), Fate::LetGo);
            assert!(flows.0.len() <= MOST_FLOWS);
        }
    }

    #[test]
    fn a_busy_flow_is_muted_for_a_while_and_few_at_once() {
        let (mut muted, begun) = (Muted::default(), Instant::now());
        assert_eq!(muted.mute(begun, &departure(1)), Muting::Now);
        assert_eq!(muted.mute(begun, &departure(1)), Muting::Before);
        assert!(!muted.expire(begun));
        assert_eq!(muted.mute(begun, &departure(2)), Muting::Now);
        muted.take_back();
        assert_eq!(muted.mute(begun, &departure(1)), Muting::Before);
        assert_eq!(muted.mute(begun, &departure(2)), Muting::Now);
        let until = muted.next_expiry().unwrap();
        assert!(muted.expire(until));
        assert_eq!(muted.rules().count(), 0);
        let outcomes = (0..1_000).map(|port| muted.mute(begun, &departure(port)));
        let taken = outcomes.filter(|outcome| *outcome == Muting::Now);
        assert_eq!(taken.count(), MOST_MUTED);
    }
}
