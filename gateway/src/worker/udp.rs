//! UDP: one upstream socket for all flows of one local address (endpoint-independent mapping, RFC 4787 section 4.1).
//!
//! A peer that the program has not sent to is not let in (RFC 4787 section 5, address- and port-dependent filtering).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Instant;

use mio::net::UdpSocket;
use mio::{Interest, Token};
use rustc_hash::FxHashMap;
use slab::Slab;
use socket2::{Domain, Socket, Type};
use tidegate_netstack::{DropReason, FlowId, LocalAddr, Refusal};
use tidegate_platform::bypass::Bypass;
use tidegate_platform::error_queue::{self, Fault, Report};
use tidegate_routing::flow::State;
use tidegate_routing::target::Target;

use super::entry::{NotDialed, Path};
use super::speaker::Speaking;
use super::{Source, Worker, count};

/// Datagrams that wait for one flow's verdict.
const WAITING: usize = 64;
/// Datagrams taken from one socket before the next gets its turn.
const BATCH: usize = 64;
/// Receive buffer wanted of the kernel: bursts arrive while the thread serves others.
const SOCKET_BUFFER: usize = 4 << 20;

/// The upstream side of one UDP flow.
pub(super) struct UdpPath {
    association: Option<AssociationId>,
    /// Where a resolver of the other family was asked before: its answer may still come.
    earlier: Option<AssociationId>,
    target: Option<SocketAddr>,
    /// Sent before the verdict.
    waiting: Vec<Waiting>,
    /// Datagrams sent: the next resolver is asked when one stays silent.
    sent: usize,
    answered: bool,
    pub(super) speaking: Speaking,
}

struct Waiting {
    payload: Vec<u8>,
    segment: Option<NonZeroU16>,
}

/// One upstream socket.
pub(super) type AssociationId = usize;

struct Association {
    socket: UdpSocket,
    source: usize,
    key: AssociationKey,
    /// The flow of each peer.
    peers: FxHashMap<SocketAddr, FlowId>,
    /// Flows that send here. Two may have one peer: a resolver under its own address and under the gateway's.
    members: usize,
    queued: bool,
    /// The kernel has reports about what was sent.
    has_reports: bool,
}

/// Programs see one mapping per local address; a resolver of the other family needs a socket of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct AssociationKey {
    local: LocalAddr,
    ipv6: bool,
}

/// All upstream UDP sockets of a worker.
#[derive(Default)]
pub(super) struct Associations {
    all: Slab<Association>,
    by_key: FxHashMap<AssociationKey, AssociationId>,
    readable: Vec<AssociationId>,
    buffer: Vec<u8>,
}

impl Path {
    pub(super) fn udp() -> Self {
        Self::Udp(UdpPath {
            association: None,
            earlier: None,
            target: None,
            waiting: Vec::new(),
            sent: 0,
            answered: false,
            speaking: Speaking::default(),
        })
    }
}

impl UdpPath {
    /// Whether datagrams wait for the verdict.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl Associations {
    pub(super) fn note_readable(&mut self, id: AssociationId) {
        if let Some(association) = self.all.get_mut(id)
            && !association.queued
        {
            association.queued = true;
            self.readable.push(id);
        }
    }

    /// The same, and there are reports about what was sent.
    pub(super) fn note_reported(&mut self, id: AssociationId) {
        if let Some(association) = self.all.get_mut(id) {
            association.has_reports = true;
        }
        self.note_readable(id);
    }

    /// Whether a socket waits to be read.
    pub(super) fn is_ready(&self) -> bool {
        !self.readable.is_empty()
    }
}

impl Worker {
    /// A datagram (or several) came from the program.
    pub(super) fn datagram_from_program(
        &mut self,
        flow: FlowId,
        payload: &[u8],
        segment: Option<NonZeroU16>,
    ) {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return;
        };
        let Path::Udp(path) = &mut entry.path else {
            return;
        };
        if entry.life.state() == State::Open {
            return self.send_datagrams(flow, payload, segment);
        }
        if path.waiting.len() < WAITING {
            path.waiting.push(Waiting {
                payload: payload.to_vec(),
                segment,
            });
        } else {
            self.drop_packet(DropReason::TooManyHalfOpen);
        }
    }

    pub(super) fn open_udp(&mut self, flow: FlowId) {
        let Some(entry) = self.flows.get(&flow) else {
            return;
        };
        let key = entry.key;
        let outcome = match self.translation.target(key.remote.0, 0) {
            Target::NoService => Err(NotDialed::NO_SERVICE),
            Target::To(target) | Target::Resolver(target) => self
                .join_association(flow, key.local, target)
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
        let id = match self.associations.by_key.get(&key) {
            Some(id) => *id,
            None => self.open_association(key, target)?,
        };
        let Some(Path::Udp(path)) = self.flows.get_mut(&flow).map(|entry| &mut entry.path) else {
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
        }
        Ok(())
    }

    fn open_association(
        &mut self,
        key: AssociationKey,
        target: SocketAddr,
    ) -> io::Result<AssociationId> {
        let mut socket = bind(target, &self.bypass)?;
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
        let id = self.associations.all.insert(Association {
            socket,
            source,
            key,
            peers: FxHashMap::default(),
            members: 0,
            queued: false,
            has_reports: false,
        });
        self.associations.by_key.insert(key, id);
        Ok(id)
    }

    /// The verdict is in and the socket stands: sends what waited.
    pub(super) fn release_datagrams(&mut self, flow: FlowId) {
        let Some(Path::Udp(path)) = self.flows.get_mut(&flow).map(|entry| &mut entry.path) else {
            return;
        };
        for Waiting { payload, segment } in std::mem::take(&mut path.waiting) {
            self.send_datagrams(flow, &payload, segment);
        }
    }

    fn send_datagrams(&mut self, flow: FlowId, payload: &[u8], segment: Option<NonZeroU16>) {
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
        let Some(association) = self.associations.all.get(id) else {
            return;
        };
        let size = segment.map_or(payload.len().max(1), |size| usize::from(size.get()));
        let mut datagrams = payload.chunks(size);
        // An empty datagram is a datagram (RFC 768).
        let empty = payload.is_empty().then_some(payload);
        let mut failed = None;
        for datagram in datagrams.by_ref().chain(empty) {
            let send = || association.socket.send_to(datagram, target);
            // The first error may be about an earlier datagram to another peer; the kernel forgets it as it tells it.
            match send().or_else(|_| send()) {
                Ok(_) => entry.record.add_bytes_up(count(datagram.len())),
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
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
            let local = entry.key.local;
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
            match association.socket.recv_from(&mut buffer) {
                Ok((len, peer)) => {
                    let flow = association.peers.get(&unscoped(peer)).copied();
                    let payload = buffer.get(..len).unwrap_or_default();
                    match flow {
                        Some(flow) => self.datagram_to_program(now, flow, payload),
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

    fn datagram_to_program(&mut self, now: Instant, flow: FlowId, payload: &[u8]) {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return;
        };
        if let Path::Udp(path) = &mut entry.path {
            path.answered = true;
        }
        entry.record.add_bytes_down(count(payload.len()));
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

    pub(super) fn release_udp(&mut self, flow: FlowId, path: &UdpPath) {
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
        if association.members == 0 {
            let association = self.associations.all.remove(id);
            self.associations.by_key.remove(&association.key);
            self.associations.readable.retain(|waiting| *waiting != id);
            self.sources.try_remove(association.source);
        }
    }
}

fn bind(target: SocketAddr, bypass: &Bypass) -> io::Result<UdpSocket> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = Socket::new(
        Domain::for_address(target),
        Type::DGRAM,
        Some(socket2::Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    bypass.apply(&socket)?;
    // The kernel gives what it can; less only means more loss in a burst.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    socket.bind(&SocketAddr::new(any, 0).into())?;
    error_queue::enable(&socket)?;
    Ok(UdpSocket::from_std(socket.into()))
}

/// The address as flows are keyed by it: without flow label and scope.
fn unscoped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}
