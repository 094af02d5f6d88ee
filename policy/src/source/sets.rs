//! What is wrong with the sets of all files taken together.

use super::destinations::{Meant, SetUse};
use super::review::problem;
use crate::definitions::{Definitions, MOST_SETS, Set, by_name};
use crate::document::{Problem, Severity, nearest};

/// Problems for which a similar name is looked for, which takes its time.
const MOST_HINTS: usize = 100;

/// Sets named twice, sets that hold themselves, too many of them, and references to sets that are not there.
pub(super) fn problems(sets: &[Set], uses: &[SetUse]) -> Vec<Problem> {
    let mut found = Vec::new();
    let by_name = by_name(sets);
    for (position, set) in sets.iter().enumerate() {
        let first = by_name.get(&set.name).map_or(position, |first| *first);
        if first != position {
            let message = format!(
                "the set \"{}\" is there before, at {}",
                set.name, sets[first].origin
            );
            let hint = "give each set its own name";
            found.push(problem(&set.origin, Severity::Error, message, hint));
        }
    }
    for SetUse { name, origin, .. } in uses {
        if by_name.contains_key(name) {
            continue;
        }
        let names: Vec<&str> = sets.iter().map(|set| &*set.name).collect();
        let near = (found.len() < MOST_HINTS).then(|| nearest(name, &names));
        let hint = match near.flatten() {
            Some(name) => format!("did you mean set:{name}?"),
            None => "write [[set]] with this name, in any of the files".to_owned(),
        };
        let message = format!("there is no set \"{name}\"");
        found.push(problem(origin, Severity::Error, message, &hint));
    }
    if let Some(set) = sets.get(MOST_SETS) {
        let message = format!("there are more than {MOST_SETS} sets");
        let hint = "put several into one";
        found.push(problem(&set.origin, Severity::Error, message, hint));
    } else {
        let definitions = Definitions::new(sets.to_vec(), &[], &[]);
        found.extend(circles(sets, &definitions));
        found.extend(beyond_addresses(uses, &definitions));
    }
    found
}

/// Sets in `from` that hold what an address does not tell.
fn beyond_addresses(uses: &[SetUse], definitions: &Definitions) -> Vec<Problem> {
    let from = uses.iter().filter(|set| set.meant == Meant::NearEnd);
    let wrong = from.filter_map(|set| {
        let mut members = definitions.members(&set.name)?;
        let member = members.find(|member| member.feed().is_some())?;
        let message = format!(
            "the set \"{}\" holds \"{member}\", which says nothing of where a flow comes from",
            set.name
        );
        let hint = "`from` takes addresses, networks, ranges, scopes, and sets of those";
        Some(problem(&set.origin, Severity::Error, message, hint))
    });
    wrong.collect()
}

/// Sets that hold themselves, by way of others or directly.
fn circles(sets: &[Set], definitions: &Definitions) -> Vec<Problem> {
    let is_circle = |(position, set): &(usize, &Set)| {
        let within = definitions.parts()[*position].iter();
        within
            .flat_map(|part| definitions.inner(*part))
            .any(|inner| inner == *position)
            && definitions.position(&set.name) == Some(*position)
    };
    let circles = sets.iter().enumerate().filter(is_circle);
    circles
        .map(|(_, set)| {
            let message = format!("the set \"{}\" holds itself", set.name);
            let hint = "sets may hold others, but not in a circle";
            problem(&set.origin, Severity::Error, message, hint)
        })
        .collect()
}
