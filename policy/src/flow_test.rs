//! What rules are expected to do: `[[test]]`.

use crate::document::{Problem, Severity};
use crate::explain::Explanation;
use crate::known_flow::KnownFlow;
use crate::policy::Policy;
use crate::rule::Origin;
use crate::verdict::Verdict;

/// What rules are expected to do with one flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowTest {
    /// What the test is called.
    pub name: Option<String>,
    /// Where it was written.
    pub origin: Origin,
    /// The flow.
    pub flow: KnownFlow,
    /// What is to happen to it.
    pub expect: Verdict,
    /// The name of the rule that is to decide, a protection such as `list:trackers`, or `default`; absent: whichever.
    pub by: Option<String>,
}

/// What `by` calls the default.
const DEFAULT: &str = "default";

impl Policy {
    /// The tests that fail, each as an error where it was written.
    pub fn failures(&self, tests: &[FlowTest]) -> Vec<Problem> {
        let failures = tests.iter().filter_map(|test| test.failure(self));
        failures.collect()
    }
}

impl FlowTest {
    fn failure(&self, policy: &Policy) -> Option<Problem> {
        let explanation = self.flow.ask(policy, |facts| policy.explain(facts));
        let decided_by = match &explanation.rule {
            Some(rule) => rule.name.as_deref(),
            None => explanation.refused_by().or(Some(DEFAULT)),
        };
        let by_holds = self.by.is_none() || decided_by == self.by.as_deref();
        if explanation.verdict == self.expect && by_holds {
            return None;
        }
        let label = match &self.name {
            Some(name) => format!("the test \"{name}\""),
            None => "the test".to_owned(),
        };
        let by = self.by.as_ref().map(|by| format!(" by \"{by}\""));
        let expected = format!("{}{}", self.expect, by.unwrap_or_default());
        let outcome = explanation.outcome();
        Some(Problem {
            file: self.origin.file.to_string(),
            line: self.origin.line,
            column: self.origin.column,
            severity: Severity::Error,
            message: format!("{label} expects {expected}, but it is {outcome}"),
            hint: self.nearest_miss(&explanation),
        })
    }

    /// Why the rule that was expected to decide does not match.
    fn nearest_miss(&self, explanation: &Explanation) -> Option<String> {
        let mut tried = explanation.tried.iter().rev();
        let expected = tried.find(|tried| {
            tried.missed.is_some() && self.by.is_some() && tried.rule.name == self.by
        });
        expected.map(ToString::to_string)
    }
}
