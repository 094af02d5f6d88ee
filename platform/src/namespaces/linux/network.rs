//! The network inside: loopback, the device, its addresses and routes.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::own_proc_file;
use crate::congestion;
use crate::link::{self, LinkSettings};
use crate::namespaces::{
    ADDRESS_V4, ADDRESS_V6, ContainConfig, GATEWAY_V4, GATEWAY_V6, PREFIX_V4, PREFIX_V6,
};
use crate::netlink::{Connection, NetlinkError};
use crate::sys::interface;
use crate::tun::{self, OffloadWish, TunError};

/// Opens the device, not yet configured.
pub(super) fn open_device(config: &ContainConfig) -> Result<OwnedFd, TunError> {
    let wish = if config.virtio_header {
        OffloadWish::default()
    } else {
        OffloadWish::nothing()
    };
    tun::open_raw(&config.device, &wish).map(|(fd, _)| fd)
}

/// Sets up loopback and the device with its addresses and routes, and gives the device's index. What the command can do
/// without goes into `warnings`.
pub(super) fn configure(config: &ContainConfig, warnings: &mut Vec<String>) -> io::Result<u32> {
    link::configure(
        "lo",
        &LinkSettings {
            up: true,
            ..Default::default()
        },
    )
    .map_err(io::Error::other)?;
    let settings = LinkSettings {
        up: true,
        mtu: Some(config.mtu),
        queue_length: Some(tun::QUEUE_LENGTH),
        unnumbered: true,
        forwards: false,
    };
    if config.ipv6 {
        allow_ipv6(&config.device);
    }
    link::configure(&config.device, &settings).map_err(io::Error::other)?;
    let index = interface::index(&config.device)?.get();
    let mut connection = Connection::route().map_err(into_io)?;
    number(
        &mut connection,
        index,
        ADDRESS_V4.into(),
        PREFIX_V4,
        GATEWAY_V4.into(),
    )
    .map_err(into_io)?;
    if config.ipv6
        && let Err(error) = number(
            &mut connection,
            index,
            ADDRESS_V6.into(),
            PREFIX_V6,
            GATEWAY_V6.into(),
        )
    {
        warnings.push(format!("the command has no IPv6: {error}"));
    }
    fill_super_packets();
    if let Err(error) = open_ping_sockets() {
        warnings.push(format!(
            "ping needs root inside: net.ipv4.ping_group_range: {error}"
        ));
    }
    Ok(index)
}

fn into_io(error: NetlinkError) -> io::Error {
    match error {
        NetlinkError::Refused { error, .. } | NetlinkError::Socket(error) => error,
        other @ (NetlinkError::Malformed | NetlinkError::Unsteady) => io::Error::other(other),
    }
}

/// Lets programs hand over as much at once as their windows allow. By itself the kernel makes packets that a millisecond of the
/// present pace would fill, against bursts on a network: of many connections those are two segments long, and there is no network
/// between a program and us. An older kernel lacks the file, and is only slower.
fn fill_super_packets() {
    const SEGMENTS_OF_THE_LARGEST: &str = "44";
    let _ = fs::write(
        "/proc/sys/net/ipv4/tcp_min_tso_segs",
        SEGMENTS_OF_THE_LARGEST,
    );
}

/// A new network namespace may inherit the host's `disable_ipv6` (`net.core.devconf_inherit_init_net`).
fn allow_ipv6(device: &str) {
    for interface in ["all", "lo", device] {
        // Where the file is missing or read-only, adding the address says what is wrong.
        let _ = fs::write(
            format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"),
            "0",
        );
    }
}

/// Gives the device an address and the default route of its family.
fn number(
    connection: &mut Connection,
    index: u32,
    address: IpAddr,
    prefix: u8,
    gateway: IpAddr,
) -> Result<(), NetlinkError> {
    let new = NLM_F_CREATE | NLM_F_EXCL;
    connection.change(
        &RouteNetlinkMessage::NewAddress(address_message(index, address, prefix)),
        new,
    )?;
    connection.change(
        &RouteNetlinkMessage::NewRoute(default_route(index, gateway)),
        new,
    )
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    }
}

fn address_message(index: u32, address: IpAddr, prefix: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.index = index;
    message.header.prefix_len = prefix;
    message.header.scope = AddressScope::Universe;
    if address.is_ipv6() {
        // Nobody else is on this link, so nobody can have the address: use it at once.
        message.header.flags = AddressHeaderFlags::Nodad;
    }
    message.attributes.push(AddressAttribute::Local(address));
    message.attributes.push(AddressAttribute::Address(address));
    message
}

fn default_route(index: u32, gateway: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(gateway);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Oif(index));
    message
        .attributes
        .push(RouteAttribute::Gateway(match gateway {
            IpAddr::V4(address) => RouteAddress::Inet(address),
            IpAddr::V6(address) => RouteAddress::Inet6(address),
        }));
    message.attributes.extend(congestion::metric());
    message
}

/// Lets every group that exists inside send pings without privileges.
fn open_ping_sockets() -> io::Result<()> {
    let map = own_proc_file("gid_map")?;
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let (first, last) = ping_groups(&map).ok_or_else(malformed)?;
    fs::write(
        "/proc/sys/net/ipv4/ping_group_range",
        format!("{first} {last}"),
    )
}

/// First and last group of the first range of a `gid_map`, within what the kernel takes here (a signed number).
pub(super) fn ping_groups(map: &str) -> Option<(u32, u32)> {
    const GREATEST: u32 = i32::MAX.unsigned_abs();
    let mut columns = map.lines().next()?.split_ascii_whitespace();
    let first: u32 = columns.next()?.parse().ok()?;
    let count: u32 = columns.nth(1)?.parse().ok()?;
    let last = first.saturating_add(count.checked_sub(1)?).min(GREATEST);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ping_range_is_the_mapped_range_within_the_kernels_limit() {
        assert_eq!(
            ping_groups("         0          0 4294967295\n"),
            Some((0, 2_147_483_647))
        );
        assert_eq!(ping_groups("1000 1000 1\n"), Some((1000, 1000)));
        assert_eq!(ping_groups("3000000000 0 1\n"), None);
        assert_eq!(ping_groups(""), None);
        assert_eq!(ping_groups("0 0 0\n"), None);
    }
}
