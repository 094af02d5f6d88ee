//! What goes into the device, what happened without a packet, and when to come back.

use std::time::Instant;

use super::Stack;
use crate::flow::FlowId;
use crate::output::{CloseReason, Event, TimeoutReason, Transmit};
use crate::table::FlowKind;
use crate::tcp::engine::{Outgoing, Way};
use crate::tcp::segment::BareSegment;
use crate::tcp::{PENDING_LIMIT, Turn, UNANSWERED_LIMIT};

impl Stack {
    /// The next packet for the device. It is lent from the stack's buffers: write it before the next call.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<'_>> {
        if !self.answers.is_empty() {
            return self.answers.pop();
        }
        while let Some(id) = self.turns.pop_front() {
            if let Some(outgoing) = self.take_turn(now, id) {
                return Some(self.lend(id, outgoing));
            }
        }
        None
    }

    /// The packet with the payload that its flow's buffer lends.
    fn lend(&self, id: FlowId, outgoing: Outgoing) -> Transmit<'_> {
        let payload = match self.table.get(id).map(|flow| &flow.kind) {
            Some(FlowKind::Tcp(tcp)) => tcp.engine.payload(&outgoing),
            // Its last packet was a RST, without payload.
            Some(_) | None => [&[][..], &[]],
        };
        Transmit {
            head: outgoing.head,
            payload,
        }
    }

    /// One packet of this flow, which then waits for its next turn; or nothing, and it rests until something changes.
    fn take_turn(&mut self, now: Instant, id: FlowId) -> Option<Outgoing> {
        let flow = self.table.get_mut(id)?;
        let FlowKind::Tcp(tcp) = &mut flow.kind else {
            return None;
        };
        let way = Way {
            key: &flow.key,
            link: self.link,
            pool: &self.pool,
        };
        if tcp.aborted {
            if tcp.last_words
                && let Some(outgoing) = tcp.engine.last_words(now, way)
            {
                self.turns.push_back(id);
                return Some(outgoing);
            }
            let reset = tcp.engine.reset(way);
            self.bury(now, id);
            return Some(reset);
        }
        let outgoing = tcp.engine.transmit(now, way);
        if outgoing.is_some() {
            self.turns.push_back(id);
            return outgoing;
        }
        tcp.turn = Turn::None;
        if tcp.is_over() {
            let reason = tcp.close_reason();
            self.end(now, id, reason);
            return None;
        }
        let idle = flow.active + self.config.idle.tcp;
        let unanswered = tcp.engine.awaits_program().then(|| {
            let since = *tcp.unanswered_since.get_or_insert(now);
            since + UNANSWERED_LIMIT
        });
        let at = [tcp.engine.next_poll(), unanswered, tcp.ends_at]
            .into_iter()
            .flatten()
            .fold(idle, Instant::min);
        self.table.set_deadline(id, Some(at));
        None
    }

    /// The next thing that happened without a packet of that flow at hand.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next, and why. Valid until the next mutator; cheap. `None`
    /// while nothing waits for time to pass.
    pub fn poll_timeout(&mut self) -> Option<(Instant, TimeoutReason)> {
        let flow = self
            .table
            .next_deadline()
            .map(|(at, id)| (at, self.reason_of(id)));
        let departed = self
            .departed
            .all_over_at()
            .map(|at| (at, TimeoutReason::TimeWait));
        let reassembly = self
            .reassembly
            .next_deadline()
            .map(|at| (at, TimeoutReason::Reassembly));
        [flow, departed, reassembly]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    fn reason_of(&self, id: FlowId) -> TimeoutReason {
        match self.table.get(id).map(|flow| &flow.kind) {
            Some(FlowKind::Tcp(_) | FlowKind::Pending(_)) => TimeoutReason::Tcp,
            Some(FlowKind::Udp(_) | FlowKind::Echo(_) | FlowKind::Pass) | None => {
                TimeoutReason::Idle
            }
        }
    }

    /// Lets timers run whose deadline has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.reassembly.expire(now);
        self.count_incomplete();
        self.departed.sweep(now);
        while let Some(id) = self.table.take_due(now) {
            self.flow_is_due(now, id);
        }
    }

    fn flow_is_due(&mut self, now: Instant, id: FlowId) {
        let idle = self.config.idle;
        let Some(flow) = self.table.get_mut(id) else {
            return;
        };
        match &mut flow.kind {
            FlowKind::Pending(_) if flow.active + PENDING_LIMIT <= now => {
                self.end(now, id, CloseReason::TimedOut)
            }
            FlowKind::Pending(_) => {
                let until = flow.active + PENDING_LIMIT;
                self.table.set_deadline(id, Some(until));
            }
            FlowKind::Tcp(tcp) => {
                if tcp.ends_at.is_some_and(|at| at <= now) {
                    return self.end(now, id, CloseReason::ResetByProgram);
                }
                let unanswered = tcp
                    .unanswered_since
                    .is_some_and(|since| since + UNANSWERED_LIMIT <= now);
                if unanswered || flow.active + idle.tcp <= now {
                    let reason = if unanswered {
                        CloseReason::TimedOut
                    } else {
                        CloseReason::Idle
                    };
                    self.send_reset(now, id);
                    self.events.push_back(Event::Closed(id, reason));
                } else {
                    tcp.queue(id, &mut self.turns);
                }
            }
            // Activity moves their deadlines: these have passed.
            FlowKind::Udp(_) | FlowKind::Echo(_) | FlowKind::Pass => {
                self.end(now, id, CloseReason::Idle)
            }
        }
    }

    /// Resets an accepted TCP flow at once: the RST waits with the other answers, the flow is gone.
    pub(super) fn send_reset(&mut self, now: Instant, id: FlowId) {
        let Some(flow) = self.table.get_mut(id) else {
            return;
        };
        let FlowKind::Tcp(tcp) = &mut flow.kind else {
            return;
        };
        tcp.aborted = true;
        let way = Way {
            key: &flow.key,
            link: self.link,
            pool: &self.pool,
        };
        let reset = tcp.engine.reset(way);
        self.answers.push(reset.head.as_ref(), reset.head.offload);
        self.bury(now, id);
    }

    pub(super) fn answer(&mut self, segment: BareSegment) {
        let (packet, len) = segment.to_packet();
        self.answers
            .push(packet.get(..len).unwrap_or_default(), BareSegment::OFFLOAD);
    }
}
