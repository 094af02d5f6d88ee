//! Which interface really carries what we send: a VPN's rules and routes come after ours, and our packets meet them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Socket, Type};
use tidegate_platform::bypass::Bypass;
use tidegate_platform::link;
use tidegate_routing::plan::{Family, MARK};

/// The discard service (RFC 863); nothing is sent.
const PORT: u16 = 9;
/// Addresses far away that are kept for documentation (RFC 5737, RFC 3849).
const DISTANT_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const DISTANT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// The interface whose address a socket of ours gets for a distant destination, unless it is the uplink or its address.
pub(super) fn beside(family: Family, uplink: &str, address: Option<IpAddr>) -> Option<String> {
    let source = source(family)
        .ok()
        .filter(|source| Some(*source) != address)?;
    let device = link::addresses().ok()?.remove(&source)?;
    (device != uplink).then_some(device)
}

/// Connecting a datagram socket asks the kernel for the way and sends nothing.
fn source(family: Family) -> io::Result<IpAddr> {
    let (domain, distant) = match family {
        Family::V4 => (Domain::IPV4, IpAddr::from(DISTANT_V4)),
        Family::V6 => (Domain::IPV6, IpAddr::from(DISTANT_V6)),
    };
    let socket = Socket::new(domain, Type::DGRAM, None)?;
    Bypass::marked(MARK).apply(&socket)?;
    socket.connect(&SocketAddr::new(distant, PORT).into())?;
    let address = socket.local_addr()?.as_socket();
    address
        .map(|address| address.ip())
        .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}
