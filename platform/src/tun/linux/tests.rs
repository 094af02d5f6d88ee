//! Against the kernel's own TCP and UDP, in a network namespace per test.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::num::{NonZeroU16, NonZeroUsize};
use std::time::{Duration, Instant};

use etherparse::{
    IpHeaders, NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket, TransportSlice,
};
use tidegate_netstack::{Offload, Segmentation};

use crate::sys::test_network::{add_address, in_new_network, ip, set_udp_segment};
use crate::tun::{OffloadWish, Tun, TunCaps, TunConfig, TunError, open_raw};

/// Who is at which end: the kernel here, the test as the far end behind the device.
#[derive(Clone, Copy, Debug)]
enum Ip {
    V4,
    V6,
}

impl Ip {
    const BOTH: [Self; 2] = [Self::V4, Self::V6];

    fn here(self) -> &'static str {
        match self {
            Self::V4 => "192.0.2.1",
            Self::V6 => "2001:db8::1",
        }
    }

    fn there(self) -> &'static str {
        match self {
            Self::V4 => "192.0.2.2",
            Self::V6 => "2001:db8::2",
        }
    }

    fn header_len(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }

    /// A packet from the far end.
    fn packet_from_far_end(self) -> PacketBuilderStep<IpHeaders> {
        let (from, to) = (self.there().parse().unwrap(), self.here().parse().unwrap());
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                PacketBuilder::ipv4(from.octets(), to.octets(), 64)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                PacketBuilder::ipv6(from.octets(), to.octets(), 64)
            }
            _ => unreachable!("both of one family"),
        }
    }
}

/// A device `tg0` with 192.0.2.1 and 2001:db8::1 on it, so that the addresses ending in 2 are whoever reads it.
fn device(offload: OffloadWish) -> Tun {
    let tun = Tun::create(&TunConfig {
        offload,
        ..TunConfig::named("tg0")
    })
    .unwrap();
    add_address("192.0.2.1/24", "tg0");
    add_address("2001:db8::1/64", "tg0");
    tun
}

/// Reads until a packet is what the test waits for.
fn read_until<T>(tun: &Tun, mut wanted: impl FnMut(&[u8], Offload) -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut buffer = vec![0; Tun::MAX_PACKET];
    while Instant::now() < deadline {
        match tun.read(&mut buffer) {
            Ok((length, offload)) => {
                if let Some(found) = wanted(&buffer[..length], offload) {
                    return found;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::yield_now()
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no such packet within 5 s");
}

/// Throws away what an earlier connection still says.
fn drain(tun: &Tun) {
    while tun.read(&mut vec![0; Tun::MAX_PACKET]).is_ok() {}
}

fn super_packet(segmentation: Segmentation) -> Offload {
    Offload {
        partial_checksum: true,
        checksum_valid: false,
        segmentation: Some(segmentation),
    }
}

/// Source port, sequence number, and payload length of a TCP packet.
fn tcp_of(packet: &[u8]) -> Option<(u16, u32, usize)> {
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else {
        return None;
    };
    Some((
        tcp.source_port(),
        tcp.sequence_number(),
        tcp.payload().len(),
    ))
}

/// Connects the kernel's TCP to port 7 of the far end and answers its handshake by hand with sequence number 1000. Gives the
/// client's end, its port, and its next sequence number.
fn connect(tun: &Tun, family: Ip) -> (TcpStream, u16, u32) {
    std::thread::scope(|scope| {
        // A thread inherits the namespace of the thread that makes it.
        let client = scope.spawn(move || {
            let far_end = SocketAddr::new(family.there().parse().unwrap(), 7);
            TcpStream::connect_timeout(&far_end, Duration::from_secs(10)).unwrap()
        });
        let (port, sequence) = read_until(tun, |packet, _| {
            let flags = packet.get(family.header_len() + 13);
            let is_syn = flags.is_some_and(|flags| flags & 0x3f == 0x02);
            tcp_of(packet)
                .filter(|_| is_syn)
                .map(|(port, sequence, _)| (port, sequence))
        });
        let mut reply = Vec::new();
        family
            .packet_from_far_end()
            .tcp(7, port, 1000, u16::MAX)
            .syn()
            .ack(sequence + 1)
            .write(&mut reply, &[])
            .unwrap();
        tun.write(&[&reply], Offload::default()).unwrap();
        (client.join().unwrap(), port, sequence + 1)
    })
}

#[test]
fn the_kernels_tcp_sends_super_packets_through_the_device() {
    in_new_network(|| {
        let tun = device(OffloadWish::default());
        assert_eq!(
            tun.caps(),
            TunCaps {
                vnet: true,
                tso: true,
                uso: true
            }
        );
        for family in Ip::BOTH {
            let (mut client, ..) = connect(&tun, family);
            client.write_all(&[7; 20_000]).unwrap();
            let (length, offload) = read_until(&tun, |packet, offload| {
                offload
                    .segmentation
                    .map(|_| (tcp_of(packet).unwrap().2, offload))
            });
            assert!(offload.partial_checksum);
            let Some(Segmentation::Tcp(segment)) = offload.segmentation else {
                panic!("{offload:?}")
            };
            assert!(
                length > usize::from(segment.get()),
                "{length} bytes are one segment of {segment}"
            );
            drain(&tun);
        }
    });
}

#[test]
fn the_kernels_tcp_takes_a_super_packet_from_the_device() {
    in_new_network(|| {
        let tun = device(OffloadWish::default());
        for family in Ip::BOTH {
            let (mut client, port, acknowledge) = connect(&tun, family);
            let payload: Vec<u8> = (0..10_000).map(|n: u32| n.to_le_bytes()[0]).collect();
            let mut head = Vec::new();
            let builder = family
                .packet_from_far_end()
                .tcp(7, port, 1001, u16::MAX)
                .ack(acknowledge);
            builder.write(&mut head, &payload).unwrap();
            head.truncate(family.header_len() + 20);
            let offload = super_packet(Segmentation::Tcp(NonZeroU16::new(1000).unwrap()));
            tun.write(&[&head, &payload[..4000], &payload[4000..]], offload)
                .unwrap();
            let mut received = vec![0; payload.len()];
            client
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            client.read_exact(&mut received).unwrap();
            assert_eq!(received, payload);
            drain(&tun);
        }
    });
}

#[test]
fn several_datagrams_cross_the_device_as_one_in_both_directions() {
    in_new_network(|| {
        let tun = device(OffloadWish::default());
        let segmentation = Segmentation::Udp(NonZeroU16::new(500).unwrap());
        for family in Ip::BOTH {
            let socket = UdpSocket::bind((family.here(), 5000)).unwrap();
            set_udp_segment(&socket, 500).unwrap();
            socket.send_to(&[1; 1500], (family.there(), 6000)).unwrap();
            let length = read_until(&tun, |packet, offload| {
                (offload.segmentation == Some(segmentation)).then_some(packet.len())
            });
            assert_eq!(length, family.header_len() + 8 + 1500);

            let mut packet = Vec::new();
            family
                .packet_from_far_end()
                .udp(6000, 5000)
                .write(&mut packet, &[2; 1250])
                .unwrap();
            tun.write(&[&packet], super_packet(segmentation)).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            let mut buffer = [0; 2000];
            let lengths: Vec<_> = (0..3).map(|_| socket.recv(&mut buffer).unwrap()).collect();
            assert_eq!(lengths, [500, 500, 250]);
        }
    });
}

#[test]
fn each_offload_can_be_switched_off() {
    in_new_network(|| {
        let tun = device(OffloadWish {
            tso: false,
            uso: false,
            vnet: true,
        });
        assert_eq!(
            tun.caps(),
            TunCaps {
                vnet: true,
                tso: false,
                uso: false
            }
        );
        let (mut client, ..) = connect(&tun, Ip::V4);
        client.write_all(&[7; 5_000]).unwrap();
        let offload = read_until(&tun, |packet, offload| {
            (tcp_of(packet)?.2 > 0).then_some(offload)
        });
        assert_eq!(offload.segmentation, None);
    });
}

#[test]
fn without_a_virtio_header_packets_are_whole_and_summed() {
    in_new_network(|| {
        let tun = device(OffloadWish::nothing());
        assert_eq!(tun.caps(), TunCaps::default());
        let (mut client, ..) = connect(&tun, Ip::V4);
        client.write_all(&[7; 100]).unwrap();
        read_until(&tun, |packet, offload| {
            assert_eq!(offload, Offload::default());
            let sliced = SlicedPacket::from_ip(packet).ok()?;
            let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) =
                (&sliced.net, &sliced.transport)
            else {
                return None;
            };
            let sum = tcp.to_header().calc_checksum_ipv4_raw(
                ip.header().source(),
                ip.header().destination(),
                tcp.payload(),
            );
            assert_eq!(sum.unwrap(), tcp.checksum());
            (!tcp.payload().is_empty()).then_some(())
        });
        let partial = Offload {
            partial_checksum: true,
            ..Offload::default()
        };
        assert_eq!(
            tun.write(&[&[0x45]], partial).unwrap_err().kind(),
            std::io::ErrorKind::InvalidInput
        );
    });
}

#[test]
fn a_descriptor_from_another_namespace_is_adopted_with_its_offloads() {
    let (fd, caps) = in_new_network(|| {
        let opened = open_raw("tg7", &OffloadWish::default()).unwrap();
        ip("link set tg7 up");
        opened
    });
    let tun = Tun::from_fd(
        fd,
        &OffloadWish {
            uso: false,
            ..OffloadWish::default()
        },
    )
    .unwrap();
    assert_eq!(tun.name(), "tg7");
    assert_eq!(
        caps,
        TunCaps {
            vnet: true,
            tso: true,
            uso: true
        }
    );
    assert_eq!(tun.caps(), TunCaps { uso: false, ..caps });
}

#[test]
fn a_flow_stays_on_the_queue_that_answers_it() {
    in_new_network(|| {
        let queues =
            Tun::create_queues(&TunConfig::named("tg0"), NonZeroUsize::new(3).unwrap()).unwrap();
        add_address("192.0.2.1/24", "tg0");
        assert!(
            queues.len() == 3
                && queues
                    .iter()
                    .all(|queue| queue.name() == "tg0" && queue.caps().tso)
        );
        let program = UdpSocket::bind("192.0.2.1:5000").unwrap();
        let mut answer = Vec::new();
        PacketBuilder::ipv4([192, 0, 2, 2], [192, 0, 2, 1], 64)
            .udp(6000, 5000)
            .write(&mut answer, b"x")
            .unwrap();
        for queue in &queues {
            queue.write(&[&answer], Offload::default()).unwrap();
            program.recv(&mut [0; 10]).unwrap();
            program.send_to(b"y", "192.0.2.2:6000").unwrap();
            read_until(queue, |packet, _| (packet[9] == 17).then_some(()));
        }
    });
}

#[test]
fn a_name_in_use_and_a_name_that_does_not_fit_are_told_apart() {
    in_new_network(|| {
        let _tun = device(OffloadWish::default());
        let again = Tun::create(&TunConfig::named("tg0")).unwrap_err();
        assert!(
            matches!(again, TunError::Busy(ref name) if name == "tg0"),
            "{again}"
        );
        let long = Tun::create(&TunConfig::named("a-name-of-sixteen")).unwrap_err();
        assert!(matches!(long, TunError::BadName(_)), "{long}");
    });
}

#[test]
fn the_device_has_no_address_and_the_wished_mtu_and_queue() {
    in_new_network(|| {
        let config = TunConfig {
            mtu: 1400,
            queue_length: 2500,
            ..TunConfig::named("tg0")
        };
        let _tun = Tun::create(&config).unwrap();
        let shown = ip("address show dev tg0");
        assert!(
            shown.contains("mtu 1400") && shown.contains("qlen 2500") && shown.contains(",UP"),
            "{shown}"
        );
        assert!(!shown.contains("inet"), "{shown}");
    });
}

#[test]
fn a_descriptor_that_is_no_tun_is_refused() {
    let file = std::fs::File::open("/dev/null").unwrap();
    let error = Tun::from_fd(file.into(), &OffloadWish::default()).unwrap_err();
    assert!(matches!(error, TunError::NotTun(_)), "{error}");
}

#[test]
fn a_packet_that_the_kernel_cannot_describe_is_nonsense_and_no_broken_device() {
    let kind = |code| super::read_failure(std::io::Error::from_raw_os_error(code)).kind();
    assert_eq!(kind(libc::EINVAL), std::io::ErrorKind::InvalidData);
    assert_eq!(kind(libc::EAGAIN), std::io::ErrorKind::WouldBlock);
}
