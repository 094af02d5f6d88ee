//! What is odd about rules taken together.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::definitions::{Definitions, Set};
use crate::destination::Destination;
use crate::document::{Problem, Severity};
use crate::facts::Direction;
use crate::rule::{Origin, Rule};
use crate::selection::Selection;

/// Name conditions that are tried one by one, for every flow with a name.
const MOST_LOOSE: usize = 128;

/// What may stand under `not`, which is held against each flow value by value.
const MOST_EXCEPTED: usize = 1000;

/// Rules that can never decide because one before them always does, and names used twice.
pub(super) fn problems(rules: &[Rule], sets: &[Set]) -> Vec<Problem> {
    let mut found: Vec<_> = too_many_loose(rules, sets).into_iter().collect();
    let mut names: FxHashMap<&str, &Rule> = FxHashMap::default();
    found.extend(too_much_excepted(rules, sets));
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

/// More conditions than a decision can try in its time.
fn too_many_loose(rules: &[Rule], sets: &[Set]) -> Option<Problem> {
    let of_rules = rules.iter().flat_map(|rule| {
        let values = rule.to.iter().flat_map(Selection::values);
        values.map(|to| (rule.origin(), to))
    });
    let of_sets = sets
        .iter()
        .flat_map(|set| set.to.iter().map(|to| (&set.origin, to)));
    let mut loose = FxHashSet::default();
    let (origin, _) = of_rules.chain(of_sets).find(|(_, to)| {
        let pattern = to.name().filter(|pattern| pattern.is_loose());
        pattern.is_some_and(|pattern| loose.insert(pattern.to_string()) && loose.len() > MOST_LOOSE)
    })?;
    let message =
        format!("more than {MOST_LOOSE} regular expressions and wildcards without a fixed end");
    let hint = "give wildcards their last labels (ads*.example.com), or use names: those are looked up, these are \
                tried one by one";
    Some(problem(origin, Severity::Error, message, hint))
}

/// Rules with more under `not` than a decision can try in its time.
fn too_much_excepted(rules: &[Rule], sets: &[Set]) -> Vec<Problem> {
    let definitions = Definitions::new(sets.to_vec(), &[], &[]);
    let values = |to: &Destination| match to.set() {
        Some(set) => definitions.members(set).map_or(0, Iterator::count),
        None => 1,
    };
    let count = |rule: &Rule| {
        let ends = rule.to.iter().chain(&rule.from);
        let except = ends.flat_map(|end| &end.except);
        except.map(values).sum::<usize>()
    };
    let too_many = rules.iter().filter(|rule| count(rule) > MOST_EXCEPTED);
    too_many
        .map(|rule| {
            let message = format!("more than {MOST_EXCEPTED} destinations under `not`");
            let hint =
                "put a rule before this one that decides about them; sets count with all they hold";
            problem(rule.origin(), Severity::Error, message, hint)
        })
        .collect()
}

/// Whether every flow of the rule's direction matches.
fn is_catch_all(rule: &Rule) -> bool {
    let anywhere = [&rule.from, &rule.to].into_iter().flatten().all(|end| {
        let within = end.within.as_ref();
        end.except.is_empty() && within.is_none_or(|within| within.contains(&Destination::Anywhere))
    });
    rule.app.is_none() && rule.port.is_none() && rule.when.is_none() && anywhere
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
    problem(rule.origin(), Severity::Warning, message, hint)
}

pub(super) fn problem(origin: &Origin, severity: Severity, message: String, hint: &str) -> Problem {
    Problem {
        file: origin.file.to_string(),
        line: origin.line,
        column: origin.column,
        severity,
        message,
        hint: Some(hint.to_owned()),
    }
}
