//! Routes as the kernel writes them (linux/rtnetlink.h), to and from ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHop, RouteProtocol,
    RouteScope, RouteType, RouteVia,
};
use tidegate_routing::plan::{Family, Route, RouteKind};

use super::links::Links;
use super::rules::{address_family, family};
use crate::congestion;
use crate::netlink::attribute;

/// A route refers to an interface that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MissingDevice(pub(super) String);

/// What the message is for: the kernel compares more when it removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Add,
    Remove,
}

/// The message that adds or removes `route`.
pub(super) fn to_message(
    route: &Route,
    links: &Links,
    purpose: Purpose,
) -> Result<RouteMessage, MissingDevice> {
    let mut message = RouteMessage::default();
    message.header.address_family = address_family(family_of(route.destination));
    message.header.destination_prefix_length = route.destination.prefix_len();
    message.header.protocol = RouteProtocol::from(route.protocol);
    message.attributes.push(RouteAttribute::Table(route.table));
    message
        .attributes
        .push(RouteAttribute::Destination(RouteAddress::from(
            route.destination.network(),
        )));
    message
        .attributes
        .push(RouteAttribute::Priority(route.metric));
    match &route.kind {
        RouteKind::Unreachable => message.header.kind = RouteType::Unreachable,
        RouteKind::Throw => message.header.kind = RouteType::Throw,
        RouteKind::Device {
            device,
            gateway,
            source,
        } => {
            message.header.kind = RouteType::Unicast;
            // Without a gateway the scope would be `link`, and the kernel would take our default for the way to the next
            // hop of every route that other programs add to a table of their own without naming a device: such a route
            // would lead into the TUN. One of global scope is passed over (fib_check_nh).
            message.header.scope = RouteScope::Universe;
            let index = links
                .index(device)
                .ok_or_else(|| MissingDevice(device.clone()))?;
            message.attributes.push(RouteAttribute::Oif(index));
            message
                .attributes
                .extend(gateway.map(|address| next_hop(route.destination, address)));
            message.attributes.extend(
                source.map(|address| RouteAttribute::PrefSource(RouteAddress::from(address))),
            );
        }
    }
    match (purpose, &route.kind) {
        // Every device route of ours leads into a TUN.
        (Purpose::Add, RouteKind::Device { .. }) => message.attributes.extend(congestion::metric()),
        (Purpose::Add, RouteKind::Unreachable | RouteKind::Throw) => {}
        // RT_SCOPE_NOWHERE matches every scope.
        (Purpose::Remove, _) => message.header.scope = RouteScope::NoWhere,
    }
    Ok(message)
}

/// An IPv4 route may lead to an IPv6 router (RFC 5549).
fn next_hop(destination: IpNet, gateway: IpAddr) -> RouteAttribute {
    match (destination, gateway) {
        (IpNet::V4(_), IpAddr::V6(router)) => RouteAttribute::Via(RouteVia::Inet6(router)),
        _ => RouteAttribute::Gateway(RouteAddress::from(gateway)),
    }
}

/// The route that a message stands for; `None` if ours cannot express it (other types, unknown devices, cache entries).
pub(super) fn from_message(message: &RouteMessage, links: &Links) -> Option<Route> {
    let attributes = &message.attributes;
    if message.header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let kind = if message.header.kind == RouteType::Unreachable {
        RouteKind::Unreachable
    } else if message.header.kind == RouteType::Throw {
        RouteKind::Throw
    } else if message.header.kind == RouteType::Unicast {
        let hop = hop(message)?;
        RouteKind::Device {
            device: links.name(hop.index)?.to_owned(),
            gateway: hop.gateway,
            source: attribute!(attributes, RouteAttribute::PrefSource).and_then(ip),
        }
    } else {
        return None;
    };
    Some(Route {
        table: attribute!(attributes, RouteAttribute::Table)
            .copied()
            .unwrap_or(u32::from(message.header.table)),
        destination: destination(message)?,
        kind,
        metric: attribute!(attributes, RouteAttribute::Priority)
            .copied()
            .unwrap_or_default(),
        protocol: u8::from(message.header.protocol),
    })
}

/// Where a unicast route leads; of several ways the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) index: u32,
    pub(super) gateway: Option<IpAddr>,
}

pub(super) fn hop(message: &RouteMessage) -> Option<Hop> {
    if let Some(ways) = attribute!(message.attributes, RouteAttribute::MultiPath) {
        let first: &RouteNextHop = ways.first()?;
        return Some(Hop {
            index: first.interface_index,
            gateway: gateway(&first.attributes),
        });
    }
    let index = *attribute!(message.attributes, RouteAttribute::Oif)?;
    Some(Hop {
        index,
        gateway: gateway(&message.attributes),
    })
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    let via = attribute!(attributes, RouteAttribute::Via);
    if let Some(RouteVia::Inet6(router)) = via {
        return Some(IpAddr::V6(*router));
    }
    attribute!(attributes, RouteAttribute::Gateway).and_then(ip)
}

fn destination(message: &RouteMessage) -> Option<IpNet> {
    let unspecified = match family(message.header.address_family)? {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let address = attribute!(message.attributes, RouteAttribute::Destination)
        .map_or(Some(unspecified), ip)?;
    IpNet::new(address, message.header.destination_prefix_length).ok()
}

pub(super) fn ip(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(v4) = address {
        Some(IpAddr::V4(*v4))
    } else if let RouteAddress::Inet6(v6) = address {
        Some(IpAddr::V6(*v6))
    } else {
        None
    }
}

fn family_of(network: IpNet) -> Family {
    match network {
        IpNet::V4(_) => Family::V4,
        IpNet::V6(_) => Family::V6,
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{Emitable, Parseable};
    use tidegate_routing::plan::{PROTOCOL, TABLE};

    use super::*;

    fn links() -> Links {
        Links::for_tests(&[(7, "tide0"), (2, "eth0")])
    }

    #[test]
    fn a_route_survives_the_way_through_the_kernels_format() {
        let device = |gateway: Option<&str>, source: Option<&str>| RouteKind::Device {
            device: "tide0".to_owned(),
            gateway: gateway.map(|address| address.parse().unwrap()),
            source: source.map(|address| address.parse().unwrap()),
        };
        let cases = [
            ("0.0.0.0/0", device(None, Some("192.0.2.7"))),
            ("::/0", device(None, None)),
            ("198.51.100.0/24", device(Some("192.0.2.1"), None)),
            ("198.51.100.0/24", device(Some("fe80::1"), None)),
            ("2001:db8::/32", device(Some("fe80::1"), None)),
            ("0.0.0.0/0", RouteKind::Unreachable),
            ("172.17.0.0/16", RouteKind::Throw),
            ("fd00:17::/64", RouteKind::Throw),
        ];
        for (destination, kind) in cases {
            let destination = destination.parse().unwrap();
            let route = Route {
                table: TABLE,
                destination,
                kind,
                metric: 50,
                protocol: PROTOCOL,
            };
            let message = to_message(&route, &links(), Purpose::Add).unwrap();
            let mut bytes = vec![0; message.buffer_len()];
            message.emit(&mut bytes);
            let parsed = RouteMessage::parse(bytes.as_slice()).unwrap();
            assert_eq!(from_message(&parsed, &links()), Some(route));
        }
    }

    #[test]
    fn a_missing_device_is_named() {
        let kind = RouteKind::Device {
            device: "gone0".to_owned(),
            gateway: None,
            source: None,
        };
        let route = Route {
            table: TABLE,
            destination: "0.0.0.0/0".parse().unwrap(),
            kind,
            metric: 1,
            protocol: PROTOCOL,
        };
        assert_eq!(
            to_message(&route, &links(), Purpose::Add),
            Err(MissingDevice("gone0".to_owned()))
        );
    }
}
