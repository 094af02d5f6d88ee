//! A route, and a kernel setting: what the plan puts on the host besides rules.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

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
    /// Not by this table: the rules that follow decide.
    Throw,
}

/// One kernel setting below `/proc/sys`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Setting {
    /// Path below `/proc/sys`, e.g. `net/ipv4/conf/eth0/rp_filter`.
    pub path: String,
    /// Value, without the newline.
    pub value: String,
}

impl Setting {
    /// `rp_filter` of `interface` (or of `all`).
    pub(super) fn reverse_path_filter(interface: &str, value: u8) -> Self {
        Self {
            path: format!("net/ipv4/conf/{interface}/rp_filter"),
            value: value.to_string(),
        }
    }
}
