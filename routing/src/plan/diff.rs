//! The steps from what is there to what is wanted, in an order in which every step leaves a working host.
//!
//! Settings and routes come before the rules that lead to them. Of rules, the `nop` comes first, since a `goto` without
//! its target is skipped; then the exceptions, our own mark first; then what captures. Removal is the reverse, after all
//! additions. So at no step is our own traffic captured, and no rule leads into an empty table. Undoing the steps
//! backwards passes through the same states, hence is as safe.

use super::{Change, HostPlan, Route, RouteKind, Rule, RuleAction};

/// The steps that turn `present` into `wanted`; none if they are alike. Order and number of equal entries count, the
/// order of entries in the plans does not.
///
/// Settings that only `present` has are left alone: what they were before is in the journal, not here. A wanted setting
/// of which `present` does not know the value is not written, since it could not be undone.
#[must_use]
pub fn diff(present: &HostPlan, wanted: &HostPlan) -> Vec<Change> {
    let mut changes = setting_changes(present, wanted);

    let mut old_routes = missing_from(&wanted.routes, &present.routes);
    let mut new_routes = missing_from(&present.routes, &wanted.routes);
    new_routes.sort_by_key(route_rank);
    for route in new_routes {
        // The kernel has one place per destination and metric: the old one makes way, what lies beneath stays.
        let (in_the_way, others) = old_routes
            .into_iter()
            .partition(|old| same_place(old, &route));
        old_routes = others;
        changes.extend(Vec::into_iter(in_the_way).map(Change::RemoveRoute));
        changes.push(Change::AddRoute(route));
    }

    let mut new_rules = missing_from(&present.rules, &wanted.rules);
    new_rules.sort_by_key(rule_rank);
    changes.extend(new_rules.into_iter().map(Change::AddRule));
    let mut old_rules = missing_from(&wanted.rules, &present.rules);
    old_rules.sort_by_key(rule_rank);
    changes.extend(old_rules.into_iter().rev().map(Change::RemoveRule));

    old_routes.sort_by_key(route_rank);
    changes.extend(old_routes.into_iter().rev().map(Change::RemoveRoute));
    changes
}

/// The step that undoes `change`.
#[must_use]
pub fn invert(change: &Change) -> Change {
    match change.clone() {
        Change::AddRoute(route) => Change::RemoveRoute(route),
        Change::RemoveRoute(route) => Change::AddRoute(route),
        Change::AddRule(rule) => Change::RemoveRule(rule),
        Change::RemoveRule(rule) => Change::AddRule(rule),
        Change::Set { path, from, to } => Change::Set {
            path,
            from: to,
            to: from,
        },
    }
}

fn setting_changes(present: &HostPlan, wanted: &HostPlan) -> Vec<Change> {
    wanted
        .settings
        .iter()
        .filter_map(|setting| {
            let found = present
                .settings
                .iter()
                .find(|found| found.path == setting.path)?;
            (found.value != setting.value).then(|| Change::Set {
                path: setting.path.clone(),
                from: found.value.clone(),
                to: setting.value.clone(),
            })
        })
        .collect()
}

/// The entries of `candidates` that `have` lacks, counting equal ones.
fn missing_from<T: Clone + PartialEq>(have: &[T], candidates: &[T]) -> Vec<T> {
    let mut have: Vec<&T> = have.iter().collect();
    candidates
        .iter()
        .filter(
            |candidate| match have.iter().position(|entry| entry == candidate) {
                Some(index) => {
                    have.swap_remove(index);
                    false
                }
                None => true,
            },
        )
        .cloned()
        .collect()
}

/// The order in which rules are added; removal is the reverse.
fn rule_rank(rule: &Rule) -> (u8, u32, Rule) {
    let rank = match rule.action {
        RuleAction::Nop => 0,
        RuleAction::Goto(_) => 1,
        RuleAction::Prohibit | RuleAction::Unreachable | RuleAction::Blackhole => 2,
        RuleAction::Lookup(_) => 3,
    };
    (rank, rule.preference, rule.clone())
}

/// The order in which routes are added: what refuses lies beneath before what leads out is touched.
fn route_rank(route: &Route) -> (u8, Route) {
    let rank = match route.kind {
        RouteKind::Unreachable | RouteKind::Throw => 0,
        RouteKind::Device { .. } => 1,
    };
    (rank, route.clone())
}

fn same_place(a: &Route, b: &Route) -> bool {
    (a.table, a.destination, a.metric) == (b.table, b.destination, b.metric)
}
