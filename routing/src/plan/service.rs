//! Which services of this host answer their clients natively, past the TUN.
//!
//! A reply of a TCP listener looks like any packet of this host and would be captured; a rule by local port lets it out.
//! It is safe only where no ordinary user's program can *connect out* from that port: so for listeners of root, or named
//! by policy, on ports outside the ephemeral range. A listener at one address frees that address only, and one that
//! listens on loopback needs no rule: the table of local addresses precedes ours.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{CaptureOptions, Family, HostFacts, Listener, PortRange};

/// Port ranges of services a family may have as rules of their own. Each costs a comparison per routing decision; beyond it
/// a service's replies go through the TUN, are known by their SYN-ACK, judged and re-emitted: right, but slower.
pub const SERVICE_LIMIT: usize = 64;

/// The kernel's default of `ip_local_port_range`, for a host that does not tell.
const DEFAULT_EPHEMERAL: PortRange = PortRange {
    first: 32768,
    last: 60999,
};

/// Local TCP ports whose replies leave natively.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    /// Address family.
    pub family: Family,
    /// The address listened on; `None` for all.
    pub address: Option<IpAddr>,
    /// Ports, adjoining ones merged.
    pub ports: PortRange,
}

/// The services of this host, as far as they may answer natively.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// Those with a rule of their own: at most [`SERVICE_LIMIT`] a family, those at all addresses first, then by port.
    pub native: Vec<Service>,
    /// Those beyond the limit; they answer through the TUN.
    pub left_out: Vec<Service>,
}

/// The services of this host that may answer natively.
#[must_use]
pub fn services(facts: &HostFacts, options: &CaptureOptions) -> Services {
    let mut ports: BTreeMap<(Family, Option<IpAddr>), BTreeSet<u16>> = BTreeMap::new();
    for listener in facts
        .listeners
        .iter()
        .filter(|listener| may_answer_natively(listener, facts, options))
    {
        for place in places(listener, facts, options) {
            ports.entry(place).or_default().insert(listener.port);
        }
    }
    let mut services = Services::default();
    for family in Family::ALL {
        let everywhere = ports.get(&(family, None)).cloned().unwrap_or_default();
        let of_family =
            ports
                .iter()
                .filter(|((of, _), _)| *of == family)
                .flat_map(|((_, address), ports)| {
                    let own = ports
                        .iter()
                        .copied()
                        .filter(|port| address.is_none() || !everywhere.contains(port));
                    merged(own).into_iter().map(|ports| Service {
                        family,
                        address: *address,
                        ports,
                    })
                });
        for (count, service) in of_family.enumerate() {
            if count < SERVICE_LIMIT {
                services.native.push(service);
            } else {
                services.left_out.push(service);
            }
        }
    }
    services
}

fn may_answer_natively(listener: &Listener, facts: &HostFacts, options: &CaptureOptions) -> bool {
    let named = |ports: &[PortRange]| ports.iter().any(|range| range.contains(listener.port));
    let ephemeral = facts.ephemeral_ports.unwrap_or(DEFAULT_EPHEMERAL);
    let trusted = listener.uid == 0 || named(&options.named_services);
    trusted
        && listener.port != 0
        && !ephemeral.contains(listener.port)
        && !named(&options.judged_services)
}

/// The families and addresses that a listener's rules are for.
fn places(
    listener: &Listener,
    facts: &HostFacts,
    options: &CaptureOptions,
) -> Vec<(Family, Option<IpAddr>)> {
    let address = listener.address.to_canonical();
    if address.is_loopback() {
        return Vec::new();
    }
    if !address.is_unspecified() {
        return vec![(Family::of(address), Some(address))];
    }
    let mut places = vec![(Family::of(address), None)];
    // An IPv6 listener at all addresses serves IPv4 too, unless somebody else has the port there.
    let another_in_v4 = || {
        facts.listeners.iter().any(|other| {
            other.port == listener.port
                && other.address.to_canonical().is_ipv4()
                && !may_answer_natively(other, facts, options)
        })
    };
    if address.is_ipv6() && !another_in_v4() {
        places.push((Family::V4, None));
    }
    places
}

/// Ascending ports as ranges, adjoining ones merged.
fn merged(ports: impl Iterator<Item = u16>) -> Vec<PortRange> {
    let mut ranges: Vec<PortRange> = Vec::new();
    for port in ports {
        match ranges.last_mut() {
            Some(range) if range.last.checked_add(1) == Some(port) => range.last = port,
            _ => ranges.push(PortRange {
                first: port,
                last: port,
            }),
        }
    }
    ranges
}
