//! What rules refer to by name: sets of destinations, lists, and profiles.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::destination::Destination;
use crate::facts::ListId;
use crate::list::ListDefinition;
use crate::profile::Profile;
use crate::rule::{Origin, Rule};

/// Sets that a configuration may hold.
pub(crate) const MOST_SETS: usize = 1000;

/// A named set of destinations: `[[set]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// The name that rules refer to it by.
    pub name: Arc<str>,
    /// Where it was written.
    pub origin: Origin,
    /// What it holds, other sets among it.
    pub to: Vec<Destination>,
}

/// Sets, lists and profiles, found by their names.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    sets: Vec<Set>,
    by_name: FxHashMap<Arc<str>, usize>,
    /// Of each set all that it is made of: itself, the sets in it, the sets in those.
    parts: Vec<Vec<usize>>,
    lists: Vec<Arc<str>>,
    list_ids: FxHashMap<Arc<str>, ListId>,
    profiles: Vec<Profile>,
}

impl Definitions {
    /// Of two sets with one name the first counts. Lists that are configured come first, in their order; then what
    /// `rules` name, which may be several lists: a category.
    pub(crate) fn new(sets: Vec<Set>, rules: &[Rule], configured: &[ListDefinition]) -> Self {
        let mut definitions = Self {
            by_name: by_name(&sets),
            parts: Vec::new(),
            sets,
            lists: configured
                .iter()
                .map(|list| Arc::clone(&list.name))
                .collect(),
            list_ids: FxHashMap::default(),
            profiles: Vec::new(),
        };
        definitions.parts = (0..definitions.sets.len())
            .map(|set| definitions.parts_of(set))
            .collect();
        let of_rules = rules.iter().filter_map(|rule| rule.to.as_ref());
        let named = of_rules.flat_map(|to| to.values());
        let in_sets = definitions.sets.iter().flat_map(|set| &set.to);
        let lists: Vec<_> = named
            .chain(in_sets)
            .filter_map(Destination::list)
            .cloned()
            .collect();
        for list in lists {
            definitions.intern(list);
        }
        definitions
    }

    /// The same with these profiles.
    pub(crate) fn with_profiles(self, profiles: Vec<Profile>) -> Self {
        Self { profiles, ..self }
    }

    /// The profiles, in the order written.
    pub(crate) fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// The profile of this name.
    pub(crate) fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| *profile.name == *name)
    }

    fn intern(&mut self, list: Arc<str>) {
        let Ok(next) = u32::try_from(self.lists.len()) else {
            return;
        };
        let lists = &mut self.lists;
        self.list_ids.entry(list).or_insert_with_key(|list| {
            lists.push(Arc::clone(list));
            ListId(next)
        });
    }

    fn parts_of(&self, set: usize) -> Vec<usize> {
        let (mut parts, mut seen) = (vec![set], FxHashSet::from_iter([set]));
        let mut at = 0;
        while let Some(part) = parts.get(at) {
            at += 1;
            let inner: Vec<usize> = self.inner(*part).collect();
            parts.extend(inner.into_iter().filter(|part| seen.insert(*part)));
        }
        parts
    }

    /// The sets that stand directly in a set.
    pub(crate) fn inner(&self, set: usize) -> impl Iterator<Item = usize> {
        let names = self.sets[set].to.iter().filter_map(Destination::set);
        names.filter_map(|name| self.position(name))
    }

    /// The set of this name.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Of each set all that it is made of, itself first.
    pub(crate) fn parts(&self) -> &[Vec<usize>] {
        &self.parts
    }

    /// What stands in a set itself, other sets left out.
    pub(crate) fn own_members(&self, set: usize) -> impl Iterator<Item = &Destination> {
        let members = self.sets.get(set).map(|set| &set.to[..]);
        let members = members.unwrap_or_default().iter();
        members.filter(|to| to.set().is_none())
    }

    /// All that a set is made of; none if there is no such set.
    pub(crate) fn members(&self, name: &str) -> Option<impl Iterator<Item = &Destination>> {
        let parts = &self.parts[self.position(name)?];
        Some(parts.iter().flat_map(|part| self.own_members(*part)))
    }

    /// Lists by their ids.
    pub(crate) fn lists(&self) -> &[Arc<str>] {
        &self.lists
    }

    /// The id of a list that some rule names.
    pub(crate) fn list(&self, name: &str) -> Option<ListId> {
        self.list_ids.get(name).copied()
    }
}

/// The first set of each name.
pub(crate) fn by_name(sets: &[Set]) -> FxHashMap<Arc<str>, usize> {
    let mut by_name = FxHashMap::default();
    for (position, set) in sets.iter().enumerate() {
        by_name.entry(Arc::clone(&set.name)).or_insert(position);
    }
    by_name
}
