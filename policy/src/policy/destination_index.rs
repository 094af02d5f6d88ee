//! From what is known of a flow's other end to the destinations, of those that rules name, that it is.

use std::net::IpAddr;

use ipnet::IpNet;
use rustc_hash::FxHashMap;

use super::name_index::{NameIndex, NameKeys};
use super::nested::Nested;
use crate::definitions::Definitions;
use crate::destination::{Continent, Country, Destination};
use crate::facts::{Fact, FlowFacts, ListId, Lists, Names};
use crate::scope::Scope;
use crate::verdict::Verdict;

/// The key of "anywhere".
pub(super) const ANYWHERE: u32 = 0;
/// "Anywhere" and the scopes have the first keys, then come those of rules that may have to wait for a name.
const FIXED: usize = 1 + Scope::ALL.len() + Verdict::ALL.len();

/// Hits that are handed over at once. Seldom are there more.
const BATCH: usize = 64;

/// From what is known of an other end to the destinations that it is.
#[derive(Debug)]
pub(super) struct DestinationIndex {
    /// Those with keys that are known before, by key.
    fixed: [Hit; FIXED],
    v4: Nested<u32>,
    v6: Nested<u128>,
    names: NameIndex,
    countries: FxHashMap<Country, Hit>,
    continents: FxHashMap<Continent, Hit>,
    systems: FxHashMap<u32, Hit>,
    lists: FxHashMap<ListId, Hit>,
    /// The sets that a destination stands in, by its key.
    in_sets: FxHashMap<u32, Box<[u32]>>,
    /// Of each set the hits of those that hold it, its own too.
    around: Box<[Box<[Hit]>]>,
}

/// A destination that was found. Which rules name it is part of the number, so that nothing else need be read where no
/// rule is to be found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit(u32);

impl Hit {
    const ANY_APP: u32 = 1 << 31;
    const SOME_APP: u32 = 1 << 30;
    const IN_SETS: u32 = 1 << 29;

    fn new(key: u32, uses: Uses) -> Self {
        let bit = |holds, bit| if holds { bit } else { 0 };
        Self(
            key | bit(uses.any_app, Self::ANY_APP)
                | bit(uses.some_app, Self::SOME_APP)
                | bit(uses.in_sets, Self::IN_SETS),
        )
    }

    pub(super) fn key(self) -> u32 {
        self.0 & !(Self::ANY_APP | Self::SOME_APP | Self::IN_SETS)
    }

    /// Whether rules for any app name the destination.
    pub(super) fn has_any_app(self) -> bool {
        self.0 & Self::ANY_APP != 0
    }

    /// Whether rules that name an app name the destination too.
    pub(super) fn has_some_app(self) -> bool {
        self.0 & Self::SOME_APP != 0
    }

    fn is_in_sets(self) -> bool {
        self.0 & Self::IN_SETS != 0
    }
}

/// Where a destination is named.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Uses {
    pub(super) any_app: bool,
    pub(super) some_app: bool,
    in_sets: bool,
}

/// Gives each distinct destination its key while the rules are read.
#[derive(Debug)]
pub(super) struct DestinationKeys<'d> {
    definitions: &'d Definitions,
    nets: FxHashMap<IpNet, u32>,
    names: NameKeys,
    countries: FxHashMap<Country, u32>,
    continents: FxHashMap<Continent, u32>,
    systems: FxHashMap<u32, u32>,
    lists: FxHashMap<ListId, u32>,
    sets: FxHashMap<usize, u32>,
    count: u32,
}

impl<'d> DestinationKeys<'d> {
    pub(super) fn new(definitions: &'d Definitions) -> Self {
        Self {
            definitions,
            nets: FxHashMap::default(),
            names: NameKeys::default(),
            countries: FxHashMap::default(),
            continents: FxHashMap::default(),
            systems: FxHashMap::default(),
            lists: FxHashMap::default(),
            sets: FxHashMap::default(),
            count: u32::try_from(FIXED).unwrap_or(u32::MAX),
        }
    }

    /// The keys under which a rule for `to` is to be found.
    pub(super) fn assign(&mut self, to: &Destination) -> Vec<u32> {
        let next = self.count;
        let key = match to {
            Destination::Anywhere => ANYWHERE,
            Destination::Scope(scope) => scope_key(*scope).into(),
            Destination::Net(_) | Destination::Range(..) => {
                return to.nets().into_iter().map(|net| self.net(net)).collect();
            }
            Destination::Name(pattern) => self.names.key_of(pattern, next),
            Destination::Country(country) => *self.countries.entry(*country).or_insert(next),
            Destination::Continent(continent) => *self.continents.entry(*continent).or_insert(next),
            Destination::System(number) => *self.systems.entry(*number).or_insert(next),
            Destination::List(list) => match self.definitions.list(list) {
                Some(list) => *self.lists.entry(list).or_insert(next),
                None => return Vec::new(),
            },
            Destination::Set(set) => match self.definitions.position(set) {
                Some(set) => *self.sets.entry(set).or_insert(next),
                None => return Vec::new(),
            },
        };
        self.count += u32::from(key == next);
        vec![key]
    }

    fn net(&mut self, net: IpNet) -> u32 {
        let next = self.count;
        let key = *self.nets.entry(net).or_insert(next);
        self.count += u32::from(key == next);
        key
    }

    /// The key of rules with this action that may have to wait for a name.
    pub(super) fn awaited(action: Verdict) -> u32 {
        awaited_key(action).into()
    }

    /// Gives the members of all sets that rules name their keys; of each member the sets that it stands in.
    pub(super) fn assign_members(&mut self) -> Members {
        let definitions = self.definitions;
        let mut members = Members {
            in_sets: FxHashMap::default(),
            around: vec![Vec::new(); definitions.parts().len()],
        };
        let mut used: Vec<(usize, u32)> = self.sets.iter().map(|(set, key)| (*set, *key)).collect();
        used.sort_unstable();
        for (set, key) in used {
            for part in &definitions.parts()[set] {
                members.around[*part].push(key);
            }
        }
        for (set, part) in (0_u32..).zip(0..definitions.parts().len()) {
            if members.around[part].is_empty() {
                continue;
            }
            for member in definitions.own_members(part) {
                for key in self.assign(member) {
                    let sets = members.in_sets.entry(key).or_default();
                    if sets.last() != Some(&set) {
                        sets.push(set);
                    }
                }
            }
        }
        members
    }

    /// How many keys there are.
    pub(super) fn count(&self) -> usize {
        index(self.count)
    }

    /// `uses` says of each key where it is named.
    pub(super) fn build(self, mut uses: Vec<Uses>, members: Members) -> DestinationIndex {
        let keys = members.in_sets.keys();
        keys.for_each(|key| uses[index(*key)].in_sets = true);
        let hits: Vec<Hit> = (0..)
            .zip(uses)
            .map(|(key, uses)| Hit::new(key, uses))
            .collect();
        let hit = |key: u32| hits[index(key)];
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        let nets = self.nets.into_iter().map(|(net, key)| (net, hit(key).0));
        nets.for_each(|(net, hit)| match net {
            IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits(), hit)),
            IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits(), hit)),
        });
        DestinationIndex {
            fixed: hits.first_chunk().copied().unwrap_or([Hit(0); FIXED]),
            v4: Nested::new(v4),
            v6: Nested::new(v6),
            names: self.names.build(|key| hit(key).0),
            countries: with_hits(self.countries, hit),
            continents: with_hits(self.continents, hit),
            systems: with_hits(self.systems, hit),
            lists: with_hits(self.lists, hit),
            in_sets: members
                .in_sets
                .into_iter()
                .map(|(key, sets)| (key, sets.into()))
                .collect(),
            around: members
                .around
                .iter()
                .map(|keys| keys.iter().map(|key| hit(*key)).collect())
                .collect(),
        }
    }
}

/// Which sets destinations stand in.
#[derive(Debug)]
pub(super) struct Members {
    /// By the destination's key the sets that hold it themselves.
    in_sets: FxHashMap<u32, Vec<u32>>,
    /// Of each set the keys of those that hold it and are named by rules, its own too.
    around: Vec<Vec<u32>>,
}

fn with_hits<T: Eq + std::hash::Hash>(
    keys: FxHashMap<T, u32>,
    hit: impl Fn(u32) -> Hit,
) -> FxHashMap<T, Hit> {
    keys.into_iter()
        .map(|(value, key)| (value, hit(key)))
        .collect()
}

impl DestinationIndex {
    /// Calls `visit` with all destinations that the flow's other end is, a few at a time; one may come twice.
    pub(super) fn each(&self, facts: &FlowFacts<'_>, visit: impl FnMut(&[Hit])) {
        let mut batch = Batch {
            index: self,
            hits: [Hit(0); BATCH],
            len: 0,
            visit,
        };
        let address = facts.other_end();
        batch.push(self.fixed[0]);
        batch.push(self.fixed[usize::from(scope_key(Scope::of(address)))]);
        match address {
            IpAddr::V4(v4) => self
                .v4
                .containing(v4.to_bits())
                .for_each(|hit| batch.push(Hit(hit))),
            IpAddr::V6(v6) => self
                .v6
                .containing(v6.to_bits())
                .for_each(|hit| batch.push(Hit(hit))),
        }
        let peer = &facts.peer;
        if let Names::Known(names) = peer.names {
            for known in names {
                self.names
                    .each(&known.name, &mut |hit| batch.push(Hit(hit)));
            }
        }
        batch.push_if_is(peer.country, &self.countries);
        batch.push_if_is(peer.continent, &self.continents);
        batch.push_if_is(peer.system, &self.systems);
        if let Lists::On(lists) = peer.lists {
            for list in lists {
                batch.push_if_is(Fact::Is(*list), &self.lists);
            }
        }
        batch.flush();
    }

    /// What rules with this action are found by that may have to wait for a name.
    pub(super) fn awaited(&self, action: Verdict) -> Hit {
        self.fixed[usize::from(awaited_key(action))]
    }
}

/// Hits on their way to whoever looks for rules.
struct Batch<'i, F> {
    index: &'i DestinationIndex,
    hits: [Hit; BATCH],
    len: usize,
    visit: F,
}

impl<F: FnMut(&[Hit])> Batch<'_, F> {
    fn push(&mut self, hit: Hit) {
        self.add(hit);
        if hit.is_in_sets() {
            let sets = self.index.in_sets.get(&hit.key());
            for set in sets.into_iter().flatten() {
                for hit in &self.index.around[index(*set)] {
                    self.add(*hit);
                }
            }
        }
    }

    fn push_if_is<T: Eq + std::hash::Hash>(&mut self, fact: Fact<T>, hits: &FxHashMap<T, Hit>) {
        if let Fact::Is(value) = fact
            && let Some(hit) = hits.get(&value)
        {
            self.push(*hit);
        }
    }

    fn add(&mut self, hit: Hit) {
        if !hit.has_any_app() && !hit.has_some_app() && hit.key() != ANYWHERE {
            return;
        }
        if self.len == BATCH {
            self.flush();
        }
        self.hits[self.len] = hit;
        self.len += 1;
    }

    fn flush(&mut self) {
        (self.visit)(&self.hits[..self.len]);
        self.len = 0;
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

/// The key of rules with this action that may have to wait for a name.
fn awaited_key(action: Verdict) -> u8 {
    match action {
        Verdict::Allow => 6,
        Verdict::Block => 7,
        Verdict::Drop => 8,
        Verdict::Ask => 9,
    }
}

fn index(key: u32) -> usize {
    usize::try_from(key).unwrap_or(usize::MAX)
}
