//! UDP: one upstream socket for all flows of one local address (endpoint-independent mapping, RFC 4787 section 4.1).
//!
//! A peer that the program has not sent to is not let in (RFC 4787 section 5, address- and port-dependent filtering).

mod association;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Instant;

use mio::{Interest, Token};
use tidegate_netstack::keyed::KeyedMap;
use tidegate_netstack::{DropReason, FlowId, Fragmentation, LocalAddr, Refusal};
use tidegate_platform::datagrams::{self, Arrived};
use tidegate_platform::error_queue::{self, Fault, Report};
use tidegate_routing::flow::State;
use tidegate_routing::target::Target;

use super::caller::Caller;
use super::entry::{NotDialed, Path};
use super::holders::Held;
use super::scarcity::Yielding;
use super::speaker::Speaking;
use super::waiting::Waiting;
use super::{Source, USUAL_HOP_LIMIT, Worker, count};

use association::{Association, AssociationKey, bind, unscoped};

pub(super) use association::{AssociationId, Associations};

/// Datagrams that wait for one flow's verdict.
const WAITING: usize = 64;
/// Datagrams taken from one socket before the next gets its turn.
const BATCH: usize = 64;

/// How a program sent a datagram, or several.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Payload size of each where there are several; the last may be shorter.
    pub(super) segment: Option<NonZeroU16>,
    pub(super) fragmentation: Fragmentation,
    /// TTL or hop limit: who traces a route sets it low.
    pub(super) hop_limit: u8,
}

/// The upstream side of one UDP flow.
pub(super) struct UdpPath {
    association: Option<AssociationId>,
    /// Where a resolver of the other family was asked before: its answer may still come.
    earlier: Option<AssociationId>,
    target: Option<SocketAddr>,
    /// Sent before the verdict.
    waiting: Waiting<Shape>,
    /// Datagrams sent: the next resolver is asked when one stays silent.
    sent: usize,
    answered: bool,
    pub(super) speaking: Speaking,
}

impl Path {
    pub(super) fn udp() -> Self {
        Self::Udp(UdpPath {
            association: None,
            earlier: None,
            target: None,
            waiting: Waiting::default(),
            sent: 0,
            answered: false,
            speaking: Speaking::default(),
        })
    }
}

impl UdpPath {
    /// Whether anything has come back.
    pub(super) fn is_answered(&self) -> bool {
        self.answered
    }

    /// Its upstream socket.
    pub(super) fn association(&self) -> Option<AssociationId> {
        self.association
    }

    /// Whether datagrams wait for the verdict.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl Worker {
    /// A datagram (or several) came from the program.
    pub(super) fn datagram_from_program(&mut self, flow: FlowId, payload: &[u8], shape: Shape) {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return;
        };
        let Path::Udp(path) = &mut entry.path else {
            return;
        };
        if entry.life.state() == State::Open {
            return self.send_datagrams(flow, payload, shape);
        }
        if !path.waiting.push(&mut self.room, WAITING, payload, shape) {
            self.drop_packet(DropReason::TooManyHalfOpen);
        }
        self.hold(flow);
    }

    pub(super) fn open_udp(&mut self, flow: FlowId) {
        let Some(entry) = self.flows.get(&flow) else {
            return;
        };
        let (key, local) = (entry.key, LocalAddr(entry.local()));
        let outcome = match self.translation.target(key.remote.0, 0) {
            Target::NoService => Err(NotDialed::NO_SERVICE),
            Target::To(target) | Target::Resolver(target) => self
                .join_association(flow, local, target)
                .map_err(NotDialed::from),
        };
        self.note_dialed(flow, outcome);
    }

    fn join_association(
        &mut self,
        flow: FlowId,
        local: LocalAddr,
        target: SocketAddr,
    ) -> io::Result<()> {
        let key = AssociationKey {
            local,
            ipv6: target.is_ipv6(),
        };
        let Some(caller) = self.flows.get(&flow).map(Caller::of) else {
            return Ok(());
        };
        let id = match self.associations.by_key.get(&key) {
            Some(id) => *id,
            None => self.open_association(caller.clone(), key, target)?,
        };
        let Some(Path::Udp(path)) = self.flows.get_mut(&flow).map(|entry| &mut entry.path) else {
            // It was itself the quietest when room was made.
            self.close_if_unused(id);
            return Ok(());
        };
        path.target = Some(target);
        let is_member = [path.association, path.earlier].contains(&Some(id));
        if path.association != Some(id) {
            path.earlier = path.association.replace(id);
        }
        if let Some(association) = self.associations.all.get_mut(id) {
            association.peers.insert(target, flow);
            association.members += usize::from(!is_member);
            // It has taken the port over.
            if !self.holders.is(association.holder, &caller) {
                let held = Held::Udp { ipv6: key.ipv6 };
                let before = association.holder;
                association.holder = self.holders.take(caller, held);
                self.holders.give_back(before, held);
            }
        }
        Ok(())
    }

    fn open_association(
        &mut self,
        caller: Caller,
        key: AssociationKey,
        target: SocketAddr,
    ) -> io::Result<AssociationId> {
        let AssociationKey { ipv6, .. } = key;
        let mut socket = self.open_socket(&caller, Yielding::Udp { ipv6 }, |bypass| {
            bind(target, bypass)
        })?;
        let slot = self.associations.all.vacant_key();
        let source = self.sources.insert(Source::Udp(slot));
        if let Err(error) =
            self.poll
                .registry()
                .register(&mut socket, Token(source), Interest::READABLE)
        {
            self.sources.remove(source);
            return Err(error);
        }
        let id = self.associations.insert(Association {
            socket,
            source,
            key,
            holder: self.holders.take(caller, Held::Udp { ipv6 }),
            fragmentation: None,
            hop_limit: USUAL_HOP_LIMIT,
            peers: KeyedMap::with_hasher(self.associations.hash.clone()),
            members: 0,
            queued: false,
            has_reports: false,
        });
        Ok(id)
    }

    /// The verdict is in and the socket stands: sends what waited.
    pub(super) fn release_datagrams(&mut self, flow: FlowId) {
        let Some(Path::Udp(path)) = self.flows.get_mut(&flow).map(|entry| &mut entry.path) else {
            return;
        };
        for (payload, shape) in path.waiting.take(&mut self.room) {
            self.send_datagrams(flow, &payload, shape);
        }
    }

    fn send_datagrams(&mut self, flow: FlowId, payload: &[u8], shape: Shape) {
        self.ask_next_resolver(flow);
        let Some(Path::Udp(path)) = self.flows.get_mut(&flow).map(|entry| &mut entry.path) else {
            return;
        };
        path.sent += 1;
        let Some(entry) = self.flows.get(&flow) else {
            return;
        };
        let Path::Udp(UdpPath {
            association: Some(id),
            target: Some(target),
            ..
        }) = entry.path
        else {
            return;
        };
        let Some(association) = self.associations.all.get_mut(id) else {
            return;
        };
        let (sent, outcome) = association.send(payload, shape, target);
        entry.record.add_bytes_up(count(sent));
        if let Err(error) = outcome {
            self.not_sent(flow, &error);
        }
    }

    /// A program that asks the gateway's DNS again was not answered: the next of the host's resolvers gets the query.
    fn ask_next_resolver(&mut self, flow: FlowId) {
        let Some(entry) = self.flows.get(&flow) else {
            return;
        };
        let Path::Udp(path) = &entry.path else { return };
        if path.sent == 0 || path.answered {
            return;
        }
        if let Target::Resolver(target) = self.translation.target(entry.key.remote.0, path.sent)
            && Some(target) != path.target
        {
            let local = LocalAddr(entry.local());
            if let Err(error) = self.join_association(flow, local, target) {
                tracing::debug!(%error, %target, "no socket to the next resolver");
            }
        }
    }

    /// Takes what peers have sent.
    pub(super) fn receive_datagrams(&mut self, now: Instant) {
        for id in std::mem::take(&mut self.associations.readable) {
            if let Some(association) = self.associations.all.get_mut(id) {
                association.queued = false;
                if std::mem::take(&mut association.has_reports) {
                    self.pass_on_reports(now, id);
                }
                self.drain_association(now, id);
            }
        }
    }

    /// Tells programs what routers and hosts reported about their datagrams. The flows go on.
    fn pass_on_reports(&mut self, now: Instant, id: AssociationId) {
        while let Some(association) = self.associations.all.get(id) {
            let report = match error_queue::next(&association.socket) {
                Ok(Some(report)) => report,
                Ok(None) => return,
                Err(error) => return self.upstream_refused(&error),
            };
            let peer = unscoped(report.destination);
            if let Some(flow) = association.peers.get(&peer).copied() {
                self.report_to_program(now, flow, &report);
            }
        }
    }

    pub(super) fn report_to_program(&mut self, now: Instant, flow: FlowId, report: &Report) {
        let Some(entry) = self.flows.get(&flow) else {
            return;
        };
        // What the destination says of itself comes from where the program sent to: the gateway stands for a resolver.
        let destination = report.destination.ip();
        let router = report.from.filter(|from| *from != destination);
        let from = router.unwrap_or(entry.key.remote.0.ip());
        let refusal = match report.fault {
            Fault::PortUnreachable => Refusal::Reset,
            Fault::HostUnreachable => Refusal::HostUnreachable,
            Fault::NetworkUnreachable => Refusal::NetworkUnreachable,
            Fault::Prohibited => Refusal::Prohibited,
            Fault::TimeExceeded => return self.stack.icmp_time_exceeded(now, flow, from),
            Fault::TooBig(mtu) => {
                let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
                return self.stack.icmp_too_big(now, flow, from, mtu);
            }
        };
        self.stack.icmp_error(now, flow, from, refusal);
    }

    fn drain_association(&mut self, now: Instant, id: AssociationId) {
        let mut buffer = std::mem::take(&mut self.associations.buffer);
        buffer.resize(usize::from(u16::MAX), 0);
        for received in 0..=BATCH {
            let Some(association) = self.associations.all.get(id) else {
                break;
            };
            if received == BATCH {
                self.associations.note_readable(id);
                break;
            }
            match datagrams::receive(&association.socket, &mut buffer) {
                Ok(Arrived { len, from, segment }) => {
                    let flow = association.peers.get(&unscoped(from)).copied();
                    let payload = buffer.get(..len).unwrap_or_default();
                    match flow {
                        Some(flow) => self.datagrams_to_program(now, flow, payload, segment),
                        None => self
                            .shared
                            .counters
                            .packets_dropped
                            .add("datagram from a peer that the program has not sent to"),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => self.upstream_refused(&error),
            }
        }
        self.associations.buffer = buffer;
    }

    /// One datagram, or a run of them.
    fn datagrams_to_program(
        &mut self,
        now: Instant,
        flow: FlowId,
        payload: &[u8],
        segment: Option<NonZeroU16>,
    ) {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return;
        };
        if let Path::Udp(path) = &mut entry.path {
            path.answered = true;
        }
        entry.record.add_bytes_down(count(payload.len()));
        let Some(segment) = segment else {
            return self.datagram_to_program(now, flow, payload);
        };
        if self.tun.caps().uso
            && let Ok(head) = self.stack.udp_head(now, flow, payload, Some(segment))
        {
            return self.write(&[head.as_ref(), payload], head.offload);
        }
        for datagram in payload.chunks(segment.get().into()) {
            self.datagram_to_program(now, flow, datagram);
        }
    }

    fn datagram_to_program(&mut self, now: Instant, flow: FlowId, payload: &[u8]) {
        match self.stack.udp_head(now, flow, payload, None) {
            Ok(head) => self.write(&[head.as_ref(), payload], head.offload),
            Err(DropReason::TooLarge) => {
                if let Err(reason) = self.stack.udp_send_fragmented(now, flow, payload) {
                    self.drop_packet(reason);
                }
            }
            Err(reason) => self.drop_packet(reason),
        }
    }

    pub(super) fn release_udp(&mut self, flow: FlowId, mut path: UdpPath) {
        path.waiting.take(&mut self.room);
        for id in [path.association, path.earlier].into_iter().flatten() {
            self.leave_association(flow, id, path.target);
        }
    }

    /// A flow's peers are its target and, if it asked the gateway's DNS, those of the host's resolvers that it tried. They
    /// are looked up one by one: a program may have tens of thousands of peers at one socket.
    fn leave_association(&mut self, flow: FlowId, id: AssociationId, target: Option<SocketAddr>) {
        let Some(association) = self.associations.all.get_mut(id) else {
            return;
        };
        for peer in target.iter().chain(&self.translation.resolvers) {
            if association.peers.get(peer) == Some(&flow) {
                association.peers.remove(peer);
            }
        }
        association.members -= 1;
        self.close_if_unused(id);
    }

    fn close_if_unused(&mut self, id: AssociationId) {
        if self
            .associations
            .all
            .get(id)
            .is_some_and(|unused| unused.members == 0)
            && let Some(association) = self.associations.remove(id)
        {
            self.sources.try_remove(association.source);
            let Association { holder, key, .. } = association;
            let held = Held::Udp { ipv6: key.ipv6 };
            self.holders.give_back(holder, held);
        }
    }
}
