//! Compiled rules: facts in, decision out.

mod app_index;
mod bucket;
mod changes;
mod destination_index;
mod index;
mod name_index;
mod near_end_index;
mod nested;
mod text_index;

use std::sync::Arc;

use crate::definitions::Definitions;
use crate::facts::{App, Direction, FlowFacts, Names};
use crate::identity::Levels;
use crate::list::ListDefinition;
use crate::patience::Patience;
use crate::port::Port;
use crate::protection::{ListGuards, Protection, Protections};
use crate::rule::{Rule, RuleInfo};
use crate::source::PolicySource;
use crate::truth::Truth;
use crate::verdict::{DecidedBy, Decision, Verdict};

pub use changes::NetworkNeeds;

use changes::Changes;
use index::Index;

/// Compiled rules.
///
/// A decision allocates nothing, and costs the same with ten rules or a hundred thousand: it looks at the rules that
/// name the flow's app and destination and at no others.
#[derive(Debug)]
pub struct Policy {
    default: Verdict,
    unattributed: Verdict,
    patience: Patience,
    rules: Vec<Rule>,
    /// What each rule does, apart from the rules: small enough to stay in the cache.
    actions: Box<[Verdict]>,
    lists: Vec<ListDefinition>,
    definitions: Definitions,
    levels: Levels,
    protections: Protections,
    outgoing: Index,
    incoming: Index,
    /// Rules that refuse some programs what others may; none where the user has said what holds for flows whose program is
    /// not known.
    refusing: Option<Refusing>,
    answers: Option<Box<Self>>,
    /// What of the context it depends on.
    changes: Changes,
}

/// Rules that do not let some programs pass where others may, filed by their other conditions.
#[derive(Debug)]
struct Refusing {
    /// Those that refuse.
    refuses: BothWays,
    /// Those that ask.
    asks: BothWays,
}

#[derive(Debug)]
struct BothWays {
    outgoing: Index,
    incoming: Index,
}

impl Refusing {
    fn new(rules: &[Rule], definitions: &Definitions) -> Self {
        let of = |meant: fn(Verdict) -> bool| {
            let index = |direction| Index::of_some_program(rules, direction, meant, definitions);
            BothWays {
                outgoing: index(Direction::Out),
                incoming: index(Direction::In),
            }
        };
        Self {
            refuses: of(|action| matches!(action, Verdict::Block | Verdict::Drop)),
            asks: of(|action| action == Verdict::Ask),
        }
    }
}

impl BothWays {
    /// The first that is about this flow, in one of these directions, whatever program it is.
    fn first(
        &self,
        facts: &FlowFacts<'_>,
        directions: &[Direction],
        definitions: &Definitions,
    ) -> Option<usize> {
        let first = |direction: &Direction| {
            let index = match direction {
                Direction::Out => &self.outgoing,
                Direction::In => &self.incoming,
            };
            let facts = FlowFacts {
                direction: *direction,
                ..*facts
            };
            index.first_match(&facts, None, definitions)
        };
        let first = directions.iter().filter_map(first).min()?;
        usize::try_from(first).ok()
    }
}

impl Policy {
    /// Indexes the rules.
    pub fn compile(source: PolicySource) -> Self {
        let PolicySource {
            default,
            unattributed,
            patience,
            rules,
            sets,
            profiles,
            lists,
            ..
        } = source;
        let definitions = Definitions::new(sets, &rules, &lists).with_profiles(profiles);
        let changes = Changes::new(&rules, definitions.profiles());
        let protections = Protections {
            lists: ListGuards::new(&lists),
        };
        let outgoing = Index::new(&rules, Direction::Out, &definitions);
        let conditions = rules.iter().filter_map(|rule| rule.app.as_ref());
        let conditions = conditions.chain(lists.iter().filter_map(|list| list.app.as_ref()));
        let levels = conditions.fold(Levels::NONE, |all, app| all | app.levels());
        let actions = rules.iter().map(|rule| rule.info.action).collect();
        let incoming = Index::new(&rules, Direction::In, &definitions);
        let refusing = match unattributed {
            Some(_) => None,
            None => Some(Refusing::new(&rules, &definitions)),
        };
        Self {
            default,
            unattributed: unattributed.unwrap_or(default),
            patience,
            rules,
            actions,
            lists,
            definitions,
            levels,
            protections,
            outgoing,
            incoming,
            refusing,
            answers: None,
            changes,
        }
    }

    /// The same, with these rules for flows about which it asks.
    pub fn answered_by(self, answers: Self) -> Self {
        Self {
            levels: self.levels | answers.levels,
            answers: Some(Box::new(answers)),
            ..self
        }
    }

    /// What the user has answered before: to be asked for one owner of a flow's socket for whom the verdict is
    /// [`Verdict::Ask`]. Only what its rules decide counts ([`DecidedBy::Rule`]), and only where they allow or refuse.
    pub fn answers(&self) -> Option<&Self> {
        self.answers.as_deref()
    }

    /// No rules; everything is allowed. What holds where there is no configuration.
    pub fn allow_all() -> Self {
        Self::compile(PolicySource::default())
    }

    /// What happens to this flow.
    ///
    /// Of several owners the strictest verdict holds, and of equal ones that of the first rule. Without a known owner
    /// no rule with an app condition matches.
    pub fn decide(&self, facts: &FlowFacts<'_>) -> Decision {
        self.decide_towards(facts, &[facts.direction])
    }

    /// What happens to a flow that may be a service's answer or a program's own: nobody saw who spoke first.
    ///
    /// The rules of both directions are tried in the order written, and the first that matches decides; then the default
    /// of direction `out`. So a program cannot get round the rules about it by sending from a service's port, and a rule
    /// of direction `in` still lets a service answer. `facts.direction` does not count.
    pub fn decide_either_way(&self, facts: &FlowFacts<'_>) -> Decision {
        self.decide_towards(facts, &[Direction::Out, Direction::In])
    }

    /// The first of `directions` is the one whose default holds.
    fn decide_towards(&self, facts: &FlowFacts<'_>, directions: &[Direction]) -> Decision {
        let one = |app| self.decide_for(facts, app, directions);
        match facts.apps {
            [] => one(None),
            [only] => one(Some(only)),
            [first, others @ ..] => others
                .iter()
                .map(|owner| one(Some(owner)))
                .fold(one(Some(first)), stricter),
        }
    }

    /// What happens to a flow whose program was known and can no longer be told.
    ///
    /// Its program may have seen to that. So the first rule decides that would refuse it to the programs that the rule is
    /// about, where it stands ahead of what lets the flow pass; unless the user has said what holds for flows whose program
    /// is not known (`unattributed`). A rule that waits for a name refuses nothing here.
    pub fn decide_for_lost(&self, facts: &FlowFacts<'_>) -> Decision {
        self.decide_for_lost_towards(facts, &[facts.direction])
    }

    /// The same, where nobody saw who spoke first either: [`Policy::decide_either_way`].
    pub fn decide_for_lost_either_way(&self, facts: &FlowFacts<'_>) -> Decision {
        self.decide_for_lost_towards(facts, &[Direction::Out, Direction::In])
    }

    fn decide_for_lost_towards(&self, facts: &FlowFacts<'_>, directions: &[Direction]) -> Decision {
        let decision = self.decide_towards(facts, directions);
        let Some(refusing) = &self.refusing else {
            return decision;
        };
        if matches!(decision.verdict, Verdict::Block | Verdict::Drop) {
            return decision;
        }
        let earlier = |rules: &BothWays| {
            let first = rules.first(facts, directions, &self.definitions);
            first.filter(|rule| *rule < position(decision))
        };
        let by_rule = |rule| Decision {
            waits_for: decision.waits_for.filter(|waits| *waits < rule),
            ..self.by_rule(rule)
        };
        if let Some(rule) = earlier(&refusing.refuses) {
            return by_rule(rule);
        }
        if decision.by == DecidedBy::Default
            && let Some(refused) = self.lost_to_protections(facts, directions)
        {
            return Decision {
                waits_for: decision.waits_for,
                ..refused
            };
        }
        match earlier(&refusing.asks) {
            Some(rule) if decision.verdict == Verdict::Allow => by_rule(rule),
            Some(_) | None => decision,
        }
    }

    /// The first protection that refuses this flow to the programs that it is about.
    fn lost_to_protections(
        &self,
        facts: &FlowFacts<'_>,
        directions: &[Direction],
    ) -> Option<Decision> {
        let direction = directions.first().copied().unwrap_or(facts.direction);
        self.protections.decide_for_some_app(&FlowFacts {
            direction,
            ..*facts
        })
    }

    /// Name, place and action of the rule at this position, counted from 0, as [`DecidedBy::Rule`] gives it.
    pub fn rule(&self, index: usize) -> Option<&RuleInfo> {
        self.rules.get(index).map(|rule| &rule.info)
    }

    /// The rules in the order in which they are tried.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The TCP ports of services of this host that some rule judges, as ranges in the order of the rules.
    pub fn judged_services(&self) -> Vec<(u16, u16)> {
        let incoming = self
            .rules
            .iter()
            .filter(|rule| rule.direction == Direction::In);
        incoming
            .flat_map(
                |rule| match rule.port.as_ref().and_then(|ports| ports.within.as_ref()) {
                    None => vec![(0, u16::MAX)],
                    Some(ports) => ports.iter().filter_map(Port::tcp_range).collect(),
                },
            )
            .collect()
    }

    /// The lists that are configured, then those, or categories of them, that rules name: the position of each is its
    /// [`ListId`](crate::ListId).
    pub fn lists(&self) -> &[Arc<str>] {
        self.definitions.lists()
    }

    /// The levels of identity without which a flow's program cannot be judged: an owner's must have been looked at.
    pub fn levels(&self) -> Levels {
        self.levels
    }

    /// The lists that are configured: the position of each is its [`ListId`](crate::ListId).
    pub fn list_definitions(&self) -> &[ListDefinition] {
        &self.lists
    }

    pub(crate) fn definitions(&self) -> &Definitions {
        &self.definitions
    }

    /// What happens to a flow that a program opens and no rule matches.
    pub fn default_verdict(&self) -> Verdict {
        self.default
    }

    /// How long the user may take to answer, and what holds after that.
    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// Whether there are flows about which the user is asked.
    pub fn asks(&self) -> bool {
        let actions = self.actions.iter();
        actions
            .chain([&self.default, &self.unattributed])
            .any(|verdict| *verdict == Verdict::Ask)
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule: the default decides everything.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    fn index(&self, direction: Direction) -> &Index {
        match direction {
            Direction::Out => &self.outgoing,
            Direction::In => &self.incoming,
        }
    }

    fn decide_for(
        &self,
        facts: &FlowFacts<'_>,
        app: Option<&App>,
        directions: &[Direction],
    ) -> Decision {
        let towards = directions.iter().map(|direction| FlowFacts {
            direction: *direction,
            ..*facts
        });
        let first = towards
            .filter_map(|facts| {
                let index = self.index(facts.direction);
                index.first_match(&facts, app, &self.definitions)
            })
            .min();
        let decision = match first.and_then(|number| usize::try_from(number).ok()) {
            Some(index) => self.by_rule(index),
            None => self.beyond_rules(facts, directions.first().copied(), app),
        };
        if !matches!(facts.peer.names, Names::Awaited) {
            return decision;
        }
        let before = first.unwrap_or(u32::MAX);
        let waits_for = directions
            .iter()
            .filter_map(|direction| {
                self.first_awaited(facts, app, *direction, before, decision.verdict)
            })
            .min();
        Decision {
            waits_for,
            ..decision
        }
    }

    /// The first rule before `before` that would give another verdict than this one, and waits for a name.
    fn first_awaited(
        &self,
        facts: &FlowFacts<'_>,
        app: Option<&App>,
        direction: Direction,
        before: u32,
        verdict: Verdict,
    ) -> Option<usize> {
        let facts = FlowFacts {
            direction,
            ..*facts
        };
        let waits = |number: u32| {
            let rule = usize::try_from(number)
                .ok()
                .and_then(|at| self.rules.get(at));
            rule.is_some_and(|rule| rule.truth(&facts, app, &self.definitions) == Truth::Awaited)
        };
        let others = Verdict::ALL.into_iter().filter(|other| *other != verdict);
        let found = others.filter_map(|action| {
            let index = self.index(direction);
            index.first_awaited((before, action), &facts, app, &waits)
        });
        found.min().and_then(|number| usize::try_from(number).ok())
    }

    pub(crate) fn by_rule(&self, index: usize) -> Decision {
        let verdict = self.actions.get(index).copied().unwrap_or(self.default);
        Decision {
            verdict,
            by: DecidedBy::Rule(index),
            waits_for: None,
        }
    }

    /// What happens to a flow that no rule decides.
    pub(crate) fn beyond_rules(
        &self,
        facts: &FlowFacts<'_>,
        direction: Option<Direction>,
        app: Option<&App>,
    ) -> Decision {
        let direction = direction.unwrap_or(facts.direction);
        let facts = FlowFacts {
            direction,
            ..*facts
        };
        let refused = self.protections.decide(&facts, app);
        refused.unwrap_or_else(|| self.by_default(direction, app))
    }

    /// What flow records call a protection, and `by` of a test.
    pub fn protection_label(&self, protection: Protection) -> Option<&Arc<str>> {
        self.protections.label(protection)
    }

    pub(crate) fn protections(&self) -> &Protections {
        &self.protections
    }

    /// The default holds for what programs open; services keep their clients unless a rule says otherwise.
    pub(crate) fn by_default(&self, direction: Direction, app: Option<&App>) -> Decision {
        Decision {
            verdict: match (direction, app) {
                (Direction::Out, Some(_)) => self.default,
                (Direction::Out, None) => self.unattributed,
                (Direction::In, _) => Verdict::Allow,
            },
            by: DecidedBy::Default,
            waits_for: None,
        }
    }
}

/// Where the deciding rule stands; behind all stand the protections, then the default.
fn position(decision: Decision) -> usize {
    match decision.by {
        DecidedBy::Rule(index) => index,
        DecidedBy::Protection(_) => usize::MAX - 1,
        DecidedBy::Default => usize::MAX,
    }
}

/// The decision that holds of two owners' of one socket. It is undecided while either is.
pub(crate) fn stricter(a: Decision, b: Decision) -> Decision {
    let holds = match a.verdict.cmp(&b.verdict) {
        std::cmp::Ordering::Greater => a,
        std::cmp::Ordering::Less => b,
        std::cmp::Ordering::Equal if position(b) < position(a) => b,
        std::cmp::Ordering::Equal => a,
    };
    Decision {
        waits_for: [a.waits_for, b.waits_for].into_iter().flatten().min(),
        ..holds
    }
}

#[cfg(test)]
mod tests;
