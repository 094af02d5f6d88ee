//! What is odd about rules taken together.

use rustc_hash::FxHashMap;

use crate::destination::Destination;
use crate::document::{Problem, Severity};
use crate::facts::Direction;
use crate::rule::Rule;

/// Rules that can never decide because one before them always does, and names used twice.
pub(super) fn warnings(rules: &[Rule]) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut names: FxHashMap<&str, &Rule> = FxHashMap::default();
    let (mut all_out, mut all_in): (Option<&Rule>, Option<&Rule>) = (None, None);
    for rule in rules {
        if let Some(name) = &rule.info.name {
            match names.get(name.as_str()) {
                Some(first) => found.push(used_twice(rule, name, first)),
                None => drop(names.insert(name, rule)),
            }
        }
        let decides_all = match rule.direction {
            Direction::Out => &mut all_out,
            Direction::In => &mut all_in,
        };
        match decides_all {
            Some(earlier) => found.push(never_reached(rule, earlier)),
            None if is_catch_all(rule) => *decides_all = Some(rule),
            None => {}
        }
    }
    found
}

/// Whether every flow of the rule's direction matches.
fn is_catch_all(rule: &Rule) -> bool {
    let anywhere = rule
        .to
        .as_ref()
        .is_none_or(|to| to.contains(&Destination::Anywhere));
    rule.app.is_none() && rule.port.is_none() && anywhere
}

fn used_twice(rule: &Rule, name: &str, first: &Rule) -> Problem {
    let message = format!(
        "the name \"{name}\" is used before, at {}",
        first.info.origin
    );
    warning(
        rule,
        message,
        "flow records show the name: give each rule its own",
    )
}

fn never_reached(rule: &Rule, earlier: &Rule) -> Problem {
    let message = format!(
        "the rule is never reached: rule {} before it matches everything",
        earlier.info
    );
    warning(
        rule,
        message,
        "the first rule that matches decides: move this one up, or remove it",
    )
}

fn warning(rule: &Rule, message: String, hint: &str) -> Problem {
    let origin = rule.origin();
    Problem {
        file: origin.file.to_string(),
        line: origin.line,
        column: origin.column,
        severity: Severity::Warning,
        message,
        hint: Some(hint.to_owned()),
    }
}
