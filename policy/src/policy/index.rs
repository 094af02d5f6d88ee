//! From the facts of a flow to the few rules that may match it.
//!
//! Every rule of one direction is filed under pairs of an app key and a destination key; those that share a pair make
//! a bucket. A flow has few keys of each kind: its destination lies in "anywhere", in one scope and in the nested
//! networks around it; its app is found under "any app" and wherever one of its properties is named. The first rule
//! in order that matches is then the least in the buckets of all pairs; what may be left to check is the rest of its
//! app condition. How many pairs there are depends on the flow and on how deeply rules nest, not on how many rules
//! there are.

use rustc_hash::FxHashMap;

use super::app_index::{ANY_APP, AppIndex, AppKeys};
use super::bucket::{Bucket, Candidate, ConditionId, service_number};
use super::destination_index::{ANYWHERE, DestinationIndex, DestinationKeys, Uses};
use crate::app_condition::AppCondition;
use crate::destination::Destination;
use crate::facts::{App, Direction, FlowFacts};
use crate::rule::Rule;

/// The rules of one direction, found by app and destination.
#[derive(Debug)]
pub(super) struct Index {
    apps: AppIndex,
    destinations: DestinationIndex,
    /// The app conditions that candidates leave to check.
    conditions: Box<[AppCondition]>,
    /// Buckets of rules for any app, by destination key.
    any_app: Box<[Option<Bucket>]>,
    /// Buckets of rules that name an app, by app key.
    of_app: Box<[OfApp]>,
    /// Buckets of rules that name both an app and a destination, by both keys.
    pairs: FxHashMap<(u32, u32), Bucket>,
}

/// The rules under one app key.
#[derive(Debug, Default)]
struct OfApp {
    anywhere: Option<Bucket>,
    /// The least rule number in `pairs` with this app key.
    first_pair: Option<u32>,
}

impl Index {
    /// Files those of `rules` that go in `direction`, by position.
    pub(super) fn new(rules: &[Rule], direction: Direction) -> Self {
        let ours = || {
            (0_u32..)
                .zip(rules)
                .filter(|(_, rule)| rule.direction == direction)
        };
        let mut files = Files::default();
        for condition in ours().filter_map(|(_, rule)| rule.app.as_ref()) {
            files.app_keys.count_anchors(condition);
        }
        for (number, rule) in ours() {
            files.file(number, rule);
        }
        files.into_index()
    }

    fn place(&mut self, (app, destination): (u32, u32), candidates: Vec<Candidate>) {
        let first = candidates.first().map(|candidate| candidate.rule);
        let bucket = Bucket::new(candidates);
        if app == ANY_APP {
            self.any_app[position(destination)] = Some(bucket);
        } else if destination == ANYWHERE {
            self.of_app[position(app)].anywhere = Some(bucket);
        } else {
            let of_app = &mut self.of_app[position(app)];
            of_app.first_pair = [of_app.first_pair, first].into_iter().flatten().min();
            self.pairs.insert((app, destination), bucket);
        }
    }

    /// The first rule that matches this flow of `app`.
    pub(super) fn first_match(&self, facts: &FlowFacts<'_>, app: Option<&App>) -> Option<u32> {
        let service = service_number(facts.protocol, facts.service_port());
        let app_holds = |condition: ConditionId| {
            let condition = self.conditions.get(position(condition.get() - 1)).zip(app);
            condition.is_some_and(|(condition, app)| condition.first_mismatch(app).is_none())
        };
        let mut best = u32::MAX;
        let mut try_bucket = |bucket: Option<&Bucket>| {
            best = bucket
                .and_then(|bucket| bucket.first_before(best, service, &app_holds))
                .unwrap_or(best);
            best
        };
        let destinations = self.destinations.find(facts.other_end());
        let destinations = destinations.as_slice();
        self.apps.each_key(app, &mut |app_key| {
            if app_key == ANY_APP {
                for destination in destinations.iter().filter(|hit| hit.has_any_app()) {
                    try_bucket(self.any_app[position(destination.key())].as_ref());
                }
                return;
            }
            let of_app = &self.of_app[position(app_key)];
            let best = try_bucket(of_app.anywhere.as_ref());
            if of_app.first_pair.is_some_and(|first| first < best) {
                for destination in destinations.iter().filter(|hit| hit.has_some_app()) {
                    try_bucket(self.pairs.get(&(app_key, destination.key())));
                }
            }
        });
        (best != u32::MAX).then_some(best)
    }
}

/// Rules under their keys while they are read.
#[derive(Default)]
struct Files<'r> {
    app_keys: AppKeys,
    destination_keys: DestinationKeys,
    /// Distinct app conditions: many rules share one, and a shared one is more likely in the cache.
    conditions: Vec<&'r AppCondition>,
    condition_ids: FxHashMap<&'r AppCondition, ConditionId>,
    buckets: FxHashMap<(u32, u32), Vec<Candidate>>,
}

impl<'r> Files<'r> {
    fn file(&mut self, number: u32, rule: &'r Rule) {
        let to = rule.to.as_deref().unwrap_or(&[Destination::Anywhere]);
        let mut destinations: Vec<u32> = to
            .iter()
            .flat_map(|to| self.destination_keys.assign(to))
            .collect();
        destinations.sort_unstable();
        destinations.dedup();
        for filing in self.app_keys.assign(rule.app.as_ref()) {
            let unsettled = rule.app.as_ref().filter(|_| !filing.settled);
            let condition = unsettled.and_then(|condition| self.condition_id(condition));
            let candidates = Candidate::of_rule(number, condition, rule.port.as_deref());
            for destination in &destinations {
                self.buckets
                    .entry((filing.key, *destination))
                    .or_default()
                    .extend(&candidates);
            }
        }
    }

    fn condition_id(&mut self, condition: &'r AppCondition) -> Option<ConditionId> {
        if let Some(id) = self.condition_ids.get(condition) {
            return Some(*id);
        }
        self.conditions.push(condition);
        let id = ConditionId::new(u32::try_from(self.conditions.len()).ok()?)?;
        self.condition_ids.insert(condition, id);
        Some(id)
    }

    fn into_index(self) -> Index {
        let mut buckets: Vec<_> = self.buckets.into_iter().collect();
        buckets.sort_unstable_by_key(|(keys, _)| *keys);
        let mut uses = vec![Uses::default(); self.destination_keys.count()];
        for ((app, destination), _) in &buckets {
            let uses = &mut uses[position(*destination)];
            if *app == ANY_APP {
                uses.any_app = true;
            } else if *destination != ANYWHERE {
                uses.some_app = true;
            }
        }
        let (apps, app_count) = self.app_keys.build();
        let mut index = Index {
            apps,
            destinations: self.destination_keys.build(&uses),
            conditions: self.conditions.into_iter().cloned().collect(),
            any_app: uses.iter().map(|_| None).collect(),
            of_app: (0..app_count).map(|_| OfApp::default()).collect(),
            pairs: FxHashMap::default(),
        };
        for (keys, candidates) in buckets {
            index.place(keys, candidates);
        }
        index
    }
}

/// A key as a position: keys are given out from 0 without gaps.
fn position(key: u32) -> usize {
    usize::try_from(key).unwrap_or(usize::MAX)
}
