//! ICMP echo: `ping` through the gateway.
//!
//! Where raw sockets are allowed one of each family serves all flows, each under an identifier of its own: the program's
//! would make the kernel hand the reply to the program's own raw socket as well. Where only ping sockets are allowed
//! (`net.ipv4.ping_group_range`) each flow has one, and the kernel chooses the identifier.

use std::collections::hash_map::Entry;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Token};
use rustc_hash::FxHashMap;
use slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};
use tidegate_netstack::ping::{EchoFamily, EchoReply, echo_request};
use tidegate_netstack::{DropReason, FlowId};
use tidegate_platform::bypass::Bypass;
use tidegate_platform::error_queue;
use tidegate_routing::flow::State;
use tidegate_routing::target::Target;

use super::caller::Caller;
use super::entry::{NotDialed, Path};
use super::scarcity::Yielding;
use super::speaker::Speaking;
use super::waiting::Waiting;
use super::{Source, Worker, count};

/// Requests that wait for one flow's verdict.
const WAITING: usize = 16;
/// Replies taken from one socket before the next gets its turn.
const BATCH: usize = 64;

/// The upstream side of one echo flow.
pub(super) struct EchoPath {
    socket: Option<SocketId>,
    identifier: u16,
    target: Option<SocketAddr>,
    /// Sent before the verdict.
    waiting: Waiting<Request>,
    pub(super) speaking: Speaking,
}

/// A request but for its payload.
struct Request {
    sequence: u16,
    hop_limit: u8,
}

/// Names one upstream socket of [`EchoSockets`].
pub(super) type SocketId = usize;

struct EchoSocket {
    socket: Socket,
    source: usize,
    family: EchoFamily,
    serves: Serves,
    hop_limit: Option<u8>,
    /// Reports of errors wait to be taken.
    has_reports: bool,
}

#[derive(Clone, Copy)]
enum Serves {
    /// A raw socket: replies are told apart by identifier.
    All,
    /// A ping socket.
    One(FlowId),
}

/// The identifiers that a worker may use. Raw sockets hear the replies to those of all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Identifiers {
    #[default]
    LowerHalf,
    UpperHalf,
}

impl Identifiers {
    fn next(self, last: u16) -> u16 {
        const UPPER: u16 = 1 << 15;
        match self {
            Self::LowerHalf => last.wrapping_add(1) & !UPPER,
            Self::UpperHalf => last.wrapping_add(1) | UPPER,
        }
    }
}

/// All upstream echo sockets of a worker.
#[derive(Default)]
pub(super) struct EchoSockets {
    all: Slab<EchoSocket>,
    raw: [Option<SocketId>; 2],
    by_identifier: FxHashMap<(EchoFamily, u16), FlowId>,
    identifiers: Identifiers,
    last_identifier: u16,
    readable: Vec<SocketId>,
    buffer: Vec<u8>,
}

impl Path {
    pub(super) fn echo() -> Self {
        Self::Echo(EchoPath {
            socket: None,
            identifier: 0,
            target: None,
            waiting: Waiting::default(),
            speaking: Speaking::default(),
        })
    }
}

impl EchoSockets {
    pub(super) fn with(identifiers: Identifiers) -> Self {
        Self {
            identifiers,
            ..Self::default()
        }
    }

    pub(super) fn note_readable(&mut self, id: SocketId) {
        if !self.readable.contains(&id) {
            self.readable.push(id);
        }
    }

    /// Routers or hosts have reported errors.
    pub(super) fn note_reported(&mut self, id: SocketId) {
        if let Some(echo) = self.all.get_mut(id) {
            echo.has_reports = true;
        }
        self.note_readable(id);
    }

    /// The flow of a message with this identifier.
    fn flow_of(&self, id: SocketId, identifier: u16) -> Option<FlowId> {
        let echo = self.all.get(id)?;
        match echo.serves {
            Serves::One(flow) => Some(flow),
            Serves::All => self.by_identifier.get(&(echo.family, identifier)).copied(),
        }
    }

    /// Whether a socket waits to be read.
    pub(super) fn is_ready(&self) -> bool {
        !self.readable.is_empty()
    }

    fn claim_identifier(&mut self, family: EchoFamily, flow: FlowId) -> Option<u16> {
        for _ in 0..=u16::MAX {
            self.last_identifier = self.identifiers.next(self.last_identifier);
            if let Entry::Vacant(free) = self.by_identifier.entry((family, self.last_identifier)) {
                free.insert(flow);
                return Some(self.last_identifier);
            }
        }
        None
    }
}

impl Worker {
    /// An echo request came from the program.
    pub(super) fn echo_from_program(
        &mut self,
        flow: FlowId,
        sequence: u16,
        payload: &[u8],
        hop_limit: u8,
    ) {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return;
        };
        let open = entry.life.state() == State::Open;
        let Path::Echo(path) = &mut entry.path else {
            return;
        };
        if open {
            return self.send_echo(flow, sequence, payload, hop_limit);
        }
        let request = Request {
            sequence,
            hop_limit,
        };
        if !path.waiting.push(&mut self.room, WAITING, payload, request) {
            self.drop_packet(DropReason::TooManyHalfOpen);
        }
        self.hold(flow);
    }

    pub(super) fn open_echo(&mut self, flow: FlowId) {
        let Some(entry) = self.flows.get(&flow) else {
            return;
        };
        let outcome = match self.translation.target(entry.key.remote.0, 0) {
            Target::NoService => Err(NotDialed::NO_SERVICE),
            Target::To(target) | Target::Resolver(target) => {
                self.join_echo(flow, target).map_err(NotDialed::from)
            }
        };
        self.note_dialed(flow, outcome);
    }

    fn join_echo(&mut self, flow: FlowId, target: SocketAddr) -> io::Result<()> {
        let family = EchoFamily::of(target.ip());
        let identifier = self
            .echo
            .claim_identifier(family, flow)
            .ok_or(io::ErrorKind::AddrInUse)?;
        let id = match self.echo.raw[family.index()] {
            Some(id) => id,
            None => self.open_echo_socket(family, flow).inspect_err(|_| {
                self.echo.by_identifier.remove(&(family, identifier));
            })?,
        };
        if let Some(Path::Echo(path)) = self.flows.get_mut(&flow).map(|entry| &mut entry.path) {
            (path.socket, path.identifier, path.target) = (Some(id), identifier, Some(target));
        }
        Ok(())
    }

    fn open_echo_socket(&mut self, family: EchoFamily, flow: FlowId) -> io::Result<SocketId> {
        let open_either = |bypass: &Bypass| match open(family, Type::RAW, bypass) {
            Ok(socket) => Ok((socket, Serves::All)),
            Err(_) => Ok((open(family, Type::DGRAM, bypass)?, Serves::One(flow))),
        };
        let caller = self.flows.get(&flow).map_or(Caller::Unknown, Caller::of);
        let (socket, serves) = self.open_socket(&caller, Yielding::Others, open_either)?;
        let id = self.echo.all.vacant_key();
        let source = self.sources.insert(Source::Echo(id));
        let registered = self.poll.registry().register(
            &mut SourceFd(&socket.as_raw_fd()),
            Token(source),
            Interest::READABLE,
        );
        if let Err(error) = registered {
            self.sources.remove(source);
            return Err(error);
        }
        self.echo.all.insert(EchoSocket {
            socket,
            source,
            family,
            serves,
            hop_limit: None,
            has_reports: false,
        });
        match serves {
            Serves::All => self.echo.raw[family.index()] = Some(id),
            Serves::One(flow) => self.note_holder(flow, caller),
        }
        Ok(id)
    }

    /// The verdict is in and the socket stands: sends what waited.
    pub(super) fn release_echo(&mut self, flow: FlowId) {
        let Some(Path::Echo(path)) = self.flows.get_mut(&flow).map(|entry| &mut entry.path) else {
            return;
        };
        for (payload, request) in path.waiting.take(&mut self.room) {
            self.send_echo(flow, request.sequence, &payload, request.hop_limit);
        }
    }

    fn send_echo(&mut self, flow: FlowId, sequence: u16, payload: &[u8], hop_limit: u8) {
        let Some(entry) = self.flows.get(&flow) else {
            return;
        };
        let Path::Echo(path) = &entry.path else {
            return;
        };
        let (Some(id), Some(target)) = (path.socket, path.target) else {
            return;
        };
        let Some(echo) = self.echo.all.get_mut(id) else {
            return;
        };
        let request = echo_request(echo.family, path.identifier, sequence, payload);
        let sent = echo
            .set_hop_limit(hop_limit)
            .and_then(|()| echo.send(&request, target));
        match sent {
            Ok(_) => entry.record.add_bytes_up(count(payload.len())),
            Err(error) => self.not_sent(flow, &error),
        }
    }

    /// Takes the replies that have come.
    pub(super) fn receive_echoes(&mut self, now: Instant) {
        let mut buffer = std::mem::take(&mut self.echo.buffer);
        buffer.resize(usize::from(u16::MAX), 0);
        for id in std::mem::take(&mut self.echo.readable) {
            self.pass_on_echo_reports(now, id);
            for received in 0..=BATCH {
                let Some(echo) = self.echo.all.get(id) else {
                    break;
                };
                if received == BATCH {
                    self.echo.note_readable(id);
                    break;
                }
                match (&echo.socket).read(&mut buffer) {
                    Ok(len) => {
                        self.echo_from_upstream(now, id, buffer.get(..len).unwrap_or_default())
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => self.upstream_refused(&error),
                }
            }
        }
        self.echo.buffer = buffer;
    }

    /// Tells programs what routers reported about their requests: what traceroute looks for.
    fn pass_on_echo_reports(&mut self, now: Instant, id: SocketId) {
        while let Some(echo) = self.echo.all.get_mut(id).filter(|echo| echo.has_reports) {
            match error_queue::next(&echo.socket) {
                Ok(Some(report)) => {
                    // Of an echo request (RFC 792, RFC 4443). What the host itself reports may come without.
                    let header = report.sent.first_chunk::<8>();
                    let identifier =
                        header.map_or(0, |header| u16::from_be_bytes([header[4], header[5]]));
                    let sequence = header.map(|header| u16::from_be_bytes([header[6], header[7]]));
                    if let Some(flow) = self.echo.flow_of(id, identifier)
                        && sequence.is_none_or(|number| self.stack.recall_request(flow, number))
                    {
                        self.report_to_program(now, flow, &report);
                    }
                }
                Ok(None) => echo.has_reports = false,
                Err(error) => {
                    echo.has_reports = false;
                    self.upstream_refused(&error);
                }
            }
        }
    }

    fn echo_from_upstream(&mut self, now: Instant, id: SocketId, bytes: &[u8]) {
        let Some(echo) = self.echo.all.get(id) else {
            return;
        };
        let Some(reply) = EchoReply::parse(echo.family, bytes) else {
            return;
        };
        let Some(flow) = self.echo.flow_of(id, reply.identifier) else {
            return;
        };
        let Some(entry) = self.flows.get(&flow) else {
            return;
        };
        entry.record.add_bytes_down(count(reply.payload.len()));
        match self
            .stack
            .echo_reply_head(now, flow, reply.sequence, reply.payload)
        {
            Ok(head) => self.write(&[head.as_ref(), reply.payload], head.offload),
            Err(reason) => self.drop_packet(reason),
        }
    }

    pub(super) fn release_echo_socket(&mut self, flow: FlowId, mut path: EchoPath) {
        path.waiting.take(&mut self.room);
        let Some(id) = path.socket else { return };
        let Some(echo) = self.echo.all.get(id) else {
            return;
        };
        self.echo
            .by_identifier
            .remove(&(echo.family, path.identifier));
        if matches!(echo.serves, Serves::One(owner) if owner == flow) {
            let echo = self.echo.all.remove(id);
            self.echo.readable.retain(|waiting| *waiting != id);
            self.sources.try_remove(echo.source);
            // Closing the descriptor takes it out of the poll set.
        }
    }
}

impl EchoSocket {
    fn set_hop_limit(&mut self, hop_limit: u8) -> io::Result<()> {
        if self.hop_limit == Some(hop_limit) {
            return Ok(());
        }
        match self.family {
            EchoFamily::V4 => self.socket.set_ttl_v4(hop_limit.into())?,
            EchoFamily::V6 => self.socket.set_unicast_hops_v6(hop_limit.into())?,
        }
        self.hop_limit = Some(hop_limit);
        Ok(())
    }

    fn send(&self, request: &[u8], target: SocketAddr) -> io::Result<usize> {
        let send = || self.socket.send_to(request, &target.into());
        // The first error may be a router's about an earlier request; the kernel forgets it as it tells it.
        send().or_else(|_| send())
    }
}

fn open(family: EchoFamily, kind: Type, bypass: &Bypass) -> io::Result<Socket> {
    let (domain, protocol) = match family {
        EchoFamily::V4 => (Domain::IPV4, Protocol::ICMPV4),
        EchoFamily::V6 => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    bypass.apply(&socket)?;
    error_queue::enable(&socket)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_identifier_is_used_by_two_workers() {
        let all = |identifiers: Identifiers| {
            let mut last = 0;
            let used = (0..=u16::MAX).map(|_| {
                last = identifiers.next(last);
                last
            });
            used.collect::<BTreeSet<u16>>()
        };
        let (lower, upper) = (all(Identifiers::LowerHalf), all(Identifiers::UpperHalf));
        assert_eq!((lower.len(), upper.len()), (1 << 15, 1 << 15));
        assert!(lower.is_disjoint(&upper));
    }
}
