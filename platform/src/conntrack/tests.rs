//! What the kernel says of connections that it translates, in a network of the test's own.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};

use super::*;
use crate::sys::test_network::{add_address, in_new_network};

/// Port 80 is published from another one, and what port 4711 sends comes from another one.
const TRANSLATION: &str = "
    table inet translation {
        chain publish {
            type nat hook output priority -100
            tcp dport 80 redirect to :8080
        }
        chain hide {
            type nat hook postrouting priority 100
            udp sport 4711 masquerade to :4712
        }
    }";

fn translate() {
    let nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn();
    let mut nft = nft.expect("nftables is installed");
    let mut input = nft.stdin.take().unwrap();
    input.write_all(TRANSLATION.as_bytes()).unwrap();
    drop(input);
    assert!(nft.wait().unwrap().success());
}

fn ask(protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> Option<Inside> {
    let mut conntrack = Conntrack::open().unwrap();
    conntrack.inside(protocol, local, remote).unwrap()
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

#[test]
fn of_what_is_not_tracked_nothing_is_known() {
    in_new_network(|| {
        let protocols = [
            Protocol::Tcp,
            Protocol::Udp,
            Protocol::Icmp,
            Protocol::Other(47),
        ];
        for protocol in protocols {
            assert_eq!(ask(protocol, at("192.0.2.1", 1), at("192.0.2.2", 2)), None);
        }
    });
}

#[test]
fn a_masqueraded_sender_is_known_by_its_own_address() {
    in_new_network(|| {
        translate();
        for address in ["192.0.2.1/32", "2001:db8::1/128"] {
            add_address(address, "lo");
            let (address, _) = address.split_once('/').unwrap();
            let receiver = UdpSocket::bind(at(address, 9)).unwrap();
            let sender = UdpSocket::bind(at(address, 4711)).unwrap();
            sender.send_to(b"x", at(address, 9)).unwrap();
            let (_, from) = receiver.recv_from(&mut [0; 9]).unwrap();
            assert_eq!(from, at(address, 4712));
            let expected = Inside {
                source: at(address, 4711),
                destination: at(address, 9),
                direction: Direction::Out,
            };
            assert_eq!(ask(Protocol::Udp, from, at(address, 9)), Some(expected));
        }
    });
}

#[test]
fn a_published_service_is_known_by_its_own_port_and_as_one_that_was_called() {
    in_new_network(|| {
        translate();
        add_address("192.0.2.1/32", "lo");
        let _service = TcpListener::bind("0.0.0.0:8080").unwrap();
        let client = TcpStream::connect(at("192.0.2.1", 80)).unwrap();
        let inside = ask(
            Protocol::Tcp,
            at("192.0.2.1", 80),
            client.local_addr().unwrap(),
        );
        let inside = inside.unwrap();
        assert_eq!(inside.source.port(), 8080);
        assert_eq!(inside.destination, client.local_addr().unwrap());
        assert_eq!(inside.direction, Direction::In);
    });
}

#[test]
fn an_echo_is_known_by_its_identifier() {
    in_new_network(|| {
        translate();
        for address in ["127.0.0.1", "::1"] {
            let ping = Command::new("ping")
                .args(["-c1", "-e", "4711", address])
                .stdout(Stdio::null())
                .status();
            assert!(ping.expect("ping is installed").success());
            let inside = ask(Protocol::Icmp, at(address, 4711), at(address, 0)).unwrap();
            assert_eq!(inside.source, at(address, 4711));
            assert_eq!(inside.destination.ip(), at(address, 0).ip());
            assert_eq!(inside.direction, Direction::Out);
        }
    });
}
