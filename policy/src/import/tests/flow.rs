//! Flows of a small world, in which rules made at random often meet.

use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::select;

use crate::destination::Country;
use crate::facts::{App, Direction, Fact, FlowName, NameSource, Protocol};
use crate::known_flow::KnownFlow;
use crate::name::Name;
use crate::policy::Policy;
use crate::verdict::Verdict;

pub(super) const PATHS: [&str; 8] = [
    "/usr/bin/curl",
    "/usr/bin/CURL",
    "/opt/app/bin/run",
    "/opt/app/run",
    "/opt/other",
    "/tmp/.mount_Ax12/AppRun",
    "/usr/bin/ssk",
    "/usr/bin/s\u{17f}k",
];
pub(super) const NAMES: [&str; 7] = [
    "example.com",
    "www.example.com",
    "a.b.example.com",
    "ads1.example.org",
    "example.org",
    "xexample.com",
    "printer",
];
pub(super) const ADDRESSES: [&str; 9] = [
    "192.0.2.7",
    "192.0.2.8",
    "198.51.100.1",
    "10.0.0.1",
    "127.0.0.1",
    "93.184.216.34",
    "2001:db8::7",
    "2606:4700::1",
    "fe80::1",
];
pub(super) const PORTS: [u16; 5] = [22, 53, 80, 443, 8080];

/// A flow that a program here opens.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) path: &'static str,
    pub(super) parents: Vec<&'static str>,
    pub(super) uid: u32,
    pub(super) address: IpAddr,
    pub(super) name: Option<&'static str>,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    pub(super) country: Fact<Country>,
}

impl Flow {
    pub(super) fn verdict(&self, policy: &Policy) -> Verdict {
        let app = App {
            pid: 1,
            user: Some(format!("user{}", self.uid)),
            parents: self.parents.iter().map(Into::into).collect(),
            ..App::new(self.path, self.uid)
        };
        let learned = |name: &str| FlowName {
            name: Name::parse(name).unwrap(),
            source: NameSource::Dns,
        };
        let flow = KnownFlow {
            apps: vec![app],
            names: Some(self.name.map(learned).into_iter().collect()),
            country: self.country,
            ..KnownFlow::new(Direction::Out, self.address, (self.protocol, self.port))
        };
        flow.ask(policy, |facts| policy.decide(facts).verdict)
    }

    /// The protocol's name where each address family has its own.
    pub(super) fn protocol_by_family(&self) -> String {
        let name = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Icmp => "icmp",
            Protocol::Other(132) => "sctp",
            Protocol::Other(_) => "other",
        };
        let six = if self.address.is_ipv6() { "6" } else { "" };
        format!("{name}{six}")
    }
}

pub(super) fn flow() -> impl Strategy<Value = Flow> {
    let protocol = prop_oneof![
        6 => Just(Protocol::Tcp),
        3 => Just(Protocol::Udp),
        1 => Just(Protocol::Icmp),
        1 => Just(Protocol::Other(132)),
    ];
    let country = select(vec![
        Fact::Unknown,
        Fact::Absent,
        Fact::Is(Country::parse("DE").unwrap()),
        Fact::Is(Country::parse("FR").unwrap()),
    ]);
    let program = (
        select(&PATHS[..]),
        prop::collection::vec(select(&PATHS[..]), 0..2),
        0..2_u32,
    );
    let end = (
        select(&ADDRESSES[..]),
        prop::option::of(select(&NAMES[..])),
        country,
    );
    (program, end, protocol, select(&PORTS[..])).prop_map(
        |((path, parents, uid), (address, name, country), protocol, port)| Flow {
            path,
            parents,
            uid,
            address: address.parse().unwrap(),
            name,
            port: if matches!(protocol, Protocol::Tcp | Protocol::Udp) {
                port
            } else {
                0
            },
            protocol,
            country,
        },
    )
}

pub(super) fn flows() -> impl Strategy<Value = Vec<Flow>> {
    prop::collection::vec(flow(), 1..60)
}
