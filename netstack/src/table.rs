//! The flow table: from a tuple to a flow, and from a [`FlowId`] to the same flow.
//!
//! Every packet looks here first, so a look-up is one hash and one compare, however many flows there are. A slot is used
//! again, an id is not: it carries the number of the flow's birth.

use std::net::IpAddr;
use std::time::Instant;

use slab::Slab;

use crate::flow::{FlowId, FlowKey, LocalAddr};
use crate::icmp::EchoFlow;
use crate::keyed::{KeyedMap, keyed_hash};
use crate::recency::Recency;
use crate::tcp::{Accepted, Pending};
use crate::timers::{Deadline, Deadlines, Timers};
use crate::udp::UdpFlow;

/// Bits of a [`FlowId`] that name the slot; the rest number the births, which lasts for years at any real rate.
const SLOT_BITS: u32 = 24;

/// A live flow.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) id: FlowId,
    pub(crate) key: FlowKey,
    /// When the program was last heard (and, for UDP and echo, when it was last spoken to).
    pub(crate) active: Instant,
    pub(crate) kind: FlowKind,
    deadline: Deadline,
}

/// What a flow is, and all that is kept of it.
#[derive(Debug)]
pub(crate) enum FlowKind {
    /// Waits for a verdict or its upstream connection.
    Pending(Box<Pending>),
    /// TCP that this stack terminates.
    Tcp(Box<Accepted>),
    Udp(UdpFlow),
    Echo(EchoFlow),
    /// Re-emitted as it is.
    Pass,
}

impl FlowKind {
    /// Whether the flow may be forgotten to make room.
    fn is_evictable(&self) -> bool {
        match self {
            Self::Pending(_) | Self::Tcp(_) => false,
            Self::Udp(_) | Self::Echo(_) | Self::Pass => true,
        }
    }
}

/// Every live flow.
#[derive(Debug)]
pub(crate) struct FlowTable {
    slots: Slab<Flow>,
    index: KeyedMap<FlowKey, usize>,
    /// How many UDP flows each local source has: they share one upstream socket.
    udp_sources: KeyedMap<LocalAddr, usize>,
    recency: Recency,
    timers: Timers,
    births: u64,
    half_open: usize,
}

impl FlowTable {
    /// An empty table whose hashes depend on `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        let state = keyed_hash(seed);
        Self {
            slots: Slab::new(),
            index: KeyedMap::with_hasher(state.clone()),
            udp_sources: KeyedMap::with_hasher(state),
            recency: Recency::default(),
            timers: Timers::default(),
            births: 0,
            half_open: 0,
        }
    }

    /// Number of live flows.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Number of flows that wait for a verdict or their upstream connection.
    pub(crate) fn half_open(&self) -> usize {
        self.half_open
    }

    /// The flow of this tuple.
    pub(crate) fn find(&self, key: &FlowKey) -> Option<FlowId> {
        let &slot = self.index.get(key)?;
        self.slots.get(slot).map(|flow| flow.id)
    }

    /// The flow of this id, while it lives.
    pub(crate) fn get(&self, id: FlowId) -> Option<&Flow> {
        self.slots.get(slot_of(id)).filter(|flow| flow.id == id)
    }

    /// The flow of this id, while it lives.
    pub(crate) fn get_mut(&mut self, id: FlowId) -> Option<&mut Flow> {
        self.slots.get_mut(slot_of(id)).filter(|flow| flow.id == id)
    }

    /// Adds a flow of a tuple that has none. `None` if there are more flows than an id can name.
    pub(crate) fn insert(&mut self, now: Instant, key: FlowKey, kind: FlowKind) -> Option<FlowId> {
        let slot = self.slots.vacant_key();
        if slot >> SLOT_BITS != 0 {
            return None;
        }
        self.births += 1;
        let id = FlowId(self.births << SLOT_BITS | u64::try_from(slot).ok()?);
        if kind.is_evictable() {
            self.recency.touch(slot);
        }
        match &kind {
            FlowKind::Pending(_) => self.half_open += 1,
            FlowKind::Udp(_) => *self.udp_sources.entry(key.local).or_default() += 1,
            FlowKind::Tcp(_) | FlowKind::Echo(_) | FlowKind::Pass => {}
        }
        self.index.insert(key, slot);
        self.slots.insert(Flow {
            id,
            key,
            active: now,
            kind,
            deadline: Deadline::default(),
        });
        Some(id)
    }

    /// Takes a flow out.
    pub(crate) fn remove(&mut self, id: FlowId) -> Option<Flow> {
        self.get(id)?;
        let slot = slot_of(id);
        let flow = self.slots.try_remove(slot)?;
        self.index.remove(&flow.key);
        self.recency.remove(slot);
        self.forget_kind(&flow.key, &flow.kind);
        Some(flow)
    }

    /// Makes a flow something else; gives back what it was.
    pub(crate) fn replace(&mut self, id: FlowId, kind: FlowKind) -> Option<FlowKind> {
        let flow = self.get_mut(id)?;
        let key = flow.key;
        let evictable = kind.is_evictable();
        let old = std::mem::replace(&mut flow.kind, kind);
        self.forget_kind(&key, &old);
        if evictable {
            self.recency.touch(slot_of(id));
        }
        Some(old)
    }

    fn forget_kind(&mut self, key: &FlowKey, kind: &FlowKind) {
        match kind {
            FlowKind::Pending(_) => self.half_open -= 1,
            FlowKind::Udp(_) => {
                if let Some(flows) = self.udp_sources.get_mut(&key.local) {
                    *flows -= 1;
                    if *flows == 0 {
                        self.udp_sources.remove(&key.local);
                    }
                }
            }
            FlowKind::Tcp(_) | FlowKind::Echo(_) | FlowKind::Pass => {}
        }
    }

    /// The flow spoke or was spoken to. Its deadline is at `until`.
    pub(crate) fn touch(&mut self, now: Instant, id: FlowId, until: Instant) {
        let Some(flow) = self.slots.get_mut(slot_of(id)).filter(|flow| flow.id == id) else {
            return;
        };
        flow.active = now;
        if flow.kind.is_evictable() {
            self.recency.touch(slot_of(id));
        }
        self.timers.set(id, &mut flow.deadline, Some(until));
    }

    /// Sets when the flow wants to be looked at.
    pub(crate) fn set_deadline(&mut self, id: FlowId, at: Option<Instant>) {
        let Some(flow) = self.slots.get_mut(slot_of(id)).filter(|flow| flow.id == id) else {
            return;
        };
        self.timers.set(id, &mut flow.deadline, at);
    }

    /// The earliest deadline, and whose it is.
    pub(crate) fn next_deadline(&mut self) -> Option<(Instant, FlowId)> {
        let Self { timers, slots, .. } = self;
        timers.next(slots)
    }

    /// A flow whose deadline has passed.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<FlowId> {
        let Self { timers, slots, .. } = self;
        timers.take_due(now, slots)
    }

    /// The UDP, echo or passed flow that was quiet for longest.
    pub(crate) fn quietest(&self) -> Option<FlowId> {
        self.slots.get(self.recency.oldest()?).map(|flow| flow.id)
    }

    /// All UDP, echo and passed flows, the one that was quiet for longest first, and since when each is.
    pub(crate) fn quietest_first(&self) -> impl Iterator<Item = (FlowId, Instant)> {
        let flow = |slot| self.slots.get(slot).map(|flow| (flow.id, flow.active));
        self.recency.oldest_first().filter_map(flow)
    }

    /// How many UDP flows share this local source.
    pub(crate) fn udp_flows_of(&self, local: LocalAddr) -> usize {
        self.udp_sources.get(&local).copied().unwrap_or_default()
    }

    /// Every flow of a local address.
    pub(crate) fn flows_of(&self, local: IpAddr) -> Vec<FlowId> {
        self.slots
            .iter()
            .filter(|(_, flow)| flow.key.local.ip() == local)
            .map(|(_, flow)| flow.id)
            .collect()
    }
}

fn slot_of(id: FlowId) -> usize {
    usize::try_from(id.0 & ((1 << SLOT_BITS) - 1)).unwrap_or(usize::MAX)
}

impl Deadlines for Slab<Flow> {
    fn deadline(&mut self, id: FlowId) -> Option<&mut Deadline> {
        self.get_mut(slot_of(id))
            .filter(|flow| flow.id == id)
            .map(|flow| &mut flow.deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::segment::MAX_BARE_SEGMENT;

    /// What a flow holds, so that growth is noticed. Buffers come on top, while there is something in them.
    #[test]
    fn a_flow_holds_little_besides_its_buffers() {
        let slot = size_of::<Flow>() + size_of::<(FlowKey, usize)>() + 4 * size_of::<usize>();
        let tcp = size_of::<Accepted>();
        println!(
            "a slot: {slot} B; an accepted TCP flow: {tcp} B more; a waiting SYN: {} B more",
            size_of::<Pending>()
        );
        assert!(slot <= 400, "{slot}");
        assert!(tcp <= 640, "{tcp}");
        assert!(size_of::<Pending>() <= MAX_BARE_SEGMENT + 24);
    }
}
