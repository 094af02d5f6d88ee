//! The rules that share an app key and a destination key.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::slice;

use rustc_hash::FxHashMap;

use super::near_end_index::ANY_NEAR_END;
use super::nested::{Nested, aligned_blocks};
use crate::facts::Protocol;
use crate::port::Port;
use crate::selection::Selection;

/// From this many candidates on a bucket is indexed by port.
const MANY: usize = 12;

/// Candidates that share an app key and a destination key, which are known to be the flow's.
#[derive(Debug)]
pub(super) enum Bucket {
    /// Kept in place: most buckets hold one rule.
    One(Candidate),
    /// To be tried one by one, ascending.
    Few(Box<[Candidate]>),
    /// Found by protocol and port.
    Many(Box<ByPort>),
    /// As many, of which some are for certain near ends.
    ByNearEnd(Box<ByNearEnd>),
}

/// What a flow is beside its app and destination.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// Its [`service_number`].
    pub(super) service: u32,
    /// The keys of conditions that its near end meets.
    pub(super) near_end: &'a [u32],
}

/// A distinct rest of conditions, counted from 1.
pub(super) type RestId = NonZeroU32;

/// A rule for one stretch of services.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Position in the order in which rules are tried.
    pub(super) rule: u32,
    /// The conditions that are left to check, where keys and service do not say all.
    pub(super) rest: Option<RestId>,
    /// The first and the last [`service_number`] that the rule is for.
    services: (u32, u32),
    /// The key of its condition on the near end.
    near_end: u32,
}

/// Candidates found by the near end.
#[derive(Debug)]
pub(super) struct ByNearEnd {
    any: Bucket,
    some: FxHashMap<u32, Bucket>,
}

/// Candidates found by protocol and port.
#[derive(Debug)]
pub(super) struct ByPort {
    /// Rules for all services.
    any: Box<[Candidate]>,
    /// Stretches of service numbers that rules name.
    blocks: Nested<u32>,
    /// The candidates of each block.
    lists: Box<[Box<[Candidate]>]>,
}

const ALL_SERVICES: (u32, u32) = (0, u32::MAX);

impl Candidate {
    /// The candidates that stand for a rule: one for each stretch of services that it is for.
    pub(super) fn of_rule(
        rule: u32,
        rest: Option<RestId>,
        ports: Option<&Selection<Port>>,
        near_end: u32,
    ) -> Vec<Self> {
        let services = ports.map_or(vec![ALL_SERVICES], services);
        let of = |services| Self {
            rule,
            rest,
            services,
            near_end,
        };
        services.into_iter().map(of).collect()
    }

    fn is_for(&self, asked: Asked<'_>) -> bool {
        let (first, last) = self.services;
        first <= asked.service
            && asked.service <= last
            && (self.near_end == ANY_NEAR_END || asked.near_end.contains(&self.near_end))
    }
}

impl Bucket {
    /// From candidates in ascending order of their rules.
    pub(super) fn new(candidates: Vec<Candidate>) -> Self {
        if let [only] = candidates[..] {
            return Self::One(only);
        }
        if candidates.len() < MANY {
            return Self::Few(candidates.into());
        }
        let (any, some): (Vec<_>, Vec<_>) = candidates
            .into_iter()
            .partition(|candidate| candidate.near_end == ANY_NEAR_END);
        if some.is_empty() {
            return Self::by_port(any);
        }
        let mut by_near_end: FxHashMap<u32, Vec<Candidate>> = FxHashMap::default();
        for candidate in some {
            let of_one = by_near_end.entry(candidate.near_end).or_default();
            of_one.push(candidate);
        }
        Self::ByNearEnd(Box::new(ByNearEnd {
            any: Self::by_port(any),
            some: by_near_end
                .into_iter()
                .map(|(key, candidates)| (key, Self::by_port(candidates)))
                .collect(),
        }))
    }

    /// Of candidates for one near end, or for all.
    fn by_port(candidates: Vec<Candidate>) -> Self {
        if candidates.len() < MANY {
            return Self::Few(candidates.into());
        }
        let mut any = Vec::new();
        let mut lists: BTreeMap<(u32, u32), Vec<Candidate>> = BTreeMap::new();
        for candidate in candidates {
            if candidate.services == ALL_SERVICES {
                any.push(candidate);
                continue;
            }
            for services in aligned_blocks(candidate.services.0, candidate.services.1) {
                lists.entry(services).or_default().push(Candidate {
                    services,
                    ..candidate
                });
            }
        }
        let spans = (0..)
            .zip(lists.keys())
            .map(|(key, (first, last))| (*first, *last, key))
            .collect();
        let lists = lists.into_values().map(Into::into).collect();
        Self::Many(Box::new(ByPort {
            any: any.into(),
            blocks: Nested::new(spans),
            lists,
        }))
    }

    /// The first rule before `best` for this service and near end that `holds`.
    pub(super) fn first_before(
        &self,
        best: u32,
        asked: Asked<'_>,
        holds: &impl Fn(&Candidate) -> bool,
    ) -> Option<u32> {
        let by_port = match self {
            Self::One(candidate) => {
                return first_in(slice::from_ref(candidate), best, asked, holds);
            }
            Self::Few(candidates) => return first_in(candidates, best, asked, holds),
            Self::Many(by_port) => by_port,
            Self::ByNearEnd(buckets) => {
                let some = asked
                    .near_end
                    .iter()
                    .filter_map(|key| buckets.some.get(key));
                return some.chain([&buckets.any]).fold(None, |found, bucket| {
                    let best = found.unwrap_or(best);
                    bucket.first_before(best, asked, holds).or(found)
                });
            }
        };
        let mut found = first_in(&by_port.any, best, asked, holds);
        for key in by_port.blocks.containing(asked.service) {
            let list = usize::try_from(key)
                .ok()
                .and_then(|key| by_port.lists.get(key));
            let earlier = list.and_then(|list| first_in(list, found.unwrap_or(best), asked, holds));
            found = earlier.or(found);
        }
        found
    }
}

fn first_in(
    candidates: &[Candidate],
    best: u32,
    asked: Asked<'_>,
    holds: &impl Fn(&Candidate) -> bool,
) -> Option<u32> {
    candidates
        .iter()
        .take_while(|candidate| candidate.rule < best)
        .find(|candidate| candidate.is_for(asked) && holds(candidate))
        .map(|candidate| candidate.rule)
}

/// Protocol and port as one number. Ports of ICMP and of other protocols count as 0: they mean nothing.
pub(super) fn service_number(protocol: Protocol, port: u16) -> u32 {
    match protocol {
        Protocol::Tcp => u32::from(port),
        Protocol::Udp => 1 << 16 | u32::from(port),
        Protocol::Icmp => 2 << 16,
        Protocol::Other(number) => (3 + u32::from(number)) << 16,
    }
}

/// The services that a rule is for.
fn services(ports: &Selection<Port>) -> Vec<(u32, u32)> {
    let of = |ports: &[Port]| -> Vec<(u32, u32)> {
        let stretches = ports.iter().flat_map(|port| stretches(*port));
        stretches.flatten().collect()
    };
    let mut except = of(&ports.except);
    except.sort_unstable();
    let within = ports.within.as_deref().map_or(vec![ALL_SERVICES], of);
    let left = |stretch| without(stretch, &except);
    within.into_iter().flat_map(left).collect()
}

/// What is left of a stretch; `except` is in ascending order.
fn without((first, last): (u32, u32), except: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let (mut left, mut next) = (Vec::new(), Some(first));
    for (from, to) in except {
        let Some(start) = next.filter(|start| *start <= last) else {
            break;
        };
        if *to < start {
            continue;
        }
        if start < *from {
            left.push((start, last.min(from - 1)));
        }
        next = to.checked_add(1);
    }
    left.extend(
        next.filter(|start| *start <= last)
            .map(|start| (start, last)),
    );
    left
}

/// The stretches of service numbers that a port condition stands for.
fn stretches(port: Port) -> [Option<(u32, u32)>; 2] {
    let of = |protocol, first, last| {
        Some((
            service_number(protocol, first),
            service_number(protocol, last),
        ))
    };
    match port {
        Port::Tcp(first, last) => [of(Protocol::Tcp, first, last), None],
        Port::Udp(first, last) => [of(Protocol::Udp, first, last), None],
        Port::TcpOrUdp(first, last) => [
            of(Protocol::Tcp, first, last),
            of(Protocol::Udp, first, last),
        ],
        Port::Icmp => [of(Protocol::Icmp, 0, 0), None],
        Port::Other(number) => [of(Protocol::Other(number), 0, 0), None],
    }
}
