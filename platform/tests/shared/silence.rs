//! A network in which packets can be read and nobody answers.

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use rustix::thread::UnshareFlags;
use tidegate_platform::link::{LinkSettings, configure};
use tidegate_platform::tun::{OffloadWish, open_raw};
use tidegate_policy::Protocol;

/// Enters a network namespace with a device that takes every packet and answers none.
pub(crate) fn silent_network() -> File {
    // SAFETY: the descriptor table is not unshared, the only thing that could break ownership of descriptors.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
        .expect("this test runs as root");
    let (device, _) = open_raw("silent0", &OffloadWish::nothing()).unwrap();
    let up = LinkSettings {
        up: true,
        ..Default::default()
    };
    configure("lo", &up).unwrap();
    let unnumbered = LinkSettings {
        unnumbered: true,
        ..up
    };
    configure("silent0", &unnumbered).unwrap();
    for arguments in [
        "-4 addr add 192.0.2.1/32 dev silent0",
        "-4 route add default dev silent0",
        "-6 addr add 2001:db8::1/128 dev silent0 nodad",
        "-6 route add default dev silent0",
    ] {
        let status = Command::new("ip").args(arguments.split(' ')).status();
        assert!(status.unwrap().success(), "ip {arguments}");
    }
    device.into()
}

/// Protocol, local and remote address of a packet without IP options or extension headers, if it is TCP or UDP.
pub(crate) fn flow_of(packet: &[u8]) -> Option<(Protocol, SocketAddr, SocketAddr)> {
    let octets_at = |at: usize| packet.get(at..);
    let (number, local, remote, ports): (_, IpAddr, IpAddr, usize) = match packet.first()? >> 4 {
        4 => {
            let octets = |at| octets_at(at)?.first_chunk::<4>().copied();
            (*packet.get(9)?, octets(12)?.into(), octets(16)?.into(), 20)
        }
        6 => {
            let octets = |at| octets_at(at)?.first_chunk::<16>().copied();
            (*packet.get(6)?, octets(8)?.into(), octets(24)?.into(), 40)
        }
        _ => return None,
    };
    let protocol = match number {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes(*octets_at(at)?.first_chunk()?));
    Some((
        protocol,
        SocketAddr::new(local, port(ports)?),
        SocketAddr::new(remote, port(ports + 2)?),
    ))
}
