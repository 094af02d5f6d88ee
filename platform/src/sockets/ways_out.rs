//! By which interface the packets of a connection leave.

use std::net::IpAddr;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};

use super::TcpConnection;
use crate::inet_diag::TCP;
use crate::netlink::{Connection, NetlinkError, attribute};

/// The routing tables of the network namespace that the opening thread is in.
#[derive(Debug)]
pub struct WaysOut {
    connection: Connection,
}

impl WaysOut {
    /// Opens a netlink socket to ask on.
    ///
    /// # Errors
    /// [`NetlinkError::Socket`].
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            connection: Connection::route()?,
        })
    }

    /// The index of the interface that the kernel would send this connection's next packet to (RTM_GETROUTE asks, sends
    /// nothing). None if there is no way.
    pub fn of(&mut self, connection: &TcpConnection) -> Option<u32> {
        let message = RouteNetlinkMessage::GetRoute(request(connection));
        let answers = self.connection.query(&message).ok()?;
        answers.iter().find_map(|answer| {
            let RouteNetlinkMessage::NewRoute(route) = answer else {
                return None;
            };
            attribute!(route.attributes, RouteAttribute::Oif).copied()
        })
    }
}

/// All that a rule may ask for.
fn request(connection: &TcpConnection) -> RouteMessage {
    let (local, remote) = (connection.local.0, connection.remote.0);
    let mut request = RouteMessage::default();
    let (family, length) = match remote.ip() {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    request.header.address_family = family;
    request.header.destination_prefix_length = length;
    request.header.source_prefix_length = length;
    request.attributes = vec![
        RouteAttribute::Destination(RouteAddress::from(remote.ip())),
        RouteAttribute::Source(RouteAddress::from(local.ip())),
        RouteAttribute::Uid(connection.uid),
        RouteAttribute::Mark(connection.mark),
        RouteAttribute::IpProto(TCP),
        RouteAttribute::Sport(local.port()),
        RouteAttribute::Dport(remote.port()),
    ];
    if connection.device != 0 {
        request
            .attributes
            .push(RouteAttribute::Oif(connection.device));
    }
    request
}
