//! Filter lists: what their lines say, how they are read and written, and the compact form in which they are asked.
//!
//! A list is text in one of the [`parse::Format`]s. [`parse::Parser`] turns its lines into [`Entry`]s, whatever the
//! format; [`compiled::Builder`] puts the entries of many lists into one compact file, and [`compiled::Compiled`] is
//! asked about a name or an address straight from that file's bytes.
//!
//! ```
//! use tidegate_policy::list::compiled::{Builder, Compiled, Context, ListInfo};
//! use tidegate_policy::list::parse::{self, Settings};
//! use tidegate_policy::{Name, list::Effect};
//!
//! let mut builder = Builder::new(7);
//! let trackers = builder.list(ListInfo::new("trackers")).unwrap();
//! let text = b"||tracker.example^\n@@||good.tracker.example^\n";
//! let report = parse::parse(text, &Settings::default(), |entry| builder.add(trackers, entry));
//! assert_eq!(report.accepted, 2);
//!
//! let bytes = builder.finish().unwrap();
//! let lists = Compiled::open(&bytes).unwrap();
//! let ask = |name| lists.name(&Name::parse(name).unwrap(), &Context::default()).effect(lists.all());
//! assert_eq!(ask("a.tracker.example"), Some(Effect::Block));
//! assert_eq!(ask("good.tracker.example"), Some(Effect::Allow));
//! assert_eq!(ask("example"), None);
//! ```

pub mod catalogue;
pub mod compiled;
pub mod parse;
pub mod suffixes;

mod binding;
mod client;
mod definition;
mod entry_pattern;
mod range;
mod record_types;
mod write;

pub use binding::Binding;
pub use client::Client;
pub use definition::{ListDefinition, ListSource};
pub use entry_pattern::EntryPattern;
pub use range::AddressRange;
pub use record_types::{RecordType, RecordTypes};
pub use write::write;

use crate::Name;

/// What an entry wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    /// Keep programs from it.
    Block,
    /// Let them have it, whatever blocks it.
    Allow,
}

/// How far below a name an entry reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reach {
    /// The name only.
    Exact,
    /// The name and all beneath it.
    Within,
    /// All beneath the name, not the name itself.
    Below,
}

/// Which names or addresses an entry is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A name, and how far it reaches.
    Name(Name, Reach),
    /// Addresses that follow one another.
    Addresses(AddressRange),
    /// Names of a certain look.
    Matching(EntryPattern),
}

/// When an entry counts; empty parts ask for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Conditions {
    /// `$client`: programs, as an app selector of ours would name them.
    pub clients: Vec<Client>,
    /// `$dnstype`: types of the record asked for.
    pub record_types: RecordTypes,
    /// `$denyallow`: names, and what is beneath them, which the entry is not about.
    pub except: Vec<Name>,
}

impl Conditions {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.record_types.is_any() && self.except.is_empty()
    }
}

/// Whether an entry says something, or takes back what another says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// It says something.
    Rule,
    /// `$badfilter`: the entry that is equal but for this does not count.
    Cancel,
}

/// What one line of a list says, in no format.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// What it is about.
    pub target: Target,
    /// What is to be done.
    pub effect: Effect,
    /// Whether it wins over entries that are not important, even allowing ones.
    pub important: bool,
    /// When it counts.
    pub conditions: Conditions,
    /// Whether it says something, or takes something back.
    pub purpose: Purpose,
}

impl Entry {
    /// An entry without modifiers.
    pub fn new(target: Target, effect: Effect) -> Self {
        Self {
            target,
            effect,
            important: false,
            conditions: Conditions::default(),
            purpose: Purpose::Rule,
        }
    }

    /// Whether it has neither modifiers nor conditions, which most formats cannot say.
    pub fn is_plain(&self) -> bool {
        !self.important && self.conditions.is_empty() && self.purpose == Purpose::Rule
    }
}
