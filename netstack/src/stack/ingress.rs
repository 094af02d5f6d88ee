//! What came out of the device: to its flow, to a new one, or to the caller as unknown.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::Stack;
use crate::classify::UnknownClass;
use crate::departed::Afterlife;
use crate::flow::{FlowId, FlowKey, LocalAddr, Protocol, RemoteAddr};
use crate::icmp::{EchoFlow, Message, Quote, message_sum};
use crate::input::{FlowIs, Input};
use crate::ip::{IpHeader, IpPacket, is_group, protocol};
use crate::output::CloseReason;
use crate::packet::{DropReason, Offload};
use crate::table::FlowKind;
use crate::tcp::engine::Phase;
use crate::tcp::segment::{BareSegment, Segment, flag};
use crate::tcp::{PENDING_LIMIT, Pending};
use crate::udp::{Datagram, UdpFlow};

impl Stack {
    /// Takes one packet that came out of the device. What comes back borrows from `packet` only.
    pub fn handle_packet<'p>(
        &mut self,
        now: Instant,
        packet: &'p [u8],
        offload: Offload,
    ) -> Input<'p> {
        self.dispatch(now, packet, offload)
            .unwrap_or_else(|reason| {
                self.count_drop(reason);
                Input::Dropped(reason)
            })
    }

    fn dispatch<'p>(
        &mut self,
        now: Instant,
        packet: &'p [u8],
        offload: Offload,
    ) -> Result<Input<'p>, DropReason> {
        let packet = IpPacket::parse(packet)?;
        if let Some(fragment) = packet.fragment {
            let whole = self.reassembly.add(now, &packet, fragment)?;
            return Ok(whole.map_or(Input::Handled, Input::Reassembled));
        }
        match (packet.protocol, packet.source.is_ipv4()) {
            (protocol::TCP, _) => self.handle_tcp(now, &packet, offload),
            (protocol::UDP, _) => self.handle_udp(now, &packet, offload),
            (protocol::ICMP, true) | (protocol::ICMPV6, false) => {
                self.handle_icmp(now, &packet, offload)
            }
            (other, _) => {
                let key = key_of(&packet, Protocol::Other(other), 0, 0);
                Ok(self.passed_or_unknown(now, &packet, key, UnknownClass::OtherProtocol))
            }
        }
    }

    fn handle_tcp<'p>(
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
        if packet.is_plain() {
            tcp.engine
                .ingest(&mut self.link, now, packet, segment, &mut self.answers);
        } else if let Some(plain) = without_options(packet)
            && let Ok(packet) = IpPacket::parse(&plain)
        {
            tcp.engine
                .ingest(&mut self.link, now, &packet, segment, &mut self.answers);
        }
        if tcp.engine.phase() == Phase::Reset {
            self.end(now, id, CloseReason::ResetByProgram);
        } else {
            tcp.queue(id, &mut self.turns);
        }
        Input::Tcp(id)
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

    fn handle_udp<'p>(
        &mut self,
        now: Instant,
        packet: &IpPacket<'p>,
        offload: Offload,
    ) -> Result<Input<'p>, DropReason> {
        let datagram = Datagram::parse(packet, offload)?;
        if must_verify(offload) && !Datagram::is_intact(packet) {
            return Err(DropReason::BadTransportChecksum);
        }
        let key = key_of(
            packet,
            Protocol::Udp,
            datagram.source_port,
            datagram.destination_port,
        );
        let (flow, is) = match self.table.find(&key) {
            Some(id) => (id, FlowIs::Known),
            None if self.departed.is_silenced(now, &key) => return Err(DropReason::Silenced),
            None if self.is_service_port(datagram.source_port) => {
                let class = UnknownClass::ServiceDatagram;
                return Ok(Input::Unknown {
                    class,
                    key,
                    packet: packet.whole,
                });
            }
            None => {
                let kind = FlowKind::Udp(UdpFlow::new(Quote::of(packet)));
                (self.insert(now, key, kind)?, FlowIs::New)
            }
        };
        let limits = self.config.idle;
        let Some(known) = self.table.get_mut(flow) else {
            return Ok(Input::Handled);
        };
        let FlowKind::Udp(udp) = &mut known.kind else {
            return Ok(self.pass_on(now, flow, packet));
        };
        udp.quote = Quote::of(packet);
        udp.outstanding = udp.outstanding.saturating_add(1);
        let until = now + udp.idle_limit(&key, &limits);
        self.table.touch(now, flow, until);
        let Datagram {
            payload, segment, ..
        } = datagram;
        Ok(Input::Udp {
            flow,
            is,
            payload,
            segment,
            hop_limit: packet.hop_limit,
        })
    }

    fn is_service_port(&self, port: u16) -> bool {
        self.config
            .ephemeral_ports
            .as_ref()
            .is_some_and(|ephemeral| !ephemeral.contains(&port))
    }

    fn handle_icmp<'p>(
        &mut self,
        now: Instant,
        packet: &IpPacket<'p>,
        offload: Offload,
    ) -> Result<Input<'p>, DropReason> {
        let bytes = packet.payload();
        let sum = message_sum(packet.source, packet.destination, bytes.len());
        if must_verify(offload) && !sum.bytes(bytes).is_intact() {
            return Err(DropReason::BadTransportChecksum);
        }
        match Message::parse(packet)? {
            Message::EchoRequest {
                identifier,
                sequence,
                payload,
            } => {
                let key = key_of(packet, Protocol::Icmp, identifier, 0);
                self.handle_echo(now, key, packet, sequence, payload)
            }
            Message::EchoReply { identifier } => {
                let key = key_of(packet, Protocol::Icmp, identifier, 0);
                Ok(self.passed_or_unknown(now, packet, key, UnknownClass::EchoReplyOrError))
            }
            Message::Error { quoted } => Ok(self.handle_icmp_error(now, packet, quoted)),
            Message::Other => {
                let key = key_of(packet, Protocol::Other(packet.protocol), 0, 0);
                Ok(self.passed_or_unknown(now, packet, key, UnknownClass::OtherProtocol))
            }
        }
    }

    fn handle_echo<'p>(
        &mut self,
        now: Instant,
        key: FlowKey,
        packet: &IpPacket<'p>,
        sequence: u16,
        payload: &'p [u8],
    ) -> Result<Input<'p>, DropReason> {
        let quote = Quote::of(packet);
        let (flow, is) = match self.table.find(&key) {
            Some(id) => (id, FlowIs::Known),
            None if self.departed.is_silenced(now, &key) => return Err(DropReason::Silenced),
            None => (
                self.insert(now, key, FlowKind::Echo(EchoFlow { quote }))?,
                FlowIs::New,
            ),
        };
        let Some(known) = self.table.get_mut(flow) else {
            return Ok(Input::Handled);
        };
        let FlowKind::Echo(echo) = &mut known.kind else {
            return Ok(self.pass_on(now, flow, packet));
        };
        echo.quote = quote;
        self.table.touch(now, flow, now + self.config.idle.echo);
        Ok(Input::Echo {
            flow,
            is,
            sequence,
            payload,
            hop_limit: packet.hop_limit,
        })
    }

    /// An error from the program's host about a packet that this stack put into the device ends a UDP flow (its socket is
    /// closed); any other is somebody else's.
    fn handle_icmp_error<'p>(
        &mut self,
        now: Instant,
        packet: &IpPacket<'p>,
        quoted: &[u8],
    ) -> Input<'p> {
        match quoted_flow(quoted).and_then(|key| self.table.find(&key)) {
            Some(id) => {
                if matches!(
                    self.table.get(id).map(|flow| &flow.kind),
                    Some(FlowKind::Udp(_))
                ) {
                    self.end(now, id, CloseReason::ResetByProgram);
                }
                Input::Handled
            }
            None => {
                let key = key_of(packet, Protocol::Icmp, 0, 0);
                Input::Unknown {
                    class: UnknownClass::EchoReplyOrError,
                    key,
                    packet: packet.whole,
                }
            }
        }
    }

    fn passed_or_unknown<'p>(
        &mut self,
        now: Instant,
        packet: &IpPacket<'p>,
        key: FlowKey,
        class: UnknownClass,
    ) -> Input<'p> {
        match self.table.find(&key) {
            Some(id) => self.pass_on(now, id, packet),
            None => Input::Unknown {
                class,
                key,
                packet: packet.whole,
            },
        }
    }

    fn pass_on<'p>(&mut self, now: Instant, flow: FlowId, packet: &IpPacket<'p>) -> Input<'p> {
        self.table.touch(now, flow, now + self.config.idle.passed);
        Input::Pass {
            flow,
            packet: packet.whole,
        }
    }
}

/// Whether nobody vouched for the transport checksum.
fn must_verify(offload: Offload) -> bool {
    !offload.checksum_valid && !offload.partial_checksum
}

fn key_of(packet: &IpPacket<'_>, protocol: Protocol, local_port: u16, remote_port: u16) -> FlowKey {
    FlowKey {
        protocol,
        local: LocalAddr(SocketAddr::new(packet.source, local_port)),
        remote: RemoteAddr(SocketAddr::new(packet.destination, remote_port)),
    }
}

/// The flow that a quoted packet from us to the program belonged to.
fn quoted_flow(quoted: &[u8]) -> Option<FlowKey> {
    let (source, destination, protocol, ports) = match *quoted {
        [0x45, ..] if quoted.len() >= 28 => {
            let v4 = |at: usize| -> Option<IpAddr> {
                Some(<[u8; 4]>::try_from(quoted.get(at..at + 4)?).ok()?.into())
            };
            (v4(12)?, v4(16)?, quoted[9], &quoted[20..24])
        }
        [first, ..] if first >> 4 == 6 && quoted.len() >= 48 => {
            let v6 = |at: usize| -> Option<IpAddr> {
                Some(<[u8; 16]>::try_from(quoted.get(at..at + 16)?).ok()?.into())
            };
            (v6(8)?, v6(24)?, quoted[6], &quoted[40..44])
        }
        _ => return None,
    };
    let protocol = match protocol {
        protocol::TCP => Protocol::Tcp,
        protocol::UDP => Protocol::Udp,
        _ => return None,
    };
    let (from, to) = (
        u16::from_be_bytes([ports[0], ports[1]]),
        u16::from_be_bytes([ports[2], ports[3]]),
    );
    Some(FlowKey {
        protocol,
        local: LocalAddr(SocketAddr::new(destination, to)),
        remote: RemoteAddr(SocketAddr::new(source, from)),
    })
}

/// The packet without IP options and extension headers.
fn without_options(packet: &IpPacket<'_>) -> Option<Vec<u8>> {
    let payload = packet.payload();
    let header = IpHeader {
        hop_limit: packet.hop_limit,
        ..IpHeader::new(packet.source, packet.destination, packet.protocol)
    };
    let mut plain = vec![0; crate::ip::header_len(packet.source)];
    header.write(&mut plain, payload.len())?;
    plain.extend_from_slice(payload);
    Some(plain)
}
