//! Who made a flow, and may it pass.
//!
//! Flows of this host's programs are told by their sockets ([`HostFlows`]), forwarded ones by what they were before the
//! host's address translation ([`ForwardedFlows`]). What takes a search is done by a look-up thread while the flow is held.

mod forwarded;
mod host;
pub(super) mod levels;
mod own_translation;
mod pings;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use tidegate_netstack::{FlowId, FlowKey};
use tidegate_platform::apps::{Owners, Unattributed};
use tidegate_policy::{App, DecidedBy, Decision, Direction, FlowFacts, Policy, Verdict};
use tidegate_routing::flow::{Found, State};

pub use self::forwarded::ForwardedFlows;
pub(super) use self::forwarded::Inner;
pub use self::host::HostFlows;
pub(super) use self::levels::LevelFinder;
use self::levels::{About, lack};

use super::caller::Household;
use super::descriptions::Kept;
use super::entry::{Judged, policy_protocol};
use super::newcomers::{Line, Member};
use super::speaker::Speaker;
use super::{Entry, Worker};
use crate::knowledge::ListBuffer;
use crate::record::Carriage;
use crate::shared::ActivePolicy;

/// The way out of every flow that may pass.
const DIRECT: &str = "direct";

/// Finds the programs behind a worker's flows.
#[derive(Debug)]
pub enum Identify {
    /// Of the network that the device is in.
    Host(HostFlows),
    /// Of other networks, for which this host forwards.
    Forwarded(ForwardedFlows),
}

/// What is known without a search.
enum Known {
    Now(Result<Owners, Unattributed>),
    /// The look-up thread will say.
    Later,
}

impl Identify {
    /// What a forwarded flow is on the inner side of the host's address translation; none of the host's own.
    pub(super) fn inner(&mut self, key: &FlowKey) -> Option<Inner> {
        match self {
            Self::Host(_) => None,
            Self::Forwarded(flows) => Some(flows.inner(key)),
        }
    }

    /// In which line this new flow waits.
    pub(super) fn line_of(&mut self, key: &FlowKey, inner: Option<&Inner>) -> Line {
        let source = match (self, inner) {
            (Self::Host(flows), None) => return flows.line_of(key),
            (_, Some(inner)) => inner.source.ip(),
            (Self::Forwarded(_), None) => key.local.0.ip(),
        };
        Line {
            household: Household::network_of(source),
            member: Member::Host(source),
            process: 0,
        }
    }

    /// Who sends in this UDP or echo flow now.
    pub(super) fn speaker(&mut self, key: &FlowKey) -> Option<Speaker> {
        match self {
            Self::Host(flows) => flows.speaker(key),
            Self::Forwarded(flows) => flows.speaker(key),
        }
    }

    /// Whether a datagram of no flow yet, which has just come out of the device, is a service's answer although its port is
    /// one that clients get.
    pub(super) fn is_answer(&mut self, key: &FlowKey, inner: Option<&Inner>) -> bool {
        match self {
            Self::Host(flows) => flows.is_answer(key),
            Self::Forwarded(flows) => flows.is_answer(key, inner),
        }
    }

    /// Which way the connection of an unknown segment was opened, if it still means something to its sender.
    pub(super) fn way_of_segment(
        &mut self,
        key: &FlowKey,
        inner: Option<&Inner>,
    ) -> Option<Direction> {
        match self {
            Self::Host(flows) => flows.way_of_segment(key),
            Self::Forwarded(_) => inner?.way_of_segment(key),
        }
    }

    /// Which way the connection of a SYN-ACK is opened.
    pub(super) fn way_of_syn_ack(&mut self, key: &FlowKey) -> Direction {
        match self {
            Self::Host(flows) => flows.way_of_syn_ack(key),
            // Who calls has no SYN-ACK to send, but for a simultaneous open through two routers.
            Self::Forwarded(_) => Direction::In,
        }
    }
}

impl Worker {
    pub(super) fn look_up(&mut self, now: Instant, flow: FlowId) {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return;
        };
        let mut speaking = entry.path.speaking();
        if let Some(speaking) = &mut speaking {
            speaking.look(now);
        }
        let is_older = entry.record.carriage() == Carriage::Existing;
        let (key, direction) = (&entry.key, entry.direction);
        let handle = &self.handle;
        let known = match (&mut self.identify, entry.inner) {
            (Identify::Host(flows), _) => {
                flows.find(flow, key, direction, handle, speaking, is_older)
            }
            (Identify::Forwarded(flows), Some(inner)) => {
                if let Some(speaking) = speaking {
                    speaking.begins(Some(Speaker::Inner(inner.source)));
                }
                flows.find(flow, key.protocol, direction, &inner, handle)
            }
            (Identify::Forwarded(_), None) => Known::Now(Err(Unattributed::NoNetwork)),
        };
        match known {
            Known::Now(owners) => self.note_owners(now, flow, owners),
            Known::Later => {}
        }
    }

    /// The look-up thread has an answer.
    pub(super) fn owners_found(
        &mut self,
        now: Instant,
        flow: FlowId,
        owners: Result<Owners, Unattributed>,
    ) {
        self.note_owners(now, flow, owners);
        self.drive(now, flow);
    }

    fn note_owners(&mut self, now: Instant, flow: FlowId, owners: Result<Owners, Unattributed>) {
        let wanted = self.policy.policy.levels();
        let owners = match owners {
            // They are noted when the rest is known too.
            Ok(owners) if lack(&owners.apps, wanted) => {
                return self.levels.ask(flow, About::New(owners), wanted);
            }
            owners => owners,
        };
        let Some(entry) = self.flows.get_mut(&flow) else {
            return;
        };
        let found = match &owners {
            Ok(_) => Found::Owner,
            Err(Unattributed::NoSocket | Unattributed::NoProcess | Unattributed::Hidden) => {
                Found::Nobody
            }
            Err(_) => Found::Never,
        };
        entry.life.handle_looked_up(now, found);
        if entry.life.state() != State::Judging {
            return;
        }
        match owners {
            Ok(owners) => self.note_apps(now, flow, owners.apps),
            Err(reason) => {
                entry.is_lost = matches!(reason, Unattributed::NoteLost | Unattributed::Hidden);
                self.shared.counters.unattributed.add(reason.name());
                entry
                    .record
                    .set_apps::<Arc<[_]>, _>(Err(unattributed(entry.inner.as_ref(), reason)));
            }
        }
    }

    /// These are the flow's programs, all that is known of them.
    fn note_apps(&mut self, now: Instant, flow: FlowId, apps: Arc<[App]>) {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return;
        };
        let kept = match self.descriptions.keep(now, Arc::clone(&apps)) {
            Kept::Whole(apps) => {
                entry.apps = Arc::clone(&apps);
                apps
            }
            Kept::Short(short) => {
                entry.apps = apps;
                entry.short = Some(Arc::clone(&short));
                self.shared.counters.unattributed.add("kept in short");
                short
            }
        };
        entry.record.set_apps::<_, String>(Ok(kept));
    }

    pub(super) fn judge(&mut self, flow: FlowId) {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return;
        };
        let policy = &self.policy.policy;
        let mut lists = ListBuffer::default();
        let facts = facts(entry, &self.policy, &mut lists);
        let decision = decide(policy, entry, &facts);
        let rule = label(policy, decision.by);
        let (verdict, rule) = match decision.verdict {
            Verdict::Ask => self.answer_known(flow, rule),
            verdict @ (Verdict::Allow | Verdict::Block | Verdict::Drop) => (verdict, rule),
        };
        self.note_judged(flow, verdict, rule);
    }

    pub(super) fn note_judged(&mut self, flow: FlowId, verdict: Verdict, rule: Option<Arc<str>>) {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return;
        };
        let egress = (verdict == Verdict::Allow).then(|| Arc::from(DIRECT));
        self.shared.counters.count_verdict(verdict);
        entry.record.set_decision(verdict, rule, egress);
        entry.life.handle_judged(verdict);
        // While the user is asked all that is known counts.
        if entry.life.state() == State::Asking {
            return;
        }
        if let Some(short) = entry.short.take() {
            entry.apps = short;
            entry.is_lost = true;
        }
        let asking = entry.asking.take_question();
        self.ask_no_more(flow, &asking);
    }

    /// A new policy is in force: every flow that was judged is judged again. Who waits in line keeps its place.
    pub(super) fn adopt_policy(&mut self, now: Instant) {
        self.policy = self.shared.policy.load_full();
        let mut flows: Vec<FlowId> = self.flows.keys().copied().collect();
        flows.sort_unstable();
        let wanted = self.policy.policy.levels();
        for flow in flows {
            let Some(entry) = self.flows.get_mut(&flow) else {
                continue;
            };
            let is_judged = matches!(
                entry.life.state(),
                State::Asking | State::Dialing | State::Open | State::HalfClosed
            );
            if is_judged && !entry.is_lost && lack(&entry.apps, wanted) {
                let apps = Arc::clone(&entry.apps);
                self.levels.ask(flow, About::Judged(apps), wanted);
            } else if entry.life.handle_policy_changed() {
                self.drive(now, flow);
            }
        }
    }

    /// What a new policy asks of a flow's programs is known.
    pub(super) fn identified(&mut self, now: Instant, flow: FlowId, apps: Arc<[App]>) {
        let wanted = self.policy.policy.levels();
        let Some(entry) = self.flows.get_mut(&flow) else {
            return;
        };
        if lack(&apps, wanted) {
            // A policy later still asks for more, and has asked.
            return;
        }
        if entry.life.handle_policy_changed() {
            self.note_apps(now, flow, apps);
            self.drive(now, flow);
        }
    }
}

/// What the flow's record says instead of a program.
fn unattributed(inner: Option<&Inner>, reason: Unattributed) -> Cow<'static, str> {
    match inner {
        None => Cow::Owned(reason.to_string()),
        Some(inner) => {
            let source = inner.source.ip();
            Cow::Owned(format!("forwarded for {source}: {reason}"))
        }
    }
}

/// What a record calls that which has decided; nothing for the default.
pub(super) fn label(policy: &Policy, by: DecidedBy) -> Option<Arc<str>> {
    match by {
        DecidedBy::Rule(index) => policy.rule(index).map(|rule| Arc::from(rule.label())),
        DecidedBy::Protection(protection) => policy.protection_label(protection).cloned(),
        DecidedBy::Default => None,
    }
}

/// By the rules that judge this flow.
pub(super) fn decide(policy: &Policy, entry: &Entry, facts: &FlowFacts<'_>) -> Decision {
    match (entry.judged, entry.is_lost) {
        (Judged::OneWay, false) => policy.decide(facts),
        (Judged::EitherWay, false) => policy.decide_either_way(facts),
        (Judged::OneWay, true) => policy.decide_for_lost(facts),
        (Judged::EitherWay, true) => policy.decide_for_lost_either_way(facts),
    }
}

/// What is known of this flow; `lists` is filled with those that its other end is on.
pub(super) fn facts<'a>(
    entry: &'a Entry,
    active: &'a ActivePolicy,
    lists: &'a mut ListBuffer,
) -> FlowFacts<'a> {
    let other_end = entry.key.remote.0.ip();
    FlowFacts {
        direction: entry.direction,
        protocol: policy_protocol(entry.key.protocol),
        local: entry.local(),
        remote: entry.key.remote.0,
        // What is kept of them in short is no ground to judge on.
        apps: if entry.is_lost { &[] } else { &entry.apps },
        peer: active.knowledge.about(other_end, &[], lists),
        context: &active.context,
    }
}
