//! From an address to the destinations, of those that rules name, it lies in.

use std::net::IpAddr;

use ipnet::IpNet;
use rustc_hash::FxHashMap;

use super::nested::Nested;
use crate::destination::Destination;
use crate::scope::Scope;

/// The key of "anywhere".
pub(super) const ANYWHERE: u32 = 0;
/// "Anywhere" and the scopes have the first keys.
const FIXED: usize = 1 + Scope::ALL.len();

/// Nested IPv6 networks have at most 129 lengths; with "anywhere" and the scope.
const MOST_KEYS: usize = 131;

/// From an address to the destinations it lies in.
#[derive(Debug)]
pub(super) struct DestinationIndex {
    /// Those that are no networks, by key.
    fixed: [Hit; FIXED],
    v4: Nested<u32>,
    v6: Nested<u128>,
}

/// A destination that an address lies in. Which rules name it is part of the number, so that nothing else need be read
/// where no rule is to be found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit(u32);

impl Hit {
    const ANY_APP: u32 = 1 << 31;
    const SOME_APP: u32 = 1 << 30;

    fn new(key: u32, uses: Uses) -> Self {
        let any_app = if uses.any_app { Self::ANY_APP } else { 0 };
        let some_app = if uses.some_app { Self::SOME_APP } else { 0 };
        Self(key | any_app | some_app)
    }

    pub(super) fn key(self) -> u32 {
        self.0 & !(Self::ANY_APP | Self::SOME_APP)
    }

    /// Whether rules for any app name the destination.
    pub(super) fn has_any_app(self) -> bool {
        self.0 & Self::ANY_APP != 0
    }

    /// Whether rules that name an app name the destination too.
    pub(super) fn has_some_app(self) -> bool {
        self.0 & Self::SOME_APP != 0
    }
}

/// Which rules name a destination.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Uses {
    pub(super) any_app: bool,
    pub(super) some_app: bool,
}

/// Gives each distinct destination its key while the rules are read.
#[derive(Debug, Default)]
pub(super) struct DestinationKeys {
    keys: FxHashMap<IpNet, u32>,
    nets: Vec<IpNet>,
}

/// What was found for one address: "anywhere", the scope, then networks from the innermost.
#[derive(Debug)]
pub(super) struct Found {
    hits: [Hit; MOST_KEYS],
    len: usize,
}

impl DestinationKeys {
    /// The keys under which a rule for `to` is to be found.
    pub(super) fn assign(&mut self, to: &Destination) -> Vec<u32> {
        match to {
            Destination::Anywhere => vec![ANYWHERE],
            Destination::Scope(scope) => vec![scope_key(*scope).into()],
            Destination::Net(_) | Destination::Range(..) => {
                to.nets().into_iter().map(|net| self.key_of(net)).collect()
            }
        }
    }

    fn key_of(&mut self, net: IpNet) -> u32 {
        let next = u32::try_from(FIXED + self.nets.len()).unwrap_or(u32::MAX);
        *self.keys.entry(net).or_insert_with(|| {
            self.nets.push(net);
            next
        })
    }

    /// How many keys there are.
    pub(super) fn count(&self) -> usize {
        FIXED + self.nets.len()
    }

    /// `uses` says of each key which rules name it.
    pub(super) fn build(self, uses: &[Uses]) -> DestinationIndex {
        let hits: Vec<Hit> = (0..)
            .zip(uses)
            .map(|(key, uses)| Hit::new(key, *uses))
            .collect();
        let (fixed, of_nets) = hits.split_first_chunk().unwrap_or((&[Hit(0); FIXED], &[]));
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (hit, net) in of_nets.iter().zip(self.nets) {
            match net {
                IpNet::V4(net) => {
                    v4.push((net.network().to_bits(), net.broadcast().to_bits(), hit.0))
                }
                IpNet::V6(net) => {
                    v6.push((net.network().to_bits(), net.broadcast().to_bits(), hit.0))
                }
            }
        }
        DestinationIndex {
            fixed: *fixed,
            v4: Nested::new(v4),
            v6: Nested::new(v6),
        }
    }
}

impl DestinationIndex {
    /// All destinations that `address`, which must be canonical, lies in.
    pub(super) fn find(&self, address: IpAddr) -> Found {
        let mut found = Found {
            hits: [self.fixed[0]; MOST_KEYS],
            len: 1,
        };
        found.push(self.fixed[usize::from(scope_key(Scope::of(address)))]);
        match address {
            IpAddr::V4(v4) => self
                .v4
                .containing(v4.to_bits())
                .for_each(|hit| found.push(Hit(hit))),
            IpAddr::V6(v6) => self
                .v6
                .containing(v6.to_bits())
                .for_each(|hit| found.push(Hit(hit))),
        }
        found
    }
}

impl Found {
    fn push(&mut self, hit: Hit) {
        self.hits[self.len] = hit;
        self.len += 1;
    }

    pub(super) fn as_slice(&self) -> &[Hit] {
        &self.hits[..self.len]
    }
}

/// The key of a scope.
fn scope_key(scope: Scope) -> u8 {
    match scope {
        Scope::Loopback => 1,
        Scope::LinkLocal => 2,
        Scope::Lan => 3,
        Scope::Multicast => 4,
        Scope::Internet => 5,
    }
}
