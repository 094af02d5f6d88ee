//! From a flow's near end to the conditions on it, of those that rules name, that hold.
//!
//! All values of a condition have one key, so a rule is filed once whatever it names.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use rustc_hash::FxHashMap;

use super::nested::Nested;
use crate::definitions::Definitions;
use crate::destination::Destination;
use crate::scope::Scope;
use crate::selection::Selection;

/// The key of rules for every near end.
pub(super) const ANY_NEAR_END: u32 = 0;

/// Keys that are handed over at once. Seldom are there more.
const BATCH: usize = 64;

/// From a near end to the keys of the conditions that it meets.
#[derive(Debug)]
pub(super) struct NearEndIndex {
    v4: Nested<u32>,
    v6: Nested<u128>,
    /// Of each network that some condition names, the keys of those that do.
    nets: Box<[Box<[u32]>]>,
    scopes: [Box<[u32]>; Scope::ALL.len()],
}

/// Gives each distinct condition its key while the rules are read.
#[derive(Debug)]
pub(super) struct NearEndKeys<'r> {
    definitions: &'r Definitions,
    keys: FxHashMap<&'r [Destination], u32>,
}

impl<'r> NearEndKeys<'r> {
    pub(super) fn new(definitions: &'r Definitions) -> Self {
        Self {
            definitions,
            keys: FxHashMap::default(),
        }
    }

    /// The key under which a rule with this condition is to be found; what must not be is not part of it.
    pub(super) fn assign(&mut self, from: Option<&'r Selection<Destination>>) -> u32 {
        let within = from.and_then(|from| from.within.as_deref());
        match within {
            Some(within) if !within.contains(&Destination::Anywhere) => {
                let next = u32::try_from(self.keys.len() + 1).unwrap_or(u32::MAX);
                *self.keys.entry(within).or_insert(next)
            }
            _ => ANY_NEAR_END,
        }
    }

    pub(super) fn build(self) -> NearEndIndex {
        let mut conditions: Vec<_> = self.keys.into_iter().collect();
        conditions.sort_unstable_by_key(|(_, key)| *key);
        let mut nets: BTreeMap<IpNet, Vec<u32>> = BTreeMap::new();
        let mut scopes: [Vec<u32>; Scope::ALL.len()] = Default::default();
        for (within, key) in conditions {
            let of_sets = within.iter().filter_map(Destination::set);
            let members = of_sets.filter_map(|set| self.definitions.members(set));
            for member in within.iter().chain(members.flatten()) {
                for net in member.nets() {
                    add(nets.entry(net).or_default(), key);
                }
                for scope in Scope::ALL {
                    if [Destination::Anywhere, Destination::Scope(scope)].contains(member) {
                        add(&mut scopes[position(scope)], key);
                    }
                }
            }
        }
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (net, at) in nets.keys().zip(0..) {
            match net {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits(), at)),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits(), at)),
            }
        }
        NearEndIndex {
            v4: Nested::new(v4),
            v6: Nested::new(v6),
            nets: nets.into_values().map(Into::into).collect(),
            scopes: scopes.map(Into::into),
        }
    }
}

/// Conditions come in the order of their keys, so one that is there already is the last.
fn add(keys: &mut Vec<u32>, key: u32) {
    if keys.last() != Some(&key) {
        keys.push(key);
    }
}

impl NearEndIndex {
    /// Calls `visit` with the keys of all conditions that this near end meets, a few at a time; one may come twice. An address
    /// that is not known meets only those that ask for none.
    pub(super) fn each(&self, near_end: Option<IpAddr>, mut visit: impl FnMut(&[u32])) {
        let mut batch = [ANY_NEAR_END; BATCH];
        let mut len = 1;
        let mut push = |keys: &[u32]| {
            for key in keys {
                if len == BATCH {
                    visit(&batch);
                    len = 0;
                }
                batch[len] = *key;
                len += 1;
            }
        };
        if let Some(address) = near_end {
            push(&self.scopes[position(Scope::of(address))]);
            let mut push_net = |at: u32| {
                let keys = usize::try_from(at).ok().and_then(|at| self.nets.get(at));
                keys.into_iter().for_each(|keys| push(keys));
            };
            match address {
                IpAddr::V4(v4) => self.v4.containing(v4.to_bits()).for_each(&mut push_net),
                IpAddr::V6(v6) => self.v6.containing(v6.to_bits()).for_each(&mut push_net),
            }
        }
        visit(&batch[..len]);
    }
}

/// Where a scope stands among all.
fn position(scope: Scope) -> usize {
    Scope::ALL
        .iter()
        .position(|other| *other == scope)
        .unwrap_or(0)
}
