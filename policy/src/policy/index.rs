//! From the facts of a flow to the few rules that may match it.
//!
//! Every rule of one direction is filed under pairs of an app key and a destination key; those that share a pair make
//! a bucket. A flow has few keys of each kind: its destination lies in "anywhere", in one scope, in the nested networks
//! around it, in what its names meet, in one country, in the sets that hold any of these; its app is found under "any app"
//! and wherever one of its properties is named. The first rule in order that matches is then the least in the buckets of
//! all pairs, within which protocol, port and near end are looked up; what may be left to check is the rest of its app
//! condition, what its ends must not be, and when it counts. How many pairs there are depends on the flow and on how
//! deeply rules nest, not on how many rules there are.
//!
//! Rules that may have to wait for a name are filed a second time, under their action: where a name is awaited, those that
//! would change the verdict are found there.

use rustc_hash::FxHashMap;

use super::app_index::{ANY_APP, AppIndex, AppKeys};
use super::bucket::{Asked, Bucket, Candidate, RestId, service_number};
use super::destination_index::{ANYWHERE, DestinationIndex, DestinationKeys, Hit, Uses};
use super::near_end_index::{NearEndIndex, NearEndKeys};
use crate::app_condition::AppCondition;
use crate::definitions::Definitions;
use crate::destination::Destination;
use crate::facts::{App, Direction, FlowFacts};
use crate::rule::Rule;
use crate::truth::Truth;
use crate::verdict::Verdict;
use crate::when::When;

/// The rules of one direction, found by app and destination.
#[derive(Debug)]
pub(super) struct Index {
    apps: AppIndex,
    destinations: DestinationIndex,
    near_ends: NearEndIndex,
    /// What candidates leave to check.
    rests: Box<[Rest]>,
    /// Buckets of rules for any app, by destination key.
    any_app: Box<[Option<Bucket>]>,
    /// Buckets of rules that name an app, by app key.
    of_app: Box<[OfApp]>,
    /// Buckets of rules that name both an app and a destination, by both keys.
    pairs: FxHashMap<(u32, u32), Bucket>,
}

/// The conditions of a rule that its keys do not say.
#[derive(Debug)]
struct Rest {
    app: Option<AppCondition>,
    /// What the destination must not be.
    except: Box<[Destination]>,
    /// What the near end must not be.
    except_from: Box<[Destination]>,
    /// When and where the rule counts.
    when: Option<When>,
}

impl Rest {
    fn holds(&self, facts: &FlowFacts<'_>, app: Option<&App>, definitions: &Definitions) -> bool {
        let app_holds = self
            .app
            .as_ref()
            .is_none_or(|condition| app.is_some_and(|app| condition.first_mismatch(app).is_none()));
        let excepted = || self.except.iter().map(|to| to.truth(facts, definitions));
        let near_end = |from: &Destination| from.truth_of_near_end(facts, definitions);
        let when = self.when.as_ref();
        when.is_none_or(|when| when.truth(facts.context, definitions) == Truth::Holds)
            && app_holds
            && (self.except.is_empty() || Truth::any(excepted()) == Truth::Fails)
            && Truth::any(self.except_from.iter().map(near_end)) == Truth::Fails
    }
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
    pub(super) fn new(rules: &[Rule], direction: Direction, definitions: &Definitions) -> Self {
        let ours = || {
            (0_u32..)
                .zip(rules)
                .filter(|(_, rule)| rule.direction == direction)
        };
        let mut files = Files::new(definitions);
        for condition in ours().filter_map(|(_, rule)| rule.app.as_ref()) {
            files.app_keys.count_anchors(condition);
        }
        for (number, rule) in ours() {
            files.file(number, rule, rule.app.as_ref());
        }
        files.into_index()
    }

    /// Files those of `rules` that go in `direction` and are about some programs, with an action that is `meant`, as if about
    /// any.
    pub(super) fn of_some_program(
        rules: &[Rule],
        direction: Direction,
        meant: fn(Verdict) -> bool,
        definitions: &Definitions,
    ) -> Self {
        let mut files = Files::new(definitions);
        for (number, rule) in (0_u32..).zip(rules) {
            let is_meant = rule.app.is_some() && meant(rule.info.action);
            if is_meant && rule.direction == direction {
                files.file(number, rule, None);
            }
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
    pub(super) fn first_match(
        &self,
        facts: &FlowFacts<'_>,
        app: Option<&App>,
        definitions: &Definitions,
    ) -> Option<u32> {
        let service = service_number(facts.protocol, facts.service_port());
        let holds = |candidate: &Candidate| {
            candidate.rest.is_none_or(|rest| {
                let rest = self.rests.get(position(rest.get() - 1));
                rest.is_some_and(|rest| rest.holds(facts, app, definitions))
            })
        };
        let mut best = u32::MAX;
        self.near_ends.each(facts.near_end(), |near_end| {
            let asked = Asked { service, near_end };
            self.destinations.each(facts, |hits| {
                best = self.first_before(best, hits, asked, app, &holds);
            });
        });
        (best != u32::MAX).then_some(best)
    }

    /// The first rule before `best` with this action that `waits` for a name of this flow.
    pub(super) fn first_awaited(
        &self,
        (best, action): (u32, Verdict),
        facts: &FlowFacts<'_>,
        app: Option<&App>,
        waits: &impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let service = service_number(facts.protocol, facts.service_port());
        let holds = |candidate: &Candidate| waits(candidate.rule);
        let hits = [self.destinations.awaited(action)];
        let mut found = best;
        self.near_ends.each(facts.near_end(), |near_end| {
            let asked = Asked { service, near_end };
            found = self.first_before(found, &hits, asked, app, &holds);
        });
        (found < best).then_some(found)
    }

    /// The first rule before `best` for one of these destinations and this app, and for what is asked, that `holds`; else
    /// `best`.
    fn first_before(
        &self,
        mut best: u32,
        destinations: &[Hit],
        asked: Asked<'_>,
        app: Option<&App>,
        holds: &impl Fn(&Candidate) -> bool,
    ) -> u32 {
        let mut try_bucket = |bucket: Option<&Bucket>| {
            best = bucket
                .and_then(|bucket| bucket.first_before(best, asked, holds))
                .unwrap_or(best);
            best
        };
        let anywhere = destinations.iter().any(|hit| hit.key() == ANYWHERE);
        self.apps.each_key(app, &mut |app_key| {
            if app_key == ANY_APP {
                for destination in destinations.iter().filter(|hit| hit.has_any_app()) {
                    try_bucket(self.any_app[position(destination.key())].as_ref());
                }
                return;
            }
            let of_app = &self.of_app[position(app_key)];
            let best = try_bucket(of_app.anywhere.as_ref().filter(|_| anywhere));
            if of_app.first_pair.is_some_and(|first| first < best) {
                for destination in destinations.iter().filter(|hit| hit.has_some_app()) {
                    try_bucket(self.pairs.get(&(app_key, destination.key())));
                }
            }
        });
        best
    }
}

/// Rules under their keys while they are read.
struct Files<'r> {
    definitions: &'r Definitions,
    app_keys: AppKeys,
    destination_keys: DestinationKeys<'r>,
    near_end_keys: NearEndKeys<'r>,
    /// Distinct rests: many rules share one, and a shared one is more likely in the cache.
    rests: Vec<Rest>,
    rest_ids: FxHashMap<RestOf<'r>, RestId>,
    buckets: FxHashMap<(u32, u32), Vec<Candidate>>,
}

/// The app condition, the excepted destinations, the excepted near ends and the context of a rule.
type RestOf<'r> = (
    Option<&'r AppCondition>,
    &'r [Destination],
    &'r [Destination],
    Option<&'r When>,
);

impl<'r> Files<'r> {
    fn new(definitions: &'r Definitions) -> Self {
        Self {
            definitions,
            app_keys: AppKeys::default(),
            destination_keys: DestinationKeys::new(definitions),
            near_end_keys: NearEndKeys::new(definitions),
            rests: Vec::new(),
            rest_ids: FxHashMap::default(),
            buckets: FxHashMap::default(),
        }
    }

    /// Files a rule, with `app` for its app condition.
    fn file(&mut self, number: u32, rule: &'r Rule, app: Option<&'r AppCondition>) {
        let to = rule.to.as_ref();
        let within = to.and_then(|to| to.within.as_deref());
        let except = to.map_or(&[][..], |to| &to.except);
        let from = rule.from.as_ref();
        let except_from = from.map_or(&[][..], |from| &from.except);
        let near_end = self.near_end_keys.assign(from);
        let mut destinations: Vec<u32> = within
            .unwrap_or(&[Destination::Anywhere])
            .iter()
            .flat_map(|to| self.destination_keys.assign(to))
            .collect();
        if to.is_some_and(|to| to.values().any(|to| to.may_wait(self.definitions))) {
            destinations.push(DestinationKeys::awaited(rule.info.action));
        }
        destinations.sort_unstable();
        destinations.dedup();
        for filing in self.app_keys.assign(app) {
            let unsettled = app.filter(|_| !filing.settled);
            let rest = self.rest_id((unsettled, except, except_from, rule.when.as_ref()));
            let candidates = Candidate::of_rule(number, rest, rule.port.as_ref(), near_end);
            for destination in &destinations {
                self.buckets
                    .entry((filing.key, *destination))
                    .or_default()
                    .extend(&candidates);
            }
        }
    }

    fn rest_id(&mut self, rest: RestOf<'r>) -> Option<RestId> {
        let (app, except, except_from, when) = rest;
        if app.is_none() && except.is_empty() && except_from.is_empty() && when.is_none() {
            return None;
        }
        if let Some(id) = self.rest_ids.get(&rest) {
            return Some(*id);
        }
        self.rests.push(Rest {
            app: app.cloned(),
            except: except.into(),
            except_from: except_from.into(),
            when: when.cloned(),
        });
        let id = RestId::new(u32::try_from(self.rests.len()).ok()?)?;
        self.rest_ids.insert(rest, id);
        Some(id)
    }

    fn into_index(mut self) -> Index {
        let members = self.destination_keys.assign_members();
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
            rests: self.rests.into(),
            any_app: uses.iter().map(|_| None).collect(),
            of_app: (0..app_count).map(|_| OfApp::default()).collect(),
            pairs: FxHashMap::default(),
            near_ends: self.near_end_keys.build(),
            destinations: self.destination_keys.build(uses, members),
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
