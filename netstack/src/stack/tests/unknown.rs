//! Packets of no flow: what they are said to be, and how they are rejected.

use super::*;
use crate::classify::UnknownClass;

fn class_of(bench: &mut Bench, packet: &[u8]) -> UnknownClass {
    match bench.put(packet) {
        Input::Unknown {
            class,
            packet: whole,
            ..
        } => {
            assert_eq!(whole, packet, "to be re-emitted as it is");
            class
        }
        other => panic!("known: {other:?}"),
    }
}

fn syn_ack() -> Vec<u8> {
    let mut packet = Vec::new();
    ip(LOCAL, REMOTE)
        .tcp(LOCAL.port(), REMOTE.port(), 1, 100)
        .syn()
        .ack(ISN)
        .write(&mut packet, &[])
        .unwrap();
    packet
}

fn echo_reply() -> Vec<u8> {
    let mut packet = Vec::new();
    ip(LOCAL, REMOTE)
        .icmpv4_echo_reply(7, 1)
        .write(&mut packet, b"pong")
        .unwrap();
    packet
}

fn icmp_error(quoted: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let unreachable = etherparse::Icmpv4Type::DestinationUnreachable(
        etherparse::icmpv4::DestUnreachableHeader::Port,
    );
    ip(LOCAL, REMOTE)
        .icmpv4(unreachable)
        .write(&mut packet, quoted)
        .unwrap();
    packet
}

#[test]
fn every_class_of_stranger_is_told_apart() {
    let mut bench = Bench::with(StackConfig {
        ephemeral_ports: Some(32_768..=60_999),
        ..StackConfig::default()
    });
    assert_eq!(class_of(&mut bench, &rst(1)), UnknownClass::Reset);
    assert_eq!(class_of(&mut bench, &syn_ack()), UnknownClass::SynAck);
    assert_eq!(
        class_of(&mut bench, &ack(1, 1, b"data")),
        UnknownClass::Segment
    );
    assert_eq!(class_of(&mut bench, &fin(1, 1)), UnknownClass::Segment);
    assert_eq!(
        class_of(&mut bench, &echo_reply()),
        UnknownClass::EchoReplyOrError
    );
    assert_eq!(
        class_of(&mut bench, &icmp_error(&[0; 28])),
        UnknownClass::EchoReplyOrError
    );
    let service = SocketAddr::new(LOCAL.ip(), 53);
    assert_eq!(
        class_of(&mut bench, &udp(service, REMOTE, b"answer")),
        UnknownClass::ServiceDatagram
    );
    let mut gre = Vec::new();
    ip(LOCAL, REMOTE)
        .write(&mut gre, etherparse::IpNumber::GRE, &[0; 8])
        .unwrap();
    assert_eq!(class_of(&mut bench, &gre), UnknownClass::OtherProtocol);
    assert!(bench.out().is_empty(), "classifying says nothing");
    assert_eq!(bench.stack.gauges().flows, 0);
}

#[test]
fn an_ephemeral_port_that_a_service_had_before_us_is_its_own() {
    let mut bench = Bench::with(StackConfig {
        ephemeral_ports: Some(32_768..=60_999),
        service_ports: vec![LOCAL.port()],
        ..StackConfig::default()
    });
    assert_eq!(
        class_of(&mut bench, &udp(LOCAL, REMOTE, b"answer")),
        UnknownClass::ServiceDatagram
    );
}

#[test]
fn an_ephemeral_datagram_is_a_programs_own() {
    let mut bench = Bench::with(StackConfig {
        ephemeral_ports: Some(32_768..=60_999),
        ..StackConfig::default()
    });
    assert!(matches!(
        bench.put(&udp(LOCAL, REMOTE, b"x")),
        Input::Udp {
            is: FlowIs::New,
            ..
        }
    ));
}

#[test]
fn a_rejected_segment_is_answered_in_its_right_form() {
    let mut bench = Bench::new();
    bench
        .stack
        .reject(bench.now, &ack(100, 777, b"abc"), Refusal::Reset)
        .unwrap();
    let reset = read(&bench.out()[0]);
    assert!(reset.rst && !reset.ack);
    assert_eq!((reset.from, reset.to, reset.sequence), (REMOTE, LOCAL, 777));
    bench
        .stack
        .reject(bench.now, &syn(LOCAL, REMOTE, ISN), Refusal::Reset)
        .unwrap();
    let reset = read(&bench.out()[0]);
    assert!(reset.rst && reset.ack);
    assert_eq!((reset.sequence, reset.acknowledgement), (0, ISN + 1));
}

#[test]
fn resets_and_errors_are_never_answered() {
    let mut bench = Bench::new();
    for refusal in [Refusal::Reset, Refusal::Prohibited] {
        bench.stack.reject(bench.now, &rst(1), refusal).unwrap();
        bench
            .stack
            .reject(bench.now, &icmp_error(&[0; 28]), refusal)
            .unwrap();
        let group = SocketAddr::new(Ipv4Addr::new(239, 1, 2, 3).into(), 5_353);
        bench
            .stack
            .reject(bench.now, &udp(LOCAL, group, b"x"), refusal)
            .unwrap();
    }
    assert!(bench.out().is_empty());
}

#[test]
fn who_sends_what_does_not_fit_its_way_out_is_told_what_does() {
    let mut bench = Bench::new();
    let mut six = Vec::new();
    ip(LOCAL_V6, REMOTE_V6)
        .udp(LOCAL_V6.port(), REMOTE_V6.port())
        .write(&mut six, &[9; 1_400])
        .unwrap();
    for (packet, remote) in [(ack(100, 777, &[9; 1_400]), REMOTE), (six, REMOTE_V6)] {
        let now = bench.now;
        bench.stack.reject_too_big(now, &packet, 1_300).unwrap();
        let out = bench.out();
        let sliced = SlicedPacket::from_ip(&out[0]).unwrap();
        let payload = match (&sliced.transport, sliced.net.as_ref().unwrap()) {
            (Some(TransportSlice::Icmpv4(icmp)), etherparse::NetSlice::Ipv4(header)) => {
                assert_eq!(IpAddr::from(header.header().source()), remote.ip());
                assert_eq!((icmp.type_u8(), icmp.code_u8()), (3, 4));
                assert_eq!(icmp.bytes5to8(), [0, 0, 5, 20]);
                icmp.payload()
            }
            (Some(TransportSlice::Icmpv6(icmp)), etherparse::NetSlice::Ipv6(header)) => {
                assert_eq!(IpAddr::from(header.header().source()), remote.ip());
                assert_eq!((icmp.type_u8(), icmp.code_u8()), (2, 0));
                assert_eq!(icmp.bytes5to8(), [0, 0, 5, 20]);
                icmp.payload()
            }
            other => panic!("no error: {other:?}"),
        };
        assert!(packet.starts_with(payload) && payload.len() > 500);
    }
    let now = bench.now;
    bench.stack.reject_too_big(now, &rst(1), 1_300).unwrap();
    assert!(bench.out().is_empty(), "a reset is never answered");
}

#[test]
fn answers_to_strangers_are_limited() {
    let mut bench = Bench::with(StackConfig {
        answers_per_second: 5,
        ..StackConfig::default()
    });
    let limited = (0..20)
        .filter(|_| {
            bench
                .stack
                .reject(bench.now, &ack(1, 2, b""), Refusal::Reset)
                .is_err()
        })
        .count();
    assert_eq!(limited, 15);
    assert_eq!(bench.out().len(), 5);
    assert_eq!(bench.stack.drops(), [(DropReason::RateLimited, 15)]);
}

#[test]
fn a_passed_flow_is_passed_until_it_idles() {
    let mut bench = Bench::new();
    let Input::Unknown { key, .. } = bench.put(&syn_ack()) else {
        panic!()
    };
    let flow = bench.stack.pass(bench.now, key).unwrap();
    for _ in 0..3 {
        bench.wait(Duration::from_secs(200));
        let packet = ack(2, ISN, b"served");
        assert!(
            matches!(bench.put(&packet), Input::Pass { flow: id, packet: whole } if id == flow && whole == packet)
        );
    }
    assert!(bench.out().is_empty());
    bench.wait(IdleLimits::default().passed);
    assert_eq!(bench.events(), [Event::Closed(flow, CloseReason::Idle)]);
    assert!(matches!(
        bench.put(&ack(2, ISN, b"")),
        Input::Unknown { .. }
    ));
}

#[test]
fn a_datagram_flow_may_become_a_passed_one() {
    let mut bench = Bench::new();
    let Input::Udp { flow, .. } = bench.put(&udp(LOCAL, REMOTE, b"x")) else {
        panic!()
    };
    let key = bench.stack.key(flow).unwrap();
    assert_eq!(bench.stack.pass(bench.now, key), Ok(flow));
    assert_eq!(bench.stack.udp_flows_of(LocalAddr(LOCAL)), 0);
    assert!(matches!(
        bench.put(&udp(LOCAL, REMOTE, b"x")),
        Input::Pass { .. }
    ));
}

#[test]
fn a_tuple_of_a_passed_connection_that_is_used_again_is_judged() {
    let mut bench = Bench::new();
    let Input::Unknown { key, .. } = bench.put(&ack(2, 3, b"old")) else {
        panic!()
    };
    let old = bench.stack.pass(bench.now, key).unwrap();
    let new = bench.syn(&syn(LOCAL, REMOTE, ISN));
    assert_ne!(old, new);
    assert_eq!(bench.events(), [Event::Closed(old, CloseReason::Finished)]);
}

#[test]
fn a_silenced_stranger_is_absorbed() {
    let mut bench = Bench::new();
    let mut gre = Vec::new();
    ip(LOCAL, REMOTE)
        .write(&mut gre, etherparse::IpNumber::GRE, &[0; 8])
        .unwrap();
    for packet in [syn_ack(), gre] {
        let Input::Unknown { key, .. } = bench.put(&packet) else {
            panic!()
        };
        let flow = bench.stack.pass(bench.now, key).unwrap();
        bench.stack.refuse(bench.now, flow, Refusal::Silence);
        assert!(matches!(
            bench.put(&packet),
            Input::Dropped(DropReason::Silenced)
        ));
    }
}

#[test]
fn a_reset_towards_the_program_is_the_peers() {
    let mut bench = Bench::new();
    let key = FlowKey {
        protocol: Protocol::Tcp,
        local: LocalAddr(LOCAL_V6),
        remote: RemoteAddr(REMOTE_V6),
    };
    bench.stack.reset_towards_program(key, 11, 22);
    let reset = read(&bench.out()[0]);
    assert!(reset.rst && reset.ack);
    assert_eq!(
        (reset.from, reset.to, reset.sequence, reset.acknowledgement),
        (REMOTE_V6, LOCAL_V6, 11, 22)
    );
}

#[test]
fn a_reset_in_place_of_a_packet_is_its_senders() {
    let reset = read(&crate::emit::reset_in_place_of(&syn_ack()).unwrap());
    assert!(reset.rst && reset.ack);
    assert_eq!(
        (reset.from, reset.to, reset.sequence, reset.acknowledgement),
        (LOCAL, REMOTE, 1, ISN)
    );
    assert_eq!(crate::emit::reset_in_place_of(&rst(1)), None);
    assert_eq!(
        crate::emit::reset_in_place_of(&udp(LOCAL, REMOTE, b"x")),
        None
    );
}

#[test]
fn an_error_about_our_datagram_ends_its_flow() {
    let mut bench = Bench::new();
    let Input::Udp { flow, .. } = bench.put(&udp(LOCAL, REMOTE, b"x")) else {
        panic!()
    };
    let ours = udp(REMOTE, LOCAL, b"answer");
    assert!(matches!(bench.put(&icmp_error(&ours)), Input::Handled));
    assert_eq!(
        bench.events(),
        [Event::Closed(flow, CloseReason::ResetByProgram)]
    );
}
