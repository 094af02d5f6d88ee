//! A list as the configuration names it: where it comes from, how it is read, and what it does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::parse::Format;
use super::{Effect, Reach};
use crate::app_condition::AppCondition;
use crate::rule::Origin;
use crate::verdict::Verdict;

/// One `[[list]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListDefinition {
    /// The name by which rules refer to it.
    pub name: Arc<str>,
    /// Where it was written.
    pub origin: Origin,
    /// Where its text comes from.
    pub source: ListSource,
    /// How it is written; absent: its first lines tell.
    pub format: Option<Format>,
    /// How far a bare name reaches.
    pub bare: Reach,
    /// What it is about; rules may name these too.
    pub categories: Vec<Arc<str>>,
    /// What happens to flows to what is on it, where no rule decides; absent: nothing, the list is for rules.
    pub action: Option<Verdict>,
    /// The programs that this is for.
    pub app: Option<AppCondition>,
    /// The SHA-256 that its text must have.
    pub pin: Option<[u8; 32]>,
    /// How often it is fetched; absent: never again by itself.
    pub update: Option<Duration>,
    /// What its text has at most, in bytes, compressed or not.
    pub most_bytes: u64,
    /// How long fetching it may take.
    pub most_time: Duration,
}

/// Where a list's text comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListSource {
    /// A file of this host, by its full path.
    File(PathBuf),
    /// An address that begins with `https://`.
    Url(Arc<str>),
}

impl ListDefinition {
    /// What its entries want done.
    pub fn effect(&self) -> Effect {
        match self.action {
            Some(Verdict::Allow) => Effect::Allow,
            Some(Verdict::Ask | Verdict::Block | Verdict::Drop) | None => Effect::Block,
        }
    }
}
