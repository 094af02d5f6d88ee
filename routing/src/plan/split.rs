//! The plan for a host with one routing table and no rules, as macOS is: routes that split the default in halves.
//!
//! A half is longer than the default, so it holds without replacing it: the host's own default stays, sockets that are
//! bound to the uplink find it, and when the TUN goes, its routes go with it and the host is as before. What has a longer
//! route of its own (the link's neighbours, loopback, multicast) stays out.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    CaptureOptions, Fail, Family, HostFacts, HostPlan, PROTOCOL, PlanError, Route, RouteKind, TABLE,
};

/// Prefix lengths of halves and of quarters.
const HALVES: u8 = 1;
const QUARTERS: u8 = 2;

/// The routes that capture what this host originates. Under [`Fail::Closed`] they are quarters, and halves that refuse lie
/// beneath them: those stay when the TUN goes.
///
/// A family without an uplink has no default to split: nothing is planned for it. Options that need rules or marks
/// (`forwarded`, `bound_sockets`, `strict_marks`, the services) mean nothing here: routes ask where a packet goes and not
/// where it comes from, so what the host forwards is captured, and its services' answers are too.
///
/// # Errors
///
/// [`PlanError::NoUplink`], [`PlanError::UplinkIsTun`].
pub fn split(facts: &HostFacts, options: &CaptureOptions) -> Result<HostPlan, PlanError> {
    let uplinks = [
        (Family::V4, &facts.uplink_v4),
        (Family::V6, &facts.uplink_v6),
    ];
    let uplinks = uplinks
        .into_iter()
        .filter_map(|(family, uplink)| Some((family, uplink.as_ref()?)));
    let uplinks: Vec<_> = uplinks.collect();
    if uplinks.is_empty() {
        return Err(PlanError::NoUplink);
    }
    if let Some((_, uplink)) = uplinks
        .iter()
        .find(|(_, uplink)| uplink.device == options.tun)
    {
        return Err(PlanError::UplinkIsTun {
            device: uplink.device.clone(),
        });
    }
    let families = uplinks.into_iter().map(|(family, _)| family);
    Ok(HostPlan {
        routes: families
            .flat_map(|family| routes(family, options))
            .collect(),
        ..HostPlan::default()
    })
}

fn routes(family: Family, options: &CaptureOptions) -> Vec<Route> {
    let through_tun = RouteKind::Device {
        device: options.tun.clone(),
        gateway: None,
        source: None,
    };
    let route = |destination, kind: &RouteKind| Route {
        table: TABLE,
        destination,
        kind: kind.clone(),
        metric: 0,
        protocol: PROTOCOL,
    };
    let (captured, refused) = match options.fail {
        Fail::Open => (parts(family, HALVES), Vec::new()),
        Fail::Closed => (parts(family, QUARTERS), parts(family, HALVES)),
    };
    let captured = captured.into_iter().map(|part| route(part, &through_tun));
    let refused = refused
        .into_iter()
        .map(|part| route(part, &RouteKind::Unreachable));
    refused.chain(captured).collect()
}

/// All networks of this prefix length: together the whole family.
fn parts(family: Family, length: u8) -> Vec<IpNet> {
    match family {
        Family::V4 => Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)
            .subnets(length)
            .map(|parts| parts.map(IpNet::V4).collect()),
        Family::V6 => Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)
            .subnets(length)
            .map(|parts| parts.map(IpNet::V6).collect()),
    }
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::plan::{Uplink, diff, present};

    fn uplink() -> Option<Uplink> {
        Some(Uplink {
            device: "en0".into(),
            source: "192.0.2.7".parse().ok(),
            gateway: "192.0.2.1".parse().ok(),
            mtu: 1500,
        })
    }

    fn both_families() -> HostFacts {
        HostFacts {
            uplink_v4: uplink(),
            uplink_v6: uplink(),
            ..HostFacts::default()
        }
    }

    fn options(fail: Fail) -> CaptureOptions {
        CaptureOptions {
            fail,
            ..CaptureOptions::new("utun4")
        }
    }

    /// Where the longest matching route leads.
    fn leads(routes: &[Route], to: IpAddr) -> Option<&RouteKind> {
        let matching = routes
            .iter()
            .filter(|route| route.destination.contains(&to));
        matching
            .max_by_key(|route| route.destination.prefix_len())
            .map(|route| &route.kind)
    }

    fn addresses() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<Ipv4Addr>().prop_map(IpAddr::from),
            any::<Ipv6Addr>().prop_map(IpAddr::from)
        ]
    }

    proptest! {
        #[test]
        fn every_address_leads_to_the_tun_and_without_it_nowhere_or_as_before(to in addresses()) {
            for fail in [Fail::Open, Fail::Closed] {
                let mut routes = split(&both_families(), &options(fail)).unwrap().routes;
                let is_captured = matches!(
                    leads(&routes, to),
                    Some(RouteKind::Device { device, .. }) if device == "utun4"
                );
                prop_assert!(is_captured);
                // Routes go with their device.
                routes.retain(|route| route.kind == RouteKind::Unreachable);
                let beneath = leads(&routes, to);
                let expected = (fail == Fail::Closed).then_some(&RouteKind::Unreachable);
                prop_assert_eq!(beneath, expected);
            }
        }
    }

    #[test]
    fn the_default_itself_is_never_touched() {
        for fail in [Fail::Open, Fail::Closed] {
            let plan = split(&both_families(), &options(fail)).unwrap();
            assert!(
                plan.routes
                    .iter()
                    .all(|route| route.destination.prefix_len() > 0)
            );
            assert!(plan.routes.iter().all(Route::is_ours));
            assert_eq!((plan.rules, plan.settings), (Vec::new(), Vec::new()));
        }
    }

    #[test]
    fn a_family_without_an_uplink_has_no_routes() {
        let facts = HostFacts {
            uplink_v4: uplink(),
            ..HostFacts::default()
        };
        let plan = split(&facts, &options(Fail::Closed)).unwrap();
        assert!(
            plan.routes
                .iter()
                .all(|route| matches!(route.destination, IpNet::V4(_)))
        );
        assert_eq!(plan.routes.len(), 6);
    }

    #[test]
    fn what_is_there_already_takes_no_step() {
        let mut facts = both_families();
        let plan = split(&facts, &options(Fail::Closed)).unwrap();
        facts.our_routes.clone_from(&plan.routes);
        assert_eq!(diff(&present(&facts), &plan), []);
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let plan = |facts: &HostFacts, options| split(facts, &options).map(|_| ());
        assert_eq!(
            plan(&HostFacts::default(), options(Fail::Open)),
            Err(PlanError::NoUplink)
        );
        let device = "en0".to_owned();
        assert_eq!(
            plan(&both_families(), CaptureOptions::new("en0")),
            Err(PlanError::UplinkIsTun { device })
        );
    }
}
