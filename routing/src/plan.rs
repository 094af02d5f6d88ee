//! The host plan: wanted rules, routes and settings of the host, as data.
//!
//! Policy routing leads what programs of this host send into the TUN. Here is said, purely, *which* entries that takes:
//! [`wanted()`] plans them from what the host looks like, [`present`] finds those of ours that are there, [`diff()`] gives
//! the steps between the two in an order in which every step is safe, and [`invert`] undoes a step. `platform` reads the
//! facts, journals and applies the steps. [`overtaken`] names other programs' rules that came to stand ahead of ours, and
//! [`Guard`] says when to look again and when to give in. macOS has neither rules nor a second table: there [`split()`]
//! plans routes alone, and the rest is the same.
//!
//! ```
//! use tidegate_routing::plan::{self, CaptureOptions, Family, HostFacts, Rule, RuleAction, Selector, Uplink};
//!
//! let local = Rule { family: Family::V4, preference: 0, selector: Selector::default(), action: RuleAction::Lookup(255), protocol: 2 };
//! let uplink = Uplink { device: "eth0".into(), source: "192.0.2.7".parse().ok(), gateway: None, mtu: 1500 };
//! let host = HostFacts { uplink_v4: Some(uplink), rules: vec![local], ..HostFacts::default() };
//!
//! let wanted = plan::wanted(&host, &CaptureOptions::new("tide0"))?;
//! let steps = plan::diff(&plan::present(&host), &wanted);
//! let undo: Vec<_> = steps.iter().rev().map(plan::invert).collect();
//! assert_eq!(undo.len(), steps.len());
//! # Ok::<(), plan::PlanError>(())
//! ```

mod block;
mod diff;
mod error;
mod facts;
mod guard;
#[cfg(test)]
mod model;
mod route;
mod rule;
mod service;
mod split;
#[cfg(test)]
mod tests;
mod wanted;

use serde::{Deserialize, Serialize};

pub use self::block::{block_base, overtaken};
pub use self::diff::{diff, invert};
pub use self::error::PlanError;
pub use self::facts::{
    BoundSockets, CaptureOptions, Fail, HostFacts, Listener, LocalNetwork, Uplink,
};
pub use self::guard::{Checked, Guard, GuardAction, GuardLimits};
pub use self::route::{Route, RouteKind, Setting};
pub use self::rule::{Family, Mark, PortRange, Rule, RuleAction, Selector};
pub use self::service::{SERVICE_LIMIT, Service, Services, services};
pub use self::split::split;
pub use self::wanted::{native_ways, tun_mtu, uplink_devices, uplink_mtu, wanted};

/// First preference of our rules, unless another program's rules stand ahead of it (see [`block_base`]).
pub const FIRST_PREFERENCE: u32 = 5100;
/// Last preference of our rules: the `nop` that the exceptions go to.
pub const LAST_PREFERENCE: u32 = 5199;
/// Preferences that our rules occupy, from their base on.
pub const BLOCK: u32 = LAST_PREFERENCE - FIRST_PREFERENCE + 1;
/// Our routing protocol number (`rtm_protocol`, `FRA_PROTOCOL`): an entry is ours only by number *and* range or table.
pub const PROTOCOL: u8 = 219;
/// Our routing table.
pub const TABLE: u32 = 5100;
/// Our routing table for packets that this host forwards.
pub const FORWARDED_TABLE: u32 = 5101;
/// Our mark bit on our own sockets.
pub const MARK: Mark = Mark {
    value: 0x0200_0000,
    mask: 0x0200_0000,
};

impl Rule {
    /// Whether the rule is ours: our protocol number, and a preference that our block may take (1 to
    /// [`LAST_PREFERENCE`]).
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.protocol == PROTOCOL && (1..=LAST_PREFERENCE).contains(&self.preference)
    }
}

impl Route {
    /// Whether the route is ours: our protocol number, in a table of ours.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.protocol == PROTOCOL && is_our_table(self.table)
    }
}

/// Whether this is one of our routing tables.
#[must_use]
pub fn is_our_table(table: u32) -> bool {
    matches!(table, TABLE | FORWARDED_TABLE)
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

/// What of `facts` is ours: our rules (at whatever base), the routes of our table, and the settings that a plan may want
/// to change, with their present values.
#[must_use]
pub fn present(facts: &HostFacts) -> HostPlan {
    HostPlan {
        rules: facts
            .rules
            .iter()
            .filter(|rule| rule.is_ours())
            .cloned()
            .collect(),
        routes: facts
            .our_routes
            .iter()
            .filter(|route| route.is_ours())
            .cloned()
            .collect(),
        settings: facts
            .reverse_path_filters
            .iter()
            .map(|(interface, value)| Setting::reverse_path_filter(interface, *value))
            .collect(),
    }
}
