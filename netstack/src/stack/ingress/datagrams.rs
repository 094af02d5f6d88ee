//! A datagram's or an ICMP message's way in.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::{Stack, key_of, must_verify};
use crate::classify::UnknownClass;
use crate::flow::{FlowKey, LocalAddr, Protocol, RemoteAddr};
use crate::icmp::{EchoFlow, Message, Quote, message_sum};
use crate::input::{FlowIs, Input};
use crate::ip::{IpPacket, protocol};
use crate::output::CloseReason;
use crate::packet::{DropReason, Offload};
use crate::table::FlowKind;
use crate::udp::{Datagram, UdpFlow};

impl Stack {
    pub(super) fn handle_udp<'p>(
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
            fragmentation: packet.fragmentation,
            hop_limit: packet.hop_limit,
        })
    }

    fn is_service_port(&self, port: u16) -> bool {
        let ephemeral = self.config.ephemeral_ports.as_ref();
        ephemeral.is_some_and(|ephemeral| {
            !ephemeral.contains(&port) || self.config.service_ports.contains(&port)
        })
    }

    pub(super) fn handle_icmp<'p>(
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
                self.passed_or_unknown(now, packet, key, UnknownClass::EchoReplyOrError)
            }
            Message::Error { quoted } => Ok(self.handle_icmp_error(now, packet, quoted)),
            Message::Other => {
                let key = key_of(packet, Protocol::Other(packet.protocol), 0, 0);
                self.passed_or_unknown(now, packet, key, UnknownClass::OtherProtocol)
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
        let (flow, is) = match self.table.find(&key) {
            Some(id) => (id, FlowIs::Known),
            None if self.departed.is_silenced(now, &key) => return Err(DropReason::Silenced),
            None => (
                self.insert(now, key, FlowKind::Echo(EchoFlow::default()))?,
                FlowIs::New,
            ),
        };
        let Some(known) = self.table.get_mut(flow) else {
            return Ok(Input::Handled);
        };
        let FlowKind::Echo(echo) = &mut known.kind else {
            return Ok(self.pass_on(now, flow, packet));
        };
        echo.note(Quote::of(packet));
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
