//! Two ends of a veth pair, each in a network namespace of its own.

use std::net::{Ipv6Addr, UdpSocket};
use std::num::NonZeroU16;
use std::time::Duration;

use etherparse::PacketBuilder;
use proptest::prelude::*;
use tidegate_netstack::{DropReason, Offload, Segmentation};
use tidegate_routing::plan::MARK;

use crate::bypass::Bypass;
use crate::emit::{EmitCounters, EmitError, RawEmitter, destination};
use crate::sys::test_network::{PairedNetworks, far_socket, in_new_network, ip};

/// MTU of the way out.
const MTU: usize = 1500;

fn datagram_v4(source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4(source, destination, 64)
        .udp(7, 9000)
        .write(&mut packet, payload)
        .unwrap();
    packet
}

#[test]
fn a_packet_arrives_with_the_addresses_and_ports_it_was_given() {
    PairedNetworks::run(
        || {
            let socket = UdpSocket::bind("192.0.2.2:9000").unwrap();
            let six = UdpSocket::bind("[2001:db8::2]:9000").unwrap();
            for socket in [&socket, &six] {
                socket
                    .set_read_timeout(Some(Duration::from_secs(5)))
                    .unwrap();
            }
            (socket, six)
        },
        |(socket, six)| {
            let mut emitter = RawEmitter::open(&Bypass::marked(MARK)).unwrap();
            // 192.0.2.77 is no address of ours: no ordinary socket could send this.
            let packet = datagram_v4([192, 0, 2, 77], [192, 0, 2, 2], b"four");
            emitter.send(&packet, Offload::default(), MTU).unwrap();
            let mut buffer = [0; 100];
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!(
                (&buffer[..length], from),
                (&b"four"[..], "192.0.2.77:7".parse().unwrap())
            );

            let ours: Ipv6Addr = "2001:db8::1".parse().unwrap();
            let theirs: Ipv6Addr = "2001:db8::2".parse().unwrap();
            let mut packet = Vec::new();
            PacketBuilder::ipv6(ours.octets(), theirs.octets(), 64)
                .udp(7, 9000)
                .write(&mut packet, b"six")
                .unwrap();
            emitter.send(&packet, Offload::default(), MTU).unwrap();
            let (length, from) = six.recv_from(&mut buffer).unwrap();
            assert_eq!(
                (&buffer[..length], from),
                (&b"six"[..], "[2001:db8::1]:7".parse().unwrap())
            );
            assert_eq!(
                emitter.counters(),
                EmitCounters {
                    sent: 2,
                    ..EmitCounters::default()
                }
            );
        },
    );
}

#[test]
fn the_mark_leads_the_packet_past_a_rule_that_takes_everything_else() {
    PairedNetworks::run(far_socket, |socket| {
        ip("rule add not fwmark 0x2000000/0x2000000 prohibit preference 100");
        let packet = datagram_v4([192, 0, 2, 1], [192, 0, 2, 2], b"marked");
        let mut unmarked = RawEmitter::open(&Bypass::none()).unwrap();
        assert_eq!(
            unmarked.send(&packet, Offload::default(), MTU),
            Err(EmitError::Refused)
        );
        let mut marked = RawEmitter::open(&Bypass::marked(MARK)).unwrap();
        marked.send(&packet, Offload::default(), MTU).unwrap();
        assert_eq!(socket.recv(&mut [0; 100]).unwrap(), 6);
    });
}

#[test]
fn a_super_packet_with_an_open_checksum_arrives_as_what_it_stands_for() {
    PairedNetworks::run(far_socket, |socket| {
        let mut packet = datagram_v4([192, 0, 2, 1], [192, 0, 2, 2], &[9; 2500]);
        packet[26..28].fill(0xee); // the checksum is not there yet
        let offload = Offload {
            partial_checksum: true,
            checksum_valid: false,
            segmentation: Some(Segmentation::Udp(NonZeroU16::new(1000).unwrap())),
        };
        let mut emitter = RawEmitter::open(&Bypass::none()).unwrap();
        emitter.send(&packet, offload, MTU).unwrap();
        let mut buffer = [0; 3000];
        let lengths: Vec<_> = (0..3).map(|_| socket.recv(&mut buffer).unwrap()).collect();
        assert_eq!(lengths, [1000, 1000, 500]);
        assert_eq!(emitter.counters().sent, 3);
    });
}

#[test]
fn what_cannot_be_sent_is_told_and_counted() {
    in_new_network(|| {
        ip("link add eth0 mtu 1400 type veth peer name far0");
        ip("link set eth0 up");
        ip("address add 192.0.2.1/24 dev eth0");
        let mut emitter = RawEmitter::open(&Bypass::none()).unwrap();
        let too_big = datagram_v4([192, 0, 2, 1], [192, 0, 2, 2], &[0; 1400]);
        assert_eq!(
            emitter.send(&too_big, Offload::default(), 9000),
            Err(EmitError::TooBig(Some(1400)))
        );
        let nowhere = datagram_v4([192, 0, 2, 1], [198, 51, 100, 1], b"");
        assert_eq!(
            emitter.send(&nowhere, Offload::default(), MTU),
            Err(EmitError::NoRoute)
        );
        assert_eq!(
            emitter.send(b"not a packet", Offload::default(), MTU),
            Err(EmitError::Malformed(DropReason::NotIp))
        );
        let expected = EmitCounters {
            too_big: 1,
            no_route: 1,
            malformed: 1,
            ..EmitCounters::default()
        };
        assert_eq!(emitter.counters(), expected);
    });
}

/// A way out with an MTU of 1400, and a device whose MTU is 1500: what may be cut is, of the rest the sender has to be told.
#[test]
fn a_narrow_way_out_is_told_and_what_may_be_fragmented_for_it_is() {
    let (ours, theirs): (Ipv6Addr, Ipv6Addr) = (
        "2001:db8::1".parse().unwrap(),
        "2001:db8::2".parse().unwrap(),
    );
    let datagram_v6 = |length| {
        let mut packet = Vec::new();
        PacketBuilder::ipv6(ours.octets(), theirs.octets(), 64)
            .udp(7, 9000)
            .write(&mut packet, &vec![9; length])
            .unwrap();
        packet
    };
    let (v4, forbidden) = (
        [192, 0, 2, 1],
        datagram_v4([192, 0, 2, 1], [192, 0, 2, 2], &[9; 1450]),
    );
    let mut allowed = forbidden.clone();
    allowed[6] &= !0x40;
    let sum = etherparse::Ipv4HeaderSlice::from_slice(&allowed[..20]).unwrap();
    let sum = sum.to_header().calc_header_checksum();
    allowed[10..12].copy_from_slice(&sum.to_be_bytes());
    PairedNetworks::run(
        || {
            let six = UdpSocket::bind("[2001:db8::2]:9000").unwrap();
            six.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            (far_socket(), six)
        },
        |(four, six)| {
            let device = ip("route get 192.0.2.2");
            let device = device.split(" dev ").nth(1).unwrap();
            let device = device.split(' ').next().unwrap();
            ip(&format!("link set {device} mtu 1400"));
            let mut emitter = RawEmitter::open(&Bypass::none()).unwrap();
            let mut send = |packet: &[u8]| emitter.send(packet, Offload::default(), MTU);
            let told = Err(EmitError::TooBig(Some(1400)));
            assert_eq!(send(&forbidden), told);
            assert_eq!(
                send(&datagram_v6(1440)),
                told,
                "its sender may have meant it so"
            );
            let mut buffer = [0; 3000];
            assert_eq!(send(&allowed), Ok(()));
            assert_eq!(four.recv(&mut buffer).unwrap(), 1450);
            assert_eq!(
                send(&datagram_v6(2500)),
                Ok(()),
                "its sender had fragmented it"
            );
            assert_eq!(six.recv(&mut buffer).unwrap(), 2500);
            assert_eq!(send(&datagram_v4(v4, [192, 0, 2, 2], b"fits")), Ok(()));
        },
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_destination_panic(packet: Vec<u8>) {
        let found = destination(&packet);
        prop_assert!(found.is_none() || packet.len() >= 20);
    }
}
