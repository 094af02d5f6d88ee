//! When flows want to be looked at again.
//!
//! One heap for all flows, cleaned lazily: a flow has at most one live entry, at or before its true deadline. Activity
//! that moves a deadline back costs nothing; the early entry is moved when it reaches the top. So an idle stack has no
//! tick, and a busy flow does not touch the heap per packet.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::flow::FlowId;

/// A flow's deadlines: the true one, and the one that the heap knows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deadline {
    /// When the flow wants to be looked at.
    pub(crate) at: Option<Instant>,
    queued_at: Option<Instant>,
}

/// Where the deadlines of live flows are kept.
pub(crate) trait Deadlines {
    /// The deadline of a flow, if it lives.
    fn deadline(&mut self, flow: FlowId) -> Option<&mut Deadline>;
}

/// The heap.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, FlowId)>>,
}

impl Timers {
    /// Sets when `flow` wants to be looked at; `None` means never.
    pub(crate) fn set(&mut self, flow: FlowId, deadline: &mut Deadline, at: Option<Instant>) {
        deadline.at = at;
        let Some(at) = at else { return };
        if deadline.queued_at.is_none_or(|queued| at < queued) {
            deadline.queued_at = Some(at);
            self.heap.push(Reverse((at, flow)));
        }
    }

    /// The earliest true deadline, and whose it is.
    pub(crate) fn next(&mut self, flows: &mut impl Deadlines) -> Option<(Instant, FlowId)> {
        loop {
            let &Reverse((at, flow)) = self.heap.peek()?;
            let live = flows
                .deadline(flow)
                .filter(|deadline| deadline.queued_at == Some(at));
            match live {
                Some(deadline) if deadline.at == Some(at) => return Some((at, flow)),
                Some(deadline) => {
                    self.heap.pop();
                    deadline.queued_at = deadline.at;
                    if let Some(at) = deadline.at {
                        self.heap.push(Reverse((at, flow)));
                    }
                }
                None => {
                    self.heap.pop();
                }
            }
        }
    }

    /// Takes a deadline that has passed off the heap; its flow has none until the next [`set`](Self::set).
    pub(crate) fn take_due(&mut self, now: Instant, flows: &mut impl Deadlines) -> Option<FlowId> {
        let (at, flow) = self.next(flows)?;
        if at > now {
            return None;
        }
        self.heap.pop();
        if let Some(deadline) = flows.deadline(flow) {
            *deadline = Deadline::default();
        }
        Some(flow)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    impl Deadlines for HashMap<FlowId, Deadline> {
        fn deadline(&mut self, flow: FlowId) -> Option<&mut Deadline> {
            self.get_mut(&flow)
        }
    }

    proptest! {
        #[test]
        fn the_next_deadline_is_the_least_of_all(
            steps in prop::collection::vec((0u64..8, prop::option::of(0u64..100), any::<bool>()), 1..100)
        ) {
            let start = Instant::now();
            let mut timers = Timers::default();
            let mut flows: HashMap<FlowId, Deadline> = HashMap::new();
            for (flow, at, dies) in steps {
                let flow = FlowId(flow);
                let at = at.map(|at| start + Duration::from_millis(at));
                timers.set(flow, flows.entry(flow).or_default(), at);
                if dies {
                    flows.remove(&flow);
                }
                let least = flows.values().filter_map(|deadline| deadline.at).min();
                prop_assert_eq!(timers.next(&mut flows).map(|(at, _)| at), least);
                prop_assert!(timers.heap.len() <= 100);
            }
            let mut due = Vec::new();
            while let Some(flow) = timers.take_due(start + Duration::from_millis(50), &mut flows) {
                due.push(flow);
            }
            prop_assert!(flows.values().all(|deadline| deadline.at.is_none_or(|at| at > start + Duration::from_millis(50))));
        }
    }
}
