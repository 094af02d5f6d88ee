//! What of the context decisions depend on, and when they may change by themselves.

use rustc_hash::FxHashSet;

use super::Policy;
use crate::context::Context;
use crate::document::{Problem, Severity};
use crate::moment::Moment;
use crate::profile::Profile;
use crate::rule::Rule;
use crate::when::{NetworkCondition, When};

/// What of the context decisions depend on.
#[derive(Debug)]
pub(super) struct Changes {
    /// Every distinct condition of a rule, then the profiles'.
    conditions: Box<[When]>,
    /// The seconds of a day at which one of them may begin or cease to hold, ascending.
    seconds: Box<[u32]>,
    /// When a rule ends, ascending.
    ends: Box<[Moment]>,
}

/// What of the network rules ask for: what none asks for need not be found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkNeeds {
    /// Anything.
    pub any: bool,
    /// The router's hardware address.
    pub gateway: bool,
    /// The name of the wireless network.
    pub ssid: bool,
    /// Whether a tunnel carries what leaves.
    pub vpn: bool,
}

impl Changes {
    pub(super) fn new(rules: &[Rule], profiles: &[Profile]) -> Self {
        let of_rules = rules.iter().filter_map(|rule| rule.when.as_ref());
        let of_profiles = profiles.iter().filter_map(|profile| profile.when.as_ref());
        let mut seen = FxHashSet::default();
        let all = of_rules.chain(of_profiles);
        let conditions: Box<[When]> = all.filter(|when| seen.insert(*when)).cloned().collect();
        let mut seconds: Vec<u32> = conditions.iter().flat_map(When::seconds).collect();
        seconds.sort_unstable();
        seconds.dedup();
        let mut ends: Vec<Moment> = conditions.iter().filter_map(|when| when.expires).collect();
        ends.sort_unstable();
        ends.dedup();
        Self {
            conditions,
            seconds: seconds.into(),
            ends: ends.into(),
        }
    }
}

impl Policy {
    /// When a decision can change next while all else stays as it is; `None`: never. Until then the decisions in `context` are
    /// those of every later moment.
    pub fn next_change(&self, context: &Context) -> Option<Moment> {
        let clock = context.clock.as_ref()?;
        let Changes { seconds, ends, .. } = &self.changes;
        let end = ends.get(ends.partition_point(|end| *end <= clock.now));
        let of_answers = self
            .answers()
            .and_then(|answers| answers.next_change(context));
        [clock.next(seconds), end.copied(), of_answers]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether some flow may be judged in another way in one of these contexts than in the other.
    pub fn tells_apart(&self, one: &Context, other: &Context) -> bool {
        let mut conditions = self.changes.conditions.iter();
        let definitions = self.definitions();
        conditions.any(|when| when.truth(one, definitions) != when.truth(other, definitions))
            || self
                .answers()
                .is_some_and(|answers| answers.tells_apart(one, other))
    }

    /// What of the network some rule asks for.
    pub fn network_needs(&self) -> NetworkNeeds {
        let conditions = self.changes.conditions.iter();
        let asked: Vec<&NetworkCondition> = conditions.flat_map(When::networks).collect();
        let of_answers = self
            .answers()
            .map_or_else(NetworkNeeds::default, Self::network_needs);
        NetworkNeeds {
            any: !asked.is_empty() || of_answers.any,
            gateway: asked.iter().any(|asked| !asked.gateway.is_empty()) || of_answers.gateway,
            ssid: asked.iter().any(|asked| !asked.ssid.is_empty()) || of_answers.ssid,
            vpn: asked.iter().any(|asked| asked.vpn.is_some()) || of_answers.vpn,
        }
    }

    /// The rules that count no more, each as a warning where it was written.
    pub fn expired(&self, now: Moment) -> Vec<Problem> {
        let rules = self.rules().iter();
        let ended = rules.filter_map(|rule| {
            let end = rule.when.as_ref()?.expires?;
            (end <= now).then_some((rule, end))
        });
        ended
            .map(|(rule, end)| Problem {
                file: rule.origin().file.to_string(),
                line: rule.origin().line,
                column: rule.origin().column,
                severity: Severity::Warning,
                message: format!("the rule expired at {end}"),
                hint: Some("remove it, or give it a later `expires`".to_owned()),
            })
            .collect()
    }

    /// The profiles, in the order written.
    pub fn profiles(&self) -> &[Profile] {
        self.definitions().profiles()
    }

    /// The profiles that are active in a context, in the order written.
    pub fn active_profiles<'p>(
        &'p self,
        context: &'p Context,
    ) -> impl Iterator<Item = &'p Profile> {
        let definitions = self.definitions();
        let profiles = definitions.profiles().iter();
        profiles.filter(move |profile| profile.is_active(context, definitions))
    }
}
