//! One rule: conditions and what happens to the flows that meet them all.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::app_condition::{AppCondition, AppField, one_of};
use crate::destination::Destination;
use crate::facts::{App, Direction, FlowFacts};
use crate::port::Port;
use crate::verdict::Verdict;

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
    /// The other end's address: one of these.
    pub to: Option<Vec<Destination>>,
    /// Protocol and port of the service: one of these.
    pub port: Option<Vec<Port>>,
    /// Who spoke first.
    pub direction: Direction,
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
    /// The other end's address.
    Destination,
    /// Protocol or port.
    Port,
}

impl Rule {
    /// Where the rule was written.
    pub fn origin(&self) -> &Origin {
        &self.info.origin
    }

    /// Whether the rule applies to this flow of `app`.
    pub fn matches(&self, facts: &FlowFacts<'_>, app: Option<&App>) -> bool {
        self.first_mismatch(facts, app).is_none()
    }

    /// The first condition that does not hold for this flow of `app`, in the order direction, app, to, port.
    pub fn first_mismatch(&self, facts: &FlowFacts<'_>, app: Option<&App>) -> Option<Mismatch> {
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
        let address = facts.other_end();
        if self
            .to
            .as_ref()
            .is_some_and(|to| !to.iter().any(|to| to.contains(address)))
        {
            return Some(Mismatch::Destination);
        }
        let (protocol, service) = (facts.protocol, facts.service_port());
        if self
            .port
            .as_ref()
            .is_some_and(|ports| !ports.iter().any(|port| port.contains(protocol, service)))
        {
            return Some(Mismatch::Port);
        }
        None
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
            Mismatch::Destination => {
                let to = self.to.as_deref().unwrap_or_default();
                format!("destination {} is not in {}", facts.other_end(), one_of(to))
            }
            Mismatch::Port => {
                let ports = self.port.as_deref().unwrap_or_default();
                format!("port {} is not {}", facts.service(), one_of(ports))
            }
        }
    }
}
