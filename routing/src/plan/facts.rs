//! What the host looks like and what the user wants of it: the two arguments of [`wanted`](super::wanted()).

use std::net::IpAddr;

use ipnet::IpNet;

use super::{PortRange, Route, Rule};

/// What the host looks like, as far as the plan depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// The uplink of each family: the device and source address of the default route in the main table, not a tunnel of
    /// another program where a physical one exists.
    pub uplink_v4: Option<Uplink>,
    /// The same for IPv6.
    pub uplink_v6: Option<Uplink>,
    /// Every rule present, both families, sorted by preference.
    pub rules: Vec<Rule>,
    /// Every route of [our tables](super::is_our_table), and whatever carries [`PROTOCOL`](super::PROTOCOL).
    pub our_routes: Vec<Route>,
    /// `rp_filter` of every interface and of `all`, by interface name.
    pub reverse_path_filters: Vec<(String, u8)>,
    /// `ip_local_port_range`.
    pub ephemeral_ports: Option<PortRange>,
    /// Listening TCP sockets.
    pub listeners: Vec<Listener>,
    /// Networks that this host is a neighbour in, of every interface but tunnels of our own.
    pub local_networks: Vec<LocalNetwork>,
}

/// A network whose hosts are reached without a router.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalNetwork {
    /// The interface that leads there.
    pub device: String,
    /// Its addresses.
    pub network: IpNet,
}

/// The way out of the host for one family.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Uplink {
    /// Interface name.
    pub device: String,
    /// Source address that the kernel chooses there.
    pub source: Option<IpAddr>,
    /// Next hop.
    pub gateway: Option<IpAddr>,
    /// Interface MTU in bytes.
    pub mtu: u32,
}

/// A TCP socket that listens on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listener {
    /// Address listened on; unspecified for all.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Owner.
    pub uid: u32,
}

/// What the user wants of host capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Interface name of the TUN.
    pub tun: String,
    /// MTU of the TUN in bytes; `None` takes the smaller one of the uplinks (see [`tun_mtu`](super::tun_mtu)).
    pub mtu: Option<u32>,
    /// What happens to captured traffic once the TUN is gone.
    pub fail: Fail,
    /// Input interfaces whose forwarded traffic is captured too.
    pub forwarded: Vec<String>,
    /// Sockets that are bound to an uplink.
    pub bound_sockets: BoundSockets,
    /// Packets with other programs' marks are captured, instead of left to those programs' rules.
    pub strict_marks: bool,
    /// Local TCP ports that policy names as services: their listeners answer natively whoever owns them.
    pub named_services: Vec<PortRange>,
    /// Local TCP ports that policy judges inbound: never native, so that their SYN-ACK meets the policy.
    pub judged_services: Vec<PortRange>,
}

impl CaptureOptions {
    /// The defaults of the configuration file, for the TUN `tun`.
    #[must_use]
    pub fn new(tun: impl Into<String>) -> Self {
        Self {
            tun: tun.into(),
            mtu: None,
            fail: Fail::Open,
            forwarded: Vec::new(),
            bound_sockets: BoundSockets::Report,
            strict_marks: false,
            named_services: Vec::new(),
            judged_services: Vec::new(),
        }
    }

    /// Interface name of the TUN that forwarded packets go to: its own, so that none is taken for a program's of this host.
    #[must_use]
    pub fn forwarded_tun(&self) -> String {
        let kept = self.tun.get(..LONGEST_INTERFACE - 1).unwrap_or(&self.tun);
        format!("{kept}f")
    }
}

/// Longest interface name of Linux (`IFNAMSIZ` less the final zero) in bytes.
const LONGEST_INTERFACE: usize = 15;

/// What happens to captured traffic once the TUN is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fail {
    /// It leaves as it did without Tidegate: our table is empty then, and lookups go on to the next rule.
    Open,
    /// It is refused: an unreachable default lies beneath the TUN's.
    Closed,
}

/// What happens to sockets that are bound to an uplink (SO_BINDTODEVICE), which no route can lead to the TUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BoundSockets {
    /// They leave natively; who watches them reports them.
    Report,
    /// The kernel refuses them with EACCES. It takes IPv4 for on-link then: hosts on the link are reached all the same.
    Prohibit,
    /// They leave natively; who watches them ends them.
    Destroy,
}
