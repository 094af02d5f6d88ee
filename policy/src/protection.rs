//! What refuses a flow that no rule decided, ahead of the default: protections.
//!
//! A rule that allows the flow stands before them all, and so overrides each. They are about what programs here open;
//! services keep their clients. A protection is a variant of [`Protection`], a part of [`Protections`] that looks for it,
//! and a line of [`Protections::trace`].

mod lists;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::facts::{App, Direction, FlowFacts, ListId};
use crate::rule::Origin;
use crate::verdict::{DecidedBy, Decision};

pub(crate) use lists::ListGuards;

/// What refused a flow that no rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protection {
    /// The other end is on this list.
    List(ListId),
}

impl Protection {
    /// What programs call this reason. It stays the same from version to version.
    pub fn id(self) -> &'static str {
        match self {
            Self::List(_) => "list",
        }
    }
}

/// One protection that was asked about a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TriedProtection {
    /// What flow records and `by` of a test call it, such as `list:trackers`.
    pub label: String,
    /// Where it was turned on.
    pub origin: Origin,
    /// Why it does not refuse the flow, by an id that stays the same; absent: it does.
    pub reason: Option<&'static str>,
    /// The same as a sentence.
    pub missed: Option<String>,
}

impl fmt::Display for TriedProtection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missed = self.missed.as_deref().unwrap_or("refuses");
        write!(f, "{} ({}): {missed}", self.label, self.origin)
    }
}

/// The protections in force, in the order in which they are tried.
#[derive(Debug, Default)]
pub(crate) struct Protections {
    pub(crate) lists: ListGuards,
}

impl Protections {
    /// The first that refuses this flow of `app`.
    pub(crate) fn decide(&self, facts: &FlowFacts<'_>, app: Option<&App>) -> Option<Decision> {
        if facts.direction != Direction::Out {
            return None;
        }
        let (verdict, list) = self.lists.refusal(facts, app)?;
        Some(Decision {
            verdict,
            by: DecidedBy::Protection(Protection::List(list)),
            waits_for: None,
        })
    }

    /// The first that refuses this flow to some program.
    pub(crate) fn decide_for_some_app(&self, facts: &FlowFacts<'_>) -> Option<Decision> {
        if facts.direction != Direction::Out {
            return None;
        }
        let (verdict, list) = self.lists.refusal_to_some(facts)?;
        Some(Decision {
            verdict,
            by: DecidedBy::Protection(Protection::List(list)),
            waits_for: None,
        })
    }

    /// What flow records call a protection.
    pub(crate) fn label(&self, protection: Protection) -> Option<&Arc<str>> {
        match protection {
            Protection::List(list) => self.lists.label(list),
        }
    }

    /// Each that was asked about this flow of `app`, up to the one that refuses it.
    pub(crate) fn trace(&self, facts: &FlowFacts<'_>, app: Option<&App>) -> Vec<TriedProtection> {
        if facts.direction != Direction::Out {
            return Vec::new();
        }
        self.lists.trace(facts, app)
    }
}

#[cfg(test)]
mod tests;
