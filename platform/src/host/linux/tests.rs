//! The host's network in a network namespace per test: what several tests need.

mod apply;
mod facts;
mod journal;
mod plan;

use std::path::PathBuf;

use tidegate_routing::plan::{
    Change, FIRST_PREFERENCE, Family, LAST_PREFERENCE, MARK, Mark, PROTOCOL, PortRange, Route,
    RouteKind, Rule, RuleAction, Selector, TABLE,
};

use super::HostFacts;
use crate::sys::test_network::{add_address, ip};

/// A journal path of its own for each test; its folder goes with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("tidegate-host-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `eth0` with both families and a gateway, its far end `far0` in the same namespace.
fn uplink() {
    ip("link add eth0 type veth peer name far0");
    ip("link set eth0 up");
    ip("link set far0 up");
    add_address("192.0.2.7/24", "eth0");
    add_address("2001:db8::7/64", "eth0");
    ip("route add default via 192.0.2.1 dev eth0");
    ip("route add default via 2001:db8::1 dev eth0");
}

fn rule(family: Family, preference: u32, selector: Selector, action: RuleAction) -> Rule {
    Rule {
        family,
        preference,
        selector,
        action,
        protocol: PROTOCOL,
    }
}

fn route(destination: &str, kind: RouteKind, metric: u32) -> Route {
    Route {
        table: TABLE,
        destination: destination.parse().unwrap(),
        kind,
        metric,
        protocol: PROTOCOL,
    }
}

fn through(device: &str) -> RouteKind {
    RouteKind::Device {
        device: device.to_owned(),
        gateway: None,
        source: None,
    }
}

/// A setting, routes of both families, rules of every kind.
fn changes() -> Vec<Change> {
    let path = "net/ipv4/conf/eth0/rp_filter".to_owned();
    let mut changes = vec![Change::Set {
        path,
        from: "0".to_owned(),
        to: "2".to_owned(),
    }];
    for destination in ["0.0.0.0/0", "::/0"] {
        changes.push(Change::AddRoute(route(
            destination,
            RouteKind::Unreachable,
            200,
        )));
        changes.push(Change::AddRoute(route(destination, through("far0"), 100)));
    }
    changes.extend(
        rules(Family::V4, "192.0.2.0/24")
            .into_iter()
            .map(Change::AddRule),
    );
    changes.extend(
        rules(Family::V6, "2001:db8::/32")
            .into_iter()
            .map(Change::AddRule),
    );
    changes
}

fn rules(family: Family, network: &str) -> Vec<Rule> {
    let network = network.parse().ok();
    let ports = Some(PortRange {
        first: 22,
        last: 23,
    });
    let nothing = Selector::default;
    let past = RuleAction::Goto(LAST_PREFERENCE);
    let input = Some("lo".to_owned());
    let rules = [
        (LAST_PREFERENCE, nothing(), RuleAction::Nop),
        (
            FIRST_PREFERENCE,
            Selector {
                mark: Some(MARK),
                ..nothing()
            },
            past,
        ),
        (
            FIRST_PREFERENCE + 1,
            Selector {
                output: Some("eth0".to_owned()),
                ..nothing()
            },
            RuleAction::Prohibit,
        ),
        (
            FIRST_PREFERENCE + 2,
            Selector {
                ip_protocol: Some(6),
                source_ports: ports,
                ..nothing()
            },
            past,
        ),
        (
            FIRST_PREFERENCE + 3,
            Selector {
                input,
                to: network,
                ip_protocol: Some(17),
                destination_ports: ports,
                not: true,
                ..nothing()
            },
            RuleAction::Lookup(TABLE),
        ),
        (
            FIRST_PREFERENCE + 4,
            Selector {
                from: network,
                mark: Some(Mark {
                    value: 0,
                    mask: 0xffff,
                }),
                ..nothing()
            },
            RuleAction::Unreachable,
        ),
    ];
    rules
        .into_iter()
        .map(|(preference, selector, action)| rule(family, preference, selector, action))
        .collect()
}

fn ours(facts: &HostFacts) -> (Vec<Rule>, Vec<Route>) {
    let mut rules: Vec<_> = facts
        .rules
        .iter()
        .filter(|rule| rule.protocol == PROTOCOL)
        .cloned()
        .collect();
    let mut routes = facts.our_routes.clone();
    rules.sort();
    routes.sort();
    (rules, routes)
}

fn wanted(changes: &[Change]) -> (Vec<Rule>, Vec<Route>) {
    let mut rules = Vec::new();
    let mut routes = Vec::new();
    for change in changes {
        match change {
            Change::AddRule(rule) => rules.push(rule.clone()),
            Change::AddRoute(route) => routes.push(route.clone()),
            Change::RemoveRoute(_) | Change::RemoveRule(_) | Change::Set { .. } => {}
        }
    }
    rules.sort();
    routes.sort();
    (rules, routes)
}
