//! Destinations, alone and in sets.

use std::sync::Arc;

use super::values::read_list;
use crate::definitions::Set;
use crate::destination::{Destination, label};
use crate::document::{Item, Section};
use crate::feed::Feed;
use crate::rule::Origin;

/// A place where a set is referred to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetUse {
    pub(crate) name: Arc<str>,
    pub(crate) origin: Origin,
    /// What its members are held against.
    pub(crate) meant: Meant,
}

/// A place where a list is referred to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListUse {
    pub(crate) name: Arc<str>,
    pub(crate) origin: Origin,
}

/// What a destination is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// All that is known of the other end.
    OtherEnd,
    /// The near end, of which only the address counts.
    NearEnd,
}

/// Reads destinations, and notes what they refer to.
pub(super) struct Destinations<'s> {
    /// Facts that are given.
    pub(super) feeds: &'s [Feed],
    pub(super) sets: &'s mut Vec<SetUse>,
    pub(super) lists: &'s mut Vec<ListUse>,
    pub(super) databases: &'s mut Vec<(Database, Origin)>,
}

/// What rules look up in databases of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// Countries, and the continents that they are on.
    Country,
    /// Autonomous systems.
    System,
}

impl Database {
    fn of(destination: &Destination) -> Option<Self> {
        match destination {
            Destination::Country(_) | Destination::Continent(_) => Some(Self::Country),
            Destination::System(_) => Some(Self::System),
            Destination::Anywhere
            | Destination::Net(_)
            | Destination::Range(..)
            | Destination::Scope(_)
            | Destination::Name(_)
            | Destination::List(_)
            | Destination::Set(_) => None,
        }
    }
}

impl Destinations<'_> {
    pub(super) fn read(&mut self, item: &Item<'_>) -> Option<Destination> {
        let destination = item.parse(Destination::parse)?;
        if let Some(feed) = destination.feed()
            && !self.feeds.contains(&feed)
        {
            let (message, hint) = feed.absence();
            item.error(message, Some(hint.to_owned()));
        }
        self.note_set(&destination, item, Meant::OtherEnd);
        if let Some(name) = destination.list() {
            self.lists.push(ListUse {
                name: Arc::clone(name),
                origin: item.origin(),
            });
        }
        if let Some(database) = Database::of(&destination)
            && self.databases.iter().all(|(other, _)| *other != database)
        {
            self.databases.push((database, item.origin()));
        }
        Some(destination)
    }

    /// Of `from`.
    pub(super) fn read_near_end(&mut self, item: &Item<'_>) -> Option<Destination> {
        let near_end = item.parse(Destination::parse_near_end)?;
        self.note_set(&near_end, item, Meant::NearEnd);
        Some(near_end)
    }

    fn note_set(&mut self, destination: &Destination, item: &Item<'_>, meant: Meant) {
        if let Some(name) = destination.set() {
            self.sets.push(SetUse {
                name: Arc::clone(name),
                origin: item.origin(),
                meant,
            });
        }
    }

    /// One `[[set]]`; absent when it cannot be used, the reason was noted.
    pub(super) fn read_set(&mut self, section: &Section<'_>) -> Option<Set> {
        let name = section.item("name").map(|item| item.parse(label));
        let to = section
            .item("to")
            .map(|item| read_list(&item, |item| self.read(item)));
        if name.is_none() {
            let hint = "add name = \"...\"; rules refer to it as set:NAME";
            section.error("the set has no `name`", Some(hint.to_owned()));
        }
        if to.is_none() {
            let hint = "add to = [...], with what may stand in `to` of a rule";
            section.error("the set has no `to`", Some(hint.to_owned()));
        }
        Some(Set {
            name: name??,
            origin: section.origin(),
            to: to?,
        })
    }
}
