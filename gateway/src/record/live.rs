//! One flow while it lives: two counters that cost an atomic add, and the few things that become known of it.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tidegate_policy::{App, Direction, Protocol, Verdict};

use super::log::Shelf;
use super::{AppRecord, Carriage, FlowName, FlowRecord, State, Timestamp};

/// What is known of a flow at its first packet.
#[derive(Clone, Debug)]
pub struct NewFlow {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Who spoke first.
    pub direction: Direction,
    /// The program's end.
    pub local: SocketAddr,
    /// The far end.
    pub remote: SocketAddr,
    /// How its bytes travel.
    pub carriage: Carriage,
    /// Names of the far end.
    pub names: Vec<FlowName>,
}

/// A flow that a worker carries.
///
/// The byte counters take no lock. Everything else changes a handful of times in the life of a flow and takes a lock of
/// this flow alone; [`close`](Self::close) and [`refuse`](Self::refuse) take the log's as well.
#[derive(Debug)]
pub struct LiveFlow {
    id: u64,
    started: Timestamp,
    new: NewFlow,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    known: Mutex<Known>,
    shelf: Weak<Shelf>,
}

/// What becomes known of a flow after its first packet.
#[derive(Debug, Default)]
struct Known {
    owners: Option<Result<Arc<[App]>, Cow<'static, str>>>,
    verdict: Option<Verdict>,
    rule: Option<Arc<str>>,
    egress: Option<Arc<str>>,
    state: State,
    reason: Option<Cow<'static, str>>,
    ended: Option<Timestamp>,
    /// Followers know that it was let through.
    told: bool,
}

impl LiveFlow {
    pub(super) fn new(id: u64, new: NewFlow, shelf: Weak<Shelf>) -> Self {
        Self {
            id,
            started: Timestamp::now(),
            new,
            bytes_up: AtomicU64::new(0),
            bytes_down: AtomicU64::new(0),
            known: Mutex::default(),
            shelf,
        }
    }

    /// The flow's number in records.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Counts payload that left for the far end.
    pub fn add_bytes_up(&self, bytes: u64) {
        self.bytes_up.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts payload that was handed to the program.
    pub fn add_bytes_down(&self, bytes: u64) {
        self.bytes_down.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Every owner of the flow's socket, or why none is known. An empty list counts as unknown.
    pub fn set_apps<O, R>(&self, owners: Result<O, R>)
    where
        O: Into<Arc<[App]>>,
        R: Into<Cow<'static, str>>,
    {
        self.known().owners = Some(owners.map(Into::into).map_err(Into::into));
    }

    /// What the policy said: the verdict, the rule's name (none for the default), and the way out where it may pass.
    pub fn set_decision(&self, verdict: Verdict, rule: Option<Arc<str>>, egress: Option<Arc<str>>) {
        let mut known = self.known();
        known.verdict = Some(verdict);
        known.rule = rule;
        known.egress = egress;
    }

    /// The rule that decided, where one did.
    pub fn rule(&self) -> Option<String> {
        self.known().rule.as_deref().map(str::to_owned)
    }

    /// How far the flow has come. What has ended stays ended. Followers are told once, when it is let through.
    pub fn set_state(&self, state: State) {
        let passes = matches!(state, State::Dialing | State::Open);
        {
            let mut known = self.known();
            if known.ended.is_some() {
                return;
            }
            known.state = state;
            if !passes || std::mem::replace(&mut known.told, true) {
                return;
            }
        }
        if let Some(shelf) = self.shelf.upgrade() {
            shelf.publish(self);
        }
    }

    /// The flow is over. Only the first end of a flow counts.
    pub fn close(&self, reason: impl Into<Cow<'static, str>>) {
        self.end(State::Closed, reason.into());
    }

    /// The flow was not let through, or the far end did not take it. Only the first end of a flow counts.
    pub fn refuse(&self, reason: impl Into<Cow<'static, str>>) {
        self.end(State::Refused, reason.into());
    }

    /// The flow goes past the capture, by this way: nothing more will be known of it.
    pub fn leave_uncaptured(&self, way: impl Into<Cow<'static, str>>) {
        self.end(State::Uncaptured, way.into());
    }

    fn end(&self, state: State, reason: Cow<'static, str>) {
        {
            let mut known = self.known();
            if known.ended.is_some() {
                return;
            }
            known.ended = Some(Timestamp::now());
            known.state = state;
            known.reason = Some(reason);
        }
        if let Some(shelf) = self.shelf.upgrade() {
            shelf.retire(self.id);
            shelf.publish(self);
        }
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.new.protocol
    }

    pub(crate) fn carriage(&self) -> Carriage {
        self.new.carriage
    }

    /// The flow as it is now.
    pub fn record(&self) -> FlowRecord {
        let known = self.known();
        let (owners, unattributed): (&[App], _) = match &known.owners {
            Some(Ok(owners)) if owners.is_empty() => (&[], Some("no owner found".to_owned())),
            Some(Ok(owners)) => (owners, None),
            Some(Err(reason)) => (&[], Some(reason.to_string())),
            None => (&[], None),
        };
        let mut owners = owners.iter().map(AppRecord::from);
        FlowRecord {
            id: self.id,
            started: self.started,
            ended: known.ended,
            protocol: self.new.protocol,
            direction: self.new.direction,
            local: self.new.local,
            remote: self.new.remote,
            app: owners.next(),
            other_owners: owners.collect(),
            unattributed,
            names: self.new.names.clone(),
            carriage: self.new.carriage,
            verdict: known.verdict,
            rule: known.rule.as_deref().map(str::to_owned),
            egress: known.egress.as_deref().map(str::to_owned),
            bytes_up: self.bytes_up.load(Ordering::Relaxed),
            bytes_down: self.bytes_down.load(Ordering::Relaxed),
            state: known.state,
            reason: known.reason.as_deref().map(str::to_owned),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change is complete before the lock is given back, so a poisoned one is as good as any.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
