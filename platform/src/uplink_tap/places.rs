//! What the kernel's table of local addresses says of an address.

use std::net::IpAddr;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};

use crate::netlink::{Connection, NetlinkError};

/// Where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is one of this host's.
    Here,
    /// It means every host of a network of this one.
    Broadcast,
    /// It is another host's.
    Elsewhere,
}

/// Asks the routing of the network namespace that the opening thread is in.
#[derive(Debug)]
pub struct Places {
    connection: Connection,
}

impl Places {
    /// Opens a netlink socket to ask on.
    ///
    /// # Errors
    /// [`NetlinkError::Socket`].
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            connection: Connection::route()?,
        })
    }

    /// Where `address` is. One of which the kernel knows no way is elsewhere.
    pub fn of(&mut self, address: IpAddr) -> Place {
        self.routes(address)
            .first()
            .map_or(Place::Elsewhere, |route| place(route.header.kind))
    }

    fn routes(&mut self, destination: IpAddr) -> Vec<RouteMessage> {
        let (family, length) = match destination {
            IpAddr::V4(_) => (AddressFamily::Inet, 32),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128),
        };
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        request.header.destination_prefix_length = length;
        let destination = RouteAttribute::Destination(RouteAddress::from(destination));
        request.attributes.push(destination);
        let answers = self
            .connection
            .query(&RouteNetlinkMessage::GetRoute(request))
            .unwrap_or_default();
        let routes = answers.into_iter().filter_map(|answer| {
            let RouteNetlinkMessage::NewRoute(route) = answer else {
                return None;
            };
            Some(route)
        });
        routes.collect()
    }
}

fn place(kind: RouteType) -> Place {
    if kind == RouteType::Local {
        Place::Here
    } else if kind == RouteType::Broadcast {
        Place::Broadcast
    } else {
        Place::Elsewhere
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::test_network::{PairedNetworks, in_new_network};

    #[test]
    fn addresses_of_this_host_of_its_network_and_of_others_are_told_apart() {
        PairedNetworks::run(
            || (),
            |()| {
                let mut places = Places::open().unwrap();
                for (address, place) in [
                    ("192.0.2.1", Place::Here),
                    ("2001:db8::1", Place::Here),
                    ("192.0.2.255", Place::Broadcast),
                    ("192.0.2.2", Place::Elsewhere),
                    ("2001:db8::2", Place::Elsewhere),
                    ("198.51.100.1", Place::Elsewhere),
                ] {
                    assert_eq!(places.of(address.parse().unwrap()), place, "{address}");
                }
            },
        );
        in_new_network(|| {
            let mut places = Places::open().unwrap();
            assert_eq!(places.of(IpAddr::from([192, 0, 2, 1])), Place::Elsewhere);
        });
    }
}
