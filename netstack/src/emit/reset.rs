//! The RST that a refused service's client gets instead of the service's segment.

use crate::ip::{IpHeader, IpPacket, protocol};
use crate::tcp::segment::{BareSegment, Segment, flag};

/// A RST to send in place of this TCP segment, from the same sender to the same receiver, complete. Its sequence number
/// is the segment's, so that the receiver accepts it: for a SYN-ACK the client expects just that, for a later segment it
/// is the left edge of the window (RFC 9293 section 3.10.7). None if the packet is no whole TCP segment, or a RST itself.
pub fn reset_in_place_of(packet: &[u8]) -> Option<Vec<u8>> {
    let packet = IpPacket::parse(packet).ok()?;
    if packet.protocol != protocol::TCP {
        return None;
    }
    let segment = Segment::parse(packet.payload()).ok()?;
    if segment.has(flag::RST) {
        return None;
    }
    let reset = BareSegment {
        ip: IpHeader::new(packet.source, packet.destination, protocol::TCP),
        source_port: segment.source_port,
        destination_port: segment.destination_port,
        sequence: segment.sequence,
        acknowledgement: segment.acknowledgement,
        flags: flag::RST | flag::ACK,
        window: 0,
    };
    let (bytes, len) = reset.to_packet();
    bytes.get(..len).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

    use super::*;

    fn syn_ack() -> Vec<u8> {
        let mut packet = Vec::new();
        PacketBuilder::ipv4([192, 0, 2, 1], [203, 0, 113, 9], 64)
            .tcp(22, 40_000, 7_000, 64_240)
            .syn()
            .ack(1_001)
            .write(&mut packet, &[])
            .unwrap();
        packet
    }

    #[test]
    fn the_client_gets_a_reset_with_the_sequence_number_of_the_syn_ack() {
        let reset = reset_in_place_of(&syn_ack()).unwrap();
        let sliced = SlicedPacket::from_ip(&reset).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else {
            panic!("not TCP")
        };
        assert!(tcp.rst() && tcp.ack() && !tcp.syn());
        assert_eq!((tcp.source_port(), tcp.destination_port()), (22, 40_000));
        assert_eq!(
            (tcp.sequence_number(), tcp.acknowledgment_number()),
            (7_000, 1_001)
        );
        let sum = tcp
            .calc_checksum_ipv4_raw([192, 0, 2, 1], [203, 0, 113, 9])
            .unwrap();
        assert_eq!(tcp.checksum(), sum);
    }

    #[test]
    fn a_reset_and_what_is_not_tcp_are_not_answered() {
        let reset = reset_in_place_of(&syn_ack()).unwrap();
        assert_eq!(reset_in_place_of(&reset), None);
        let mut datagram = Vec::new();
        PacketBuilder::ipv4([192, 0, 2, 1], [203, 0, 113, 9], 64)
            .udp(53, 40_000)
            .write(&mut datagram, &[1])
            .unwrap();
        assert_eq!(reset_in_place_of(&datagram), None);
    }
}
