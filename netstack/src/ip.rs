//! IPv4 and IPv6 headers: read at fixed offsets, written from parts.
//!
//! [`IpPacket::parse`] is the first thing that happens to every packet. It trusts no length, walks IPv6 extension headers
//! within bounds, refuses addresses that no host may use on a wire, and borrows: nothing is copied or allocated.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum::Sum;
use crate::packet::DropReason;

/// IP protocol numbers that this crate tells apart.
pub(crate) mod protocol {
    pub(crate) const HOP_BY_HOP: u8 = 0;
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const ROUTING: u8 = 43;
    pub(crate) const FRAGMENT: u8 = 44;
    pub(crate) const AUTHENTICATION: u8 = 51;
    pub(crate) const ICMPV6: u8 = 58;
    pub(crate) const DESTINATION_OPTIONS: u8 = 60;
}

/// Length of an IPv4 header without options.
pub(crate) const IPV4_HEADER: usize = 20;
/// Length of an IPv6 header without extensions.
pub(crate) const IPV6_HEADER: usize = 40;
/// Hop limit of what this stack originates.
pub(crate) const HOP_LIMIT: u8 = 64;
/// Most IPv6 extension headers that are walked; real packets have at most four.
const MAX_EXTENSION_HEADERS: usize = 8;

/// One IP packet, taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpPacket<'p> {
    /// The packet without anything behind its end.
    pub(crate) whole: &'p [u8],
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// The upper protocol, after IPv6 extension headers.
    pub(crate) protocol: u8,
    pub(crate) hop_limit: u8,
    /// Where the upper protocol starts.
    pub(crate) header_len: usize,
    /// Set if this is a piece of a larger datagram.
    pub(crate) fragment: Option<Fragment>,
    /// What its sender wants done where it is too large.
    pub(crate) fragmentation: Fragmentation,
}

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) identification: u32,
    /// Offset of its payload in the datagram's, in bytes.
    pub(crate) offset: usize,
    /// Whether more fragments follow.
    pub(crate) more: MoreFragments,
}

/// The M bit of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MoreFragments {
    Follow,
    Last,
}

impl<'p> IpPacket<'p> {
    /// Takes a packet apart.
    pub(crate) fn parse(packet: &'p [u8]) -> Result<Self, DropReason> {
        let first = packet.first().ok_or(DropReason::Truncated)?;
        let parsed = match first >> 4 {
            4 => parse_v4(packet)?,
            6 => parse_v6(packet)?,
            _ => return Err(DropReason::NotIp),
        };
        check_addresses(parsed.source, parsed.destination)?;
        Ok(parsed)
    }

    /// What the upper protocol gets.
    pub(crate) fn payload(&self) -> &'p [u8] {
        self.whole.get(self.header_len..).unwrap_or_default()
    }

    /// The sum of this packet's pseudo-header.
    pub(crate) fn pseudo_header(&self) -> Sum {
        Sum::pseudo_header(
            self.source,
            self.destination,
            self.protocol,
            self.payload().len(),
        )
    }
}

fn parse_v4(packet: &[u8]) -> Result<IpPacket<'_>, DropReason> {
    let header: &[u8; IPV4_HEADER] = packet.first_chunk().ok_or(DropReason::Truncated)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let total_len = usize::from(u16_at(header, 2));
    if header_len < IPV4_HEADER || total_len < header_len {
        return Err(DropReason::Malformed);
    }
    let whole = packet.get(..total_len).ok_or(DropReason::Truncated)?;
    if !Sum::default().bytes(&whole[..header_len]).is_intact() {
        return Err(DropReason::BadHeaderChecksum);
    }
    if has_source_route(&whole[IPV4_HEADER..header_len]) {
        return Err(DropReason::SourceRoute);
    }
    let flags = u16_at(header, 6);
    let (offset, more) = (usize::from(flags & 0x1fff) * 8, flags & 0x2000 != 0);
    let fragment = (more || offset != 0).then(|| Fragment {
        identification: u32::from(u16_at(header, 4)),
        offset,
        more: MoreFragments::from_bit(more),
    });
    let fragmentation = if flags & 0x4000 == 0 {
        Fragmentation::Allowed
    } else {
        Fragmentation::Never
    };
    Ok(IpPacket {
        whole,
        source: IpAddr::V4(Ipv4Addr::new(
            header[12], header[13], header[14], header[15],
        )),
        destination: IpAddr::V4(Ipv4Addr::new(
            header[16], header[17], header[18], header[19],
        )),
        protocol: header[9],
        hop_limit: header[8],
        header_len,
        fragment,
        fragmentation,
    })
}

/// Whether IPv4 options hold a loose or strict source route (RFC 791 section 3.1): the destination in the header is then
/// not the one that is meant. Hosts and routers refuse it by default (RFC 7126 section 4.3), and any user may set it.
fn has_source_route(mut options: &[u8]) -> bool {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE: u8 = 131;
    const STRICT: u8 = 137;
    loop {
        options = match *options {
            [] | [END, ..] => return false,
            [LOOSE | STRICT, ..] => return true,
            [NO_OPERATION, ref rest @ ..] => rest,
            [_, length, ..] => match options.get(usize::from(length)..) {
                Some(rest) if length >= 2 => rest,
                _ => return false,
            },
            [_] => return false,
        };
    }
}

fn parse_v6(packet: &[u8]) -> Result<IpPacket<'_>, DropReason> {
    let header: &[u8; IPV6_HEADER] = packet.first_chunk().ok_or(DropReason::Truncated)?;
    let payload_len = usize::from(u16_at(header, 4));
    let whole = packet
        .get(..IPV6_HEADER + payload_len)
        .ok_or(DropReason::Truncated)?;
    let address = |at: usize| -> IpAddr {
        let mut octets = [0; 16];
        octets.copy_from_slice(&header[at..at + 16]);
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let mut parsed = IpPacket {
        whole,
        source: address(8),
        destination: address(24),
        protocol: header[6],
        hop_limit: header[7],
        header_len: IPV6_HEADER,
        fragment: None,
        fragmentation: Fragmentation::Never,
    };
    walk_extensions(&mut parsed)?;
    Ok(parsed)
}

/// Steps over IPv6 extension headers (RFC 8200 section 4) up to the upper protocol or a real fragment. A source route that
/// is not yet at its end hides both the real destination and, by its number, the upper protocol and ports; an ordinary
/// user's program may set one (`IPV6_RTHDR`), so it would lead round every rule.
fn walk_extensions(packet: &mut IpPacket<'_>) -> Result<(), DropReason> {
    for _ in 0..MAX_EXTENSION_HEADERS {
        let rest = packet.payload();
        let length = match packet.protocol {
            protocol::HOP_BY_HOP | protocol::DESTINATION_OPTIONS | protocol::ROUTING => {
                let [next, length, _, segments_left, ..] = *rest else {
                    return Err(DropReason::Truncated);
                };
                if packet.protocol == protocol::ROUTING && segments_left != 0 {
                    return Err(DropReason::SourceRoute);
                }
                packet.protocol = next;
                (usize::from(length) + 1) * 8
            }
            protocol::AUTHENTICATION => {
                let [next, length, ..] = *rest else {
                    return Err(DropReason::Truncated);
                };
                packet.protocol = next;
                (usize::from(length) + 2) * 4
            }
            protocol::FRAGMENT => {
                let head: &[u8; 8] = rest.first_chunk().ok_or(DropReason::Truncated)?;
                let (offset, more) = (usize::from(u16_at(head, 2) & 0xfff8), head[3] & 1 != 0);
                packet.protocol = head[0];
                if more || offset != 0 {
                    let identification = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
                    packet.header_len += 8;
                    packet.fragment = Some(Fragment {
                        identification,
                        offset,
                        more: MoreFragments::from_bit(more),
                    });
                    return Ok(());
                }
                8 // An atomic fragment is a whole datagram (RFC 6946).
            }
            _ => return Ok(()),
        };
        if rest.len() < length {
            return Err(DropReason::Truncated);
        }
        packet.header_len += length;
    }
    Err(DropReason::Malformed)
}

impl MoreFragments {
    fn from_bit(more: bool) -> Self {
        if more { Self::Follow } else { Self::Last }
    }
}

/// Refuses sources and destinations that no host may use on a wire (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5).
fn check_addresses(source: IpAddr, destination: IpAddr) -> Result<(), DropReason> {
    let possible = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let nowhere = |address: Ipv4Addr| address.octets()[0] == 0 || address.is_loopback();
            !nowhere(source)
                && !nowhere(destination)
                && !source.is_multicast()
                && !source.is_broadcast()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let nowhere = |address: Ipv6Addr| {
                address.is_unspecified()
                    || address.is_loopback()
                    || address.to_ipv4_mapped().is_some()
            };
            !nowhere(source) && !nowhere(destination) && !source.is_multicast()
        }
        _ => false,
    };
    if possible {
        Ok(())
    } else {
        Err(DropReason::ImpossibleAddress)
    }
}

/// Whether more than one host may listen at this address: never answered with an error or a RST (RFC 1122 section 3.2.2).
pub(crate) fn is_group(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

/// Length of a bare header of this address's family.
pub(crate) fn header_len(address: IpAddr) -> usize {
    if address.is_ipv4() {
        IPV4_HEADER
    } else {
        IPV6_HEADER
    }
}

/// A header to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpHeader {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) hop_limit: u8,
    /// IPv4 only; 0 with "don't fragment" (RFC 6864 section 4.1).
    pub(crate) identification: u16,
    /// IPv4 only.
    pub(crate) fragmentation: Fragmentation,
}

/// What may be done with a packet that is too large for a link on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragmentation {
    /// It is dropped and its sender told of it: "don't fragment" of IPv4, and every packet of IPv6 (RFC 8200 section 5).
    Never,
    /// It is cut into fragments.
    Allowed,
}

impl IpHeader {
    /// The header of something that this stack says.
    pub(crate) fn new(source: IpAddr, destination: IpAddr, protocol: u8) -> Self {
        let fragmentation = Fragmentation::Never;
        Self {
            source,
            destination,
            protocol,
            hop_limit: HOP_LIMIT,
            identification: 0,
            fragmentation,
        }
    }

    /// Writes the header for `payload_len` bytes of upper protocol and says how long it is. `None` if the lengths do not
    /// fit the header's fields, the buffer, or each other.
    pub(crate) fn write(&self, buffer: &mut [u8], payload_len: usize) -> Option<usize> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let total_len = u16::try_from(IPV4_HEADER + payload_len).ok()?;
                let header: &mut [u8; IPV4_HEADER] = buffer.first_chunk_mut()?;
                *header = [0; IPV4_HEADER];
                header[0] = 0x45;
                header[2..4].copy_from_slice(&total_len.to_be_bytes());
                header[4..6].copy_from_slice(&self.identification.to_be_bytes());
                if self.fragmentation == Fragmentation::Never {
                    header[6] = 0x40;
                }
                header[8] = self.hop_limit;
                header[9] = self.protocol;
                header[12..16].copy_from_slice(&source.octets());
                header[16..20].copy_from_slice(&destination.octets());
                let sum = Sum::default().bytes(header).finish();
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                Some(IPV4_HEADER)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let payload_len = u16::try_from(payload_len).ok()?;
                let header: &mut [u8; IPV6_HEADER] = buffer.first_chunk_mut()?;
                header[..4].copy_from_slice(&[0x60, 0, 0, 0]);
                header[4..6].copy_from_slice(&payload_len.to_be_bytes());
                header[6] = self.protocol;
                header[7] = self.hop_limit;
                header[8..24].copy_from_slice(&source.octets());
                header[24..40].copy_from_slice(&destination.octets());
                Some(IPV6_HEADER)
            }
            _ => None,
        }
    }
}

/// The big-endian word at `at` of a header whose length is known.
pub(crate) fn u16_at<const N: usize>(header: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([header[at], header[at + 1]])
}
