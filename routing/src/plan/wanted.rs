//! The rules, routes and settings that host capture takes (DESIGN.md section 3.1), planned from the host's facts.
//!
//! Every exception is a `goto` to the `nop` that ends our block, never a lookup of `main`: what leaves by it meets the
//! rules of whoever comes after us, so an active VPN still carries our own egress. The table of local addresses precedes
//! our block, and capture asks for packets made on this host (`iif lo`): so nothing that comes *out* of the TUN, an
//! answer to a program, is captured again. What is forwarded for others is captured by the interface it comes in by, into a
//! TUN and by a table of its own; between the networks on this host's own links it is not, for those who set them apart
//! (container networks) did so by the interfaces that a packet passes, and our sockets would pass them all
//! (`gateway/docs/decisions/0004-forwarded-device.md`).

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::block::NOP;
use super::{
    BoundSockets, CaptureOptions, FORWARDED_TABLE, Fail, Family, HostFacts, HostPlan, MARK, Mark,
    PROTOCOL, PlanError, PortRange, Route, RouteKind, Rule, RuleAction, Selector, Setting, TABLE,
    Uplink, block_base, is_our_table, services,
};

// Preferences of our rules, counted from the base of the block. Rules that share one differ in their selectors.
const OWN_MARK: u32 = 0;
const FOREIGN_MARKS: u32 = 1;
const STAYS_OUT: u32 = 10;
const BOUND: u32 = 20;
const SERVICES: u32 = 30;
const ORIGINATED: u32 = 40;
const FORWARDED: u32 = 41;

/// Metric of the default via the TUN. IPv6 has no metric 0: asked for it, the kernel takes 1024.
const TUN_METRIC: u32 = 100;
/// Metric of the unreachable default beneath it.
const UNREACHABLE_METRIC: u32 = 10_000;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Most networks of one family that forwarded packets reach natively; a host with more captures what goes to the others.
const MOST_LOCAL_NETWORKS: usize = 256;
/// Smallest MTU of IPv6 (RFC 8200 section 5).
const IPV6_MINIMUM_MTU: u32 = 1280;

/// Multicast and limited broadcast.
pub(super) const STAYS_OUT_V4: [IpNet; 2] = [
    v4_net(Ipv4Addr::new(224, 0, 0, 0), 4),
    v4_net(Ipv4Addr::BROADCAST, 32),
];
/// Multicast and link-local: neighbour discovery.
pub(super) const STAYS_OUT_V6: [IpNet; 2] = [
    v6_net(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
    v6_net(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
];

/// What host capture takes on this host. Our own entries among the facts are not obstacles; they decide only where the
/// block of rules stands ([`block_base`]).
///
/// A family of which the facts hold no rule is one that the kernel lacks: nothing is planned for it. One without an uplink is
/// refused until it has one again; so is a host without any, whose link is down for now.
///
/// # Errors
///
/// A [`PlanError`] names what on the host, or in the options, is in the way.
pub fn wanted(facts: &HostFacts, options: &CaptureOptions) -> Result<HostPlan, PlanError> {
    refuse_clashes(facts, options)?;
    let base = block_base(facts, options)?;
    let mut plan = HostPlan {
        settings: settings(facts, options),
        ..HostPlan::default()
    };
    for family in Family::ALL {
        if facts.rules.iter().any(|rule| rule.family == family) {
            plan.rules.extend(rules(family, base, facts, options));
            plan.routes.extend(routes(family, facts, options));
        }
    }
    Ok(plan)
}

/// The smaller MTU of the uplinks in bytes; `None` while there is no uplink.
#[must_use]
pub fn uplink_mtu(facts: &HostFacts) -> Option<u32> {
    uplinks(facts).map(|uplink| uplink.mtu).min()
}

/// The rules of a plan by which packets leave natively on purpose, whoever sent them: what stays out, and the services that
/// answer natively. What leaves an uplink by none of these, and without our mark, went round the capture: sockets bound to
/// a device and other programs' marks are let go too, but to be reported.
#[must_use]
pub fn native_ways(plan: &HostPlan) -> Vec<Rule> {
    let on_purpose = |rule: &&Rule| {
        matches!(rule.action, RuleAction::Goto(_))
            && rule.selector.mark.is_none()
            && rule.selector.output.is_none()
    };
    plan.rules.iter().filter(on_purpose).cloned().collect()
}

/// The MTU of the TUN in bytes: the one asked for, or the smaller one of the uplinks; never below what IPv6 needs.
#[must_use]
pub fn tun_mtu(facts: &HostFacts, options: &CaptureOptions) -> u32 {
    options
        .mtu
        .or(uplink_mtu(facts))
        .unwrap_or(IPV6_MINIMUM_MTU)
        .max(IPV6_MINIMUM_MTU)
}

fn refuse_clashes(facts: &HostFacts, options: &CaptureOptions) -> Result<(), PlanError> {
    if facts.rules.is_empty() {
        return Err(PlanError::NoRules);
    }
    let forwarded_tun = options.forwarded_tun();
    let is_tun = |name: &String| *name == options.tun || *name == forwarded_tun;
    if let Some(uplink) = uplinks(facts).find(|uplink| is_tun(&uplink.device)) {
        return Err(PlanError::UplinkIsTun {
            device: uplink.device.clone(),
        });
    }
    if let Some(interface) = options
        .forwarded
        .iter()
        .find(|name| is_tun(name) || *name == "lo")
    {
        return Err(PlanError::Forwarded {
            interface: interface.clone(),
        });
    }
    if let Some(uplink) = uplinks(facts).find(|uplink| options.forwarded.contains(&uplink.device)) {
        return Err(PlanError::ForwardedUplink {
            interface: uplink.device.clone(),
        });
    }
    if let Some(route) = facts
        .our_routes
        .iter()
        .find(|route| is_our_table(route.table) && !route.is_ours())
    {
        return Err(PlanError::TableRoute {
            route: Box::new(route.clone()),
        });
    }
    for rule in facts.rules.iter().filter(|rule| !rule.is_ours()) {
        if matches!(rule.action, RuleAction::Lookup(table) if is_our_table(table)) {
            return Err(PlanError::TableRule {
                rule: Box::new(rule.clone()),
            });
        }
        if rule.selector.mark.is_some_and(claims_our_bit) {
            return Err(PlanError::MarkClash {
                rule: Box::new(rule.clone()),
            });
        }
    }
    Ok(())
}

/// Whether another program's mark makes our bit part of its own. One that compares the whole mark with a value that lacks
/// our bit does not (`not fwmark 0xca6c` of wg-quick): it takes our packets for anyone's, as it should.
fn claims_our_bit(mark: Mark) -> bool {
    mark.mask & MARK.mask != 0 && (mark.mask != u32::MAX || mark.value & MARK.value != 0)
}

/// The rules of one family, by preference.
fn rules(family: Family, base: u32, facts: &HostFacts, options: &CaptureOptions) -> Vec<Rule> {
    let out = RuleAction::Goto(base + NOP);
    let mut rules = Vec::new();
    let mut add = |offset: u32, selector: Selector, action: RuleAction| {
        rules.push(Rule {
            family,
            preference: base + offset,
            selector,
            action,
            protocol: PROTOCOL,
        });
    };
    add(
        OWN_MARK,
        Selector {
            mark: Some(MARK),
            ..Selector::default()
        },
        out,
    );
    if !options.strict_marks {
        let unmarked = Mark {
            value: 0,
            mask: u32::MAX,
        };
        add(
            FOREIGN_MARKS,
            Selector {
                not: true,
                mark: Some(unmarked),
                ..Selector::default()
            },
            out,
        );
    }
    for selector in stays_out(family) {
        add(STAYS_OUT, selector, out);
    }
    let bound = match options.bound_sockets {
        BoundSockets::Report | BoundSockets::Destroy => out,
        BoundSockets::Prohibit => RuleAction::Prohibit,
    };
    for device in uplink_devices(facts) {
        add(
            BOUND,
            Selector {
                output: Some(device),
                ..Selector::default()
            },
            bound,
        );
    }
    for service in services(facts, options)
        .native
        .into_iter()
        .filter(|service| service.family == family)
    {
        let replies = Selector {
            from: service.address.map(IpNet::from),
            ip_protocol: Some(TCP),
            source_ports: Some(service.ports),
            ..input("lo")
        };
        add(SERVICES, replies, out);
    }
    add(ORIGINATED, input("lo"), RuleAction::Lookup(TABLE));
    let mut forwarded: Vec<&String> = options.forwarded.iter().collect();
    forwarded.sort();
    forwarded.dedup();
    for interface in forwarded {
        add(
            FORWARDED,
            input(interface),
            RuleAction::Lookup(FORWARDED_TABLE),
        );
    }
    add(NOP, Selector::default(), RuleAction::Nop);
    rules
}

/// Destinations and protocols that are never captured.
fn stays_out(family: Family) -> Vec<Selector> {
    let (networks, client, server) = match family {
        Family::V4 => (STAYS_OUT_V4, 68, 67),
        Family::V6 => (STAYS_OUT_V6, 546, 547),
    };
    let dhcp = Selector {
        ip_protocol: Some(UDP),
        source_ports: Some(PortRange {
            first: client,
            last: client,
        }),
        destination_ports: Some(PortRange {
            first: server,
            last: server,
        }),
        ..Selector::default()
    };
    let to = |network| Selector {
        to: Some(network),
        ..Selector::default()
    };
    networks.into_iter().map(to).chain([dhcp]).collect()
}

/// The routes of one family in our tables.
fn routes(family: Family, facts: &HostFacts, options: &CaptureOptions) -> Vec<Route> {
    let uplink = match family {
        Family::V4 => &facts.uplink_v4,
        Family::V6 => &facts.uplink_v6,
    };
    // The unnumbered TUN lends no address. For IPv6 the kernel then selects by destination among all of the host's.
    let source = uplink
        .as_ref()
        .and_then(|uplink| uplink.source)
        .filter(|source| family == Family::V4 && source.is_ipv4());
    let device = |device: String, source| {
        uplink.as_ref().map(|_| RouteKind::Device {
            device,
            gateway: None,
            source,
        })
    };
    let originated = device(options.tun.clone(), source);
    let mut routes = defaults(family, TABLE, originated, options.fail);
    if !options.forwarded.is_empty() {
        // Forwarded packets bring their source.
        let forwarded = device(options.forwarded_tun(), None);
        routes.extend(local_networks(family, facts, options));
        routes.extend(defaults(family, FORWARDED_TABLE, forwarded, options.fail));
    }
    routes
}

/// The default routes of a table: into the TUN, if the family has a way out, and what lies beneath.
fn defaults(family: Family, table: u32, via_tun: Option<RouteKind>, fail: Fail) -> Vec<Route> {
    let destination = match family {
        Family::V4 => v4_net(Ipv4Addr::UNSPECIFIED, 0),
        Family::V6 => v6_net(Ipv6Addr::UNSPECIFIED, 0),
    };
    let route = |kind, metric| Route {
        table,
        destination,
        kind,
        metric,
        protocol: PROTOCOL,
    };
    let beneath = (via_tun.is_none() || fail == Fail::Closed)
        .then(|| route(RouteKind::Unreachable, UNREACHABLE_METRIC));
    let via_tun = via_tun.map(|kind| route(kind, TUN_METRIC));
    via_tun.into_iter().chain(beneath).collect()
}

/// Networks of this host's own links, the uplinks' excepted: what is forwarded there is left to the host's other rules.
fn local_networks(family: Family, facts: &HostFacts, options: &CaptureOptions) -> Vec<Route> {
    let not_local = [
        uplink_devices(facts),
        vec![options.tun.clone(), options.forwarded_tun()],
    ]
    .concat();
    let mut networks: Vec<IpNet> = facts
        .local_networks
        .iter()
        .filter(|local| !not_local.contains(&local.device))
        .map(|local| local.network.trunc())
        .filter(|network| Family::of(network.addr()) == family && network.prefix_len() > 0)
        .collect();
    networks.sort();
    networks.dedup();
    networks.truncate(MOST_LOCAL_NETWORKS);
    networks
        .into_iter()
        .map(|destination| Route {
            table: FORWARDED_TABLE,
            destination,
            kind: RouteKind::Throw,
            metric: TUN_METRIC,
            protocol: PROTOCOL,
        })
        .collect()
}

/// Reverse path filters to loosen. A strict one asks by which way this host would answer: by the TUN, so it would drop
/// every reply to our own sockets, whichever interface it comes in by: an uplink, a VPN's, one of a second network. The
/// kernel takes the larger of the interface's value and that of `all`.
fn settings(facts: &HostFacts, options: &CaptureOptions) -> Vec<Setting> {
    let of_all = facts
        .reverse_path_filters
        .iter()
        .find(|(name, _)| name == "all")
        .map_or(0, |(_, value)| *value);
    let mut strict: Vec<&String> = facts
        .reverse_path_filters
        .iter()
        .filter(|(name, value)| {
            !["all", "default", "lo", options.tun.as_str()].contains(&name.as_str())
                && (*value).max(of_all) == 1
        })
        .map(|(name, _)| name)
        .collect();
    strict.sort();
    strict.dedup();
    strict
        .into_iter()
        .map(|interface| Setting::reverse_path_filter(interface, 2))
        .collect()
}

fn uplinks(facts: &HostFacts) -> impl Iterator<Item = &Uplink> {
    facts.uplink_v4.iter().chain(&facts.uplink_v6)
}

/// Names of the devices that the uplinks are.
#[must_use]
pub fn uplink_devices(facts: &HostFacts) -> Vec<String> {
    let mut devices: Vec<String> = uplinks(facts).map(|uplink| uplink.device.clone()).collect();
    devices.sort();
    devices.dedup();
    devices
}

fn input(interface: &str) -> Selector {
    Selector {
        input: Some(interface.to_owned()),
        ..Selector::default()
    }
}

const fn v4_net(address: Ipv4Addr, length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(address, length))
}

const fn v6_net(address: Ipv6Addr, length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(address, length))
}
