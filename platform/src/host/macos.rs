//! The host's network on macOS: a routing socket and dumps of the routing table (route(4), sysctl(3)).

use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};

use socket2::{Domain, Socket, Type};
use thiserror::Error;
use tidegate_policy::{Fact, NetworkNeeds};
use tidegate_routing::plan::{
    Family, HostFacts, Listener, PortRange, Route, RouteKind, Rule, Uplink,
};

use super::darwin_routes::{self, DefaultRoute};
use super::{ChangeError, FactsError};
use crate::bypass::Bypass;
use crate::routing_messages::{self as routing, RouteMessage, kind};
use crate::socket_list::{self, Entry, State, Table};
use crate::sys::interface_ioctl::Interface;
use crate::sys::{interface, sysctl};

pub(super) mod owner;

/// The kernel's routes could not be read or changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// There is no routing socket.
    #[error("routing socket: {0}; is PF_ROUTE allowed here (sandbox)?")]
    Socket(#[source] io::Error),
    /// A table could not be read.
    #[error("the kernel does not show it: {0}")]
    Unreadable(#[source] io::Error),
    /// The kernel refused a change.
    #[error("the kernel refused: {0}")]
    Refused(#[source] io::Error),
    /// A table contradicts its format.
    #[error("malformed table")]
    Malformed,
}

/// The only network that there is.
#[derive(Debug)]
pub(super) struct Network {
    socket: Socket,
}

/// The range of ports that the system hands out.
const FIRST_PORT: &std::ffi::CStr = c"net.inet.ip.portrange.first";
const LAST_PORT: &std::ffi::CStr = c"net.inet.ip.portrange.last";

impl Network {
    pub(super) fn open() -> Result<Self, NetworkError> {
        let open = || {
            let socket = Socket::new(Domain::from(libc::PF_ROUTE), Type::RAW, None)?;
            // Refusals are told by `write`; everybody's changes would only pile up.
            socket.shutdown(Shutdown::Read)?;
            Ok(socket)
        };
        let socket = open().map_err(NetworkError::Socket)?;
        Ok(Self { socket })
    }

    pub(super) fn facts(&mut self) -> Result<HostFacts, FactsError> {
        let in_table = |what| move |source| FactsError::Table { what, source };
        let v4 = routes(Family::V4).map_err(in_table("IPv4 routes"))?;
        let v6 = routes(Family::V6).map_err(in_table("IPv6 routes"))?;
        let name = |index: u16| interface::name(index.into()).ok();
        Ok(HostFacts {
            uplink_v4: uplink(&v4, Family::V4),
            uplink_v6: uplink(&v6, Family::V6),
            our_routes: v4
                .iter()
                .chain(&v6)
                .filter_map(|message| darwin_routes::from_message(message, name))
                .collect(),
            ephemeral_ports: ephemeral_ports(),
            listeners: listeners().map_err(in_table("listening sockets"))?,
            ..HostFacts::default()
        })
    }

    /// The interfaces of the uplinks.
    pub(super) fn whereabouts(
        &mut self,
        _needs: NetworkNeeds,
    ) -> Result<tidegate_policy::Network, FactsError> {
        let facts = self.facts()?;
        let mut names: Vec<String> = [facts.uplink_v4, facts.uplink_v6]
            .into_iter()
            .flatten()
            .map(|uplink| uplink.device)
            .collect();
        names.dedup();
        let uplink = |name: String| tidegate_policy::Uplink {
            interface: Fact::Is(name.into()),
            ..tidegate_policy::Uplink::default()
        };
        Ok(tidegate_policy::Network {
            uplinks: names.into_iter().map(uplink).collect(),
            vpn: Fact::Unknown,
        })
    }

    pub(super) fn datagram_ports(&mut self) -> Result<Vec<u16>, NetworkError> {
        let mut ports: Vec<u16> = sockets(Table::Udp)?
            .iter()
            .filter(|socket| socket.remote_port == 0 && socket.local_port != 0)
            .map(|socket| socket.local_port)
            .collect();
        ports.sort_unstable();
        ports.dedup();
        Ok(ports)
    }

    pub(super) fn add_route(&mut self, route: &Route) -> Result<bool, ChangeError> {
        self.change(route, kind::ADD, &[libc::EEXIST, libc::EAFNOSUPPORT])
    }

    pub(super) fn remove_route(&mut self, route: &Route) -> Result<bool, ChangeError> {
        // A route goes with its device.
        match self.change(route, kind::DELETE, &[libc::ESRCH, libc::EAFNOSUPPORT]) {
            Err(ChangeError::MissingDevice(_)) => Ok(false),
            result => result,
        }
    }

    /// Asks for one change; false if one of these refusals says that it was so already.
    fn change(&mut self, route: &Route, kind: u8, already: &[i32]) -> Result<bool, ChangeError> {
        let index = match &route.kind {
            RouteKind::Device { device, .. } => interface::index(device)
                .ok()
                .and_then(|index| u16::try_from(index.get()).ok())
                .ok_or_else(|| ChangeError::MissingDevice(device.clone()))?,
            RouteKind::Unreachable | RouteKind::Throw => 0,
        };
        let message = darwin_routes::to_message(route, kind, index)
            .map_err(|missing| ChangeError::NoSuchMeans(missing.what()))?;
        match (&self.socket).write(&message.to_bytes()) {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .raw_os_error()
                    .is_some_and(|code| already.contains(&code)) =>
            {
                Ok(false)
            }
            Err(error) => Err(NetworkError::Refused(error).into()),
        }
    }

    pub(super) fn add_rule(&mut self, _rule: &Rule) -> Result<bool, ChangeError> {
        Err(ChangeError::NoSuchMeans("policy routing rules"))
    }

    pub(super) fn remove_rule(&mut self, _rule: &Rule) -> Result<bool, ChangeError> {
        Err(ChangeError::NoSuchMeans("policy routing rules"))
    }

    pub(super) fn setting(&self, _path: &str) -> Result<String, ChangeError> {
        Err(ChangeError::NoSuchMeans("settings below /proc/sys"))
    }

    pub(super) fn lacks(&self, _path: &str) -> bool {
        true
    }

    pub(super) fn set(&self, path: &str, _value: &str) -> Result<(), ChangeError> {
        self.setting(path).map(|_| ())
    }

    pub(super) fn put_back(&self, path: &str, _from: &str, _to: &str) -> Result<(), ChangeError> {
        self.setting(path).map(|_| ())
    }
}

/// The routing table of a family.
fn routes(family: Family) -> Result<Vec<RouteMessage>, NetworkError> {
    let family = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    let path = [
        libc::CTL_NET,
        libc::PF_ROUTE,
        0,
        family,
        libc::NET_RT_DUMP,
        0,
    ];
    let dump = sysctl::read(&path).map_err(NetworkError::Unreadable)?;
    let messages = routing::messages(&dump);
    messages
        .map(|message| RouteMessage::parse(message?))
        .collect::<Option<_>>()
        .ok_or(NetworkError::Malformed)
}

/// The uplink of a family, if it has a default route onto an interface that is still there.
fn uplink(routes: &[RouteMessage], family: Family) -> Option<Uplink> {
    let DefaultRoute { index, gateway } = darwin_routes::best_default(routes.iter())?;
    let device = interface::name(index.into()).ok()?;
    let mtu = Interface::open(&device).and_then(|interface| interface.mtu());
    Some(Uplink {
        mtu: mtu.ok()?,
        source: source(&device, family).map(|source| source.ip()).ok(),
        gateway,
        device,
    })
}

/// The address that a socket bound to this interface sends from to a distant destination. Connecting sends nothing.
fn source(device: &str, family: Family) -> io::Result<SocketAddr> {
    const ANY_PORT: u16 = 9;
    let (domain, distant) = match family {
        Family::V4 => {
            let distant = Ipv4Addr::new(192, 0, 2, 1);
            (Domain::IPV4, SocketAddr::from((distant, ANY_PORT)))
        }
        Family::V6 => {
            let distant = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
            (Domain::IPV6, SocketAddr::from((distant, ANY_PORT)))
        }
    };
    let socket = Socket::new(domain, Type::DGRAM, None)?;
    Bypass::none().through(device).apply(&socket)?;
    socket.connect(&distant.into())?;
    let source = socket.local_addr()?;
    source
        .as_socket()
        .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

fn ephemeral_ports() -> Option<PortRange> {
    let port = |name| u16::try_from(sysctl::number(name).ok()?).ok();
    let (first, last) = (port(FIRST_PORT)?, port(LAST_PORT)?);
    (first <= last).then_some(PortRange { first, last })
}

fn listeners() -> Result<Vec<Listener>, NetworkError> {
    let sockets = sockets(Table::Tcp)?;
    let listening = sockets
        .iter()
        .filter(|socket| socket.state == Some(State::Listen));
    let addresses = listening.flat_map(|socket| {
        let addresses = [
            socket.local_v4.map(Into::into),
            socket.local_v6.map(Into::into),
        ];
        addresses.into_iter().flatten().map(|address| Listener {
            address,
            port: socket.local_port,
            uid: socket.user,
        })
    });
    Ok(addresses.collect())
}

fn sockets(table: Table) -> Result<Vec<Entry>, NetworkError> {
    let list = sysctl::read_named(table.name()).map_err(NetworkError::Unreadable)?;
    socket_list::entries(&list).ok_or(NetworkError::Malformed)
}
