//! By which interface the packets of a connection leave.

use std::net::{IpAddr, SocketAddr};

use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use tidegate_policy::Protocol;

use super::{TcpConnection, plain};
use crate::apps::SocketInfo;
use crate::inet_diag::{TCP, UDP};
use crate::netlink::{Connection, NetlinkError, attribute};

/// The routing tables of the network namespace that the opening thread is in.
#[derive(Debug)]
pub struct WaysOut {
    connection: Connection,
}

/// What rules ask of a packet.
struct Asked {
    protocol: u8,
    local: SocketAddr,
    remote: SocketAddr,
    uid: u32,
    mark: u32,
    /// Index of the interface that its socket is bound to; 0 for none.
    device: u32,
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
        self.ask(&Asked {
            protocol: TCP,
            local: connection.local.0,
            remote: connection.remote.0,
            uid: connection.uid,
            mark: connection.mark,
            device: connection.device,
        })
    }

    /// The same of a packet between these with this mark, if its socket had chosen no interface. None also for a protocol
    /// without ports.
    pub fn by_the_rules(
        &mut self,
        protocol: Protocol,
        (local, remote): (SocketAddr, SocketAddr),
        socket: &SocketInfo,
        mark: u32,
    ) -> Option<u32> {
        let protocol = match protocol {
            Protocol::Tcp => TCP,
            Protocol::Udp => UDP,
            Protocol::Icmp | Protocol::Other(_) => return None,
        };
        self.ask(&Asked {
            protocol,
            local: plain(local),
            remote: plain(remote),
            uid: socket.uid,
            mark,
            device: 0,
        })
    }

    fn ask(&mut self, asked: &Asked) -> Option<u32> {
        let message = RouteNetlinkMessage::GetRoute(request(asked));
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
fn request(asked: &Asked) -> RouteMessage {
    let mut request = RouteMessage::default();
    let (family, length) = match asked.remote.ip() {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    request.header.address_family = family;
    request.header.destination_prefix_length = length;
    request.header.source_prefix_length = length;
    request.attributes = vec![
        RouteAttribute::Destination(RouteAddress::from(asked.remote.ip())),
        RouteAttribute::Source(RouteAddress::from(asked.local.ip())),
        RouteAttribute::Uid(asked.uid),
        RouteAttribute::Mark(asked.mark),
        RouteAttribute::IpProto(asked.protocol),
        RouteAttribute::Sport(asked.local.port()),
        RouteAttribute::Dport(asked.remote.port()),
    ];
    if asked.device != 0 {
        request.attributes.push(RouteAttribute::Oif(asked.device));
    }
    request
}
