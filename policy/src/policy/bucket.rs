//! The rules that share an app key and a destination key.

use std::collections::BTreeMap;

use super::nested::{Nested, aligned_blocks};
use crate::facts::Protocol;
use crate::port::Port;

/// From this many rules on a bucket is indexed by port.
const MANY: usize = 12;

/// Ascending numbers of the rules that share an app key and a destination key.
#[derive(Debug)]
pub(super) enum Bucket {
    /// To be tried one by one.
    Few(Box<[u32]>),
    /// Found by protocol and port.
    Many(ByPort),
}

/// Rules found by protocol and port.
#[derive(Debug)]
pub(super) struct ByPort {
    /// Rules without a port condition.
    any: Box<[u32]>,
    /// Stretches of [`service_number`]s that rules name.
    blocks: Nested<u32>,
    /// The rules of each block.
    lists: Box<[Box<[u32]>]>,
}

impl Bucket {
    /// From ascending rule numbers; `ports` gives the port condition of a rule.
    pub(super) fn new<'r>(numbers: Vec<u32>, ports: impl Fn(u32) -> Option<&'r [Port]>) -> Self {
        if numbers.len() < MANY {
            return Self::Few(numbers.into());
        }
        let mut any = Vec::new();
        let mut lists: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
        for number in numbers {
            let Some(ports) = ports(number) else {
                any.push(number);
                continue;
            };
            for block in ports.iter().flat_map(blocks) {
                let list = lists.entry(block).or_default();
                if list.last() != Some(&number) {
                    list.push(number);
                }
            }
        }
        let spans = (0..)
            .zip(lists.keys())
            .map(|(key, (first, last))| (*first, *last, key))
            .collect();
        let lists = lists.into_values().map(Into::into).collect();
        Self::Many(ByPort {
            any: any.into(),
            blocks: Nested::new(spans),
            lists,
        })
    }

    /// Calls `visit` with each ascending list in which a rule for this service may stand.
    pub(super) fn each_list<'b>(
        &'b self,
        protocol: Protocol,
        port: u16,
        visit: &mut impl FnMut(&'b [u32]),
    ) {
        match self {
            Self::Few(numbers) => visit(numbers),
            Self::Many(by_port) => {
                visit(&by_port.any);
                for key in by_port.blocks.containing(service_number(protocol, port)) {
                    if let Some(list) = usize::try_from(key)
                        .ok()
                        .and_then(|key| by_port.lists.get(key))
                    {
                        visit(list);
                    }
                }
            }
        }
    }
}

/// Protocol and port as one number. Ports of ICMP and of other protocols count as 0: they mean nothing.
fn service_number(protocol: Protocol, port: u16) -> u32 {
    match protocol {
        Protocol::Tcp => u32::from(port),
        Protocol::Udp => 1 << 16 | u32::from(port),
        Protocol::Icmp => 2 << 16,
        Protocol::Other(number) => (3 + u32::from(number)) << 16,
    }
}

/// The aligned stretches of service numbers that a port condition stands for.
fn blocks(port: &Port) -> Vec<(u32, u32)> {
    let of = |protocol, first, last| {
        let base = service_number(protocol, 0);
        aligned_blocks(first, last).map(move |(first, last)| (base + first, base + last))
    };
    match *port {
        Port::Tcp(first, last) => of(Protocol::Tcp, first, last).collect(),
        Port::Udp(first, last) => of(Protocol::Udp, first, last).collect(),
        Port::TcpOrUdp(first, last) => of(Protocol::Tcp, first, last)
            .chain(of(Protocol::Udp, first, last))
            .collect(),
        Port::Icmp => of(Protocol::Icmp, 0, 0).collect(),
        Port::Other(number) => of(Protocol::Other(number), 0, 0).collect(),
    }
}
