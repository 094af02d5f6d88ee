//! The network that this host is in, as rules ask for it.

use std::net::IpAddr;
use std::sync::Arc;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::{RouteAttribute, RouteFlags, RouteMessage, RouteType};
use tidegate_policy::{Fact, Mac, NetworkNeeds};
use tidegate_routing::plan::{Family, is_our_table};

use super::links::{Links, Nature};
use super::rules::address_family;
use super::{Network, routes, uplinks, wireless};
use crate::host::FactsError;
use crate::netlink::{Connection, NetlinkError, attribute};

/// A route to so much of all addresses takes most traffic: VPN clients halve the default of IPv4, and cut that of IPv6 into
/// up to four (2000::/3, or 2000::/4 and 3000::/4), to take effect ahead of the one that is there.
const HALF_V4: u8 = 1;
const PART_V6: u8 = 4;

impl Network {
    pub(in crate::host) fn whereabouts(
        &mut self,
        needs: NetworkNeeds,
    ) -> Result<tidegate_policy::Network, FactsError> {
        let failed = |what| move |source| FactsError::Table { what, source };
        let links = Links::read(&mut self.route).map_err(failed("interfaces"))?;
        let mut found: Vec<tidegate_policy::Uplink> = Vec::new();
        for family in Family::ALL {
            let uplink =
                uplinks::read(&mut self.route, &links, family).map_err(failed("uplink"))?;
            let Some(uplink) = uplink else { continue };
            let index = links.index(&uplink.device).unwrap_or_default();
            let gateway = match uplink.gateway {
                None => Fact::Absent,
                Some(gateway) if needs.gateway => {
                    hardware_address(&mut self.route, (index, gateway))
                        .map_err(failed("neighbours"))?
                }
                Some(_) => Fact::Unknown,
            };
            let ssid = if needs.ssid {
                wireless::ssid(index)
            } else {
                Fact::Unknown
            };
            let uplink = tidegate_policy::Uplink {
                interface: Fact::Is(Arc::from(uplink.device)),
                gateway,
                ssid,
            };
            if !found.contains(&uplink) {
                found.push(uplink);
            }
        }
        let vpn = if needs.vpn {
            let up = tunnel_carries(&mut self.route, &links).map_err(failed("routes"))?;
            Fact::Is(up)
        } else {
            Fact::Unknown
        };
        Ok(tidegate_policy::Network {
            uplinks: found,
            vpn,
        })
    }
}

/// That of a neighbour, if the kernel has it now: of a router it has as soon as anything was sent.
fn hardware_address(
    connection: &mut Connection,
    (index, gateway): (u32, IpAddr),
) -> Result<Fact<Mac>, NetlinkError> {
    let mut request = NeighbourMessage::default();
    // An IPv4 route may lead to an IPv6 router.
    request.header.family = match gateway {
        IpAddr::V4(_) => address_family(Family::V4),
        IpAddr::V6(_) => address_family(Family::V6),
    };
    let found = |answer: &RouteNetlinkMessage| mac_of(answer, (index, gateway));
    let answers = connection.dump(&RouteNetlinkMessage::GetNeighbour(request), &|answer| {
        found(answer).is_some()
    })?;
    Ok(answers
        .iter()
        .find_map(found)
        .map_or(Fact::Unknown, Fact::Is))
}

fn mac_of(answer: &RouteNetlinkMessage, (index, gateway): (u32, IpAddr)) -> Option<Mac> {
    let RouteNetlinkMessage::NewNeighbour(message) = answer else {
        return None;
    };
    let address = attribute!(message.attributes, NeighbourAttribute::Destination)?;
    let is_gateway = match (address, gateway) {
        (NeighbourAddress::Inet(own), IpAddr::V4(gateway)) => *own == gateway,
        (NeighbourAddress::Inet6(own), IpAddr::V6(gateway)) => *own == gateway,
        _ => false,
    };
    let hardware = attribute!(message.attributes, NeighbourAttribute::LinkLayerAddress)?;
    let hardware = <[u8; 6]>::try_from(hardware.as_slice()).ok()?;
    (is_gateway && message.header.ifindex == index).then_some(Mac(hardware))
}

/// Whether a tunnel has a default route or a large part of one, in whatever table but ours.
fn tunnel_carries(connection: &mut Connection, links: &Links) -> Result<bool, NetlinkError> {
    for family in Family::ALL {
        let mut request = RouteMessage::default();
        request.header.address_family = address_family(family);
        let leads = |answer: &RouteNetlinkMessage| leads_through_tunnel(answer, family, links);
        let answers = connection.dump(&RouteNetlinkMessage::GetRoute(request), &leads)?;
        if !answers.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn leads_through_tunnel(answer: &RouteNetlinkMessage, family: Family, links: &Links) -> bool {
    let RouteNetlinkMessage::NewRoute(message) = answer else {
        return false;
    };
    let most = match family {
        Family::V4 => HALF_V4,
        Family::V6 => PART_V6,
    };
    let header = &message.header;
    let gone = RouteFlags::Cloned | RouteFlags::Dead | RouteFlags::Linkdown;
    let table = attribute!(message.attributes, RouteAttribute::Table);
    let table = table.copied().unwrap_or(u32::from(header.table));
    let is_wide = header.kind == RouteType::Unicast
        && header.destination_prefix_length <= most
        && !is_our_table(table)
        && !header.flags.intersects(gone);
    let link = routes::hop(message).and_then(|hop| links.by_index(hop.index));
    is_wide && link.is_some_and(|link| link.running && link.nature == Nature::Tunnel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostNetwork;
    use crate::sys::test_network::{in_new_network, ip};
    use crate::tun::{Tun, TunConfig};

    const ALL: NetworkNeeds = NetworkNeeds {
        any: true,
        gateway: true,
        ssid: true,
        vpn: true,
    };

    fn whereabouts() -> tidegate_policy::Network {
        HostNetwork::open().unwrap().whereabouts(ALL).unwrap()
    }

    #[test]
    fn a_host_without_routes_has_no_uplink_and_no_vpn() {
        in_new_network(|| {
            let network = whereabouts();
            assert_eq!((network.uplinks.len(), network.vpn), (0, Fact::Is(false)));
        });
    }

    #[test]
    fn an_uplink_has_its_routers_hardware_address() {
        in_new_network(|| {
            ip("link add eth0 type veth peer name far0");
            ip("link set eth0 up");
            ip("link set far0 up");
            ip("address add 192.0.2.2/24 dev eth0");
            ip("route add default via 192.0.2.1 dev eth0");
            let uplink = |gateway| tidegate_policy::Uplink {
                interface: Fact::Is("eth0".into()),
                gateway,
                ssid: Fact::Absent,
            };
            assert_eq!(whereabouts().uplinks, [uplink(Fact::Unknown)]);
            ip("neighbour replace 192.0.2.9 lladdr 02:00:00:00:00:09 dev eth0");
            ip("neighbour replace 192.0.2.1 lladdr 02:00:00:00:00:01 dev eth0");
            let router = Mac([2, 0, 0, 0, 0, 1]);
            assert_eq!(whereabouts().uplinks, [uplink(Fact::Is(router))]);
        });
    }

    #[test]
    fn a_tunnel_that_has_half_of_all_addresses_is_a_vpn() {
        for network in ["default", "128.0.0.0/1", "2000::/3"] {
            in_new_network(|| {
                let tun = Tun::create(&TunConfig::named("vpn0".to_owned())).unwrap();
                ip("link set vpn0 up");
                assert_eq!(whereabouts().vpn, Fact::Is(false));
                ip(&format!("route add {network} dev vpn0 table 77"));
                assert_eq!(whereabouts().vpn, Fact::Is(true), "{network}");
                drop(tun);
                assert_eq!(whereabouts().vpn, Fact::Is(false), "{network}");
            });
        }
    }

    #[test]
    fn a_tunnel_to_some_network_is_none() {
        in_new_network(|| {
            let _tun = Tun::create(&TunConfig::named("vpn0".to_owned())).unwrap();
            ip("link set vpn0 up");
            ip("route add 10.0.0.0/8 dev vpn0");
            ip(&format!(
                "route add default dev vpn0 table {}",
                tidegate_routing::plan::TABLE
            ));
            assert_eq!(whereabouts().vpn, Fact::Is(false));
        });
    }
}
