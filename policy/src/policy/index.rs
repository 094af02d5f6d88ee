//! From the facts of a flow to the few rules that may match it.
//!
//! Every rule of one direction is filed under pairs of an app key and a destination key; those that share a pair make
//! a bucket. A flow has few keys of each kind: its destination lies in "anywhere", in one scope and in the nested
//! networks around it; its app is found under "any app" and wherever one of its properties is named. The first rule
//! in order that matches is then the least number in the buckets of all pairs that passes the full check. How many
//! pairs there are depends on the flow and on how deeply rules nest, not on how many rules there are.

use rustc_hash::FxHashMap;

use super::app_index::{ANY_APP, AppIndex, AppKeys};
use super::bucket::{Bucket, Candidate, service_number};
use super::destination_index::{ANYWHERE, DestinationIndex, DestinationKeys};
use crate::destination::Destination;
use crate::facts::{App, Direction, FlowFacts};
use crate::rule::Rule;

/// The rules of one direction, found by app and destination.
#[derive(Debug)]
pub(super) struct Index {
    apps: AppIndex,
    destinations: DestinationIndex,
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
    /// Files those of `rules` that go in `direction`; they stay where they are and are named by position.
    pub(super) fn new(rules: &[Rule], direction: Direction) -> Self {
        let ours = || {
            (0_u32..)
                .zip(rules)
                .filter(|(_, rule)| rule.direction == direction)
        };
        let mut app_keys = AppKeys::default();
        for condition in ours().filter_map(|(_, rule)| rule.app.as_ref()) {
            app_keys.count_anchors(condition);
        }
        let mut destination_keys = DestinationKeys::default();
        let mut filed: FxHashMap<(u32, u32), Vec<Candidate>> = FxHashMap::default();
        for (number, rule) in ours() {
            let to = rule.to.as_deref().unwrap_or(&[Destination::Anywhere]);
            let mut destinations: Vec<u32> = to
                .iter()
                .flat_map(|to| destination_keys.assign(to))
                .collect();
            destinations.sort_unstable();
            destinations.dedup();
            for filing in app_keys.assign(rule.app.as_ref()) {
                let candidates = Candidate::of_rule(number, filing.certain, rule.port.as_deref());
                for destination in &destinations {
                    let keys = (filing.key, *destination);
                    filed.entry(keys).or_default().extend(&candidates);
                }
            }
        }
        let destination_count = destination_keys.count();
        let (apps, app_count) = app_keys.build();
        let mut index = Self {
            apps,
            destinations: destination_keys.build(),
            any_app: (0..destination_count).map(|_| None).collect(),
            of_app: (0..app_count).map(|_| OfApp::default()).collect(),
            pairs: FxHashMap::default(),
        };
        let mut filed: Vec<_> = filed.into_iter().collect();
        filed.sort_unstable_by_key(|(keys, _)| *keys);
        for (keys, candidates) in filed {
            index.place(keys, candidates);
        }
        index
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

    /// The first of `rules`, which must be those that the index was made from, that matches this flow of `app`.
    pub(super) fn first_match(
        &self,
        rules: &[Rule],
        facts: &FlowFacts<'_>,
        app: Option<&App>,
    ) -> Option<u32> {
        let service = service_number(facts.protocol, facts.service_port());
        let holds = |rule: u32| {
            let rule = usize::try_from(rule)
                .ok()
                .and_then(|position| rules.get(position));
            rule.is_some_and(|rule| rule.matches(facts, app))
        };
        let mut best = u32::MAX;
        let mut try_bucket = |bucket: Option<&Bucket>| {
            best = bucket
                .and_then(|bucket| bucket.first_before(best, service, &holds))
                .unwrap_or(best);
            best
        };
        let destinations = self.destinations.find(facts.other_end());
        let destinations = destinations.as_slice();
        self.apps.each_key(app, &mut |app_key| {
            if app_key == ANY_APP {
                for destination in destinations {
                    try_bucket(self.any_app[position(*destination)].as_ref());
                }
                return;
            }
            let of_app = &self.of_app[position(app_key)];
            let best = try_bucket(of_app.anywhere.as_ref());
            if of_app.first_pair.is_some_and(|first| first < best) {
                for destination in &destinations[1..] {
                    try_bucket(self.pairs.get(&(app_key, *destination)));
                }
            }
        });
        (best != u32::MAX).then_some(best)
    }
}

/// A key as a position: keys are given out from 0 without gaps.
fn position(key: u32) -> usize {
    usize::try_from(key).unwrap_or(usize::MAX)
}
