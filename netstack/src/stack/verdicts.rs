//! What the caller decides about flows and unknown packets, carried out.

use std::net::IpAddr;
use std::time::Instant;

use super::Stack;
use crate::departed::Departure;
use crate::flow::{FlowId, FlowKey, Protocol};
use crate::icmp::{IcmpError, Refusal, must_not_be_answered};
use crate::ip::{IpHeader, IpPacket, is_group, protocol};
use crate::packet::{DropReason, Offload};
use crate::table::FlowKind;
use crate::tcp::engine::{Engine, Habits};
use crate::tcp::segment::{BareSegment, Segment, flag};
use crate::tcp::{Accepted, Turn};

impl Stack {
    /// The upstream connection stands: SYN-ACK goes out. False if the flow is gone or was accepted before, or if the budget
    /// of buffers is spent: then the program is reset, and the flow is gone too.
    pub fn tcp_accept(&mut self, now: Instant, flow: FlowId) -> bool {
        let iss = self.initial_sequence(flow);
        let Some(pending) = self.table.get(flow) else {
            return false;
        };
        let FlowKind::Pending(syn) = &pending.kind else {
            return false;
        };
        let key = pending.key;
        let Some((header, syn)) = syn.segment() else {
            return false;
        };
        let Some(window) = self.pool.admit() else {
            self.count_drop(DropReason::FlowTableFull);
            self.refuse(now, flow, Refusal::Reset);
            return false;
        };
        let habits = Habits {
            congestion: self.config.congestion,
            send_buffer: self.config.send_buffer,
            receive_window: self.config.receive_window,
        };
        let room = self.link.segment_room(&key);
        let mut engine = Engine::open(&syn, header, iss, room, window, habits);
        engine.count_as_busy(now, &mut self.pool);
        let mut tcp = Accepted::new(engine);
        tcp.turn = Turn::Queued;
        self.turns.push_back(flow);
        self.table.replace(flow, FlowKind::Tcp(Box::new(tcp)));
        true
    }

    /// Ends a flow of any kind that was not accepted, with the answer that tells the program why; also ends an accepted
    /// UDP or echo flow. [`Refusal::Silence`] absorbs this tuple's packets for a minute. An accepted TCP flow is reset,
    /// whatever the refusal. No event follows.
    pub fn refuse(&mut self, now: Instant, flow: FlowId, refusal: Refusal) {
        let Some(refused) = self.table.get(flow) else {
            return;
        };
        let key = refused.key;
        match &refused.kind {
            FlowKind::Tcp(_) => return self.send_reset(now, flow),
            FlowKind::Pending(syn) if refusal == Refusal::Reset => {
                let acknowledgement = syn.sequence.wrapping_add(1);
                self.answer(reset_from_remote(&key, 0, acknowledgement));
            }
            FlowKind::Pending(_) | FlowKind::Udp(_) | FlowKind::Echo(_) => {
                if let Some(error) = IcmpError::for_refusal(refusal, key.protocol) {
                    self.send_icmp_error(flow, key.remote.ip(), error);
                }
            }
            FlowKind::Pass => {}
        }
        self.bury(now, flow);
        if refusal == Refusal::Silence {
            self.departed.insert(now, key, Departure::Silenced);
        }
    }

    /// Keeps a quiet flow that waits for its verdict until then; its next packet sets the usual limit again.
    pub fn hold(&mut self, flow: FlowId, until: Instant) {
        self.table.set_deadline(flow, Some(until));
    }

    /// Forgets a flow without a word (UDP, echo, pass, a SYN that waits). An accepted TCP flow is reset.
    pub fn forget(&mut self, flow: FlowId) {
        match self.tcp(flow) {
            Some(tcp) => tcp.abort(),
            None => {
                self.table.remove(flow);
            }
        }
    }

    /// From now on packets of this tuple are [`Input::Pass`](crate::Input::Pass): an inbound service's flow, or one older
    /// than us. It ends when it idles, or when a SYN shows that its tuple is used again. A UDP or echo flow that the tuple
    /// has already keeps its id and is passed from now on; a TCP flow that it has already stays as it is.
    pub fn pass(&mut self, now: Instant, key: FlowKey) -> Result<FlowId, DropReason> {
        self.departed.remove(&key);
        let known = self.table.find(&key).and_then(|flow| self.table.get(flow));
        let flow = match known.map(|flow| (flow.id, &flow.kind)) {
            Some((flow, FlowKind::Pending(_) | FlowKind::Tcp(_))) => return Ok(flow),
            Some((flow, FlowKind::Udp(_) | FlowKind::Echo(_) | FlowKind::Pass)) => {
                self.table.replace(flow, FlowKind::Pass);
                flow
            }
            None => {
                let inserted = self.insert(now, key, FlowKind::Pass);
                inserted.inspect_err(|&reason| self.count_drop(reason))?
            }
        };
        self.table.touch(now, flow, now + self.config.idle.passed);
        Ok(flow)
    }

    /// Answers an unknown packet with the RST or ICMP error that `refusal` says, through the device. Errors, RSTs and
    /// packets to groups are never answered, which is not an error; more than
    /// [`answers_per_second`](crate::StackConfig::answers_per_second) are [`DropReason::RateLimited`].
    pub fn reject(
        &mut self,
        now: Instant,
        packet: &[u8],
        refusal: Refusal,
    ) -> Result<(), DropReason> {
        if refusal == Refusal::Silence {
            return Ok(());
        }
        let Some(parsed) = self.answerable(now, packet)? else {
            return Ok(());
        };
        let protocol = match parsed.protocol {
            protocol::TCP => Protocol::Tcp,
            protocol::UDP => Protocol::Udp,
            other => Protocol::Other(other),
        };
        if let Some(error) = IcmpError::for_refusal(refusal, protocol) {
            self.answer_with_error(&parsed, error);
        } else {
            let segment = Segment::parse(parsed.payload())?;
            if let Some(reset) = BareSegment::reset_answering(&parsed, &segment) {
                self.answer(reset);
            }
        }
        Ok(())
    }

    /// Answers an unknown packet that is larger than the `mtu` of its way out with the error that says so (RFC 1191 section 4,
    /// RFC 8201 section 4). What is not answered is as with [`reject`](Self::reject).
    pub fn reject_too_big(
        &mut self,
        now: Instant,
        packet: &[u8],
        mtu: u16,
    ) -> Result<(), DropReason> {
        if let Some(parsed) = self.answerable(now, packet)? {
            self.answer_with_error(&parsed, IcmpError::TooBig(mtu));
        }
        Ok(())
    }

    /// The packet, if it may be answered, and now.
    fn answerable<'p>(
        &mut self,
        now: Instant,
        packet: &'p [u8],
    ) -> Result<Option<IpPacket<'p>>, DropReason> {
        let parsed = IpPacket::parse(packet)?;
        if must_not_be_answered(&parsed) {
            return Ok(None);
        }
        if !self.limiter.allows(now) {
            self.count_drop(DropReason::RateLimited);
            return Err(DropReason::RateLimited);
        }
        Ok(Some(parsed))
    }

    /// The error comes from where the packet was going.
    fn answer_with_error(&mut self, packet: &IpPacket<'_>, error: IcmpError) {
        if let Some(error) = error.packet(packet.destination, packet.source, packet.whole) {
            self.answers.push(&error, Offload::default());
        }
    }

    /// A RST as the peer `key.remote` would send it towards `key.local`, for [`poll_transmit`](Self::poll_transmit): closes
    /// an existing or passed connection on the program's side. `sequence` is what the program expects next,
    /// `acknowledgement` what it sent last, plus one.
    pub fn reset_towards_program(&mut self, key: FlowKey, sequence: u32, acknowledgement: u32) {
        self.answer(reset_from_remote(&key, sequence, acknowledgement));
    }

    /// Tells the program of an unreachable destination that its flow met upstream; `from` is the router that said it. The
    /// flow goes on. Nothing happens to an accepted TCP flow, for which such an error is not final (RFC 5461), nor if
    /// `from` is of another address family.
    pub fn icmp_error(&mut self, now: Instant, flow: FlowId, from: IpAddr, refusal: Refusal) {
        let protocol = self.table.get(flow).map(|flow| flow.key.protocol);
        if let Some(error) = protocol.and_then(|protocol| IcmpError::for_refusal(refusal, protocol))
        {
            self.send_limited_icmp_error(now, flow, from, error);
        }
    }

    /// Lets the next error about this echo flow be about the request with this sequence number. False if there is no such
    /// flow, or if so many requests came after it that it is forgotten.
    pub fn recall_request(&mut self, flow: FlowId, sequence: u16) -> bool {
        match self.table.get_mut(flow).map(|flow| &mut flow.kind) {
            Some(FlowKind::Echo(echo)) => echo.recall(sequence),
            Some(FlowKind::Pending(_) | FlowKind::Tcp(_) | FlowKind::Udp(_) | FlowKind::Pass)
            | None => false,
        }
    }

    /// Tells the program that the hop limit of its packet ran out at the router `from`: what traceroute looks for.
    pub fn icmp_time_exceeded(&mut self, now: Instant, flow: FlowId, from: IpAddr) {
        self.send_limited_icmp_error(now, flow, from, IcmpError::TimeExceeded);
    }

    /// Tells the program that its packet is larger than the `mtu` of a link behind the router `from`.
    pub fn icmp_too_big(&mut self, now: Instant, flow: FlowId, from: IpAddr, mtu: u16) {
        self.send_limited_icmp_error(now, flow, from, IcmpError::TooBig(mtu));
    }

    fn send_limited_icmp_error(
        &mut self,
        now: Instant,
        flow: FlowId,
        from: IpAddr,
        error: IcmpError,
    ) {
        if self.limiter.allows(now) {
            self.send_icmp_error(flow, from, error);
        } else {
            self.count_drop(DropReason::RateLimited);
        }
    }

    fn send_icmp_error(&mut self, flow: FlowId, from: IpAddr, error: IcmpError) {
        let Some(flow) = self.table.get(flow) else {
            return;
        };
        let (key, to) = (flow.key, flow.key.local.ip());
        if is_group(key.remote.ip()) {
            return;
        }
        let icmp = if to.is_ipv4() {
            protocol::ICMP
        } else {
            protocol::ICMPV6
        };
        let quoted = match &flow.kind {
            FlowKind::Pending(pending) => Some(pending.packet().to_vec()),
            FlowKind::Udp(udp) => udp.quote.packet(&key, protocol::UDP),
            FlowKind::Echo(echo) => echo.latest().and_then(|quote| quote.packet(&key, icmp)),
            FlowKind::Tcp(_) | FlowKind::Pass => None,
        };
        if let Some(error) = quoted.and_then(|quoted| error.packet(from, to, &quoted)) {
            self.answers.push(&error, Offload::default());
        }
    }
}

/// A RST with acknowledgement from the far end to the program.
fn reset_from_remote(key: &FlowKey, sequence: u32, acknowledgement: u32) -> BareSegment {
    BareSegment {
        ip: IpHeader::new(key.remote.ip(), key.local.ip(), protocol::TCP),
        source_port: key.remote.0.port(),
        destination_port: key.local.0.port(),
        sequence,
        acknowledgement,
        flags: flag::RST | flag::ACK,
        window: 0,
    }
}
