//! What came out of the device: to its flow, to a new one, or to the caller as unknown.
//!
//! [`Stack::handle_packet`] reads the IP header, puts fragments together, and sends the packet on by its protocol:
//! `ingress/tcp.rs` or `ingress/datagrams.rs`.

mod datagrams;
mod tcp;

use std::net::SocketAddr;
use std::time::Instant;

use super::Stack;
use crate::classify::UnknownClass;
use crate::flow::{FlowId, FlowKey, LocalAddr, Protocol, RemoteAddr};
use crate::input::Input;
use crate::ip::{Fragmentation, IpPacket, protocol};
use crate::packet::{DropReason, Offload};

impl Stack {
    /// Takes one packet that came out of the device. What comes back borrows from `packet` only.
    pub fn handle_packet<'p>(
        &mut self,
        now: Instant,
        packet: &'p [u8],
        offload: Offload,
    ) -> Input<'p> {
        let taken = IpPacket::parse(packet).and_then(|packet| self.dispatch(now, &packet, offload));
        self.or_counted(taken)
    }

    /// Takes what [`Input::Reassembled`] gave out, as if it had come out of the device.
    pub fn handle_reassembled<'p>(&mut self, now: Instant, packet: &'p [u8]) -> Input<'p> {
        let taken = IpPacket::parse(packet).and_then(|packet| {
            // Nothing in an IPv6 header says it.
            let fragmentation = Fragmentation::Allowed;
            let packet = IpPacket {
                fragmentation,
                ..packet
            };
            self.dispatch(now, &packet, Offload::default())
        });
        self.or_counted(taken)
    }

    fn or_counted<'p>(&mut self, taken: Result<Input<'p>, DropReason>) -> Input<'p> {
        taken.unwrap_or_else(|reason| {
            self.count_drop(reason);
            Input::Dropped(reason)
        })
    }

    fn dispatch<'p>(
        &mut self,
        now: Instant,
        packet: &IpPacket<'p>,
        offload: Offload,
    ) -> Result<Input<'p>, DropReason> {
        if let Some(fragment) = packet.fragment {
            let whole = self.reassembly.add(now, packet, fragment);
            self.count_incomplete();
            return whole.map(|whole| whole.map_or(Input::Handled, Input::Reassembled));
        }
        match (packet.protocol, packet.source.is_ipv4()) {
            (protocol::TCP, _) => self.handle_tcp(now, packet, offload),
            (protocol::UDP, _) => self.handle_udp(now, packet, offload),
            (protocol::ICMP, true) | (protocol::ICMPV6, false) => {
                self.handle_icmp(now, packet, offload)
            }
            (other, _) => {
                let key = key_of(packet, Protocol::Other(other), 0, 0);
                self.passed_or_unknown(now, packet, key, UnknownClass::OtherProtocol)
            }
        }
    }

    fn passed_or_unknown<'p>(
        &mut self,
        now: Instant,
        packet: &IpPacket<'p>,
        key: FlowKey,
        class: UnknownClass,
    ) -> Result<Input<'p>, DropReason> {
        match self.table.find(&key) {
            Some(id) => Ok(self.pass_on(now, id, packet)),
            None if self.departed.is_silenced(now, &key) => Err(DropReason::Silenced),
            None => Ok(Input::Unknown {
                class,
                key,
                packet: packet.whole,
            }),
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
