//! The rules that share an app key and a destination key.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::slice;

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
    ) -> Vec<Self> {
        let services = ports.map_or(vec![ALL_SERVICES], services);
        let of = |services| Self {
            rule,
            rest,
            services,
        };
        services.into_iter().map(of).collect()
    }

    fn is_for(&self, service: u32) -> bool {
        self.services.0 <= service && service <= self.services.1
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

    /// The first rule before `best` for this service that `holds`.
    pub(super) fn first_before(
        &self,
        best: u32,
        service: u32,
        holds: &impl Fn(&Candidate) -> bool,
    ) -> Option<u32> {
        let by_port = match self {
            Self::One(candidate) => {
                return first_in(slice::from_ref(candidate), best, service, holds);
            }
            Self::Few(candidates) => return first_in(candidates, best, service, holds),
            Self::Many(by_port) => by_port,
        };
        let mut found = first_in(&by_port.any, best, service, holds);
        for key in by_port.blocks.containing(service) {
            let list = usize::try_from(key)
                .ok()
                .and_then(|key| by_port.lists.get(key));
            let earlier =
                list.and_then(|list| first_in(list, found.unwrap_or(best), service, holds));
            found = earlier.or(found);
        }
        found
    }
}

fn first_in(
    candidates: &[Candidate],
    best: u32,
    service: u32,
    holds: &impl Fn(&Candidate) -> bool,
) -> Option<u32> {
    candidates
        .iter()
        .take_while(|candidate| candidate.rule < best)
        .find(|candidate| candidate.is_for(service) && holds(candidate))
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
