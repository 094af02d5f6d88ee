//! Policy routing rules as the kernel writes them (linux/fib_rules.h), to and from ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{self, RuleAttribute, RuleFlags, RuleMessage, RulePortRange};
use netlink_packet_route::{AddressFamily, IpProtocol};
use tidegate_routing::plan::{Family, Mark, PortRange, Rule, RuleAction, Selector};

use crate::netlink::attribute;

/// The message that adds, removes or stands for `rule`.
pub(super) fn to_message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = address_family(rule.family);
    message
        .header
        .flags
        .set(RuleFlags::Invert, rule.selector.not);
    message
        .attributes
        .push(RuleAttribute::Priority(rule.preference));
    message
        .attributes
        .push(RuleAttribute::Protocol(RouteProtocol::from(rule.protocol)));
    message.header.action = match rule.action {
        RuleAction::Lookup(table) => {
            message.attributes.push(RuleAttribute::Table(table));
            rule::RuleAction::ToTable
        }
        RuleAction::Goto(preference) => {
            message.attributes.push(RuleAttribute::Goto(preference));
            rule::RuleAction::Goto
        }
        RuleAction::Nop => rule::RuleAction::Nop,
        RuleAction::Prohibit => rule::RuleAction::Prohibit,
        RuleAction::Unreachable => rule::RuleAction::Unreachable,
        RuleAction::Blackhole => rule::RuleAction::Blackhole,
    };
    select(&mut message, &rule.selector);
    message
}

fn select(message: &mut RuleMessage, selector: &Selector) {
    if let Some(from) = selector.from {
        message.header.src_len = from.prefix_len();
        message
            .attributes
            .push(RuleAttribute::Source(from.network()));
    }
    if let Some(to) = selector.to {
        message.header.dst_len = to.prefix_len();
        message
            .attributes
            .push(RuleAttribute::Destination(to.network()));
    }
    if let Some(mark) = selector.mark {
        message.attributes.push(RuleAttribute::FwMark(mark.value));
        message.attributes.push(RuleAttribute::FwMask(mark.mask));
    }
    let attributes = [
        selector.input.clone().map(RuleAttribute::Iifname),
        selector.output.clone().map(RuleAttribute::Oifname),
        selector
            .ip_protocol
            .map(|number| RuleAttribute::IpProtocol(IpProtocol::from(number))),
        selector
            .source_ports
            .map(|ports| RuleAttribute::SourcePortRange(port_range(ports))),
        selector
            .destination_ports
            .map(|ports| RuleAttribute::DestinationPortRange(port_range(ports))),
    ];
    message.attributes.extend(attributes.into_iter().flatten());
}

/// The rule that a message stands for; `None` for other families than IPv4 and IPv6, and for actions of no known meaning.
pub(super) fn from_message(message: &RuleMessage) -> Option<Rule> {
    let family = family(message.header.family)?;
    let attributes = &message.attributes;
    let action = match message.header.action {
        rule::RuleAction::ToTable => RuleAction::Lookup(
            attribute!(attributes, RuleAttribute::Table)
                .copied()
                .unwrap_or(u32::from(message.header.table)),
        ),
        rule::RuleAction::Goto => RuleAction::Goto(*attribute!(attributes, RuleAttribute::Goto)?),
        rule::RuleAction::Nop => RuleAction::Nop,
        rule::RuleAction::Prohibit => RuleAction::Prohibit,
        rule::RuleAction::Unreachable => RuleAction::Unreachable,
        rule::RuleAction::Blackhole => RuleAction::Blackhole,
        rule::RuleAction::Unspec | rule::RuleAction::Other(_) | _ => return None,
    };
    Some(Rule {
        family,
        preference: attribute!(attributes, RuleAttribute::Priority)
            .copied()
            .unwrap_or_default(),
        selector: selector(message, family)?,
        action,
        protocol: attribute!(attributes, RuleAttribute::Protocol)
            .copied()
            .map(u8::from)
            .unwrap_or_default(),
    })
}

fn selector(message: &RuleMessage, family: Family) -> Option<Selector> {
    let attributes = &message.attributes;
    let value = attribute!(attributes, RuleAttribute::FwMark).copied();
    let mask = attribute!(attributes, RuleAttribute::FwMask).copied();
    // The kernel leaves out a value of 0, and without a mask all bits count.
    let mark = (value.is_some() || mask.is_some()).then(|| Mark {
        value: value.unwrap_or_default(),
        mask: mask.unwrap_or(u32::MAX),
    });
    Some(Selector {
        not: message.header.flags.contains(RuleFlags::Invert),
        mark,
        input: attribute!(attributes, RuleAttribute::Iifname).cloned(),
        output: attribute!(attributes, RuleAttribute::Oifname).cloned(),
        from: network(
            attribute!(attributes, RuleAttribute::Source).copied(),
            message.header.src_len,
            family,
        )?,
        to: network(
            attribute!(attributes, RuleAttribute::Destination).copied(),
            message.header.dst_len,
            family,
        )?,
        ip_protocol: attribute!(attributes, RuleAttribute::IpProtocol)
            .copied()
            .map(u8::from),
        source_ports: attribute!(attributes, RuleAttribute::SourcePortRange).map(ports),
        destination_ports: attribute!(attributes, RuleAttribute::DestinationPortRange).map(ports),
    })
}

/// `Some(None)` is any address; `None` is nonsense.
#[expect(
    clippy::option_option,
    reason = "the outer one is malformed input, the inner one an absent condition"
)]
fn network(address: Option<IpAddr>, length: u8, family: Family) -> Option<Option<IpNet>> {
    if length == 0 {
        return Some(None);
    }
    let address = address.unwrap_or(match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    });
    IpNet::new(address, length).ok().map(Some)
}

fn port_range(ports: PortRange) -> RulePortRange {
    RulePortRange {
        start: ports.first,
        end: ports.last,
    }
}

fn ports(range: &RulePortRange) -> PortRange {
    PortRange {
        first: range.start,
        last: range.end,
    }
}

pub(super) fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

pub(super) fn family(family: AddressFamily) -> Option<Family> {
    if family == AddressFamily::Inet {
        Some(Family::V4)
    } else if family == AddressFamily::Inet6 {
        Some(Family::V6)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{Emitable, Parseable};
    use proptest::prelude::*;

    use super::*;

    fn networks(family: Family) -> BoxedStrategy<Option<IpNet>> {
        let one = match family {
            Family::V4 => (any::<u32>(), 1_u8..=32)
                .prop_map(|(bits, length)| {
                    IpNet::new(Ipv4Addr::from_bits(bits).into(), length)
                        .unwrap()
                        .trunc()
                })
                .boxed(),
            Family::V6 => (any::<u128>(), 1_u8..=128)
                .prop_map(|(bits, length)| {
                    IpNet::new(Ipv6Addr::from_bits(bits).into(), length)
                        .unwrap()
                        .trunc()
                })
                .boxed(),
        };
        prop::option::of(one).boxed()
    }

    fn selectors(family: Family) -> impl Strategy<Value = Selector> {
        let mark = prop::option::of(
            (any::<u32>(), 1_u32..).prop_map(|(value, mask)| Mark { value, mask }),
        );
        let name = || prop::option::of("[a-z][a-z0-9.-]{0,14}");
        let ports = || {
            prop::option::of((1_u16.., 1_u16..).prop_map(|(a, b)| PortRange {
                first: a.min(b),
                last: a.max(b),
            }))
        };
        let protocol = prop::option::of(1_u8..);
        (
            any::<bool>(),
            mark,
            (name(), name()),
            (networks(family), networks(family)),
            protocol,
            (ports(), ports()),
        )
            .prop_map(
                |(
                    not,
                    mark,
                    (input, output),
                    (from, to),
                    ip_protocol,
                    (source_ports, destination_ports),
                )| {
                    Selector {
                        not,
                        mark,
                        input,
                        output,
                        from,
                        to,
                        ip_protocol,
                        source_ports,
                        destination_ports,
                    }
                },
            )
    }

    fn rules() -> impl Strategy<Value = Rule> {
        let action = prop_oneof![
            (1_u32..).prop_map(RuleAction::Lookup),
            any::<u32>().prop_map(RuleAction::Goto),
            Just(RuleAction::Nop),
            Just(RuleAction::Prohibit),
            Just(RuleAction::Unreachable),
            Just(RuleAction::Blackhole),
        ];
        prop_oneof![Just(Family::V4), Just(Family::V6)].prop_flat_map(move |family| {
            (any::<u32>(), selectors(family), action.clone(), any::<u8>()).prop_map(
                move |(preference, selector, action, protocol)| Rule {
                    family,
                    preference,
                    selector,
                    action,
                    protocol,
                },
            )
        })
    }

    proptest! {
        #[test]
        fn a_rule_survives_the_way_through_the_kernels_format(rule in rules()) {
            let message = to_message(&rule);
            let mut bytes = vec![0; message.buffer_len()];
            message.emit(&mut bytes);
            let parsed = RuleMessage::parse(bytes.as_slice()).unwrap();
            prop_assert_eq!(from_message(&parsed), Some(rule));
        }
    }
}
