//! What names a flow.

use std::net::{IpAddr, SocketAddr};

/// Transport protocol, as far as this stack tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP echo over IPv4 or IPv6; the identifier stands in for the local port, the remote port is 0.
    Icmp,
    /// Any other, by IP protocol number; both ports are 0.
    Other(u8),
}

/// The end of a flow on the program's side: the source of what comes out of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalAddr(pub SocketAddr);

/// The far end of a flow: the destination of what comes out of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemoteAddr(pub SocketAddr);

impl LocalAddr {
    /// The address without the port.
    pub fn ip(self) -> IpAddr {
        self.0.ip()
    }
}

impl RemoteAddr {
    /// The address without the port.
    pub fn ip(self) -> IpAddr {
        self.0.ip()
    }
}

/// Everything that tells one flow from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Transport protocol.
    pub protocol: Protocol,
    /// The program's end.
    pub local: LocalAddr,
    /// The far end.
    pub remote: RemoteAddr,
}

/// Names one flow of one [`Stack`](crate::Stack), for as long as that stack lives: a number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub(crate) u64);
