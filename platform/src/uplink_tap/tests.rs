use std::net::UdpSocket;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use socket2::SockRef;
use tidegate_routing::plan::{Family, MARK, PortRange, RuleAction, Selector};

use super::*;
use crate::sys::test_network::{PairedNetworks, in_new_network};

const FAR_V4: &str = "192.0.2.2:9000";
const FAR_V6: &str = "[2001:db8::2]:9000";

/// A rule that lets packets out natively.
fn native(family: Family, selector: Selector) -> Rule {
    Rule {
        family,
        preference: 5110,
        selector,
        action: RuleAction::Goto(5199),
        protocol: 219,
    }
}

fn port(port: u16) -> PortRange {
    PortRange {
        first: port,
        last: port,
    }
}

/// Runs `sender` on the near side of a pair of networks, with a tap on its device.
fn tapped(rules: &[Rule], sender: impl FnOnce(&UplinkTap) + Send) {
    PairedNetworks::run(
        // Somebody takes what is sent: a refusal would fail the next send.
        || [FAR_V4, FAR_V6].map(|far| UdpSocket::bind(far).unwrap()),
        |_far| {
            let tap = UplinkTap::open("near0", MARK, rules).unwrap();
            sender(&tap);
        },
    );
}

fn socket_to(remote: &str) -> UdpSocket {
    let any = if remote.starts_with('[') {
        "[::]:0"
    } else {
        "0.0.0.0:0"
    };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(remote).unwrap();
    socket
}

/// The next packet of a program; the kernel by itself reports its multicast groups.
fn next(tap: &UplinkTap) -> Departure {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        match tap.next_departure().unwrap() {
            Some(departure) if departure.protocol != Protocol::Icmp => return departure,
            Some(_) => {}
            None => std::thread::yield_now(),
        }
    }
    panic!("nothing left")
}

/// What the tap shows up to a datagram that is sent now and that no rule lets out.
fn seen(tap: &UplinkTap) -> Vec<Departure> {
    let last = socket_to("192.0.2.2:9999");
    last.send(b"the last one").unwrap();
    let mut seen = Vec::new();
    loop {
        let departure = next(tap);
        if departure.remote.port() == 9999 {
            return seen;
        }
        seen.push(departure);
    }
}

#[test]
fn what_lacks_our_mark_is_seen_with_its_addresses_and_its_mark() {
    tapped(&[], |tap| {
        for remote in [FAR_V4, FAR_V6] {
            let socket = socket_to(remote);
            for mark in [0, 0xca6c] {
                SockRef::from(&socket).set_mark(mark).unwrap();
                socket.send(b"x").unwrap();
                let expected = Departure {
                    protocol: Protocol::Udp,
                    local: socket.local_addr().unwrap(),
                    remote: remote.parse().unwrap(),
                    mark: Some(mark),
                };
                assert_eq!(next(tap), expected);
            }
        }
    });
}

#[test]
fn what_carries_our_mark_among_others_is_not_seen() {
    tapped(&[], |tap| {
        for remote in [FAR_V4, FAR_V6] {
            let socket = socket_to(remote);
            SockRef::from(&socket)
                .set_mark(MARK.value | 0xca6c)
                .unwrap();
            socket.send(b"x").unwrap();
        }
        assert_eq!(seen(tap), []);
    });
}

#[test]
fn what_comes_in_is_not_seen() {
    PairedNetworks::run(
        || UdpSocket::bind(FAR_V4).unwrap(),
        |far| {
            let tap = UplinkTap::open("near0", MARK, &[]).unwrap();
            let near = socket_to(FAR_V4);
            near.send(b"x").unwrap();
            assert_eq!(next(&tap).local, near.local_addr().unwrap());
            far.send_to(b"y", near.local_addr().unwrap()).unwrap();
            let mut buffer = [0; 8];
            assert_eq!(near.recv(&mut buffer).unwrap(), 1);
            assert_eq!(seen(&tap), []);
        },
    );
}

#[test]
fn of_a_datagram_in_fragments_only_the_first_is_seen() {
    tapped(&[], |tap| {
        for remote in [FAR_V4, FAR_V6] {
            let socket = socket_to(remote);
            socket.send(&[0x55; 6000]).unwrap();
            let expected = Departure {
                protocol: Protocol::Udp,
                local: socket.local_addr().unwrap(),
                remote: remote.parse().unwrap(),
                mark: Some(0),
            };
            assert_eq!(seen(tap), [expected]);
        }
    });
}

#[test]
fn a_syn_is_seen_and_the_port_of_a_native_service_is_not() {
    let service = |family, from: Option<&str>| {
        native(
            family,
            Selector {
                input: Some("lo".to_owned()),
                from: from.map(|net| net.parse().unwrap()),
                ip_protocol: Some(6),
                source_ports: Some(PortRange {
                    first: 2000,
                    last: 2010,
                }),
                ..Selector::default()
            },
        )
    };
    let rules = [
        service(Family::V4, Some("192.0.2.1/32")),
        service(Family::V6, None),
    ];
    tapped(&rules, |tap| {
        let connect = |near: &str, far: &str| {
            let address: SocketAddr = near.parse().unwrap();
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
            socket.bind(&address.into()).unwrap();
            // Nobody is there: refused, after the SYN has left.
            let far: SocketAddr = far.parse().unwrap();
            assert!(socket.connect(&far.into()).is_err());
        };
        for (near, port, expected) in [
            ("192.0.2.1", 1999, 1),
            ("192.0.2.1", 2000, 0),
            ("192.0.2.1", 2010, 0),
            ("192.0.2.1", 2011, 1),
            ("[2001:db8::1]", 1999, 1),
            ("[2001:db8::1]", 2000, 0),
            ("[2001:db8::1]", 2011, 1),
        ] {
            let near = format!("{near}:{port}");
            connect(
                &near,
                if near.starts_with('[') {
                    FAR_V6
                } else {
                    FAR_V4
                },
            );
            let seen = seen(tap);
            assert_eq!(seen.len(), expected, "{near}: {seen:?}");
            assert!(
                seen.iter()
                    .all(|departure| departure.local == near.parse().unwrap())
            );
        }
    });
    // At another address the same port is nobody's service.
    let elsewhere = [service(Family::V4, Some("192.0.2.0/32"))];
    tapped(&elsewhere, |tap| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddr::from(([192, 0, 2, 1], 2000)).into())
            .unwrap();
        let far: SocketAddr = FAR_V4.parse().unwrap();
        assert!(socket.connect(&far.into()).is_err());
        assert_eq!(seen(tap).len(), 1);
    });
}

#[test]
fn networks_and_ports_that_stay_out_are_not_seen() {
    let to = |family, net: &str| {
        let to = Some(net.parse().unwrap());
        native(
            family,
            Selector {
                to,
                ..Selector::default()
            },
        )
    };
    let rules = [
        to(Family::V4, "192.0.2.128/25"),
        to(Family::V6, "2001:db8::8000/113"),
        native(
            Family::V4,
            Selector {
                ip_protocol: Some(17),
                source_ports: Some(port(68)),
                destination_ports: Some(port(67)),
                ..Selector::default()
            },
        ),
    ];
    tapped(&rules, |tap| {
        // Neighbours that answer nobody's question still get what is sent.
        for near in ["192.0.2.2", "192.0.2.130", "2001:db8::2", "2001:db8::8001"] {
            crate::sys::test_network::ip(&format!(
                "neighbour replace {near} lladdr 02:00:00:00:00:01 dev near0"
            ));
        }
        let send = |port: u16, remote: &str| {
            let any = if remote.starts_with('[') {
                "[::]"
            } else {
                "0.0.0.0"
            };
            let socket = UdpSocket::bind(format!("{any}:{port}")).unwrap();
            socket.send_to(b"x", remote).unwrap();
        };
        for (port, remote, expected) in [
            (0, "192.0.2.130:9000", 0),
            (0, "192.0.2.2:9000", 1),
            (0, "[2001:db8::8001]:9000", 0),
            (0, "[2001:db8::2]:9000", 1),
            (68, "192.0.2.2:67", 0),
            (68, "192.0.2.2:68", 1),
            (67, "192.0.2.2:67", 1),
        ] {
            send(port, remote);
            assert_eq!(seen(tap).len(), expected, "{port} to {remote}");
        }
    });
}

#[test]
fn a_rule_that_asks_for_more_than_a_packet_shows_hides_nothing() {
    for selector in [
        Selector {
            output: Some("near0".to_owned()),
            ..Selector::default()
        },
        Selector {
            not: true,
            ip_protocol: Some(6),
            ..Selector::default()
        },
        Selector {
            input: Some("other0".to_owned()),
            ..Selector::default()
        },
    ] {
        tapped(&[native(Family::V4, selector)], |tap| {
            socket_to(FAR_V4).send(b"x").unwrap();
            assert_eq!(seen(tap).len(), 1);
        });
    }
}

#[test]
fn other_rules_count_from_the_moment_they_are_given() {
    tapped(&[], |tap| {
        let socket = socket_to(FAR_V4);
        socket.send(b"x").unwrap();
        assert_eq!(seen(tap).len(), 1);
        let everything = native(
            Family::V4,
            Selector {
                to: Some("192.0.2.2/32".parse().unwrap()),
                ip_protocol: Some(17),
                destination_ports: Some(port(9000)),
                ..Selector::default()
            },
        );
        tap.set_filter(MARK, &[everything]).unwrap();
        socket.send(b"x").unwrap();
        assert_eq!(seen(tap), []);
    });
}

#[test]
fn a_flood_is_bounded_and_what_found_no_room_is_counted() {
    tapped(&[], |tap| {
        let socket = socket_to(FAR_V4);
        for _ in 0..5_000 {
            socket.send(&[0; 1000]).unwrap();
        }
        let mut read = 0;
        while tap.next_departure().unwrap().is_some() {
            read += 1;
        }
        let missed = tap.take_missed().unwrap();
        assert!(read > 0 && missed > 0, "{read} read, {missed} missed");
        assert_eq!(tap.take_missed().unwrap(), 0);
    });
}

/// What the leak meter mutes on a host with a few services.
#[test]
fn a_few_flows_and_services_find_room_in_20_kib() {
    const ROOM: &str = "/proc/sys/net/core/optmem_max";
    let flow = |family, address: &str| Selector {
        from: Some(address.parse().unwrap()),
        to: Some(address.parse().unwrap()),
        source_ports: Some(port(1)),
        destination_ports: Some(port(2)),
        ip_protocol: Some(if family == Family::V4 { 6 } else { 17 }),
        ..Selector::default()
    };
    let rules = |flows: usize| -> Vec<Rule> {
        let muted = (0..flows).map(|_| native(Family::V6, flow(Family::V6, "2001:db8::1/128")));
        let services = (0..5).map(|_| native(Family::V4, flow(Family::V4, "192.0.2.1/32")));
        muted.chain(services).collect()
    };
    tapped(&[], |tap| {
        if std::fs::write(ROOM, "20480").is_err() {
            eprintln!("not tested: before Linux 6.8 this room is the machine's");
            return;
        }
        // Each has to find room beside the one before.
        for flows in [3, 4, 3] {
            tap.set_filter(MARK, &rules(flows)).unwrap();
        }
    });
}

#[test]
fn a_missing_device_is_named() {
    in_new_network(|| {
        let error = UplinkTap::open("nosuch0", MARK, &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("nosuch0"), "{error}");
    });
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..filter::TAKEN)) {
        let _ = departure(&bytes, None);
    }
}
