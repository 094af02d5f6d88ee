//! The flows that live and the most recent that ended, and whoever follows them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tidegate_policy::Protocol;
use tokio::sync::mpsc;

use super::{Carriage, FlowRecord, LiveFlow, NewFlow};

/// How many live flows the end of the gateway does what to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtTheEnd {
    /// TCP connections that end.
    pub cut: usize,
    /// Datagram flows: what comes next leaves from another port.
    pub moved: usize,
    /// Passed on as they are: they go on.
    pub passed: usize,
    /// Begun before our start: they go on too.
    pub existing: usize,
}

/// How much a [`FlowLog`] remembers.
#[derive(Clone, Copy, Debug)]
pub struct FlowLogLimits {
    /// Ended flows that are kept; the oldest makes room.
    pub ended: usize,
    /// Records that wait for one follower; more are dropped and counted.
    pub waiting: usize,
}

impl Default for FlowLogLimits {
    fn default() -> Self {
        Self {
            ended: 10_000,
            waiting: 1_024,
        }
    }
}

/// Every live flow, the most recent ended ones, and their followers. Shared by all workers; cloning gives another handle.
///
/// One lock is taken when a flow opens and when it ends, none in between. Followers never hold a worker up: each has a
/// bounded queue, and what does not fit is counted instead.
#[derive(Clone, Debug)]
pub struct FlowLog {
    shelf: Arc<Shelf>,
}

/// What the handles of a log and its flows have in common.
#[derive(Debug)]
pub(super) struct Shelf {
    limits: FlowLogLimits,
    next_id: AtomicU64,
    flows: Mutex<Flows>,
    followers: Mutex<Vec<Follower>>,
    /// Length of `followers`, so that a flow nobody follows costs one load.
    following: AtomicUsize,
}

#[derive(Debug, Default)]
struct Flows {
    live: BTreeMap<u64, Arc<LiveFlow>>,
    ended: VecDeque<Arc<LiveFlow>>,
}

#[derive(Debug)]
struct Follower {
    queue: mpsc::Sender<Arc<FlowRecord>>,
    missed: Arc<AtomicU64>,
}

/// A follower's end: records arrive when a flow is let through and when it ends.
#[derive(Debug)]
pub struct Subscription {
    records: mpsc::Receiver<Arc<FlowRecord>>,
    missed: Arc<AtomicU64>,
}

impl FlowLog {
    /// An empty log.
    pub fn new(limits: FlowLogLimits) -> Self {
        let shelf = Shelf {
            limits,
            next_id: AtomicU64::new(1),
            flows: Mutex::default(),
            followers: Mutex::default(),
            following: AtomicUsize::new(0),
        };
        Self {
            shelf: Arc::new(shelf),
        }
    }

    /// Notes a flow that begins now.
    pub fn open(&self, new: NewFlow) -> Arc<LiveFlow> {
        let id = self.shelf.next_id.fetch_add(1, Ordering::Relaxed);
        let flow = Arc::new(LiveFlow::new(id, new, Arc::downgrade(&self.shelf)));
        self.shelf.flows().live.insert(id, Arc::clone(&flow));
        flow
    }

    /// Flows that have not ended.
    pub fn live_count(&self) -> usize {
        self.shelf.flows().live.len()
    }

    /// What becomes of the live flows when the gateway ends.
    pub fn at_the_end(&self) -> AtTheEnd {
        let flows = self.shelf.flows();
        let mut counts = AtTheEnd::default();
        for flow in flows.live.values() {
            match (flow.carriage(), flow.protocol()) {
                (Carriage::Terminated, Protocol::Tcp) => counts.cut += 1,
                (Carriage::Terminated, _) => counts.moved += 1,
                (Carriage::Passed, _) => counts.passed += 1,
                (Carriage::Existing, _) => counts.existing += 1,
            }
        }
        counts
    }

    /// Followers at the last time that something was told.
    pub fn follower_count(&self) -> usize {
        self.shelf.following.load(Ordering::Relaxed)
    }

    /// Every remembered flow: the ended ones in the order of their end, then the live ones in the order of their start.
    pub fn records(&self) -> Vec<FlowRecord> {
        let flows: Vec<_> = {
            let flows = self.shelf.flows();
            flows
                .ended
                .iter()
                .chain(flows.live.values())
                .map(Arc::clone)
                .collect()
        };
        flows.iter().map(|flow| flow.record()).collect()
    }

    /// Follows the log from now on.
    pub fn subscribe(&self) -> Subscription {
        let (queue, records) = mpsc::channel(self.shelf.limits.waiting.max(1));
        let missed = Arc::new(AtomicU64::new(0));
        let mut followers = self.shelf.followers();
        followers.push(Follower {
            queue,
            missed: Arc::clone(&missed),
        });
        self.shelf
            .following
            .store(followers.len(), Ordering::Release);
        Subscription { records, missed }
    }
}

impl Default for FlowLog {
    fn default() -> Self {
        Self::new(FlowLogLimits::default())
    }
}

impl Subscription {
    /// The next record; none once the log is gone.
    pub async fn next(&mut self) -> Option<Arc<FlowRecord>> {
        self.records.recv().await
    }

    /// The next record, if one waits.
    pub fn try_next(&mut self) -> Option<Arc<FlowRecord>> {
        self.records.try_recv().ok()
    }

    /// How many records did not fit into the queue since this was last asked.
    pub fn take_missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
}

impl Shelf {
    /// Moves a flow from the live ones to the ended ones.
    pub(super) fn retire(&self, id: u64) {
        let mut flows = self.flows();
        let Some(flow) = flows.live.remove(&id) else {
            return;
        };
        flows.ended.push_back(flow);
        if flows.ended.len() > self.limits.ended {
            flows.ended.pop_front();
        }
    }

    /// Tells every follower how the flow is now, and forgets followers that left.
    pub(super) fn publish(&self, flow: &LiveFlow) {
        if self.following.load(Ordering::Acquire) == 0 {
            return;
        }
        let record = Arc::new(flow.record());
        let mut followers = self.followers();
        followers.retain(|follower| follower.offer(&record));
        self.following.store(followers.len(), Ordering::Release);
    }

    fn flows(&self) -> MutexGuard<'_, Flows> {
        // A panic between two changes leaves at worst one flow on neither list.
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn followers(&self) -> MutexGuard<'_, Vec<Follower>> {
        self.followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    /// False if the follower has left.
    fn offer(&self, record: &Arc<FlowRecord>) -> bool {
        match self.queue.try_send(Arc::clone(record)) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.missed.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}
