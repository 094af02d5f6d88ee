//! Lists that refuse what is on them, and lists that keep others from doing so.

use std::sync::Arc;

use super::TriedProtection;
use crate::app_condition::AppCondition;
use crate::facts::{App, FlowFacts, ListId, Lists};
use crate::list::ListDefinition;
use crate::rule::Origin;
use crate::verdict::Verdict;

/// What each list that is configured does by itself: the position of each is its [`ListId`].
#[derive(Debug, Default)]
pub(crate) struct ListGuards(Vec<Guard>);

#[derive(Debug)]
struct Guard {
    label: Arc<str>,
    origin: Origin,
    /// None: the list is for rules.
    action: Option<Verdict>,
    app: Option<AppCondition>,
}

impl Guard {
    /// Whether it does something about flows of `app`.
    fn is_for(&self, app: Option<&App>) -> bool {
        match &self.app {
            None => true,
            Some(condition) => app.is_some_and(|app| condition.first_mismatch(app).is_none()),
        }
    }
}

impl ListGuards {
    pub(crate) fn new(lists: &[ListDefinition]) -> Self {
        let guard = |list: &ListDefinition| Guard {
            label: format!("list:{}", list.name).into(),
            origin: list.origin.clone(),
            action: list.action,
            app: list.app.clone(),
        };
        Self(lists.iter().map(guard).collect())
    }

    pub(crate) fn label(&self, list: ListId) -> Option<&Arc<str>> {
        self.guard(list).map(|guard| &guard.label)
    }

    fn guard(&self, list: ListId) -> Option<&Guard> {
        self.0.get(usize::try_from(list.0).ok()?)
    }

    /// The first list in the order written that refuses this flow of `app`; one that allows wins over all.
    pub(crate) fn refusal(
        &self,
        facts: &FlowFacts<'_>,
        app: Option<&App>,
    ) -> Option<(Verdict, ListId)> {
        self.first_refusing(facts, |guard| guard.is_for(app))
    }

    /// The first that would refuse this flow to the programs that it is about, where no list allows it to everyone.
    pub(crate) fn refusal_to_some(&self, facts: &FlowFacts<'_>) -> Option<(Verdict, ListId)> {
        self.first_refusing(facts, |guard| {
            guard.app.is_none() || guard.action != Some(Verdict::Allow)
        })
    }

    fn first_refusing(
        &self,
        facts: &FlowFacts<'_>,
        counts: impl Fn(&Guard) -> bool,
    ) -> Option<(Verdict, ListId)> {
        let Lists::On(on) = facts.peer.lists else {
            return None;
        };
        let mut first: Option<(Verdict, ListId)> = None;
        for list in on {
            let Some(guard) = self.guard(*list).filter(|guard| counts(guard)) else {
                continue;
            };
            match guard.action {
                None => {}
                Some(Verdict::Allow) => return None,
                Some(verdict) if first.is_none_or(|(_, earlier)| *list < earlier) => {
                    first = Some((verdict, *list));
                }
                Some(_) => {}
            }
        }
        first
    }

    pub(crate) fn trace(&self, facts: &FlowFacts<'_>, app: Option<&App>) -> Vec<TriedProtection> {
        let refusal = self.refusal(facts, app).map(|(_, list)| list);
        let ids = (0..).map(ListId);
        let acting = ids
            .zip(&self.0)
            .filter(|(id, guard)| guard.action.is_some() && refusal.is_none_or(|list| *id <= list));
        let tried = acting.map(|(id, guard)| {
            let (reason, missed) = match self.miss(facts, app, id, guard) {
                Some((reason, missed)) => (Some(reason), Some(missed)),
                None => (None, None),
            };
            TriedProtection {
                label: guard.label.to_string(),
                origin: guard.origin.clone(),
                reason,
                missed,
            }
        });
        tried.collect()
    }

    /// Why a list does not refuse the flow; none where it does.
    fn miss(
        &self,
        facts: &FlowFacts<'_>,
        app: Option<&App>,
        id: ListId,
        guard: &Guard,
    ) -> Option<(&'static str, String)> {
        let other_end = facts.other_end();
        let Lists::On(on) = facts.peer.lists else {
            return Some(("list-unknown", "no list is loaded".to_owned()));
        };
        if facts.peer.unloaded.contains(&id) {
            return Some(("list-unknown", "the list is not loaded".to_owned()));
        }
        if !on.contains(&id) {
            return Some(("list-not-on", format!("{other_end} is not on it")));
        }
        if !guard.is_for(app) {
            let missed = "it is for other programs".to_owned();
            return Some(("list-app", missed));
        }
        if guard.action == Some(Verdict::Allow) {
            let missed = "keeps other lists from refusing the flow".to_owned();
            return Some(("list-allows", missed));
        }
        let allowing = on.iter().filter_map(|list| self.guard(*list));
        let mut allowing =
            allowing.filter(|other| other.action == Some(Verdict::Allow) && other.is_for(app));
        allowing
            .next()
            .map(|other| ("list-allowed", format!("{} allows it", other.label)))
    }
}
