//! The host plan: wanted rules, routes and settings of the host, as data.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// First preference of our rules.
pub const FIRST_PREFERENCE: u32 = 5100;
/// Last preference of our rules: the `nop` that the exceptions go to.
pub const LAST_PREFERENCE: u32 = 5199;
/// Our routing protocol number (`rtm_protocol`, `FRA_PROTOCOL`): an entry is ours only by number *and* range or table.
pub const PROTOCOL: u8 = 219;
/// Our routing table.
pub const TABLE: u32 = 5100;
/// Our mark bit on our own sockets.
pub const MARK: Mark = Mark { value: 0x0200_0000, mask: 0x0200_0000 };

/// A socket mark and the bits of it that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// Bits that are set.
    pub value: u32,
    /// Bits that count.
    pub mask: u32,
}

/// Ports from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortRange {
    /// Lowest port.
    pub first: u16,
    /// Highest port.
    pub last: u16,
}

/// Address family of a rule or route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// One policy routing rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rule {
    /// Address family.
    pub family: Family,
    /// Preference (`FRA_PRIORITY`): lower is tried first.
    pub preference: u32,
    /// Which packets.
    pub selector: Selector,
    /// What happens to them.
    pub action: RuleAction,
    /// Routing protocol number (`FRA_PROTOCOL`): who made the rule; 0 is unspecified.
    pub protocol: u8,
}

/// Which packets a rule takes: all of these conditions hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Selector {
    /// The whole selector is inverted (`ip rule add not ...`).
    pub not: bool,
    /// Packet mark.
    pub mark: Option<Mark>,
    /// Input interface; `lo` means: made on this host.
    pub input: Option<String>,
    /// Output interface that the socket is bound to.
    pub output: Option<String>,
    /// Source network.
    pub from: Option<IpNet>,
    /// Destination network.
    pub to: Option<IpNet>,
    /// IP protocol number.
    pub ip_protocol: Option<u8>,
    /// Source ports.
    pub source_ports: Option<PortRange>,
    /// Destination ports.
    pub destination_ports: Option<PortRange>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleAction {
    /// Look in this table.
    Lookup(u32),
    /// Go on at the rule with this preference.
    Goto(u32),
    /// Nothing: the target of a `goto`.
    Nop,
    /// Refuse, EACCES and ICMP administratively prohibited.
    Prohibit,
    /// Refuse, EHOSTUNREACH and ICMP host unreachable.
    Unreachable,
    /// Silence.
    Blackhole,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// Routing table.
    pub table: u32,
    /// Destination network; its family is the route's.
    pub destination: IpNet,
    /// Where to.
    pub kind: RouteKind,
    /// Metric (`RTA_PRIORITY`): lower wins.
    pub metric: u32,
    /// Routing protocol number (`rtm_protocol`): who made the route.
    pub protocol: u8,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// Out of this device.
    Device {
        /// Name of the device.
        device: String,
        /// Next hop.
        gateway: Option<IpAddr>,
        /// Preferred source (`RTA_PREFSRC`).
        source: Option<IpAddr>,
    },
    /// Refused.
    Unreachable,
}

/// One kernel setting below `/proc/sys`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Setting {
    /// Path below `/proc/sys`, e.g. `net/ipv4/conf/eth0/rp_filter`.
    pub path: String,
    /// Value, without the newline.
    pub value: String,
}

/// Wanted (or present) rules, routes and settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPlan {
    /// Policy routing rules.
    pub rules: Vec<Rule>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Kernel settings.
    pub settings: Vec<Setting>,
}

/// One step from what is there to what is wanted. Each can be undone from its own content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Add a route.
    AddRoute(Route),
    /// Remove a route.
    RemoveRoute(Route),
    /// Add a rule.
    AddRule(Rule),
    /// Remove a rule.
    RemoveRule(Rule),
    /// Write a setting.
    Set {
        /// Path below `/proc/sys`.
        path: String,
        /// Value found there.
        from: String,
        /// Value wanted.
        to: String,
    },
}

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
    /// Every route of [`TABLE`], and whatever carries [`PROTOCOL`].
    pub our_routes: Vec<Route>,
    /// `rp_filter` of the uplinks and of `all`, by interface name.
    pub reverse_path_filters: Vec<(String, u8)>,
    /// `ip_local_port_range`.
    pub ephemeral_ports: Option<PortRange>,
    /// Listening TCP sockets.
    pub listeners: Vec<Listener>,
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
