//! The stack through its public face, packets built and read by etherparse.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else came is the failure, and is shown"
)]

mod datagrams;
mod hostile;
mod offered;
mod tcp;
mod unknown;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

use super::*;
use crate::packet::Offload;

const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 40_000);
const REMOTE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), 443);
const LOCAL_V6: SocketAddr = SocketAddr::new(
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
    40_000,
);
const REMOTE_V6: SocketAddr = SocketAddr::new(
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9)),
    443,
);
/// The sequence number of the programs here.
const ISN: u32 = 5_000;

/// A stack and its clock.
struct Bench {
    stack: Stack,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self::with(StackConfig {
            seed: 7,
            ..StackConfig::default()
        })
    }

    fn with(config: StackConfig) -> Self {
        let now = Instant::now();
        Self {
            stack: Stack::new(config, now),
            now,
        }
    }

    fn put<'p>(&mut self, packet: &'p [u8]) -> Input<'p> {
        self.stack
            .handle_packet(self.now, packet, Offload::default())
    }

    fn wait(&mut self, duration: Duration) {
        self.now += duration;
        self.stack.handle_timeout(self.now);
    }

    /// Everything that the stack has for the device.
    fn out(&mut self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while let Some(transmit) = self.stack.poll_transmit(self.now) {
            packets.push(transmit.parts().concat());
        }
        packets
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.stack.poll_event()).collect()
    }

    /// Puts a SYN in.
    fn syn(&mut self, packet: &[u8]) -> FlowId {
        match self.put(packet) {
            Input::TcpSyn { flow, .. } => flow,
            other => panic!("not a new flow: {other:?}"),
        }
    }

    /// A connection after its handshake, and the stack's next sequence number.
    fn established(&mut self) -> (FlowId, u32) {
        let flow = self.syn(&syn(LOCAL, REMOTE, ISN));
        assert!(self.stack.tcp_accept(self.now, flow));
        let syn_ack = read(&self.out()[0]);
        assert!(syn_ack.syn && syn_ack.ack);
        let next = syn_ack.sequence.wrapping_add(1);
        assert!(matches!(self.put(&ack(ISN + 1, next, b"")), Input::Tcp(id) if id == flow));
        assert!(self.out().is_empty());
        (flow, next)
    }
}

/// What a test looks at in a TCP segment.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    from: SocketAddr,
    to: SocketAddr,
    sequence: u32,
    acknowledgement: u32,
    syn: bool,
    ack: bool,
    fin: bool,
    rst: bool,
    payload: Vec<u8>,
}

/// Reads a TCP packet; both checksums must be right.
fn read(packet: &[u8]) -> Seen {
    let sliced = SlicedPacket::from_ip(packet).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else {
        panic!("not TCP: {packet:02x?}")
    };
    let (from, to, sum) = match sliced.net.as_ref().unwrap() {
        etherparse::NetSlice::Ipv4(ip) => {
            let header = ip.header();
            assert_eq!(
                header.header_checksum(),
                header.to_header().calc_header_checksum()
            );
            let sum = tcp
                .calc_checksum_ipv4(header.source(), header.destination())
                .unwrap();
            (
                IpAddr::from(header.source()),
                IpAddr::from(header.destination()),
                sum,
            )
        }
        etherparse::NetSlice::Ipv6(ip) => {
            let header = ip.header();
            let sum = tcp
                .calc_checksum_ipv6(header.source(), header.destination())
                .unwrap();
            (
                IpAddr::from(header.source()),
                IpAddr::from(header.destination()),
                sum,
            )
        }
        etherparse::NetSlice::Arp(_) => panic!("not IP"),
    };
    assert_eq!(tcp.checksum(), sum);
    Seen {
        from: SocketAddr::new(from, tcp.source_port()),
        to: SocketAddr::new(to, tcp.destination_port()),
        sequence: tcp.sequence_number(),
        acknowledgement: tcp.acknowledgment_number(),
        syn: tcp.syn(),
        ack: tcp.ack(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        payload: tcp.payload().to_vec(),
    }
}

/// The first layer of a packet.
fn ip(from: SocketAddr, to: SocketAddr) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 64),
        _ => panic!("mixed families"),
    }
}

fn syn(from: SocketAddr, to: SocketAddr, sequence: u32) -> Vec<u8> {
    let mut packet = Vec::new();
    let options = [
        etherparse::TcpOptionElement::MaximumSegmentSize(1_460),
        etherparse::TcpOptionElement::WindowScale(7),
    ];
    let builder = ip(from, to)
        .tcp(from.port(), to.port(), sequence, 64_000)
        .syn()
        .options(&options)
        .unwrap();
    builder.write(&mut packet, &[]).unwrap();
    packet
}

/// A segment of the one connection of most tests.
fn ack(sequence: u32, acknowledgement: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = ip(LOCAL, REMOTE)
        .tcp(LOCAL.port(), REMOTE.port(), sequence, 64_000)
        .ack(acknowledgement);
    builder.write(&mut packet, payload).unwrap();
    packet
}

fn fin(sequence: u32, acknowledgement: u32) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = ip(LOCAL, REMOTE)
        .tcp(LOCAL.port(), REMOTE.port(), sequence, 64_000)
        .ack(acknowledgement)
        .fin();
    builder.write(&mut packet, &[]).unwrap();
    packet
}

fn rst(sequence: u32) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = ip(LOCAL, REMOTE)
        .tcp(LOCAL.port(), REMOTE.port(), sequence, 0)
        .rst();
    builder.write(&mut packet, &[]).unwrap();
    packet
}

fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    ip(from, to)
        .udp(from.port(), to.port())
        .write(&mut packet, payload)
        .unwrap();
    packet
}
