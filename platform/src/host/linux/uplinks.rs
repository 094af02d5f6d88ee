//! Which way this host goes out, without us and without other programs' tunnels.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteType,
};
use tidegate_routing::plan::{Family, LocalNetwork, MARK, RouteKind, Uplink};

use super::links::{Link, Links, Nature};
use super::routes::{self, Hop};
use super::rules::address_family;
use crate::netlink::{Connection, NetlinkError, attribute};

/// A default route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DefaultRoute {
    hop: Hop,
    metric: u32,
    source: Option<IpAddr>,
}

/// The uplink of one family: of the default routes in the main table the physical one with the lowest metric; a tunnel's
/// only if there is no other.
pub(super) fn read(
    connection: &mut Connection,
    links: &Links,
    family: Family,
) -> Result<Option<Uplink>, NetlinkError> {
    let routes = default_routes(connection, family)?;
    let Some((route, link)) = best(&routes, links) else {
        return Ok(None);
    };
    let source = match route.source {
        Some(source) => Some(source),
        None => match looked_up_source(connection, family, route.hop.index) {
            Some(source) => Some(source),
            None => first_address(connection, family, route.hop.index)?,
        },
    };
    Ok(Some(Uplink {
        device: link.name.clone(),
        source,
        gateway: route.hop.gateway,
        mtu: link.mtu,
    }))
}

fn best<'a>(routes: &'a [DefaultRoute], links: &'a Links) -> Option<(&'a DefaultRoute, &'a Link)> {
    let usable = routes
        .iter()
        .filter_map(|route| Some((route, links.by_index(route.hop.index)?)));
    usable
        .filter(|(_, link)| link.running)
        .min_by_key(|(route, link)| (link.nature == Nature::Tunnel, route.metric))
}

fn default_routes(
    connection: &mut Connection,
    family: Family,
) -> Result<Vec<DefaultRoute>, NetlinkError> {
    let mut request = RouteMessage::default();
    request.header.address_family = address_family(family);
    request.header.table = RouteHeader::RT_TABLE_MAIN;
    // A host with a full table of the Internet has a million other routes.
    let answers = connection.dump(&RouteNetlinkMessage::GetRoute(request), &|answer| {
        default_route(answer).is_some()
    })?;
    Ok(answers.iter().filter_map(default_route).collect())
}

pub(super) fn default_route(answer: &RouteNetlinkMessage) -> Option<DefaultRoute> {
    let RouteNetlinkMessage::NewRoute(message) = answer else {
        return None;
    };
    let header = &message.header;
    let table = attribute!(message.attributes, RouteAttribute::Table)
        .copied()
        .unwrap_or(u32::from(header.table));
    let usable = header.destination_prefix_length == 0
        && table == u32::from(RouteHeader::RT_TABLE_MAIN)
        && header.kind == RouteType::Unicast
        && !header
            .flags
            .intersects(RouteFlags::Cloned | RouteFlags::Dead | RouteFlags::Linkdown);
    if !usable {
        return None;
    }
    Some(DefaultRoute {
        hop: routes::hop(message)?,
        metric: attribute!(message.attributes, RouteAttribute::Priority)
            .copied()
            .unwrap_or_default(),
        source: attribute!(message.attributes, RouteAttribute::PrefSource).and_then(routes::ip),
    })
}

/// The networks of the main table that lie on a link: its routes without a next hop.
pub(super) fn local_networks(
    connection: &mut Connection,
    links: &Links,
) -> Result<Vec<LocalNetwork>, NetlinkError> {
    let mut networks = Vec::new();
    for family in Family::ALL {
        let mut request = RouteMessage::default();
        request.header.address_family = address_family(family);
        request.header.table = RouteHeader::RT_TABLE_MAIN;
        let found = |answer: &RouteNetlinkMessage| local_network(answer, links);
        let answers = connection.dump(&RouteNetlinkMessage::GetRoute(request), &|answer| {
            found(answer).is_some()
        })?;
        networks.extend(answers.iter().filter_map(found));
    }
    Ok(networks)
}

fn local_network(answer: &RouteNetlinkMessage, links: &Links) -> Option<LocalNetwork> {
    let RouteNetlinkMessage::NewRoute(message) = answer else {
        return None;
    };
    let route = routes::from_message(message, links)?;
    match route.kind {
        RouteKind::Device {
            device,
            gateway: None,
            ..
        } if route.table == u32::from(RouteHeader::RT_TABLE_MAIN)
            && !is_link_local(route.destination.network())
            && route.destination.prefix_len() > 0 =>
        {
            Some(LocalNetwork {
                device,
                network: route.destination,
            })
        }
        RouteKind::Device { .. } | RouteKind::Unreachable | RouteKind::Throw => None,
    }
}

/// Every interface is a neighbour there, and nothing of it is forwarded.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_multicast(),
    }
}

/// The source address that the kernel would choose on this interface for a distant destination (RTM_GETROUTE asks, sends
/// nothing). Our mark keeps our own rules from answering.
fn looked_up_source(connection: &mut Connection, family: Family, index: u32) -> Option<IpAddr> {
    let (distant, length) = match family {
        Family::V4 => (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 32),
        Family::V6 => (
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
            128,
        ),
    };
    let mut request = RouteMessage::default();
    request.header.address_family = address_family(family);
    request.header.destination_prefix_length = length;
    request
        .attributes
        .push(RouteAttribute::Destination(RouteAddress::from(distant)));
    request.attributes.push(RouteAttribute::Oif(index));
    request.attributes.push(RouteAttribute::Mark(MARK.value));
    let answers = connection
        .query(&RouteNetlinkMessage::GetRoute(request))
        .ok()?;
    answers.iter().find_map(|answer| {
        let RouteNetlinkMessage::NewRoute(message) = answer else {
            return None;
        };
        let out = *attribute!(message.attributes, RouteAttribute::Oif)?;
        (out == index).then(|| {
            attribute!(message.attributes, RouteAttribute::PrefSource).and_then(routes::ip)
        })?
    })
}

/// The first address of an interface that hosts far away can answer to.
fn first_address(
    connection: &mut Connection,
    family: Family,
    index: u32,
) -> Result<Option<IpAddr>, NetlinkError> {
    let mut request = AddressMessage::default();
    request.header.family = address_family(family);
    let answers = connection.dump(&RouteNetlinkMessage::GetAddress(request), &|_| true)?;
    Ok(answers.iter().find_map(|answer| {
        let RouteNetlinkMessage::NewAddress(message) = answer else {
            return None;
        };
        let unusable = AddressHeaderFlags::Tentative
            | AddressHeaderFlags::Deprecated
            | AddressHeaderFlags::Dadfailed;
        let usable = message.header.index == index
            && message.header.scope == AddressScope::Universe
            && !message.header.flags.intersects(unusable);
        // On a point-to-point link IFA_ADDRESS is the peer's.
        let local = attribute!(message.attributes, AddressAttribute::Local);
        let address = local
            .or(attribute!(message.attributes, AddressAttribute::Address))
            .copied();
        if usable { address } else { None }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(index: u32, metric: u32) -> DefaultRoute {
        DefaultRoute {
            hop: Hop {
                index,
                gateway: None,
            },
            metric,
            source: None,
        }
    }

    fn link(name: &str, running: bool, nature: Nature) -> Link {
        Link {
            name: name.to_owned(),
            mtu: 1500,
            running,
            nature,
            is_port: false,
        }
    }

    fn best_name(routes: &[DefaultRoute]) -> Option<String> {
        let mut links = Links::default();
        links.set(1, link("eth0", true, Nature::Physical));
        links.set(2, link("wlan0", true, Nature::Physical));
        links.set(3, link("wg0", true, Nature::Tunnel));
        links.set(4, link("eth1", false, Nature::Physical));
        best(routes, &links).map(|(_, link)| link.name.clone())
    }

    #[test]
    fn the_lowest_metric_wins_among_physical_links() {
        assert_eq!(
            best_name(&[route(2, 600), route(1, 100)]).as_deref(),
            Some("eth0")
        );
    }

    #[test]
    fn a_tunnel_is_the_uplink_only_if_nothing_else_is() {
        assert_eq!(
            best_name(&[route(3, 0), route(2, 600)]).as_deref(),
            Some("wlan0")
        );
        assert_eq!(best_name(&[route(3, 0)]).as_deref(), Some("wg0"));
    }

    #[test]
    fn a_link_without_carrier_or_unknown_is_no_uplink() {
        assert_eq!(
            best_name(&[route(4, 0), route(2, 600)]).as_deref(),
            Some("wlan0")
        );
        assert_eq!(best_name(&[route(9, 0)]), None);
    }
}
