//! UDP, echo, fragments, and ICMP errors about them.

use std::num::NonZeroU16;

use etherparse::{Icmpv4Type, Icmpv6Type, LaxSlicedPacket};

use super::*;
use crate::ip::Fragmentation;
use crate::packet::Segmentation;

fn udp_flow(bench: &mut Bench, from: SocketAddr, to: SocketAddr) -> FlowId {
    match bench.put(&udp(from, to, b"question")) {
        Input::Udp {
            flow,
            is: FlowIs::New,
            payload: b"question",
            segment: None,
            fragmentation: Fragmentation::Never,
            hop_limit: 64,
        } => flow,
        other => panic!("not a new UDP flow: {other:?}"),
    }
}

/// Head and payload as the device gets them.
fn joined(head: &crate::PacketHead, payload: &[u8]) -> Vec<u8> {
    [head.as_ref(), payload].concat()
}

#[test]
fn an_answer_is_what_etherparse_would_have_written() {
    for (local, remote) in [(LOCAL, REMOTE), (LOCAL_V6, REMOTE_V6)] {
        let mut bench = Bench::new();
        let flow = udp_flow(&mut bench, local, remote);
        let head = bench
            .stack
            .udp_head(bench.now, flow, b"answer", None)
            .unwrap();
        let ours = joined(&head, b"answer");
        let theirs = udp(remote, local, b"answer");
        let at = ours.len() - 14;
        assert_eq!(ours[at..], theirs[at..], "UDP header, checksum and payload");
        assert_eq!(
            SlicedPacket::from_ip(&ours).unwrap().payload_ether_type(),
            SlicedPacket::from_ip(&theirs).unwrap().payload_ether_type()
        );
        assert!(!head.offload.partial_checksum);
    }
}

#[test]
fn several_answers_share_one_head_and_leave_the_sum_to_the_device() {
    let mut bench = Bench::with(StackConfig {
        segmentation_offload: true,
        ..StackConfig::default()
    });
    let flow = udp_flow(&mut bench, LOCAL, REMOTE);
    let size = NonZeroU16::new(1_000).unwrap();
    let payload: Vec<u8> = (0..=255).cycle().take(4_500).collect();
    let head = bench
        .stack
        .udp_head(bench.now, flow, &payload, Some(size))
        .unwrap();
    assert!(head.offload.partial_checksum);
    assert_eq!(head.offload.segmentation, Some(Segmentation::Udp(size)));
    let whole = joined(&head, &payload);
    let mut scratch = Vec::new();
    let mut segments =
        crate::emit::Segments::new(&whole, head.offload, 1_500, &mut scratch).unwrap();
    let mut got = Vec::new();
    while let Some(packet) = segments.next_packet() {
        let sliced = SlicedPacket::from_ip(packet).unwrap();
        let Some(TransportSlice::Udp(datagram)) = sliced.transport else {
            panic!()
        };
        assert_eq!(
            udp(REMOTE, LOCAL, datagram.payload())[20..28],
            packet[20..28],
            "length and checksum"
        );
        got.extend_from_slice(datagram.payload());
    }
    assert_eq!(got, payload);
}

#[test]
fn an_answer_beyond_the_mtu_comes_in_fragments_that_join_again() {
    for (local, remote) in [(LOCAL, REMOTE), (LOCAL_V6, REMOTE_V6)] {
        let mut bench = Bench::new();
        let flow = udp_flow(&mut bench, local, remote);
        let payload: Vec<u8> = (0..=255).cycle().take(9_000).collect();
        assert_eq!(
            bench
                .stack
                .udp_head(bench.now, flow, &payload, None)
                .unwrap_err(),
            DropReason::TooLarge
        );
        bench
            .stack
            .udp_send_fragmented(bench.now, flow, &payload)
            .unwrap();
        let fragments = bench.out();
        assert!(fragments.len() > 6 && fragments.iter().all(|fragment| fragment.len() <= 1_500));
        // Another stack puts them together again, last first.
        let mut other = Bench::new();
        let mut whole = None;
        for fragment in fragments.iter().rev() {
            if let Input::Reassembled(packet) = other.put(fragment) {
                whole = Some(packet);
            }
        }
        let whole = whole.unwrap();
        match other.stack.handle_reassembled(other.now, &whole) {
            Input::Udp {
                payload: joined,
                // It may be cut again on its way.
                fragmentation: Fragmentation::Allowed,
                ..
            } => assert_eq!(joined, payload),
            not => panic!("not a datagram: {not:?}"),
        };
    }
}

#[test]
fn what_must_not_be_cut_is_told_by_its_header() {
    let mut packet = udp(LOCAL, REMOTE, b"whole");
    for (flags, expected) in [(0x40, Fragmentation::Never), (0, Fragmentation::Allowed)] {
        packet[6] = flags;
        packet[10..12].fill(0);
        let sum = crate::checksum::Sum::default()
            .bytes(&packet[..20])
            .finish();
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        match Bench::new().put(&packet) {
            Input::Udp { fragmentation, .. } => assert_eq!(fragmentation, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn flows_of_one_source_are_counted_together() {
    let mut bench = Bench::new();
    let other = SocketAddr::new(REMOTE.ip(), 53);
    let first = udp_flow(&mut bench, LOCAL, REMOTE);
    let second = udp_flow(&mut bench, LOCAL, other);
    assert_eq!(bench.stack.udp_flows_of(LocalAddr(LOCAL)), 2);
    assert_eq!(
        bench.stack.udp_flow(LocalAddr(LOCAL), RemoteAddr(other)),
        Some(second)
    );
    bench.stack.forget(first);
    bench.stack.forget(second);
    assert_eq!(bench.stack.udp_flows_of(LocalAddr(LOCAL)), 0);
    assert_eq!(
        bench.stack.udp_flow(LocalAddr(LOCAL), RemoteAddr(other)),
        None
    );
    assert_eq!(
        bench
            .stack
            .udp_head(bench.now, first, b"", None)
            .unwrap_err(),
        DropReason::FlowGone
    );
}

/// How long a flow lives after its last packet.
fn lifetime(port: u16, answers: usize) -> Duration {
    let mut bench = Bench::new();
    let flow = udp_flow(&mut bench, LOCAL, SocketAddr::new(REMOTE.ip(), port));
    for _ in 0..answers {
        bench
            .stack
            .udp_head(bench.now, flow, b"answer", None)
            .unwrap();
    }
    let start = bench.now;
    while bench.events().is_empty() {
        let (at, reason) = bench.stack.poll_timeout().unwrap();
        assert_eq!(reason, TimeoutReason::Idle);
        bench.wait(at - bench.now);
    }
    bench.now - start
}

#[test]
fn idle_limits_are_those_of_the_kind() {
    let seconds = Duration::from_secs;
    assert_eq!(lifetime(9, 0), seconds(30));
    assert_eq!(lifetime(443, 0), seconds(30));
    assert_eq!(lifetime(53, 0), seconds(30));
    assert_eq!(lifetime(9, 1), seconds(120));
    assert_eq!(lifetime(443, 1), seconds(300));
    assert_eq!(lifetime(53, 1), IdleLimits::default().dns_answered);
}

#[test]
fn fifty_thousand_sources_leave_a_flow_that_speaks_and_no_more_than_the_limit() {
    const LIMIT: usize = 1_000;
    let mut bench = Bench::with(StackConfig {
        max_flows: LIMIT,
        ..StackConfig::default()
    });
    let old = udp_flow(&mut bench, LOCAL, REMOTE);
    let resting = udp_flow(&mut bench, LOCAL_V6, REMOTE_V6);
    let mut evicted = 0;
    let mut events = |bench: &mut Bench| {
        for event in bench.events() {
            match event {
                Event::Closed(flow, CloseReason::Evicted) => {
                    assert_ne!(flow, old);
                    evicted += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    };
    for number in 0..50_000_u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let source = SocketAddr::from(([10, 1, high, low], 5_000));
        udp_flow(&mut bench, source, REMOTE);
        if number.is_multiple_of(500) {
            bench.put(&udp(LOCAL, REMOTE, b"still there"));
        }
        if number.is_multiple_of(5_000) {
            bench.wait(Duration::from_millis(100));
        }
        assert!(bench.stack.gauges().flows <= LIMIT);
        events(&mut bench);
    }
    assert!(bench.stack.key(old).is_some() && bench.stack.key(resting).is_none());
    assert_eq!(evicted, 50_002 - LIMIT);
    // What is left ends in its time, and nothing of it stays.
    bench.wait(IdleLimits::default().udp_unanswered);
    assert_eq!(bench.events().len(), LIMIT);
    assert_eq!(bench.stack.gauges().flows, 0);
    assert_eq!(bench.stack.udp_flows_of(LocalAddr(LOCAL)), 0);
    assert_eq!(bench.stack.poll_timeout(), None);
}

#[test]
fn a_second_question_on_a_dns_flow_keeps_it_until_it_is_answered_too() {
    let mut bench = Bench::new();
    let resolver = SocketAddr::new(REMOTE.ip(), 53);
    let flow = udp_flow(&mut bench, LOCAL, resolver);
    bench.put(&udp(LOCAL, resolver, b"AAAA"));
    bench.stack.udp_head(bench.now, flow, b"A", None).unwrap();
    bench.wait(Duration::from_secs(10));
    assert!(bench.events().is_empty());
    bench
        .stack
        .udp_head(bench.now, flow, b"AAAA", None)
        .unwrap();
    bench.wait(IdleLimits::default().dns_answered);
    assert_eq!(bench.events(), [Event::Closed(flow, CloseReason::Idle)]);
}

#[test]
fn refusals_of_datagrams_are_icmp_errors_that_quote_them() {
    for (refusal, v4, v6) in [
        (Refusal::Reset, 3, 4),
        (Refusal::NetworkUnreachable, 0, 0),
        (Refusal::HostUnreachable, 1, 3),
        (Refusal::Prohibited, 13, 1),
    ] {
        for (local, remote) in [(LOCAL, REMOTE), (LOCAL_V6, REMOTE_V6)] {
            let mut bench = Bench::new();
            let flow = udp_flow(&mut bench, local, remote);
            bench.stack.refuse(bench.now, flow, refusal);
            let out = bench.out();
            let sliced = SlicedPacket::from_ip(&out[0]).unwrap();
            let quoted = match sliced.transport.unwrap() {
                TransportSlice::Icmpv4(icmp) => {
                    assert_eq!((icmp.type_u8(), icmp.code_u8()), (3, v4));
                    assert_eq!(
                        icmp.checksum(),
                        icmp.icmp_type().calc_checksum(icmp.payload())
                    );
                    icmp.payload().to_vec()
                }
                TransportSlice::Icmpv6(icmp) => {
                    assert_eq!((icmp.type_u8(), icmp.code_u8()), (1, v6));
                    let (IpAddr::V6(from), IpAddr::V6(to)) = (remote.ip(), local.ip()) else {
                        panic!()
                    };
                    assert!(icmp.is_checksum_valid(from.octets(), to.octets()));
                    icmp.payload().to_vec()
                }
                TransportSlice::Tcp(_) | TransportSlice::Udp(_) | TransportSlice::Igmp(_) => {
                    panic!("not ICMP")
                }
            };
            let sent = udp(local, remote, b"question");
            let head = if local.is_ipv4() { 28 } else { 48 };
            let quote = LaxSlicedPacket::from_ip(&quoted).unwrap();
            assert!(quote.transport.is_some());
            assert_eq!(
                quoted[head - 8..head],
                sent[head - 8..head],
                "the UDP header"
            );
            assert_eq!(quoted[12..20], sent[12..20], "addresses");
            assert_eq!(bench.stack.gauges().flows, 0);
        }
    }
}

#[test]
fn a_refused_syn_is_quoted_too() {
    let mut bench = Bench::new();
    let flow = bench.syn(&syn(LOCAL, REMOTE, ISN));
    bench
        .stack
        .refuse(bench.now, flow, Refusal::HostUnreachable);
    let out = bench.out();
    let Some(TransportSlice::Icmpv4(icmp)) = SlicedPacket::from_ip(&out[0]).unwrap().transport
    else {
        panic!()
    };
    assert_eq!((icmp.type_u8(), icmp.code_u8()), (3, 1));
    assert_eq!(icmp.payload()[20..28], syn(LOCAL, REMOTE, ISN)[20..28]);
}

#[test]
fn errors_from_upstream_routers_name_the_router() {
    let mut bench = Bench::new();
    let flow = udp_flow(&mut bench, LOCAL, REMOTE);
    let router = IpAddr::from([192, 0, 2, 1]);
    bench.stack.icmp_time_exceeded(bench.now, flow, router);
    bench.stack.icmp_too_big(bench.now, flow, router, 1_400);
    bench
        .stack
        .icmp_error(bench.now, flow, router, Refusal::Reset);
    let types: Vec<Icmpv4Type> = bench
        .out()
        .iter()
        .map(|packet| {
            assert_eq!(packet[12..16], [192, 0, 2, 1]);
            let Some(TransportSlice::Icmpv4(icmp)) =
                SlicedPacket::from_ip(packet).unwrap().transport
            else {
                panic!()
            };
            icmp.icmp_type()
        })
        .collect();
    assert!(matches!(types[0], Icmpv4Type::TimeExceeded(_)));
    use etherparse::icmpv4::DestUnreachableHeader;
    assert_eq!(
        types[1],
        Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded {
            next_hop_mtu: 1_400
        })
    );
    assert_eq!(
        types[2],
        Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port)
    );
    assert!(bench.stack.key(flow).is_some(), "the flow goes on");
}

#[test]
fn an_echo_comes_back_with_its_identifier_sequence_and_payload() {
    let mut bench = Bench::new();
    let mut request = Vec::new();
    ip(LOCAL, REMOTE)
        .icmpv4_echo_request(7, 3)
        .write(&mut request, b"payload")
        .unwrap();
    let Input::Echo {
        flow,
        is: FlowIs::New,
        sequence: 3,
        payload: b"payload",
        hop_limit: 64,
    } = bench.put(&request)
    else {
        panic!()
    };
    let head = bench
        .stack
        .echo_reply_head(bench.now, flow, 3, b"payload")
        .unwrap();
    let reply = joined(&head, b"payload");
    let Some(TransportSlice::Icmpv4(icmp)) = SlicedPacket::from_ip(&reply).unwrap().transport
    else {
        panic!()
    };
    assert!(
        matches!(icmp.icmp_type(), Icmpv4Type::EchoReply(echo) if echo.id == 7 && echo.seq == 3)
    );
    assert_eq!(
        icmp.checksum(),
        icmp.icmp_type().calc_checksum(icmp.payload())
    );
    let Input::Echo {
        flow: same,
        is: FlowIs::Known,
        ..
    } = bench.put(&request)
    else {
        panic!()
    };
    assert_eq!(flow, same);
}

#[test]
fn an_error_quotes_the_echo_request_that_it_is_about() {
    let mut bench = Bench::new();
    let router = IpAddr::from([192, 0, 2, 1]);
    let mut flows = Vec::new();
    for sequence in 0..40 {
        let mut request = Vec::new();
        ip(LOCAL, REMOTE)
            .icmpv4_echo_request(7, sequence)
            .write(&mut request, b"payload")
            .unwrap();
        let Input::Echo { flow, .. } = bench.put(&request) else {
            panic!()
        };
        flows.push(flow);
    }
    let flow = flows[0];
    assert!(!bench.stack.recall_request(flow, 7), "33 came after it");
    for sequence in [8, 39, 20, 8] {
        assert!(bench.stack.recall_request(flow, sequence));
        bench.stack.icmp_time_exceeded(bench.now, flow, router);
        let error = &bench.out()[0];
        let quoted = &error[28..];
        assert_eq!(quoted[26..28], sequence.to_be_bytes());
    }
    let datagrams = udp_flow(&mut bench, LOCAL, REMOTE);
    assert!(!bench.stack.recall_request(datagrams, 8));
}

#[test]
fn an_echo_comes_back_over_ipv6_too() {
    let mut bench = Bench::new();
    let mut request = Vec::new();
    ip(LOCAL_V6, REMOTE_V6)
        .icmpv6_echo_request(7, 3)
        .write(&mut request, b"payload")
        .unwrap();
    let Input::Echo { flow, .. } = bench.put(&request) else {
        panic!()
    };
    let head = bench
        .stack
        .echo_reply_head(bench.now, flow, 3, b"payload")
        .unwrap();
    let reply = joined(&head, b"payload");
    let Some(TransportSlice::Icmpv6(icmp)) = SlicedPacket::from_ip(&reply).unwrap().transport
    else {
        panic!()
    };
    assert!(
        matches!(icmp.icmp_type(), Icmpv6Type::EchoReply(echo) if echo.id == 7 && echo.seq == 3)
    );
    let (IpAddr::V6(from), IpAddr::V6(to)) = (REMOTE_V6.ip(), LOCAL_V6.ip()) else {
        panic!()
    };
    assert!(icmp.is_checksum_valid(from.octets(), to.octets()));
}

#[test]
fn a_silenced_datagram_is_absorbed() {
    let mut bench = Bench::new();
    let flow = udp_flow(&mut bench, LOCAL, REMOTE);
    bench.stack.refuse(bench.now, flow, Refusal::Silence);
    assert!(matches!(
        bench.put(&udp(LOCAL, REMOTE, b"again")),
        Input::Dropped(DropReason::Silenced)
    ));
    assert!(bench.out().is_empty());
}

#[test]
fn several_datagrams_in_one_are_told_with_their_size() {
    let mut bench = Bench::new();
    let packet = udp(LOCAL, REMOTE, &[1; 2_500]);
    let size = NonZeroU16::new(1_000).unwrap();
    let offload = Offload {
        partial_checksum: true,
        checksum_valid: false,
        segmentation: Some(Segmentation::Udp(size)),
    };
    match bench.stack.handle_packet(bench.now, &packet, offload) {
        Input::Udp {
            payload, segment, ..
        } => assert_eq!((payload.len(), segment), (2_500, Some(size))),
        other => panic!("{other:?}"),
    }
}
