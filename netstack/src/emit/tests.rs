//! What comes out is what etherparse reads, and joins to what went in.

use etherparse::{IpHeaders, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::*;

const MTU: usize = 1_500;

/// A TCP packet as a device with offloads hands it over: however large, its checksum only the pseudo-header's sum.
fn tcp_super_packet(v4: bool, sequence: u32, flags: u8, options: usize, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let ip = if v4 {
        PacketBuilder::ipv4([10, 0, 0, 1], [203, 0, 113, 9], 64)
    } else {
        PacketBuilder::ipv6([0xfd; 16], [0x20; 16], 64)
    };
    let builder = ip
        .tcp(40_000, 443, sequence, 512)
        .ack(99)
        .options_raw(&vec![1; options * 4])
        .unwrap();
    builder.write(&mut packet, payload).unwrap();
    let at = if v4 { 20 } else { 40 };
    packet[at + 13] = flags;
    make_partial(&mut packet, at, 16);
    packet
}

fn udp_packet(v4: bool, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let ip = if v4 {
        PacketBuilder::ipv4([10, 0, 0, 1], [203, 0, 113, 9], 64)
    } else {
        PacketBuilder::ipv6([0xfd; 16], [0x20; 16], 64)
    };
    ip.udp(40_000, 443).write(&mut packet, payload).unwrap();
    packet
}

fn make_partial(packet: &mut [u8], at: usize, sum_at: usize) {
    let partial = IpPacket::parse(packet).unwrap().pseudo_header().fold();
    packet[at + sum_at..at + sum_at + 2].copy_from_slice(&partial.to_be_bytes());
}

fn all(packet: &[u8], offload: Offload, mtu: usize) -> Result<Vec<Vec<u8>>, DropReason> {
    let mut scratch = Vec::new();
    let mut segments = Segments::new(packet, offload, mtu, &mut scratch)?;
    let mut packets = Vec::new();
    while let Some(packet) = segments.next_packet() {
        packets.push(packet.to_vec());
    }
    Ok(packets)
}

fn partial(segmentation: Option<Segmentation>) -> Offload {
    Offload {
        partial_checksum: true,
        checksum_valid: false,
        segmentation,
    }
}

/// Header sums and the transport checksum are what etherparse reckons.
fn assert_sums(packet: &[u8]) {
    let sliced = SlicedPacket::from_ip(packet).unwrap();
    let (tcp, udp) = match sliced.transport.unwrap() {
        TransportSlice::Tcp(tcp) => (Some(tcp), None),
        TransportSlice::Udp(udp) => (None, Some(udp)),
        TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_) => {
            panic!("neither TCP nor UDP")
        }
    };
    match sliced.net.unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            if let Some(tcp) = tcp {
                assert_eq!(
                    tcp.checksum(),
                    tcp.calc_checksum_ipv4(header.source, header.destination)
                        .unwrap()
                );
            }
            if let Some(udp) = udp {
                let sum = udp
                    .to_header()
                    .calc_checksum_ipv4(&header, udp.payload())
                    .unwrap();
                assert_eq!(udp.checksum(), sum);
            }
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            if let Some(tcp) = tcp {
                assert_eq!(
                    tcp.checksum(),
                    tcp.calc_checksum_ipv6(header.source, header.destination)
                        .unwrap()
                );
            }
            if let Some(udp) = udp {
                assert_eq!(
                    udp.checksum(),
                    udp.to_header()
                        .calc_checksum_ipv6(&header, udp.payload())
                        .unwrap()
                );
            }
        }
        NetSlice::Arp(_) => panic!("not IP"),
    }
}

proptest! {
    #[test]
    fn tcp_segments_join_to_the_super_packet(
        v4: bool, sequence: u32, flags: u8, options in 0usize..5, size in 1u16..3_000,
        payload in prop::collection::vec(any::<u8>(), 0..20_000)
    ) {
        let flags = flags & (flag::FIN | flag::PSH | flag::ACK | flag::CWR);
        let packet = tcp_super_packet(v4, sequence, flags, options, &payload);
        let size = NonZeroU16::new(size).unwrap();
        let segments = all(&packet, partial(Some(Segmentation::Tcp(size))), MTU).unwrap();
        let mut joined = Vec::new();
        for (n, segment) in segments.iter().enumerate() {
            prop_assert!(segment.len() <= MTU);
            assert_sums(segment);
            let sliced = SlicedPacket::from_ip(segment).unwrap();
            let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!() };
            let offset = u32::try_from(joined.len()).unwrap();
            prop_assert_eq!(tcp.sequence_number(), sequence.wrapping_add(offset));
            prop_assert_eq!(tcp.options().len(), options * 4);
            let is_last = n + 1 == segments.len();
            prop_assert_eq!(tcp.fin(), is_last && flags & flag::FIN != 0);
            prop_assert_eq!(tcp.psh(), is_last && flags & flag::PSH != 0);
            prop_assert_eq!(tcp.cwr(), n == 0 && flags & flag::CWR != 0);
            prop_assert_eq!(tcp.ack(), flags & flag::ACK != 0);
            prop_assert!(is_last || tcp.payload().len() <= usize::from(size.get()));
            joined.extend_from_slice(tcp.payload());
        }
        prop_assert_eq!(joined, payload);
    }

    #[test]
    fn udp_datagrams_keep_their_boundaries(
        v4: bool, size in 1u16..1_400, payload in prop::collection::vec(any::<u8>(), 1..6_000)
    ) {
        let mut packet = udp_packet(v4, &payload);
        make_partial(&mut packet, if v4 { 20 } else { 40 }, 6);
        let size = NonZeroU16::new(size).unwrap();
        let datagrams = all(&packet, partial(Some(Segmentation::Udp(size))), MTU).unwrap();
        let expected: Vec<&[u8]> = payload.chunks(usize::from(size.get())).collect();
        prop_assert_eq!(datagrams.len(), expected.len());
        for (datagram, expected) in datagrams.iter().zip(expected) {
            assert_sums(datagram);
            let Some(TransportSlice::Udp(udp)) = SlicedPacket::from_ip(datagram).unwrap().transport else { panic!() };
            prop_assert_eq!(udp.payload(), expected);
        }
    }

    #[test]
    fn fragments_join_to_the_datagram_in_any_order(
        v4: bool, mtu in 1_280usize..1_600, order: prop::sample::Index, payload in prop::collection::vec(any::<u8>(), 1_600..20_000)
    ) {
        let packet = udp_packet(v4, &payload);
        let packet = if v4 { allow_fragments(packet) } else { packet };
        let mut fragments = all(&packet, Offload::default(), mtu).unwrap();
        prop_assert!(fragments.len() > 1);
        let at = order.index(fragments.len());
        fragments.rotate_left(at);
        let mut stack = crate::Stack::new(crate::StackConfig::default(), std::time::Instant::now());
        let mut whole = None;
        for fragment in &fragments {
            prop_assert!(fragment.len() <= mtu);
            let input = stack.handle_packet(std::time::Instant::now(), fragment, Offload::default());
            if let crate::Input::Reassembled(packet) = input {
                whole = Some(packet);
            }
        }
        let whole = whole.unwrap();
        assert_sums(&whole);
        let Some(TransportSlice::Udp(udp)) = SlicedPacket::from_ip(&whole).unwrap().transport else { panic!() };
        prop_assert_eq!(udp.payload(), payload);
    }
}

/// Clears "don't fragment", which etherparse sets.
fn allow_fragments(mut packet: Vec<u8>) -> Vec<u8> {
    packet[6] &= !0x40;
    packet[10..12].fill(0);
    let sum = crate::checksum::Sum::default()
        .bytes(&packet[..20])
        .finish();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

#[test]
fn a_packet_that_needs_nothing_goes_through_as_it_is() {
    let packet = udp_packet(true, b"small");
    assert_eq!(all(&packet, Offload::default(), MTU), Ok(vec![packet]));
}

#[test]
fn a_partial_checksum_is_completed() {
    for v4 in [true, false] {
        let packet = tcp_super_packet(v4, 1, flag::ACK, 0, b"small");
        let packets = all(&packet, partial(None), MTU).unwrap();
        assert_eq!(packets.len(), 1);
        assert_sums(&packets[0]);
    }
}

#[test]
fn ipv4_identifications_count_up() {
    let mut packet = tcp_super_packet(true, 1, flag::ACK, 0, &[7; 4_000]);
    packet[4..6].copy_from_slice(&0xffffu16.to_be_bytes());
    packet[10..12].fill(0);
    let sum = crate::checksum::Sum::default()
        .bytes(&packet[..20])
        .finish();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let size = NonZeroU16::new(1_460).unwrap();
    let packets = all(&packet, partial(Some(Segmentation::Tcp(size))), MTU).unwrap();
    let identifications: Vec<[u8; 2]> = packets
        .iter()
        .map(|packet| [packet[4], packet[5]])
        .collect();
    assert_eq!(identifications, [[0xff, 0xff], [0, 0], [0, 1]]);
}

#[test]
fn a_datagram_that_must_not_be_fragmented_is_too_large() {
    let packet = udp_packet(true, &[0; 3_000]);
    assert_eq!(packet[6] & 0x40, 0x40);
    assert_eq!(
        all(&packet, Offload::default(), MTU),
        Err(DropReason::TooLarge)
    );
}

#[test]
fn an_offload_that_does_not_fit_its_protocol_is_malformed() {
    let size = NonZeroU16::new(100).unwrap();
    let datagram = udp_packet(true, &[0; 300]);
    assert_eq!(
        all(&datagram, partial(Some(Segmentation::Tcp(size))), MTU),
        Err(DropReason::Malformed)
    );
    let segment = tcp_super_packet(true, 1, flag::ACK, 0, &[0; 300]);
    assert_eq!(
        all(&segment, partial(Some(Segmentation::Udp(size))), MTU),
        Err(DropReason::Malformed)
    );
}

#[test]
fn options_that_are_not_to_be_copied_stay_in_the_first_fragment() {
    let payload = [7; 2_000];
    let mut header = etherparse::Ipv4Header::new(
        0,
        64,
        etherparse::IpNumber::UDP,
        [10, 0, 0, 1],
        [203, 0, 113, 9],
    )
    .unwrap();
    header.dont_fragment = false;
    // Record route (not copied), then router alert (copied).
    header.options = [7, 4, 4, 0, 148, 4, 0, 0].into();
    let mut packet = Vec::new();
    PacketBuilder::ip(IpHeaders::Ipv4(
        header,
        etherparse::Ipv4Extensions::default(),
    ))
    .udp(40_000, 443)
    .write(&mut packet, &payload)
    .unwrap();
    let fragments = all(&packet, Offload::default(), MTU).unwrap();
    assert_eq!(fragments[0][20..28], [7, 4, 4, 0, 148, 4, 0, 0]);
    assert_eq!(fragments[1][20..28], [1, 1, 1, 1, 148, 4, 0, 0]);
}
