//! Facts in, decision out: the rule language of Tidegate.
//!
//! A [`Policy`] is compiled once from rule files and then asked, for every flow, what to do with it. It is a pure
//! function: the same [`FlowFacts`] always give the same [`Decision`]. Rules are tried in the order written, the first
//! that matches decides; then the default.
//!
//! What holds for all flows of a host at one time, the hour, the network, the profile, is a fact like others: [`Context`].
//!
//! What this crate is *not*: it knows no packets, opens no file, reads no clock and asks the operating system nothing.
//! Whoever calls it gathers the facts.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod context;
pub mod document;
pub mod explain;
pub mod export;
pub mod facts;
pub mod feed;
pub mod flow_test;
pub mod format;
pub mod geo;
pub mod glob;
pub mod import;
pub mod known_flow;
pub mod list;
pub mod moment;
pub mod name;
pub mod rule;
pub mod source;
pub mod verdict;

mod app_condition;
mod definitions;
mod destination;
mod identity;
mod identity_condition;
mod near_end;
mod patience;
mod pattern;
mod policy;
mod port;
mod profile;
mod protection;
mod scope;
mod selection;
mod truth;
mod when;

pub use app_condition::{AppCondition, AppField, ContainerPrefix};
pub use context::{Clock, Context, Mac, Network, ProfileChoice, Uplink};
pub use definitions::Set;
pub use destination::{Continent, Country, Destination, NamePattern, NameRegex};
pub use document::{Document, Item, Problem, Refusal, Section, Severity};
pub use explain::Explanation;
pub use facts::{
    App, Direction, Fact, FlowFacts, FlowName, ListId, Lists, NameSource, Names, Peer, Protocol,
};
pub use feed::Feed;
pub use flow_test::FlowTest;
pub use glob::Glob;
pub use identity::{Identity, Level, Levels};
pub use identity_condition::IdentityCondition;
pub use known_flow::KnownFlow;
pub use moment::{Moment, WallTime};
pub use name::Name;
pub use patience::{Patience, span};
pub use pattern::Pattern;
pub use policy::{NetworkNeeds, Policy};
pub use port::Port;
pub use profile::Profile;
pub use protection::{Protection, TriedProtection};
pub use rule::{Origin, Rule, RuleInfo};
pub use scope::Scope;
pub use selection::Selection;
pub use source::{Allowed, Database, PolicySource};
pub use verdict::{DecidedBy, Decision, Verdict};
pub use when::{Hours, NetworkCondition, Weekday, When, WhenField};
