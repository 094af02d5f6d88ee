//! Why no plan can be made: what on the host, or in the configuration, is in the way, and what next.

use super::{Family, MARK, Route, Rule};

/// Why no plan can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The host: neither family has a way out.
    #[error(
        "no default route in either family: there is no uplink to capture for; connect the host and start again"
    )]
    NoUplink,
    /// The host: the kernel showed no rule at all.
    #[error(
        "the kernel shows no routing rules: policy routing (CONFIG_IP_MULTIPLE_TABLES) is needed for host capture"
    )]
    NoRules,
    /// The host: another program uses our mark bit.
    #[error(
        "the rule `{rule}` of another program uses the mark bit {:#x}, which Tidegate marks its own sockets with; \
         remove that rule or stop its program",
        MARK.mask
    )]
    MarkClash {
        /// Their rule.
        rule: Box<Rule>,
    },
    /// The host: another program has routes in our table.
    #[error("routing table {} holds a route to {} by another program; move that route to another table", route.table, route.destination)]
    TableRoute {
        /// Their route.
        route: Box<Route>,
    },
    /// The host: another program looks up our table.
    #[error(
        "the rule `{rule}` of another program looks up a routing table that is Tidegate's; remove that rule"
    )]
    TableRule {
        /// Their rule.
        rule: Box<Rule>,
    },
    /// The host: our rules cannot precede another program's.
    #[error(
        "the rule `{rule}` of another program leaves no room for Tidegate's rules ahead of it; give it a preference of 101 or more"
    )]
    NoRoom {
        /// Their rule.
        rule: Box<Rule>,
    },
    /// The host: loopback would be captured.
    #[error(
        "no rule ahead of preference {base} looks up the local addresses ({family:?}), so loopback would be captured; restore `ip rule add preference 0 lookup local`"
    )]
    LocalBehind {
        /// Whose rules.
        family: Family,
        /// Where ours would begin.
        base: u32,
    },
    /// The configuration: an interface that cannot be captured.
    #[error(
        "capture.forwarded names `{interface}`, which would lead Tidegate's own traffic round in circles; name the interface that other hosts' packets come in by"
    )]
    Forwarded {
        /// The interface.
        interface: String,
    },
    /// The configuration: an interface that cannot be captured, for it is the way out.
    #[error(
        "capture.forwarded names `{interface}`, which this host's own packets leave by; name the interface that other hosts' packets come in by"
    )]
    ForwardedUplink {
        /// The interface.
        interface: String,
    },
    /// The configuration: the TUN is the way out.
    #[error(
        "the default route leads out of `{device}`, which is the name of Tidegate's TUN; choose another name in capture.tun"
    )]
    UplinkIsTun {
        /// The interface.
        device: String,
    },
}
