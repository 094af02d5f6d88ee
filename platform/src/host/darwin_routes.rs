//! Routes of the plan as Darwin's kernel takes them, and which of its routes is the uplink.
//!
//! There is one table and no field for who made a route, but three flags of which the kernel and route(8) leave one alone:
//! a route with `RTF_PROTO3` is ours, and stands for one of our table with our number. There are no metrics either: of two
//! routes the longer prefix holds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tidegate_routing::plan::{PROTOCOL, Route, RouteKind, TABLE};

use crate::routing_messages::{Gateway, RouteMessage, flag};

/// A route says something for which Darwin has no means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inexpressible {
    /// It is of another table than ours.
    Table,
    /// Metrics.
    Metric,
    /// A source address: programs get one of the interface's own.
    Source,
}

impl Inexpressible {
    /// What is missing, as it stands after "has no".
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Table => "second routing table",
            Self::Metric => "metrics of routes",
            Self::Source => "source addresses of routes",
        }
    }
}

/// The message of `kind` about a route of ours. `index` is that of its device.
pub(crate) fn to_message(
    route: &Route,
    kind: u8,
    index: u16,
) -> Result<RouteMessage, Inexpressible> {
    if !route.is_ours() {
        return Err(Inexpressible::Table);
    }
    if route.metric != 0 {
        return Err(Inexpressible::Metric);
    }
    let (gateway, refusing) = match &route.kind {
        RouteKind::Device {
            source: Some(_), ..
        } => return Err(Inexpressible::Source),
        RouteKind::Device {
            gateway: Some(gateway),
            ..
        } => (Gateway::Address(*gateway), 0),
        RouteKind::Device { gateway: None, .. } => (Gateway::Interface(index), 0),
        // The kernel wants somewhere to lead to, even if nothing goes there.
        RouteKind::Unreachable => {
            let nowhere = match route.destination.addr() {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            };
            (Gateway::Address(nowhere), flag::REJECT)
        }
        // Without rules there is nothing that could decide next.
        RouteKind::Throw => return Err(Inexpressible::Table),
    };
    Ok(RouteMessage {
        kind,
        flags: flag::UP | flag::STATIC | flag::PROTOCOL_3 | refusing,
        destination: Some(route.destination),
        gateway: Some(gateway),
        ..RouteMessage::default()
    })
}

/// The route of ours that a message tells of; `None` if it is somebody else's. `name` gives the name of an interface.
pub(crate) fn from_message(
    message: &RouteMessage,
    name: impl Fn(u16) -> Option<String>,
) -> Option<Route> {
    if message.flags & flag::PROTOCOL_3 == 0 || message.is_cloned() {
        return None;
    }
    let kind = if message.flags & flag::REJECT != 0 {
        RouteKind::Unreachable
    } else {
        let gateway = match message.gateway? {
            Gateway::Address(address) => Some(address),
            Gateway::Interface(_) => None,
        };
        RouteKind::Device {
            device: name(message.index)?,
            gateway,
            source: None,
        }
    };
    Some(Route {
        table: TABLE,
        destination: message.destination?,
        kind,
        metric: 0,
        protocol: PROTOCOL,
    })
}

/// A default route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DefaultRoute {
    /// Index of the interface.
    pub(crate) index: u16,
    /// The router, where there is one.
    pub(crate) gateway: Option<IpAddr>,
}

/// The default route of the physical uplink. A tunnel's leads onto its interface, without a router, so one with a router
/// comes first; among them the one for every socket before those for sockets that are bound to its interface.
pub(crate) fn best_default<'m>(
    messages: impl Iterator<Item = &'m RouteMessage>,
) -> Option<DefaultRoute> {
    messages
        .filter(|message| {
            let is_default = message.destination.is_some_and(|to| to.prefix_len() == 0);
            let refusing = flag::REJECT | flag::BLACKHOLE;
            is_default && message.flags & flag::UP != 0 && message.flags & refusing == 0
        })
        .min_by_key(|message| {
            let by_router = matches!(message.gateway, Some(Gateway::Address(_)));
            let scoped = message.flags & flag::INTERFACE_SCOPE != 0;
            (!by_router, scoped)
        })
        .map(|message| DefaultRoute {
            index: message.index,
            gateway: match message.gateway {
                Some(Gateway::Address(address)) => Some(address),
                Some(Gateway::Interface(_)) | None => None,
            },
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::routing_messages::kind;

    fn ours(destination: &str, kind: RouteKind) -> Route {
        Route {
            table: TABLE,
            destination: destination.parse().unwrap(),
            kind,
            metric: 0,
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

    fn named(index: u16) -> Option<String> {
        (index == 9).then(|| "utun4".to_owned())
    }

    /// As the kernel tells of it: with the interface's index, whatever the request had there.
    fn told_again(route: &Route) -> Option<Route> {
        let bytes = to_message(route, kind::ADD, 9).unwrap().to_bytes();
        let read = RouteMessage::parse(&bytes).unwrap();
        from_message(&RouteMessage { index: 9, ..read }, named)
    }

    #[test]
    fn a_route_of_the_plan_is_itself_again_after_the_kernel_told_of_it() {
        for destination in ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/2"] {
            for kind in [through("utun4"), RouteKind::Unreachable] {
                let route = ours(destination, kind);
                assert_eq!(told_again(&route), Some(route));
            }
        }
    }

    #[test]
    fn what_darwin_cannot_say_is_refused_and_named() {
        let plain = ours("0.0.0.0/1", through("utun4"));
        let of_main = Route {
            table: 254,
            ..plain.clone()
        };
        let ranked = Route {
            metric: 5,
            ..plain.clone()
        };
        let from = Route {
            kind: RouteKind::Device {
                device: "utun4".to_owned(),
                gateway: None,
                source: "192.0.2.7".parse().ok(),
            },
            ..plain
        };
        let refused = |route| to_message(&route, kind::ADD, 9).map_err(Inexpressible::what);
        assert_eq!(refused(of_main), Err("second routing table"));
        assert_eq!(refused(ranked), Err("metrics of routes"));
        assert_eq!(refused(from), Err("source addresses of routes"));
    }

    #[test]
    fn a_route_without_our_flag_is_somebody_elses() {
        let route = ours("0.0.0.0/1", through("utun4"));
        let mut message = to_message(&route, kind::ADD, 9).unwrap();
        message.index = 9;
        assert_eq!(from_message(&message, named), Some(route));
        message.flags &= !flag::PROTOCOL_3;
        assert_eq!(from_message(&message, named), None);
    }

    fn default_route(index: u16, flags: u32, gateway: Option<Gateway>) -> RouteMessage {
        RouteMessage {
            kind: kind::GET,
            index,
            flags: flag::UP | flags,
            destination: "0.0.0.0/0".parse().ok(),
            gateway,
            ..RouteMessage::default()
        }
    }

    #[test]
    fn the_uplink_is_the_one_with_a_router_whoever_holds_the_unscoped_default() {
        let router = Some(Gateway::Address(Ipv4Addr::new(192, 0, 2, 1).into()));
        let tunnel = default_route(20, 0, Some(Gateway::Interface(20)));
        let ethernet = default_route(4, flag::GATEWAY | flag::INTERFACE_SCOPE, router);
        let wifi = default_route(5, flag::GATEWAY, router);
        let refusing = default_route(1, flag::GATEWAY | flag::REJECT, router);
        let best = |routes: &[&RouteMessage]| {
            best_default(routes.iter().copied()).map(|route| route.index)
        };
        assert_eq!(best(&[&tunnel, &ethernet]), Some(4));
        assert_eq!(best(&[&ethernet, &wifi, &tunnel]), Some(5));
        assert_eq!(best(&[&tunnel]), Some(20));
        assert_eq!(best(&[&refusing]), None);
    }

    proptest! {
        #[test]
        fn whatever_the_kernel_tells_of_us_can_be_asked_of_it_again(bytes: Vec<u8>, flags: u32) {
            let mut message = vec![0; crate::routing_messages::ROUTE_HEADER];
            message[3] = kind::GET;
            message[8..12].copy_from_slice(&(flags | flag::PROTOCOL_3).to_ne_bytes());
            message[12] = 7;
            message.extend(bytes);
            if let Some(message) = RouteMessage::parse(&message)
                && let Some(route) = from_message(&message, |_| Some("utun4".to_owned()))
            {
                prop_assert!(to_message(&route, kind::DELETE, 9).is_ok());
            }
        }
    }
}
