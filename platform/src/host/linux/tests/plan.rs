//! The plan of `routing` on a real host: capture holds, comes back, and goes.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_netstack::Offload;
use tidegate_routing::plan::{self, CaptureOptions, Change, MARK};

use super::Scratch;
use crate::bypass::Bypass;
use crate::host::{HostNetwork, Journal};
use crate::monitor::NetworkMonitor;
use crate::sys::test_network::{PairedNetworks, far_socket, ip};
use crate::tun::{Tun, TunConfig};

/// What is missing of the plan.
fn missing(host: &mut HostNetwork, options: &CaptureOptions) -> Vec<Change> {
    let facts = host.facts().unwrap();
    plan::diff(
        &plan::present(&facts),
        &plan::wanted(&facts, options).unwrap(),
    )
}

/// A host with an uplink to 192.0.2.2, a TUN device and nothing else; 192.0.2.2 listens on port 9000.
fn captured(name: &str, test: impl FnOnce(HostNetwork, Journal, Tun, UdpSocket) + Send) {
    let scratch = Scratch::new(name);
    PairedNetworks::run(far_socket, |far| {
        ip("route add default via 192.0.2.2 dev near0");
        ip("-6 route add default via 2001:db8::2 dev near0");
        let journal = Journal::open(scratch.journal(), json!({})).unwrap();
        let tun = Tun::create(&TunConfig::named("tide0")).unwrap();
        test(HostNetwork::open().unwrap(), journal, tun, far);
    });
}

/// The next UDP packet out of the device: its source, destination and payload.
fn next_datagram(tun: &Tun) -> Option<(String, String, Vec<u8>)> {
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut buffer = vec![0; Tun::MAX_PACKET];
    while Instant::now() < deadline {
        let Ok((length, Offload { .. })) = tun.read(&mut buffer) else {
            continue;
        };
        let packet = etherparse::SlicedPacket::from_ip(&buffer[..length]).unwrap();
        let (Some(etherparse::NetSlice::Ipv4(ip)), Some(etherparse::TransportSlice::Udp(udp))) =
            (&packet.net, &packet.transport)
        else {
            continue;
        };
        let (source, destination) = (ip.header().source_addr(), ip.header().destination_addr());
        return Some((
            source.to_string(),
            destination.to_string(),
            udp.payload().to_vec(),
        ));
    }
    None
}

#[test]
fn a_program_is_captured_with_its_own_address_and_our_marked_socket_is_not() {
    captured("captured", |mut host, mut journal, tun, far| {
        let options = CaptureOptions::new("tide0");
        let before = host.facts().unwrap();
        let changes = missing(&mut host, &options);
        host.apply(&changes, &mut journal).unwrap();
        assert_eq!(missing(&mut host, &options), []);

        let program = UdpSocket::bind("0.0.0.0:0").unwrap();
        for destination in ["192.0.2.2", "198.51.100.9"] {
            program.send_to(b"captured", (destination, 9000)).unwrap();
            let expected = (
                "192.0.2.1".to_owned(),
                destination.to_owned(),
                b"captured".to_vec(),
            );
            assert_eq!(next_datagram(&tun), Some(expected));
        }

        let upstream = UdpSocket::bind("0.0.0.0:0").unwrap();
        Bypass::marked(MARK).apply(&upstream).unwrap();
        upstream.send_to(b"ours", "192.0.2.2:9000").unwrap();
        let mut buffer = [0; 100];
        let (length, from) = far.recv_from(&mut buffer).unwrap();
        assert_eq!(
            (&buffer[..length], from.ip().to_string().as_str()),
            (&b"ours"[..], "192.0.2.1")
        );

        assert!(host.undo(&journal).is_empty());
        assert_eq!(host.facts().unwrap(), before);
        program.send_to(b"free", "192.0.2.2:9000").unwrap();
        assert_eq!(far.recv(&mut buffer).unwrap(), 4);
    });
}

#[test]
fn rules_that_another_program_flushed_are_noticed_and_restored() {
    captured("flushed", |mut host, mut journal, tun, _far| {
        let options = CaptureOptions::new("tide0");
        let changes = missing(&mut host, &options);
        host.apply(&changes, &mut journal).unwrap();
        let mut monitor = NetworkMonitor::open().unwrap();
        ip("rule flush");
        let deadline = Instant::now() + Duration::from_secs(5);
        while !monitor.drain().unwrap().rules {
            assert!(Instant::now() < deadline);
        }
        let changes = missing(&mut host, &options);
        assert!(
            changes
                .iter()
                .any(|change| matches!(change, Change::AddRule(_)))
        );
        host.apply(&changes, &mut journal).unwrap();
        assert_eq!(missing(&mut host, &options), []);
        let program = UdpSocket::bind("0.0.0.0:0").unwrap();
        program.send_to(b"again", "198.51.100.9:9000").unwrap();
        assert_eq!(next_datagram(&tun).unwrap().2, b"again");
    });
}

#[test]
fn a_rule_without_preference_that_lands_ahead_is_overtaken_again() {
    captured("overtaken", |mut host, mut journal, tun, _far| {
        let options = CaptureOptions::new("tide0");
        let changes = missing(&mut host, &options);
        host.apply(&changes, &mut journal).unwrap();
        ip("rule add lookup main");
        ip("rule add lookup main");
        let program = UdpSocket::bind("0.0.0.0:0").unwrap();
        program.send_to(b"lost", "198.51.100.9:9000").unwrap();
        assert_eq!(next_datagram(&tun), None);

        let changes = missing(&mut host, &options);
        host.apply(&changes, &mut journal).unwrap();
        program.send_to(b"back", "198.51.100.9:9000").unwrap();
        assert_eq!(next_datagram(&tun).unwrap().2, b"back");
        assert!(host.undo(&journal).is_empty());
        assert!(!ip("rule").contains("proto 219"));
    });
}
