//! Why a flow gets its verdict: the rules that were tried, in order, and what each one missed.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::facts::{App, FlowFacts};
use crate::policy::{Policy, stricter};
use crate::protection::TriedProtection;
use crate::rule::{Mismatch, Origin, Rule};
use crate::truth::Truth;
use crate::verdict::{DecidedBy, Decision, Verdict};

/// A trace of up to this many rules is given whole.
const MOST: usize = 100;

/// Why a flow gets its verdict. Displayed as text of several lines, serialised for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What happens to the flow: what [`Policy::decide`] answers.
    pub verdict: Verdict,
    /// The rule that gave it, or none: a protection did, or the default.
    pub rule: Option<RuleRef>,
    /// What programs call the protection that gave it, or none.
    pub protection: Option<&'static str>,
    /// An earlier rule that would give another verdict, and waits for a name of the other end.
    pub waits_for: Option<RuleRef>,
    /// The owner of the flow's socket for whom it was given; of several, one with the strictest verdict.
    pub app: Option<PathBuf>,
    /// Owners of the flow's socket.
    pub owners: usize,
    /// Rules tried for that owner, in order; the last is the one that matched, where one did.
    pub tried: Vec<Tried>,
    /// Rules tried that are left out of `tried` to keep it short: the ones furthest from matching.
    pub omitted: usize,
    /// Protections asked, where no rule matched; the last is the one that refuses the flow, where one does.
    pub protections: Vec<TriedProtection>,
}

/// A rule, as people know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleRef {
    /// Position in the order in which rules are tried, counted from 1.
    pub number: usize,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Where it was written.
    pub origin: Origin,
}

/// One rule that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// The rule.
    pub rule: RuleRef,
    /// The first condition that does not hold, by its stable id ([`Mismatch::id`]); absent: the rule matches.
    pub reason: Option<&'static str>,
    /// The same as a sentence.
    pub missed: Option<String>,
}

impl Policy {
    /// Why this flow gets its verdict. Tries the rules one by one: for people, not for the data plane.
    pub fn explain(&self, facts: &FlowFacts<'_>) -> Explanation {
        let owners = facts.apps.iter().map(Some);
        let judged = owners.map(|app| (app, self.first_in_order(facts, app)));
        let (app, decision) = judged
            .reduce(|a, b| {
                let holds = stricter(a.1, b.1);
                (if holds.by == a.1.by { a.0 } else { b.0 }, holds)
            })
            .unwrap_or_else(|| (None, self.first_in_order(facts, None)));
        let end = match decision.by {
            DecidedBy::Rule(index) => index + 1,
            DecidedBy::Protection(_) | DecidedBy::Default => self.len(),
        };
        let (tried, omitted) = self.trace(facts, app, end);
        let reference = |index: usize| {
            let rule = self.rules().get(index);
            rule.map(|rule| RuleRef::new(index, rule))
        };
        Explanation {
            verdict: decision.verdict,
            rule: match decision.by {
                DecidedBy::Rule(index) => reference(index),
                DecidedBy::Protection(_) | DecidedBy::Default => None,
            },
            protection: match decision.by {
                DecidedBy::Protection(protection) => Some(protection.id()),
                DecidedBy::Rule(_) | DecidedBy::Default => None,
            },
            waits_for: decision.waits_for.and_then(reference),
            app: app.map(|app| app.path.clone()),
            owners: facts.apps.len(),
            tried,
            omitted,
            protections: match decision.by {
                DecidedBy::Rule(_) => Vec::new(),
                DecidedBy::Protection(_) | DecidedBy::Default => {
                    self.protections().trace(facts, app)
                }
            },
        }
    }

    fn first_in_order(&self, facts: &FlowFacts<'_>, app: Option<&App>) -> Decision {
        let truths = || {
            let rules = self.rules().iter().enumerate();
            rules.map(|(index, rule)| (index, rule.truth(facts, app, self.definitions())))
        };
        let first = truths().find(|(_, truth)| *truth == Truth::Holds);
        let first = first.map(|(index, _)| index);
        let decision = match first {
            Some(index) => self.by_rule(index),
            None => self.beyond_rules(facts, None, app),
        };
        let other = |index| self.by_rule(index).verdict != decision.verdict;
        let waits_for = truths()
            .take_while(|(index, _)| Some(*index) != first)
            .find(|(index, truth)| *truth == Truth::Awaited && other(*index));
        Decision {
            waits_for: waits_for.map(|(index, _)| index),
            ..decision
        }
    }

    /// The rules before `end`; where they are too many, those nearest to matching, in order.
    fn trace(&self, facts: &FlowFacts<'_>, app: Option<&App>, end: usize) -> (Vec<Tried>, usize) {
        let mut tried: Vec<(usize, &Rule, Option<Mismatch>)> = self
            .rules()
            .iter()
            .enumerate()
            .take(end)
            .map(|(index, rule)| {
                (
                    index,
                    rule,
                    rule.first_mismatch(facts, app, self.definitions()),
                )
            })
            .collect();
        let omitted = tried.len().saturating_sub(MOST);
        if omitted > 0 {
            tried.sort_by_key(|(_, rule, mismatch)| distance(rule, *mismatch));
            tried.truncate(MOST);
            tried.sort_by_key(|(index, _, _)| *index);
        }
        let tried = tried
            .into_iter()
            .map(|(index, rule, mismatch)| Tried {
                rule: RuleRef::new(index, rule),
                reason: mismatch.map(Mismatch::id),
                missed: mismatch.map(|mismatch| rule.mismatch_reason(mismatch, facts, app)),
            })
            .collect();
        (tried, omitted)
    }
}

/// How far a rule is from matching: a rule that names the flow's app or destination is of more interest than one that
/// only names its port.
fn distance(rule: &Rule, mismatch: Option<Mismatch>) -> u8 {
    match mismatch {
        None => 0,
        Some(Mismatch::Awaited | Mismatch::Port | Mismatch::When(_) | Mismatch::WhenUnknown(_)) => {
            1
        }
        Some(Mismatch::Destination | Mismatch::From) if rule.app.is_some() => 2,
        Some(
            Mismatch::App(_)
            | Mismatch::AppUnknown
            | Mismatch::From
            | Mismatch::FromUnknown
            | Mismatch::Destination
            | Mismatch::Unknown(_),
        ) => 3,
        Some(Mismatch::Direction) => 4,
    }
}

impl RuleRef {
    fn new(index: usize, rule: &Rule) -> Self {
        Self {
            number: index + 1,
            name: rule.info.name.clone(),
            origin: rule.origin().clone(),
        }
    }
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "rule {} \"{name}\" ({})", self.number, self.origin),
            None => write!(f, "rule {} ({})", self.number, self.origin),
        }
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missed = self.missed.as_deref().unwrap_or("matches");
        write!(f, "{}: {missed}", self.rule)
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (2.., Some(app)) = (self.owners, &self.app) {
            writeln!(
                f,
                "{} programs own the socket; strictest for {}",
                self.owners,
                app.display()
            )?;
        }
        for tried in &self.tried {
            writeln!(f, "{tried}")?;
        }
        if self.omitted > 0 {
            writeln!(f, "({} more rules tried that do not match)", self.omitted)?;
        }
        for tried in &self.protections {
            writeln!(f, "{tried}")?;
        }
        f.write_str(&self.outcome())
    }
}

impl Explanation {
    /// What the protection that gave the verdict is called.
    pub(crate) fn refused_by(&self) -> Option<&str> {
        self.protection?;
        self.protections.last().map(|tried| tried.label.as_str())
    }

    /// The verdict and what gave it, as a sentence.
    pub(crate) fn outcome(&self) -> String {
        let mut outcome = match &self.rule {
            Some(rule) => format!("{} by {rule}", self.verdict),
            None if self.protection.is_some() => {
                format!(
                    "{} by {}",
                    self.verdict,
                    self.refused_by().unwrap_or_default()
                )
            }
            None => format!("{} by default: no rule matches", self.verdict),
        };
        if let Some(rule) = &self.waits_for {
            outcome += &format!(", unless a name of the destination comes that {rule} meets");
        }
        outcome
    }
}

#[cfg(test)]
mod tests;
