//! A TCP segment's way in: to its flow, to what is remembered of a flow, or to a new flow.

use std::time::{Duration, Instant};

use super::{Stack, key_of, must_verify};
use crate::classify::UnknownClass;
use crate::departed::Afterlife;
use crate::flow::{FlowId, FlowKey, Protocol};
use crate::input::Input;
use crate::ip::{IpPacket, is_group};
use crate::output::{CloseReason, Event};
use crate::packet::{DropReason, Offload};
use crate::table::FlowKind;
use crate::tcp::engine::{Phase, Reply, Way};
use crate::tcp::segment::{BareSegment, Segment, flag};
use crate::tcp::{PENDING_LIMIT, Pending, RESET_LIMIT};

impl Stack {
    pub(super) fn handle_tcp<'p>(
        &mut self,
        now: Instant,
        packet: &IpPacket<'p>,
        offload: Offload,
    ) -> Result<Input<'p>, DropReason> {
        let segment = Segment::parse(packet.payload())?;
        if must_verify(offload) && !packet.pseudo_header().bytes(packet.payload()).is_intact() {
            return Err(DropReason::BadTransportChecksum);
        }
        let key = key_of(
            packet,
            Protocol::Tcp,
            segment.source_port,
            segment.destination_port,
        );
        if let Some(id) = self.table.find(&key)
            && let Some(input) = self.tcp_of_flow(now, id, packet, &segment)
        {
            return Ok(input);
        }
        if let Some(afterlife) = self.departed.judge(now, &key, &segment)
            && let Some(input) = self.tcp_of_departed(&key, packet, &segment, afterlife)?
        {
            return Ok(input);
        }
        let class = match (
            segment.has(flag::RST),
            segment.has(flag::SYN),
            segment.has(flag::ACK),
        ) {
            (true, ..) => UnknownClass::Reset,
            (_, true, true) => UnknownClass::SynAck,
            (_, true, false) => return self.new_tcp(now, key, packet, &segment),
            (_, false, _) => UnknownClass::Segment,
        };
        Ok(Input::Unknown {
            class,
            key,
            packet: packet.whole,
        })
    }

    fn new_tcp<'p>(
        &mut self,
        now: Instant,
        key: FlowKey,
        packet: &IpPacket<'p>,
        segment: &Segment,
    ) -> Result<Input<'p>, DropReason> {
        if is_group(packet.destination) {
            return Err(DropReason::ImpossibleAddress);
        }
        if self.table.half_open() >= self.config.max_half_open {
            return Err(DropReason::TooManyHalfOpen);
        }
        let pending = Pending::new(packet, segment).ok_or(DropReason::Malformed)?;
        let flow = self.insert(now, key, FlowKind::Pending(Box::new(pending)))?;
        self.table.touch(now, flow, now + PENDING_LIMIT);
        Ok(Input::TcpSyn {
            flow,
            hop_limit: packet.hop_limit,
        })
    }

    /// A segment of a live flow. `None` if it turns out to be of none: the caller aborted it just now.
    fn tcp_of_flow<'p>(
        &mut self,
        now: Instant,
        id: FlowId,
        packet: &IpPacket<'p>,
        segment: &Segment,
    ) -> Option<Input<'p>> {
        let flow = self.table.get_mut(id)?;
        match &mut flow.kind {
            FlowKind::Tcp(tcp) if tcp.aborted => {
                self.send_reset(now, id);
                None
            }
            FlowKind::Tcp(tcp) if tcp.engine.phase() == Phase::Reset => {
                self.end(now, id, CloseReason::ResetByProgram);
                None
            }
            FlowKind::Tcp(_) => Some(self.tcp_of_accepted(now, id, packet, segment)),
            FlowKind::Pending(pending) => {
                if segment.has(flag::RST) {
                    // Nothing was said yet: only who knows the SYN can take it back.
                    if segment.sequence.wrapping_sub(pending.sequence) <= 1 {
                        self.end(now, id, CloseReason::ResetByProgram);
                    }
                } else if segment.has(flag::SYN)
                    && let Some(latest) = Pending::new(packet, segment)
                {
                    **pending = latest;
                    self.table.touch(now, id, now + PENDING_LIMIT);
                }
                Some(Input::Handled)
            }
            // The connection that was passed is over, and its tuple used again: that one is to be judged.
            FlowKind::Pass if segment.has(flag::SYN) && !segment.has(flag::ACK) => {
                self.end(now, id, CloseReason::Finished);
                None
            }
            FlowKind::Pass | FlowKind::Udp(_) | FlowKind::Echo(_) => {
                Some(self.pass_on(now, id, packet))
            }
        }
    }

    fn tcp_of_accepted<'p>(
        &mut self,
        now: Instant,
        id: FlowId,
        packet: &IpPacket<'p>,
        segment: &Segment,
    ) -> Input<'p> {
        let Some(flow) = self.table.get_mut(id) else {
            return Input::Handled;
        };
        let FlowKind::Tcp(tcp) = &mut flow.kind else {
            return Input::Handled;
        };
        let silence = now.saturating_duration_since(flow.active);
        flow.active = now;
        if segment.has(flag::SYN) && tcp.engine.phase() != Phase::Handshake {
            // RFC 5961 section 4: say where we stand; who really begins anew answers with RST.
            let quiet = tcp
                .challenged
                .is_none_or(|last| now.saturating_duration_since(last) >= Duration::from_secs(1));
            if quiet {
                tcp.challenged = Some(now);
                let challenge = tcp.engine.said().acknowledgement(&flow.key);
                self.answer(challenge);
            }
            return Input::Handled;
        }
        tcp.unanswered_since = None;
        let reply = tcp
            .engine
            .ingest(now, segment, packet.payload(), &mut self.pool);
        match reply {
            Reply::None | Reply::Offer => {}
            Reply::Acknowledge | Reply::KeepAlive => {
                if reply == Reply::KeepAlive {
                    self.events.push_back(Event::KeepAlive(id, silence));
                }
                let answer = tcp.engine.acknowledgement(Way {
                    key: &flow.key,
                    link: self.link,
                    pool: &self.pool,
                });
                self.answers.push(answer.head.as_ref(), answer.head.offload);
            }
            Reply::Reset => {
                let reset = BareSegment::reset_answering(packet, segment);
                if let Some((bytes, len)) = reset.map(BareSegment::to_packet) {
                    self.answers
                        .push(bytes.get(..len).unwrap_or_default(), BareSegment::OFFLOAD);
                }
            }
        }
        if tcp.engine.phase() != Phase::Reset {
            tcp.queue(id, &mut self.turns);
        } else if tcp.engine.is_drained() {
            self.end(now, id, CloseReason::ResetByProgram);
        } else {
            // What it said before may be upstream's to hear yet.
            let until = now + RESET_LIMIT;
            tcp.ends_at = Some(until);
            self.table.set_deadline(id, Some(until));
        }
        match reply {
            Reply::Offer => Input::TcpPayload {
                flow: id,
                payload: packet
                    .payload()
                    .get(segment.header_len..)
                    .unwrap_or_default(),
            },
            Reply::None | Reply::Acknowledge | Reply::KeepAlive | Reply::Reset => Input::Tcp(id),
        }
    }

    /// A segment of a flow that is gone. `None` if it opens a new one.
    fn tcp_of_departed<'p>(
        &mut self,
        key: &FlowKey,
        packet: &IpPacket<'p>,
        segment: &Segment,
        afterlife: Afterlife,
    ) -> Result<Option<Input<'p>>, DropReason> {
        match afterlife {
            Afterlife::NewConnection => {
                self.departed.remove(key);
                return Ok(None);
            }
            Afterlife::Silence => return Err(DropReason::Silenced),
            Afterlife::Ignore => {}
            Afterlife::Forget => self.departed.remove(key),
            Afterlife::Acknowledge(said) => self.answer(said.acknowledgement(key)),
            Afterlife::Reset => {
                if let Some(reset) = BareSegment::reset_answering(packet, segment) {
                    self.answer(reset);
                }
            }
        }
        Ok(Some(Input::Handled))
    }
}
