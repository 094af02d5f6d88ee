//! The stack: packets in, flows out, and back. A packet's way starts in `stack/ingress.rs`, leads through a verdict
//! (`stack/verdicts.rs`), and back out in `stack/egress.rs`; `stack/datagrams.rs` is the way back for UDP and echo.

mod datagrams;
mod egress;
mod ingress;
mod verdicts;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;
use std::time::Instant;

use crate::answers::AnswerQueue;
use crate::departed::{Departed, Departure};
use crate::flow::{FlowId, FlowKey, LocalAddr, Protocol, RemoteAddr};
use crate::limiter::Limiter;
use crate::packet::DropReason;
use crate::reassembly::Reassembly;
use crate::table::{Flow, FlowKind, FlowTable};
use crate::tcp::TcpFlow;
use crate::tcp::engine::Phase;
use crate::tcp::head::{Link, Offloads};
use crate::tcp::pool::Pool;
use crate::tcp::send::Room;

pub use crate::config::{IdleLimits, StackConfig};
pub use crate::icmp::Refusal;
pub use crate::input::{FlowIs, Input};
pub use crate::output::{CloseReason, Event, StackGauges, TimeoutReason, Transmit};

/// Packets in, flows out, and back.
///
/// # Contract
///
/// Call in this order, one thread, `now` never going back:
///
/// 1. [`handle_packet`](Self::handle_packet) for each packet of a batch, acting on each [`Input`];
/// 2. the mutators ([`tcp`](Self::tcp), [`tcp_accept`](Self::tcp_accept), [`refuse`](Self::refuse), ...) as verdicts and
///    upstream bytes arrive;
/// 3. [`handle_timeout`](Self::handle_timeout) when the deadline of [`poll_timeout`](Self::poll_timeout) has passed;
/// 4. [`poll_transmit`](Self::poll_transmit) until `None`, writing each packet to the device;
/// 5. [`poll_event`](Self::poll_event) until `None`;
/// 6. [`poll_timeout`](Self::poll_timeout), and wait.
///
/// Nothing is acknowledged packet by packet: whatever a batch of packets and the bytes moved for them call for goes out
/// in step 4, once. A device that cannot take more packets just stops step 4 early; the rest stays.
///
/// # Life of a TCP flow
///
/// [`Input::TcpSyn`] gives birth to it; nothing is sent. The caller judges and dials. Then either
/// [`refuse`](Self::refuse), and the flow is gone, or [`tcp_accept`](Self::tcp_accept), and SYN-ACK goes out. From then on
/// [`Input::Tcp`] says that something changed, and [`tcp`](Self::tcp) lends its buffers; [`Input::TcpPayload`] lends what came
/// straight from the packet. It ends with
/// [`TcpFlow::abort`], or by itself with [`Event::Closed`].
#[derive(Debug)]
pub struct Stack {
    config: StackConfig,
    table: FlowTable,
    link: Link,
    pool: Pool,
    departed: Departed,
    reassembly: Reassembly,
    answers: AnswerQueue,
    /// TCP flows that may have something to transmit, each once, in turn.
    turns: VecDeque<FlowId>,
    events: VecDeque<Event>,
    limiter: Limiter,
    /// Of the last datagram that was cut into fragments.
    identification: u32,
    dropped: Vec<(DropReason, u64)>,
}

impl Stack {
    /// An empty stack.
    pub fn new(config: StackConfig, now: Instant) -> Self {
        let offloads = if config.segmentation_offload {
            Offloads::Segmentation
        } else {
            Offloads::None
        };
        Self {
            table: FlowTable::new(config.seed),
            link: Link {
                mtu: config.link_mtu(),
                offloads,
            },
            pool: Pool::new(config.buffer_budget, config.device_queue),
            departed: Departed::new(config.seed),
            reassembly: Reassembly::new(config.seed),
            answers: AnswerQueue::default(),
            turns: VecDeque::new(),
            events: VecDeque::new(),
            limiter: Limiter::new(config.answers_per_second, now),
            identification: 0,
            dropped: Vec::new(),
            config,
        }
    }

    /// The link's MTU has changed: datagrams and new TCP flows go by the new one. TCP flows that stand keep the segment size
    /// that they have agreed upon.
    pub fn set_mtu(&mut self, mtu: u16) {
        self.config.mtu = mtu;
        self.link.mtu = self.config.link_mtu();
    }

    /// The flow's key, while it lives.
    pub fn key(&self, flow: FlowId) -> Option<FlowKey> {
        self.table.get(flow).map(|flow| flow.key)
    }

    /// The flow of a tuple, while it lives.
    pub fn find(&self, key: &FlowKey) -> Option<FlowId> {
        self.table.find(key)
    }

    /// Every live flow of this local address: to reset them at once when the address goes away.
    pub fn flows_of(&self, local: IpAddr) -> Vec<FlowId> {
        self.table.flows_of(local)
    }

    /// A TCP flow that was accepted and is not gone.
    pub fn tcp(&mut self, flow: FlowId) -> Option<TcpFlow<'_>> {
        match &mut self.table.get_mut(flow)?.kind {
            FlowKind::Tcp(tcp) if !tcp.aborted => Some(TcpFlow {
                id: flow,
                tcp,
                turns: &mut self.turns,
                pool: &mut self.pool,
                room: Room::Nothing,
            }),
            FlowKind::Tcp(_)
            | FlowKind::Pending(_)
            | FlowKind::Udp(_)
            | FlowKind::Echo(_)
            | FlowKind::Pass => None,
        }
    }

    /// How many live UDP flows a local source has. With endpoint-independent mapping (RFC 4787 section 4.1) they share one
    /// upstream socket, which is to be closed when this is zero.
    pub fn udp_flows_of(&self, local: LocalAddr) -> usize {
        self.table.udp_flows_of(local)
    }

    /// All UDP, echo and passed flows, the one that was quiet for longest first, and since when each is: for who must give room
    /// to new ones.
    pub fn quietest_first(&self) -> impl Iterator<Item = (FlowId, Instant)> {
        self.table.quietest_first()
    }

    /// The UDP flow between a local source and the peer that a datagram came from.
    pub fn udp_flow(&self, local: LocalAddr, remote: RemoteAddr) -> Option<FlowId> {
        self.table.find(&FlowKey {
            protocol: Protocol::Udp,
            local,
            remote,
        })
    }

    /// How full the stack is.
    pub fn gauges(&self) -> StackGauges {
        StackGauges {
            flows: self.table.len(),
            half_open: self.table.half_open(),
            time_wait: self.departed.len(),
            buffer_bytes: self.pool.lent(),
        }
    }

    /// Packets thrown away so far, by reason.
    pub fn drops(&self) -> &[(DropReason, u64)] {
        &self.dropped
    }

    fn count_drop(&mut self, reason: DropReason) {
        self.count_drops(reason, 1);
    }

    /// Counts the datagrams whose fragments are no longer waited for.
    fn count_incomplete(&mut self) {
        match self.reassembly.take_given_up() {
            0 => {}
            given_up => self.count_drops(DropReason::Incomplete, given_up),
        }
    }

    fn count_drops(&mut self, reason: DropReason, more: u64) {
        match self
            .dropped
            .iter_mut()
            .find(|(counted, _)| *counted == reason)
        {
            Some((_, count)) => *count += more,
            None => self.dropped.push((reason, more)),
        }
    }

    /// Makes room for one more flow, at the cost of the UDP, echo or passed flow that was quiet for longest.
    fn make_room(&mut self, now: Instant) -> Result<(), DropReason> {
        if self.table.len() < self.config.max_flows {
            return Ok(());
        }
        let quietest = self.table.quietest().ok_or(DropReason::FlowTableFull)?;
        self.end(now, quietest, CloseReason::Evicted);
        Ok(())
    }

    fn insert(&mut self, now: Instant, key: FlowKey, kind: FlowKind) -> Result<FlowId, DropReason> {
        self.make_room(now)?;
        self.table
            .insert(now, key, kind)
            .ok_or(DropReason::FlowTableFull)
    }

    /// Ends a flow that the caller did not ask to end.
    fn end(&mut self, now: Instant, id: FlowId, reason: CloseReason) {
        if self.bury(now, id) {
            self.events.push_back(Event::Closed(id, reason));
        }
    }

    /// Takes a flow out of the table, its buffers back, and leaves a record if its packets may still come.
    fn bury(&mut self, now: Instant, id: FlowId) -> bool {
        let Some(Flow { key, kind, .. }) = self.table.remove(id) else {
            return false;
        };
        if let FlowKind::Tcp(mut tcp) = kind {
            if tcp.aborted {
                self.departed.insert(now, key, Departure::Aborted);
            } else if tcp.engine.phase() == Phase::TimeWait {
                self.departed
                    .insert(now, key, Departure::TimeWait(tcp.engine.said()));
            }
            tcp.engine.release(&mut self.pool);
        }
        true
    }

    /// An initial sequence number that nobody outside can guess, from the seed and the flow (RFC 6528's idea).
    fn initial_sequence(&self, id: FlowId) -> u32 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.config.seed);
        hasher.write_u64(id.0);
        let [a, b, c, d, ..] = hasher.finish().to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }
}
