//! Packets that nobody honest sends: thrown away by reason, and nothing panics.

use proptest::prelude::*;

use super::*;

fn dropped(packet: &[u8]) -> DropReason {
    let mut bench = Bench::new();
    match bench.put(packet) {
        Input::Dropped(reason) => {
            assert_eq!(bench.stack.drops(), [(reason, 1)]);
            assert_eq!(bench.stack.gauges().flows, 0);
            reason
        }
        other => panic!("taken: {other:?}"),
    }
}

/// The packet with some bytes changed and the IPv4 header's sum right again.
fn altered(mut packet: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    for &(at, byte) in changes {
        packet[at] = byte;
    }
    packet[10..12].fill(0);
    let sum = crate::checksum::Sum::default()
        .bytes(&packet[..20])
        .finish();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

#[test]
fn every_kind_of_malformed_packet_is_named() {
    let good = udp(LOCAL, REMOTE, b"payload");
    assert_eq!(dropped(&[]), DropReason::Truncated);
    assert_eq!(dropped(&good[..27]), DropReason::Truncated);
    assert_eq!(dropped(&[0x50; 40]), DropReason::NotIp);
    assert_eq!(
        dropped(&altered(good.clone(), &[(0, 0x44)])),
        DropReason::Malformed
    );
    assert_eq!(
        dropped(&altered(good.clone(), &[(3, 10)])),
        DropReason::Malformed
    );
    let mut wrong = good.clone();
    wrong[10] ^= 1;
    assert_eq!(dropped(&wrong), DropReason::BadHeaderChecksum);
    let mut wrong = good.clone();
    wrong[30] ^= 1;
    assert_eq!(dropped(&wrong), DropReason::BadTransportChecksum);
    assert_eq!(
        dropped(&altered(good.clone(), &[(25, 4)])),
        DropReason::Malformed
    );
    assert_eq!(dropped(&altered(good, &[(25, 200)])), DropReason::Truncated);
    let segment = ack(1, 2, b"");
    assert_eq!(
        dropped(&altered(segment.clone(), &[(32, 0x40)])),
        DropReason::Malformed
    );
    assert_eq!(
        dropped(&altered(segment.clone(), &[(32, 0xf0)])),
        DropReason::Truncated
    );
    for both in [0x03, 0x06, 0x05] {
        assert_eq!(
            dropped(&altered(segment.clone(), &[(33, both)])),
            DropReason::Malformed
        );
    }
}

#[test]
fn addresses_of_no_host_are_refused() {
    for source in [
        [127, 0, 0, 1],
        [0, 0, 0, 0],
        [224, 0, 0, 1],
        [255, 255, 255, 255],
    ] {
        let from = SocketAddr::new(source.into(), 40_000);
        assert_eq!(
            dropped(&udp(from, REMOTE, b"x")),
            DropReason::ImpossibleAddress
        );
    }
    for destination in [[127, 0, 0, 1], [0, 0, 0, 0]] {
        let to = SocketAddr::new(destination.into(), 53);
        assert_eq!(
            dropped(&udp(LOCAL, to, b"x")),
            DropReason::ImpossibleAddress
        );
    }
    for source in ["::", "::1", "ff02::1", "::ffff:10.0.0.1"] {
        let from = SocketAddr::new(source.parse().unwrap(), 40_000);
        assert_eq!(
            dropped(&udp(from, REMOTE_V6, b"x")),
            DropReason::ImpossibleAddress
        );
    }
    let group = SocketAddr::new([239, 0, 0, 1].into(), 443);
    assert_eq!(
        dropped(&syn(LOCAL, group, ISN)),
        DropReason::ImpossibleAddress
    );
}

#[test]
fn a_source_route_is_refused_whatever_follows_it_and_endless_headers_end() {
    let header = |next: u8, payload: &[u8]| {
        let mut packet = vec![
            0x60,
            0,
            0,
            0,
            0,
            u8::try_from(payload.len()).unwrap(),
            next,
            64,
        ];
        for address in [LOCAL_V6, REMOTE_V6] {
            let IpAddr::V6(address) = address.ip() else {
                panic!()
            };
            packet.extend(address.octets());
        }
        packet.extend(payload);
        packet
    };
    for kind in [0, 2, 4] {
        assert_eq!(
            dropped(&header(43, &[17, 0, kind, 1, 0, 0, 0, 0])),
            DropReason::SourceRoute
        );
    }
    let travelled = header(43, &[99, 0, 4, 0, 0, 0, 0, 0]);
    assert!(
        matches!(Bench::new().put(&travelled), Input::Unknown { .. }),
        "a route that is at its end hides nothing"
    );
    let endless: Vec<u8> = [60, 0, 1, 4, 0, 0, 0, 0].repeat(20);
    assert_eq!(dropped(&header(60, &endless)), DropReason::Malformed);
    assert_eq!(
        dropped(&header(60, &[6, 200, 1, 4, 0, 0, 0, 0])),
        DropReason::Truncated
    );
    assert_eq!(dropped(&header(44, &[6, 0])), DropReason::Truncated);
}

#[test]
fn a_source_route_in_ipv4_options_is_refused_wherever_it_stands() {
    let with_options = |options: [u8; 8]| {
        let mut packet = udp(LOCAL, REMOTE, b"x");
        packet.splice(20..20, options);
        packet[0] = 0x47;
        let length = u16::try_from(packet.len()).unwrap();
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet[10..12].fill(0);
        let sum = crate::checksum::Sum::default()
            .bytes(&packet[..28])
            .finish();
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    };
    for (loose, at) in [(131, 0), (137, 1)] {
        let mut options = [1; 8];
        options[at..at + 7].copy_from_slice(&[loose, 7, 4, 198, 51, 100, 1]);
        assert_eq!(dropped(&with_options(options)), DropReason::SourceRoute);
    }
    for harmless in [
        [148, 4, 0, 0, 1, 1, 1, 0],      // router alert
        [0, 131, 7, 4, 198, 51, 100, 1], // behind the end of the options
        [7, 0, 0, 0, 0, 0, 0, 0],        // no length
        [7, 9, 131, 0, 0, 0, 0, 0],      // beyond the header
    ] {
        let mut bench = Bench::new();
        assert!(matches!(
            bench.put(&with_options(harmless)),
            Input::Udp { .. }
        ));
    }
}

/// A packet with a grain of truth: so that arbitrary bytes get behind the first check.
fn nearly_a_packet() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    (
        bytes,
        any::<bool>(),
        prop::sample::select(vec![0, 1, 6, 17, 43, 44, 51, 58, 60, 99]),
    )
        .prop_map(|(payload, v4, protocol)| {
            let mut packet = Vec::new();
            if v4 {
                let number = etherparse::IpNumber(protocol);
                ip(LOCAL, REMOTE)
                    .write(&mut packet, number, &payload)
                    .unwrap();
                packet[9] = protocol;
                altered(packet, &[])
            } else {
                packet.extend([
                    0x60,
                    0,
                    0,
                    0,
                    0,
                    u8::try_from(payload.len()).unwrap(),
                    protocol,
                    64,
                ]);
                packet.extend([0xfd; 16]);
                packet.extend([0x20; 16]);
                packet.extend(payload);
                packet
            }
        })
}

/// Everything that a caller would do with a packet.
fn handle(bench: &mut Bench, packet: &[u8], offload: Offload) {
    let input = bench.stack.handle_packet(bench.now, packet, offload);
    act_on(bench, packet, offload, input);
}

fn act_on(bench: &mut Bench, packet: &[u8], offload: Offload, input: Input<'_>) {
    match input {
        Input::TcpSyn { flow, .. } => {
            bench.stack.tcp_accept(bench.now, flow);
        }
        Input::Reassembled(whole) => {
            let input = bench.stack.handle_reassembled(bench.now, &whole);
            act_on(bench, &whole, Offload::default(), input);
        }
        Input::Unknown { key, .. } => {
            let _ = bench.stack.reject(bench.now, packet, Refusal::Reset);
            let _ = bench.stack.pass(bench.now, key);
        }
        Input::Udp { flow, payload, .. } => {
            let _ = bench.stack.udp_head(bench.now, flow, payload, None);
            bench.stack.refuse(bench.now, flow, Refusal::Prohibited);
        }
        Input::Echo {
            flow,
            sequence,
            payload,
            ..
        } => {
            let _ = bench
                .stack
                .echo_reply_head(bench.now, flow, sequence, payload);
        }
        Input::TcpPayload { flow, payload } => {
            let sent = payload.len() / 2;
            bench.stack.tcp(flow).unwrap().take_in(payload, sent);
        }
        Input::Handled | Input::Tcp(_) | Input::Pass { .. } | Input::Dropped(_) => {}
    }
    let mut scratch = Vec::new();
    if let Ok(mut segments) = crate::emit::Segments::new(packet, offload, 1_500, &mut scratch) {
        while segments.next_packet().is_some() {}
    }
    bench.out();
    bench.events();
    bench.stack.poll_timeout();
}

fn offload() -> impl Strategy<Value = Offload> {
    let size = (1u16..2_000).prop_map(|size| std::num::NonZeroU16::new(size).unwrap());
    let segmentation = prop_oneof![
        Just(None),
        size.clone()
            .prop_map(|size| Some(crate::packet::Segmentation::Tcp(size))),
        size.prop_map(|size| Some(crate::packet::Segmentation::Udp(size))),
    ];
    (any::<bool>(), any::<bool>(), segmentation).prop_map(
        |(partial_checksum, checksum_valid, segmentation)| Offload {
            partial_checksum,
            checksum_valid,
            segmentation,
        },
    )
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(packets in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..120), offload()), 1..20)) {
        let mut bench = Bench::new();
        for (packet, offload) in packets {
            handle(&mut bench, &packet, offload);
        }
    }

    #[test]
    fn near_packets_never_panic(packets in prop::collection::vec((nearly_a_packet(), offload()), 1..30)) {
        let mut bench = Bench::with(StackConfig { max_flows: 8, max_half_open: 3, ..StackConfig::default() });
        for (packet, offload) in packets {
            handle(&mut bench, &packet, offload);
            bench.wait(Duration::from_millis(700));
        }
    }

    #[test]
    fn any_sequence_of_segments_on_one_connection_never_panics(
        segments in prop::collection::vec((0u32..3_000, 0u32..3_000, 0u8..64, 0usize..1_400), 1..40)
    ) {
        let mut bench = Bench::with(StackConfig { buffer_budget: 32 << 10, ..StackConfig::default() });
        let (flow, next) = bench.established();
        for (sequence, acknowledgement, flags, len) in segments {
            let packet = ack(ISN.wrapping_add(sequence), next.wrapping_add(acknowledgement), &vec![0; len]);
            let packet = altered(packet, &[(33, flags)]);
            handle(&mut bench, &packet, Offload { checksum_valid: true, ..Offload::default() });
            if let Some(mut tcp) = bench.stack.tcp(flow) {
                let readable = tcp.readable().len();
                tcp.consume(readable);
                let room = tcp.writable().len().min(len);
                tcp.commit(room);
                if sequence % 5 == 0 {
                    tcp.finish();
                }
            }
            bench.wait(Duration::from_millis(300));
        }
    }
}
