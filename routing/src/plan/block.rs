//! Where our rules stand among those of other programs.
//!
//! Our rules fill one block of [`BLOCK`] preferences. Its base is [`FIRST_PREFERENCE`] as long as nothing that could take
//! captured traffic stands before its end. A VPN client's `ip rule add` without a preference takes the one just below the
//! second rule of the list (`fib_default_rule_pref`), which is ours: so it always lands ahead, and no fixed preference
//! of ours would ever precede it. Therefore the block moves: to the preferences below the lowest such rule, and below the
//! old block, so that the two never interleave while one is put up and the other taken down.
//! (`gateway/docs/decisions/0001-rule-range.md`)

use std::collections::BTreeSet;

use super::wanted::{STAYS_OUT_V4, STAYS_OUT_V6};
use super::{
    BLOCK, CaptureOptions, FIRST_PREFERENCE, FORWARDED_TABLE, Family, HostFacts, PlanError, Rule,
    RuleAction, TABLE,
};

/// The kernel's table of local addresses (`RT_TABLE_LOCAL`).
pub(super) const LOCAL_TABLE: u32 = 255;

/// Preference of our `nop`, counted from the base.
pub(super) const NOP: u32 = BLOCK - 1;

/// The base preference at which our block belongs now: where it is, or [`FIRST_PREFERENCE`] if it is not there; below
/// that if other programs' rules stand inside it, or ahead of it and could take captured traffic.
///
/// # Errors
///
/// [`PlanError::NoRoom`] if no free block lies ahead of those rules, [`PlanError::LocalBehind`] if the block would stand
/// ahead of the lookup of local addresses.
pub fn block_base(facts: &HostFacts, options: &CaptureOptions) -> Result<u32, PlanError> {
    let start = occupied_base(facts).unwrap_or(FIRST_PREFERENCE);
    let mut base = start;
    while let Some(obstacle) = lowest_obstacle(facts, options, base) {
        if is_local_lookup(obstacle) {
            return Err(PlanError::LocalBehind {
                family: obstacle.family,
                base,
            });
        }
        base = obstacle
            .preference
            .min(start)
            .checked_sub(BLOCK)
            .filter(|base| *base > 0)
            .ok_or_else(|| PlanError::NoRoom {
                rule: Box::new(obstacle.clone()),
            })?;
    }
    for family in Family::ALL {
        let mut of_family = facts
            .rules
            .iter()
            .filter(|rule| rule.family == family)
            .peekable();
        if of_family.peek().is_some()
            && !of_family.any(|rule| is_local_lookup(rule) && rule.preference < base)
        {
            return Err(PlanError::LocalBehind { family, base });
        }
    }
    Ok(base)
}

/// Other programs' rules that precede ours (or stand among them) and could take captured traffic away, lowest first.
///
/// While our rules are not installed, those that precede [`FIRST_PREFERENCE`]. What leaves by such a rule is not seen;
/// planning anew moves our block ahead of them.
#[must_use]
pub fn overtaken<'a>(facts: &'a HostFacts, options: &CaptureOptions) -> Vec<&'a Rule> {
    let base = occupied_base(facts).unwrap_or(FIRST_PREFERENCE);
    let mut ahead: Vec<&Rule> = facts
        .rules
        .iter()
        .filter(|rule| {
            !rule.is_ours() && rule.preference < base + BLOCK && takes_captured(rule, options, base)
        })
        .collect();
    ahead.sort_by_key(|rule| rule.preference);
    ahead
}

/// The base of our block as far as present rules of ours tell it: their `nop`, or what their `goto` leads to. The lowest,
/// where a move was cut short.
fn occupied_base(facts: &HostFacts) -> Option<u32> {
    let ends: BTreeSet<u32> = facts
        .rules
        .iter()
        .filter(|rule| rule.is_ours())
        .filter_map(|rule| match rule.action {
            RuleAction::Nop => Some(rule.preference),
            RuleAction::Goto(target) => Some(target),
            RuleAction::Lookup(_)
            | RuleAction::Prohibit
            | RuleAction::Unreachable
            | RuleAction::Blackhole => None,
        })
        .collect();
    ends.into_iter()
        .filter_map(|end| end.checked_sub(NOP))
        .find(|base| *base > 0)
}

/// The lowest rule of others that stands inside the block at `base` (our `goto` would jump over it), or ahead of its end
/// and takes captured traffic.
fn lowest_obstacle<'a>(
    facts: &'a HostFacts,
    options: &CaptureOptions,
    base: u32,
) -> Option<&'a Rule> {
    facts
        .rules
        .iter()
        .filter(|rule| !rule.is_ours() && rule.preference < base + BLOCK)
        .filter(|rule| rule.preference >= base || takes_captured(rule, options, base))
        .min_by_key(|rule| rule.preference)
}

/// Whether a rule ahead of the block at `base` could take a packet that the block would capture.
fn takes_captured(rule: &Rule, options: &CaptureOptions, base: u32) -> bool {
    matches_captured(rule, options)
        && match rule.action {
            RuleAction::Nop | RuleAction::Lookup(LOCAL_TABLE | TABLE | FORWARDED_TABLE) => false,
            RuleAction::Goto(target) => target > base,
            RuleAction::Lookup(_)
            | RuleAction::Prohibit
            | RuleAction::Unreachable
            | RuleAction::Blackhole => true,
        }
}

/// Whether the selector may match a packet that we capture; errs towards yes.
fn matches_captured(rule: &Rule, options: &CaptureOptions) -> bool {
    let selector = &rule.selector;
    if selector.not {
        return true;
    }
    // A marked packet is captured under `strict_marks` only, a device-bound socket's never.
    let marked = selector
        .mark
        .is_some_and(|mark| mark.value & mark.mask != 0);
    let captured_input = match selector.input.as_deref() {
        None | Some("lo") => true,
        Some(input) => options.forwarded.iter().any(|forwarded| forwarded == input),
    };
    let stays_out = selector.to.is_some_and(|to| {
        STAYS_OUT_V4
            .iter()
            .chain(&STAYS_OUT_V6)
            .any(|out| out.contains(&to))
    });
    (!marked || options.strict_marks) && captured_input && selector.output.is_none() && !stays_out
}

/// Whether the rule looks up local addresses for every packet.
fn is_local_lookup(rule: &Rule) -> bool {
    rule.action == RuleAction::Lookup(LOCAL_TABLE) && rule.selector == super::Selector::default()
}
