//! A model of the kernel's choice of a route, for tests: rules (`fib_rules_lookup`), tables, and what both families do with
//! a socket bound to a device.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Change, Family, HostPlan, Mark, PortRange, Route, RouteKind, Rule, RuleAction, Selector,
    Setting,
};

pub(super) const MAIN: u32 = 254;
const LOCAL: u32 = super::block::LOCAL_TABLE;

/// Rules and routes as a kernel holds them.
#[derive(Clone, Debug, Default)]
pub(super) struct Kernel {
    pub(super) rules: Vec<Rule>,
    pub(super) routes: Vec<Route>,
    pub(super) settings: Vec<Setting>,
}

/// A packet on its way to be routed.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) mark: u32,
    /// `lo` for packets of this host.
    pub(super) input: &'static str,
    /// Device that the socket is bound to.
    pub(super) bound: Option<&'static str>,
    pub(super) source: Option<IpAddr>,
    pub(super) destination: IpAddr,
    pub(super) ip_protocol: u8,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
}

/// Where a packet goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Out of this device, by a route of this table.
    Device(String, u32),
    /// IPv4, bound to a device and refused by a route: the kernel takes the destination for on-link.
    OnLink(String),
    /// Refused by a rule.
    RefusedByRule(RuleAction),
    /// Refused by a route of this table.
    Unreachable(u32),
    /// No rule led to a route.
    NoRoute,
}

/// A packet's outcome, and the tables that were looked up without finding any route in them at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trace {
    pub(super) outcome: Outcome,
    pub(super) empty_tables: Vec<u32>,
}

impl Kernel {
    pub(super) fn new(rules: Vec<Rule>, routes: Vec<Route>) -> Self {
        let mut kernel = Self {
            rules: Vec::new(),
            routes,
            settings: Vec::new(),
        };
        for rule in rules {
            kernel.add_rule(rule);
        }
        kernel
    }

    /// Does a step, insisting on what the kernel insists on.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::AddRoute(route) => {
                let taken = self.routes.iter().any(|other| {
                    (other.table, other.destination, other.metric)
                        == (route.table, route.destination, route.metric)
                });
                assert!(!taken, "EEXIST: {route:?}");
                self.routes.push(route.clone());
            }
            Change::RemoveRoute(route) => {
                let index = self
                    .routes
                    .iter()
                    .position(|other| other == route)
                    .expect("ESRCH");
                self.routes.remove(index);
            }
            Change::AddRule(rule) => {
                assert!(
                    !matches!(rule.action, RuleAction::Goto(target) if target <= rule.preference),
                    "EINVAL"
                );
                self.add_rule(rule.clone());
            }
            Change::RemoveRule(rule) => {
                let index = self
                    .rules
                    .iter()
                    .position(|other| other == rule)
                    .expect("ENOENT");
                self.rules.remove(index);
            }
            Change::Set { path, from, to } => {
                let setting = self
                    .settings
                    .iter_mut()
                    .find(|setting| setting.path == *path)
                    .expect("ENOENT");
                assert_eq!(setting.value, *from);
                setting.value.clone_from(to);
            }
        }
    }

    /// After those of the same preference.
    fn add_rule(&mut self, rule: Rule) {
        let index = self
            .rules
            .partition_point(|other| other.preference <= rule.preference);
        self.rules.insert(index, rule);
    }

    /// As `ip rule add` without a preference does (`fib_default_rule_pref`).
    pub(super) fn add_rule_without_preference(&mut self, mut rule: Rule) {
        let second = self
            .rules
            .iter()
            .filter(|other| other.family == rule.family)
            .nth(1);
        rule.preference = second.map_or(0, |second| second.preference.saturating_sub(1));
        self.add_rule(rule);
    }

    /// The rules and routes of ours.
    pub(super) fn ours(&self) -> HostPlan {
        HostPlan {
            rules: self
                .rules
                .iter()
                .filter(|rule| rule.is_ours())
                .cloned()
                .collect(),
            routes: self
                .routes
                .iter()
                .filter(|route| route.is_ours())
                .cloned()
                .collect(),
            settings: self.settings.clone(),
        }
    }

    pub(super) fn route(&self, packet: &Packet) -> Trace {
        let family = Family::of(packet.destination);
        let rules: Vec<&Rule> = self
            .rules
            .iter()
            .filter(|rule| rule.family == family)
            .collect();
        let mut empty_tables = Vec::new();
        let mut index = 0;
        let outcome = loop {
            let Some(rule) = rules.get(index) else {
                break Outcome::NoRoute;
            };
            index += 1;
            if !matches(&rule.selector, packet) {
                continue;
            }
            match rule.action {
                RuleAction::Nop => {}
                RuleAction::Goto(target) => {
                    if let Some(found) = rules.iter().position(|rule| rule.preference == target) {
                        index = found;
                    }
                }
                RuleAction::Lookup(table) => {
                    if !self
                        .routes
                        .iter()
                        .any(|route| route.table == table && family_of(route) == family)
                    {
                        empty_tables.push(table);
                    }
                    if let Some(outcome) = self.look_up(table, packet) {
                        break outcome;
                    }
                }
                RuleAction::Prohibit | RuleAction::Unreachable | RuleAction::Blackhole => {
                    break Outcome::RefusedByRule(rule.action);
                }
            }
        };
        Trace {
            outcome,
            empty_tables,
        }
    }

    fn look_up(&self, table: u32, packet: &Packet) -> Option<Outcome> {
        let mut candidates: Vec<&Route> = self
            .routes
            .iter()
            .filter(|route| route.table == table && route.destination.contains(&packet.destination))
            .collect();
        candidates.sort_by_key(|route| {
            (
                std::cmp::Reverse(route.destination.prefix_len()),
                route.metric,
            )
        });
        candidates
            .into_iter()
            .find_map(|route| match (&route.kind, packet.bound) {
                (RouteKind::Device { device, .. }, Some(bound))
                    if device != bound && table != LOCAL =>
                {
                    None
                }
                (RouteKind::Device { device, .. }, _) => {
                    Some(Outcome::Device(device.clone(), table))
                }
                // An IPv4 error route answers whatever the socket is bound to, and then on-link is assumed; the IPv6 one
                // belongs to `lo`, so for a bound socket it does not match.
                (RouteKind::Unreachable, Some(bound)) => packet
                    .destination
                    .is_ipv4()
                    .then(|| Outcome::OnLink(bound.to_owned())),
                (RouteKind::Unreachable, None) => Some(Outcome::Unreachable(table)),
                (RouteKind::Throw, _) => Some(Outcome::NoRoute),
            })
            .filter(|outcome| *outcome != Outcome::NoRoute)
    }
}

fn family_of(route: &Route) -> Family {
    match route.destination {
        IpNet::V4(_) => Family::V4,
        IpNet::V6(_) => Family::V6,
    }
}

fn matches(selector: &Selector, packet: &Packet) -> bool {
    let mark = |mark: Mark| (packet.mark ^ mark.value) & mark.mask == 0;
    let port = |ports: PortRange, port: u16| ports.contains(port);
    let all = selector.mark.is_none_or(mark)
        && selector
            .input
            .as_deref()
            .is_none_or(|input| input == packet.input)
        && selector
            .output
            .as_deref()
            .is_none_or(|output| packet.bound == Some(output))
        && selector
            .from
            .is_none_or(|from| packet.source.is_some_and(|source| from.contains(&source)))
        && selector
            .to
            .is_none_or(|to| to.contains(&packet.destination))
        && selector
            .ip_protocol
            .is_none_or(|protocol| protocol == packet.ip_protocol)
        && selector
            .source_ports
            .is_none_or(|ports| port(ports, packet.source_port))
        && selector
            .destination_ports
            .is_none_or(|ports| port(ports, packet.destination_port));
    all != selector.not
}
