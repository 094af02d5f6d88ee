//! One rule: conditions and what happens to the flows that meet them all.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::app_condition::{AppCondition, AppField, one_of};
use crate::definitions::Definitions;
use crate::destination::Destination;
use crate::facts::{App, Direction, FlowFacts, Names};
use crate::feed::Feed;
use crate::port::Port;
use crate::selection::Selection;
use crate::truth::Truth;
use crate::verdict::Verdict;
use crate::when::{When, WhenField};

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Origin {
    /// The file's name as it was given to the parser.
    #[serde(serialize_with = "as_text")]
    pub file: Arc<str>,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
}

fn as_text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What identifies a rule to people, and what it does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RuleInfo {
    /// The rule's `name`, where it has one.
    pub name: Option<String>,
    /// Where the rule was written.
    pub origin: Origin,
    /// What happens to the flows that match.
    pub action: Verdict,
}

impl RuleInfo {
    /// The name, or the place where a rule without name was written.
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.origin.to_string())
    }
}

impl fmt::Display for RuleInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "\"{name}\" ({})", self.origin),
            None => write!(f, "({})", self.origin),
        }
    }
}

/// One rule. It matches a flow when all its conditions hold; an absent condition always holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Name, place and action.
    pub info: RuleInfo,
    /// The program behind the flow, which must be known.
    pub app: Option<AppCondition>,
    /// The near end's address.
    pub from: Option<Selection<Destination>>,
    /// The other end.
    pub to: Option<Selection<Destination>>,
    /// Protocol and port of the service.
    pub port: Option<Selection<Port>>,
    /// Who spoke first.
    pub direction: Direction,
    /// When and where it counts.
    pub when: Option<When>,
}

/// The condition for which a rule does not match a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mismatch {
    /// The flow goes the other way.
    Direction,
    /// The rule names a program, and the flow's is not known.
    AppUnknown,
    /// The program is another one.
    App(AppField),
    /// The near end's address.
    From,
    /// The near end's address is not known.
    FromUnknown,
    /// The other end.
    Destination,
    /// What must be known of the other end is not known.
    Unknown(Feed),
    /// Protocol or port.
    Port,
    /// When or where the flow is judged.
    When(WhenField),
    /// The same is not known.
    WhenUnknown(WhenField),
    /// All else holds, but the other end's name is not known yet.
    Awaited,
}

impl Mismatch {
    /// What programs call this reason. It stays the same from version to version; its sentence may be reworded.
    pub fn id(self) -> &'static str {
        match self {
            Self::Direction => "direction",
            Self::AppUnknown => "app-unknown",
            Self::App(field) => match field {
                AppField::Path => "app-path",
                AppField::Name => "app-name",
                AppField::Uid => "app-uid",
                AppField::User => "app-user",
                AppField::Unit => "app-unit",
                AppField::Container => "app-container",
                AppField::Parent => "app-parent",
                AppField::Identity(level) => level.reason_id(),
                AppField::IdentityUnknown(_) => "app-identity-unknown",
                AppField::Except => "app-not",
            },
            Self::From => "from",
            Self::FromUnknown => "from-unknown",
            Self::Destination => "to",
            Self::Unknown(Feed::Names) => "to-name-unknown",
            Self::Unknown(Feed::Places) => "to-place-unknown",
            Self::Unknown(Feed::Lists) => "to-list-unknown",
            Self::Port => "port",
            Self::When(field) => match field {
                WhenField::Expires => "expired",
                WhenField::Profile => "profile",
                WhenField::Time => "when-time",
                WhenField::Weekday => "when-weekday",
                WhenField::Network => "when-network",
                WhenField::Except => "when-not",
            },
            Self::WhenUnknown(field) => match field {
                WhenField::Expires | WhenField::Time | WhenField::Weekday => "when-time-unknown",
                WhenField::Profile => "profile-unknown",
                WhenField::Network => "when-network-unknown",
                WhenField::Except => "when-not-unknown",
            },
            Self::Awaited => "to-name-awaited",
        }
    }
}

impl Rule {
    /// Where the rule was written.
    pub fn origin(&self) -> &Origin {
        &self.info.origin
    }

    /// Whether the rule applies to this flow of `app`, as far as is known.
    pub(crate) fn truth(
        &self,
        facts: &FlowFacts<'_>,
        app: Option<&App>,
        definitions: &Definitions,
    ) -> Truth {
        match self.first_mismatch(facts, app, definitions) {
            None => Truth::Holds,
            Some(Mismatch::Awaited) => Truth::Awaited,
            Some(Mismatch::Unknown(_) | Mismatch::FromUnknown | Mismatch::WhenUnknown(_)) => {
                Truth::Unknown
            }
            Some(
                Mismatch::Direction
                | Mismatch::AppUnknown
                | Mismatch::App(_)
                | Mismatch::From
                | Mismatch::Destination
                | Mismatch::Port
                | Mismatch::When(_),
            ) => Truth::Fails,
        }
    }

    /// The first condition that does not hold for this flow of `app`, in the order direction, app, from, to, port, when; last
    /// of all a name that is awaited.
    pub(crate) fn first_mismatch(
        &self,
        facts: &FlowFacts<'_>,
        app: Option<&App>,
        definitions: &Definitions,
    ) -> Option<Mismatch> {
        if self.direction != facts.direction {
            return Some(Mismatch::Direction);
        }
        if let Some(condition) = &self.app {
            let Some(app) = app else {
                return Some(Mismatch::AppUnknown);
            };
            if let Some(field) = condition.first_mismatch(app) {
                return Some(Mismatch::App(field));
            }
        }
        let from = self.from.as_ref().map_or(Truth::Holds, |from| {
            from.truth(|from| from.truth_of_near_end(facts, definitions))
        });
        match from {
            Truth::Fails => return Some(Mismatch::From),
            Truth::Unknown => return Some(Mismatch::FromUnknown),
            Truth::Holds | Truth::Awaited => {}
        }
        let to = self.to.as_ref().map_or(Truth::Holds, |to| {
            to.truth(|to| to.truth(facts, definitions))
        });
        match to {
            Truth::Fails => return Some(Mismatch::Destination),
            Truth::Unknown => return Some(Mismatch::Unknown(self.missing(facts, definitions))),
            Truth::Holds | Truth::Awaited => {}
        }
        let (protocol, service) = (facts.protocol, facts.service_port());
        let port = self.port.as_ref().map_or(Truth::Holds, |ports| {
            ports.truth(|port| Truth::of(port.contains(protocol, service)))
        });
        if port != Truth::Holds {
            return Some(Mismatch::Port);
        }
        let when = self.when.as_ref();
        match when.and_then(|when| when.first_mismatch(facts.context, definitions)) {
            None => {}
            Some((field, Truth::Fails)) => return Some(Mismatch::When(field)),
            Some((field, _)) => return Some(Mismatch::WhenUnknown(field)),
        }
        (to == Truth::Awaited).then_some(Mismatch::Awaited)
    }

    /// The first kind of fact without which the destination cannot be judged.
    fn missing(&self, facts: &FlowFacts<'_>, definitions: &Definitions) -> Feed {
        let named = self.to.iter().flat_map(Selection::values);
        let unknown = |to: &&Destination| to.truth(facts, definitions) == Truth::Unknown;
        let members = |to: &Destination| match to.set() {
            Some(set) => {
                let members = definitions.members(set).into_iter().flatten();
                members.filter(unknown).find_map(Destination::feed)
            }
            None => to.feed(),
        };
        named
            .filter(unknown)
            .find_map(members)
            .unwrap_or(Feed::Names)
    }

    fn when_reason(&self, missed: (WhenField, Truth), facts: &FlowFacts<'_>) -> String {
        let when = self.when.as_ref();
        when.map_or_else(String::new, |when| when.reason(missed, facts.context))
    }

    /// Why `mismatch` holds for this flow of `app`, as a sentence.
    pub fn mismatch_reason(
        &self,
        mismatch: Mismatch,
        facts: &FlowFacts<'_>,
        app: Option<&App>,
    ) -> String {
        match mismatch {
            Mismatch::Direction => {
                format!("direction {} is not {}", facts.direction, self.direction)
            }
            Mismatch::AppUnknown => "the app is not known".to_owned(),
            Mismatch::App(field) => match (&self.app, app) {
                (Some(condition), Some(app)) => condition.mismatch_reason(field, app),
                (None, _) | (_, None) => "the app does not match".to_owned(),
            },
            Mismatch::From => {
                let source = facts.local.ip().to_canonical();
                format!("source {source} {}", missed(&self.from, "in "))
            }
            Mismatch::FromUnknown => {
                format!("the source is not known, which {} needs", shown(&self.from))
            }
            Mismatch::Destination => {
                let other_end = match facts.peer.names {
                    Names::Known([first, ..]) => format!("{} ({})", facts.other_end(), first.name),
                    Names::Known([]) | Names::Awaited => facts.other_end().to_string(),
                };
                format!("destination {other_end} {}", missed(&self.to, "in "))
            }
            Mismatch::Unknown(feed) => {
                format!("{}, which {} needs", feed.subject(), shown(&self.to))
            }
            Mismatch::Awaited => {
                format!("waits for the destination's name: {}", shown(&self.to))
            }
            Mismatch::Port => format!("port {} {}", facts.service(), missed(&self.port, "")),
            Mismatch::When(field) => self.when_reason((field, Truth::Fails), facts),
            Mismatch::WhenUnknown(field) => self.when_reason((field, Truth::Unknown), facts),
        }
    }
}

fn shown<T: fmt::Display>(selection: &Option<Selection<T>>) -> String {
    selection
        .as_ref()
        .map_or("*".to_owned(), ToString::to_string)
}

/// What a value that is not selected is, or is not.
fn missed<T: fmt::Display>(selection: &Option<Selection<T>>, within: &str) -> String {
    match selection {
        Some(Selection {
            within: None,
            except,
        }) => format!("is {within}{}", one_of(except)),
        _ => format!("is not {within}{}", shown(selection)),
    }
}
