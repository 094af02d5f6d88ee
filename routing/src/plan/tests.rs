//! The plan against a model of the kernel: what DESIGN.md section 3.1 says, sentence by sentence, and what holds for any
//! present, wanted and half-done state.

mod design;
mod neighbours;
mod properties;

use std::net::IpAddr;

use ipnet::IpNet;

use super::model::{Kernel, MAIN, Outcome, Packet, Trace};
use super::{
    CaptureOptions, Change, FORWARDED_TABLE, Family, HostFacts, HostPlan, Listener, LocalNetwork,
    MARK, Mark, PortRange, Route, RouteKind, Rule, RuleAction, Selector, TABLE, Uplink, diff,
    invert, is_our_table, present, wanted,
};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The rules that every host has, both families.
fn kernel_rules() -> Vec<Rule> {
    Family::ALL
        .into_iter()
        .flat_map(|family| {
            [(0, 255), (32766, MAIN)].map(|(preference, table)| Rule {
                family,
                preference,
                selector: Selector::default(),
                action: RuleAction::Lookup(table),
                protocol: 2,
            })
        })
        .collect()
}

/// A rule of another program.
fn foreign(family: Family, preference: u32, selector: Selector, action: RuleAction) -> Rule {
    Rule {
        family,
        preference,
        selector,
        action,
        protocol: 0,
    }
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn uplink(device: &str, source: &str) -> Uplink {
    Uplink {
        device: device.into(),
        source: Some(ip(source)),
        gateway: None,
        mtu: 1500,
    }
}

/// A host with both families on `eth0`.
fn host() -> HostFacts {
    HostFacts {
        uplink_v4: Some(uplink("eth0", "192.0.2.7")),
        uplink_v6: Some(uplink("eth0", "2001:db8::7")),
        rules: kernel_rules(),
        reverse_path_filters: vec![("all".into(), 0), ("eth0".into(), 0)],
        ephemeral_ports: Some(PortRange {
            first: 32768,
            last: 60999,
        }),
        ..HostFacts::default()
    }
}

fn options() -> CaptureOptions {
    CaptureOptions::new("tide0")
}

/// The kernel of such a host before we come.
fn bare_kernel(facts: &HostFacts) -> Kernel {
    let device = |destination: &str, table, device: &str| Route {
        table,
        destination: net(destination),
        kind: RouteKind::Device {
            device: device.into(),
            gateway: None,
            source: None,
        },
        metric: 0,
        protocol: 2,
    };
    let mut routes = vec![
        device("127.0.0.0/8", 255, "lo"),
        device("192.0.2.7/32", 255, "lo"),
        device("::1/128", 255, "lo"),
        device("2001:db8::7/128", 255, "lo"),
        device("0.0.0.0/0", MAIN, "eth0"),
        device("::/0", MAIN, "eth0"),
        device("172.17.0.0/16", MAIN, "docker0"),
    ];
    routes.extend(facts.our_routes.iter().cloned());
    let mut kernel = Kernel::new(facts.rules.clone(), routes);
    kernel.settings = present(facts).settings;
    kernel
}

/// The kernel with the plan for `facts` applied.
fn planned_kernel(facts: &HostFacts, options: &CaptureOptions) -> Kernel {
    let mut kernel = bare_kernel(facts);
    for change in diff(&present(facts), &wanted(facts, options).expect("a plan")) {
        kernel.apply(&change);
    }
    kernel
}

/// The facts of a host whose kernel is `kernel` now.
fn facts_of(kernel: &Kernel, before: &HostFacts) -> HostFacts {
    HostFacts {
        rules: kernel.rules.clone(),
        our_routes: kernel
            .routes
            .iter()
            .filter(|route| is_our_table(route.table))
            .cloned()
            .collect(),
        ..before.clone()
    }
}

/// A TCP packet of an ordinary program of this host.
fn packet_to(destination: &str) -> Packet {
    Packet {
        mark: 0,
        input: "lo",
        bound: None,
        source: None,
        destination: ip(destination),
        ip_protocol: TCP,
        source_port: 40000,
        destination_port: 443,
    }
}

/// A destination of each family that captured traffic may go to.
const ANYWHERE: [&str; 2] = ["203.0.113.9", "2001:db8:9::9"];

fn to_tun() -> Outcome {
    Outcome::Device("tide0".into(), TABLE)
}

fn by_main() -> Outcome {
    Outcome::Device("eth0".into(), MAIN)
}
