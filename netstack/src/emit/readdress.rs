//! A packet with other addresses: back from what this host's address translation has made of it.
//!
//! Checksums are adjusted by what changed (RFC 1624), so a wrong one stays wrong and a partial one partial.

use std::net::{IpAddr, SocketAddr};

use crate::checksum::Sum;
use crate::ip::{IpPacket, protocol};
use crate::packet::{DropReason, Offload};

const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
const IPV4_CHECKSUM: usize = 10;

/// Writes a copy of a TCP or UDP `packet` to `copy`, which leads from `source` to `destination`.
///
/// # Errors
///
/// It does not parse, is a fragment, or is of another protocol or family.
pub fn readdressed(
    packet: &[u8],
    offload: Offload,
    source: SocketAddr,
    destination: SocketAddr,
    copy: &mut Vec<u8>,
) -> Result<(), DropReason> {
    let parsed = IpPacket::parse(packet)?;
    let checksum = match parsed.protocol {
        protocol::TCP => TCP_CHECKSUM,
        protocol::UDP => UDP_CHECKSUM,
        _ => return Err(DropReason::Malformed),
    };
    let is_v4 = parsed.source.is_ipv4();
    if parsed.fragment.is_some() || source.is_ipv4() != is_v4 || destination.is_ipv4() != is_v4 {
        return Err(DropReason::Malformed);
    }
    let at = parsed.header_len;
    let (addresses, length) = if is_v4 { (12, 8) } else { (8, 32) };
    let ends = [octets(source.ip()), octets(destination.ip())].concat();
    let ports = [
        source.port().to_be_bytes(),
        destination.port().to_be_bytes(),
    ]
    .concat();
    copy.clear();
    copy.extend_from_slice(parsed.whole);
    let mut changed = Sum::default();
    for (place, new) in [(addresses..addresses + length, &ends), (at..at + 4, &ports)] {
        let old = copy.get_mut(place.clone()).ok_or(DropReason::Truncated)?;
        // A partial checksum is that of the addresses alone.
        if !(offload.partial_checksum && place.start == at) {
            changed = replaced(changed, old, new);
        }
        old.copy_from_slice(new);
    }
    if is_v4 {
        let changed = replaced(
            Sum::default(),
            parsed.whole.get(12..20).unwrap_or_default(),
            &ends,
        );
        adjust(copy, IPV4_CHECKSUM, |sum| !changed.word(!sum).fold())?;
    }
    adjust(copy, at + checksum, |sum| {
        match (offload.partial_checksum, sum) {
            (true, _) => changed.word(sum).fold(),
            // UDP without a checksum.
            (false, 0) if parsed.protocol == protocol::UDP => 0,
            (false, _) if parsed.protocol == protocol::UDP => changed.word(!sum).finish_udp(),
            (false, _) => changed.word(!sum).finish(),
        }
    })
}

/// The sum of what comes instead of `old`, less that.
fn replaced(sum: Sum, old: &[u8], new: &[u8]) -> Sum {
    let inverted: Vec<u8> = old.iter().map(|byte| !byte).collect();
    sum.bytes(&inverted).bytes(new)
}

fn adjust(packet: &mut [u8], at: usize, change: impl FnOnce(u16) -> u16) -> Result<(), DropReason> {
    let field = packet
        .get_mut(at..)
        .and_then(|rest| rest.first_chunk_mut::<2>())
        .ok_or(DropReason::Truncated)?;
    *field = change(u16::from_be_bytes(*field)).to_be_bytes();
    Ok(())
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;

    /// A whole packet as its sender writes it.
    fn built(protocol: u8, source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let ip = match (source.ip(), destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                PacketBuilder::ipv4(from.octets(), to.octets(), 64)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                PacketBuilder::ipv6(from.octets(), to.octets(), 64)
            }
            _ => unreachable!("of one family"),
        };
        let mut packet = Vec::new();
        let (from, to) = (source.port(), destination.port());
        match protocol {
            protocol::TCP => ip.tcp(from, to, 7, 1000).write(&mut packet, payload),
            _ => ip.udp(from, to).write(&mut packet, payload),
        }
        .expect("a packet");
        packet
    }

    fn ends() -> impl Strategy<Value = [SocketAddr; 4]> {
        let v4 = (1u8..127, any::<[u8; 3]>(), any::<u16>())
            .prop_map(|(a, [b, c, d], port)| SocketAddr::from(([a, b, c, d], port)));
        let v6 = (any::<[u8; 14]>(), any::<u16>()).prop_map(|(rest, port)| {
            let mut octets = [0x20; 16];
            octets[2..].copy_from_slice(&rest);
            SocketAddr::from((octets, port))
        });
        prop_oneof![prop::array::uniform4(v4), prop::array::uniform4(v6)]
    }

    proptest! {
        #[test]
        fn a_readdressed_packet_is_what_its_sender_would_have_written(
            [source, destination, new_source, new_destination] in ends(),
            is_tcp: bool,
            payload in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let protocol = if is_tcp { protocol::TCP } else { protocol::UDP };
            let packet = built(protocol, source, destination, &payload);
            let mut copy = vec![1; 7];
            readdressed(&packet, Offload::default(), new_source, new_destination, &mut copy).unwrap();
            prop_assert_eq!(copy, built(protocol, new_source, new_destination, &payload));
        }

        #[test]
        fn a_partial_checksum_stays_the_sum_of_the_addresses(
            [source, destination, new_source, new_destination] in ends(),
        ) {
            let partial = |source: SocketAddr, destination: SocketAddr| {
                let mut packet = built(protocol::TCP, source, destination, b"payload");
                let at = packet.len() - 7 - 20;
                let sum = Sum::pseudo_header(source.ip(), destination.ip(), protocol::TCP, 27).fold();
                packet[at + TCP_CHECKSUM..at + TCP_CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
                packet
            };
            let offload = Offload { partial_checksum: true, ..Offload::default() };
            let mut copy = Vec::new();
            readdressed(&partial(source, destination), offload, new_source, new_destination, &mut copy).unwrap();
            prop_assert_eq!(copy, partial(new_source, new_destination));
        }

        #[test]
        fn no_bytes_panic(mut packet in prop::collection::vec(any::<u8>(), 0..100), six: bool) {
            if let Some(first) = packet.first_mut() {
                *first = if six { 0x60 } else { 0x45 };
            }
            let end = "192.0.2.1:1".parse().unwrap();
            let _ = readdressed(&packet, Offload::default(), end, end, &mut Vec::new());
        }
    }
}
