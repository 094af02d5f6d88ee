//! From an address to the destinations, of those that rules name, it lies in.

use std::net::IpAddr;

use ipnet::IpNet;
use rustc_hash::FxHashMap;

use super::nested::Nested;
use crate::destination::Destination;
use crate::scope::Scope;

/// The key of "anywhere".
pub(super) const ANYWHERE: u32 = 0;
/// Keys below this are "anywhere" and the scopes.
const FIRST_NET: u32 = 6;

/// Nested IPv6 networks have at most 129 lengths; with "anywhere" and the scope.
const MOST_KEYS: usize = 131;

/// From an address to the keys of the destinations it lies in.
#[derive(Debug)]
pub(super) struct DestinationIndex {
    v4: Nested<u32>,
    v6: Nested<u128>,
}

/// Gives each distinct destination its key while the rules are read.
#[derive(Debug, Default)]
pub(super) struct DestinationKeys {
    keys: FxHashMap<IpNet, u32>,
    nets: Vec<IpNet>,
}

/// Keys found for one address, the widest first: "anywhere", the scope, then networks from the innermost.
#[derive(Debug)]
pub(super) struct Found {
    keys: [u32; MOST_KEYS],
    len: usize,
}

impl DestinationKeys {
    /// The keys under which a rule for `to` is to be found.
    pub(super) fn assign(&mut self, to: &Destination) -> Vec<u32> {
        match to {
            Destination::Anywhere => vec![ANYWHERE],
            Destination::Scope(scope) => vec![scope_key(*scope)],
            Destination::Net(_) | Destination::Range(..) => {
                to.nets().into_iter().map(|net| self.key_of(net)).collect()
            }
        }
    }

    fn key_of(&mut self, net: IpNet) -> u32 {
        let next = u32::try_from(self.nets.len())
            .unwrap_or(u32::MAX)
            .saturating_add(FIRST_NET);
        *self.keys.entry(net).or_insert_with(|| {
            self.nets.push(net);
            next
        })
    }

    /// How many keys there are, those of no network included.
    pub(super) fn count(&self) -> usize {
        self.nets.len() + 6
    }

    pub(super) fn build(self) -> DestinationIndex {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (key, net) in (FIRST_NET..).zip(self.nets) {
            match net {
                IpNet::V4(net) => {
                    v4.push((net.network().to_bits(), net.broadcast().to_bits(), key))
                }
                IpNet::V6(net) => {
                    v6.push((net.network().to_bits(), net.broadcast().to_bits(), key))
                }
            }
        }
        DestinationIndex {
            v4: Nested::new(v4),
            v6: Nested::new(v6),
        }
    }
}

impl DestinationIndex {
    /// The keys of all destinations that `address`, which must be canonical, lies in.
    pub(super) fn find(&self, address: IpAddr) -> Found {
        let mut found = Found {
            keys: [ANYWHERE; MOST_KEYS],
            len: 1,
        };
        found.push(scope_key(Scope::of(address)));
        match address {
            IpAddr::V4(v4) => self
                .v4
                .containing(v4.to_bits())
                .for_each(|key| found.push(key)),
            IpAddr::V6(v6) => self
                .v6
                .containing(v6.to_bits())
                .for_each(|key| found.push(key)),
        }
        found
    }
}

impl Found {
    fn push(&mut self, key: u32) {
        self.keys[self.len] = key;
        self.len += 1;
    }

    pub(super) fn as_slice(&self) -> &[u32] {
        &self.keys[..self.len]
    }
}

fn scope_key(scope: Scope) -> u32 {
    match scope {
        Scope::Loopback => 1,
        Scope::LinkLocal => 2,
        Scope::Lan => 3,
        Scope::Multicast => 4,
        Scope::Internet => 5,
    }
}
