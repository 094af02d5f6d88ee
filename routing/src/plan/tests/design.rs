//! Each sentence of DESIGN.md section 3.1 as a test.

use super::super::{
    BoundSockets, Fail, PlanError, SERVICE_LIMIT, Service, native_ways, services, tun_mtu,
};
use super::*;

/// Where a packet goes once the plan is applied.
fn outcome(facts: &HostFacts, options: &CaptureOptions, packet: &Packet) -> Outcome {
    planned_kernel(facts, options).route(packet).outcome
}

fn listener(address: &str, port: u16, uid: u32) -> Listener {
    Listener {
        address: ip(address),
        port,
        uid,
    }
}

fn listening(listeners: &[Listener]) -> HostFacts {
    HostFacts {
        listeners: listeners.to_vec(),
        ..host()
    }
}

/// A reply of a service on `port` to a client elsewhere.
fn reply_from(source: &str, port: u16, destination: &str) -> Packet {
    Packet {
        source: Some(ip(source)),
        source_port: port,
        destination_port: 50000,
        ..packet_to(destination)
    }
}

#[test]
fn what_this_host_originates_goes_to_the_tun() {
    for destination in
        ANYWHERE
            .into_iter()
            .chain(["192.168.1.1", "10.0.0.53", "169.254.169.254", "fd00::1"])
    {
        assert_eq!(
            outcome(&host(), &options(), &packet_to(destination)),
            to_tun(),
            "{destination}"
        );
    }
}

#[test]
fn sockets_bound_to_an_address_and_port_53_are_captured_too() {
    let bound = Packet {
        source: Some(ip("192.0.2.7")),
        ..packet_to(ANYWHERE[0])
    };
    assert_eq!(outcome(&host(), &options(), &bound), to_tun());
    let dns = Packet {
        ip_protocol: UDP,
        destination_port: 53,
        ..packet_to("192.0.2.1")
    };
    assert_eq!(outcome(&host(), &options(), &dns), to_tun());
}

#[test]
fn our_own_marked_sockets_leave_by_the_rules_that_come_after_ours() {
    for destination in ANYWHERE {
        for mark in [MARK.value, MARK.value | 0xca6c] {
            let own = Packet {
                mark,
                ..packet_to(destination)
            };
            assert_eq!(outcome(&host(), &options(), &own), by_main());
            let strict = CaptureOptions {
                strict_marks: true,
                ..options()
            };
            assert_eq!(outcome(&host(), &strict, &own), by_main());
        }
    }
}

#[test]
fn what_leaves_on_purpose_is_neither_marked_nor_bound() {
    let plan = wanted(&host(), &options()).unwrap();
    let ways = native_ways(&plan);
    let let_go = plan
        .rules
        .iter()
        .filter(|rule| matches!(rule.action, RuleAction::Goto(_)));
    let (reported, on_purpose): (Vec<_>, Vec<_>) =
        let_go.partition(|rule| rule.selector.mark.is_some() || rule.selector.output.is_some());
    assert!(!reported.is_empty());
    assert_eq!(ways.iter().collect::<Vec<_>>(), on_purpose);
    assert!(ways.iter().any(|rule| rule.selector.source_ports.is_some()));
}

#[test]
fn packets_with_other_marks_are_captured_only_under_strict_marks() {
    let strict = CaptureOptions {
        strict_marks: true,
        ..options()
    };
    for destination in ANYWHERE {
        for mark in [0xca6c, 0x6d6f_6c65, 0x80000, 1] {
            let marked = Packet {
                mark,
                ..packet_to(destination)
            };
            assert_eq!(outcome(&host(), &options(), &marked), by_main());
            assert_eq!(outcome(&host(), &strict, &marked), to_tun());
        }
    }
}

#[test]
fn multicast_broadcast_and_ipv6_link_local_stay_out() {
    for destination in [
        "224.0.0.251",
        "239.255.255.250",
        "255.255.255.255",
        "ff02::fb",
        "ff05::2",
        "fe80::1",
        "febf::1",
    ] {
        assert_eq!(
            outcome(&host(), &options(), &packet_to(destination)),
            by_main(),
            "{destination}"
        );
    }
}

#[test]
fn dhcp_of_both_families_stays_out_but_not_its_ports_alone() {
    for (destination, client, server) in [("192.0.2.1", 68, 67), ("2001:db8::1", 546, 547)] {
        let dhcp = Packet {
            ip_protocol: UDP,
            source_port: client,
            destination_port: server,
            ..packet_to(destination)
        };
        assert_eq!(outcome(&host(), &options(), &dhcp), by_main());
        let tcp = Packet {
            ip_protocol: TCP,
            ..dhcp.clone()
        };
        assert_eq!(outcome(&host(), &options(), &tcp), to_tun());
        let from_elsewhere = Packet {
            source_port: 40000,
            ..dhcp.clone()
        };
        assert_eq!(outcome(&host(), &options(), &from_elsewhere), to_tun());
        let to_elsewhere = Packet {
            destination_port: 443,
            ..dhcp
        };
        assert_eq!(outcome(&host(), &options(), &to_elsewhere), to_tun());
    }
}

#[test]
fn sockets_bound_to_the_uplink_leave_or_are_prohibited_as_chosen() {
    let prohibit = CaptureOptions {
        bound_sockets: BoundSockets::Prohibit,
        fail: Fail::Closed,
        ..options()
    };
    let closed = CaptureOptions {
        fail: Fail::Closed,
        ..options()
    };
    for destination in ANYWHERE {
        let bound = Packet {
            bound: Some("eth0"),
            ..packet_to(destination)
        };
        assert_eq!(outcome(&host(), &closed, &bound), by_main());
        assert_eq!(
            outcome(&host(), &prohibit, &bound),
            Outcome::RefusedByRule(RuleAction::Prohibit)
        );
        let own = Packet {
            mark: MARK.value,
            ..bound
        };
        assert_eq!(
            outcome(&host(), &prohibit, &own),
            by_main(),
            "our own may bind"
        );
    }
}

#[test]
fn the_uplink_of_either_family_is_guarded_in_both() {
    let facts = HostFacts {
        uplink_v6: Some(uplink("wlan0", "2001:db8::7")),
        ..host()
    };
    let prohibit = CaptureOptions {
        bound_sockets: BoundSockets::Prohibit,
        ..options()
    };
    for device in ["eth0", "wlan0"] {
        for destination in ANYWHERE {
            let bound = Packet {
                bound: Some(device),
                ..packet_to(destination)
            };
            assert_eq!(
                outcome(&facts, &prohibit, &bound),
                Outcome::RefusedByRule(RuleAction::Prohibit)
            );
        }
    }
}

#[test]
fn a_socket_bound_to_another_device_meets_the_kernels_fallback_under_fail_closed() {
    let closed = CaptureOptions {
        fail: Fail::Closed,
        ..options()
    };
    let bound = Packet {
        bound: Some("docker0"),
        ..packet_to("172.17.0.2")
    };
    assert_eq!(
        outcome(&host(), &closed, &bound),
        Outcome::OnLink("docker0".into())
    );
    assert_eq!(
        outcome(&host(), &options(), &bound),
        Outcome::Device("docker0".into(), MAIN)
    );
}

#[test]
fn root_services_answer_natively_in_both_families() {
    let facts = listening(&[listener("0.0.0.0", 22, 0), listener("::", 22, 0)]);
    for destination in ANYWHERE {
        assert_eq!(
            outcome(
                &facts,
                &options(),
                &reply_from("192.0.2.7", 22, destination)
            ),
            by_main()
        );
        assert_eq!(
            outcome(
                &facts,
                &options(),
                &reply_from("192.0.2.7", 23, destination)
            ),
            to_tun()
        );
        let udp = Packet {
            ip_protocol: UDP,
            ..reply_from("192.0.2.7", 22, destination)
        };
        assert_eq!(outcome(&facts, &options(), &udp), to_tun());
    }
}

#[test]
fn an_ordinary_users_program_that_listens_on_a_port_and_connects_out_from_it_is_captured() {
    let facts = listening(&[listener("0.0.0.0", 8080, 1000)]);
    assert_eq!(
        outcome(
            &facts,
            &options(),
            &reply_from("192.0.2.7", 8080, ANYWHERE[0])
        ),
        to_tun()
    );
    let named = CaptureOptions {
        named_services: vec![PortRange {
            first: 8000,
            last: 8100,
        }],
        ..options()
    };
    assert_eq!(
        outcome(&facts, &named, &reply_from("192.0.2.7", 8080, ANYWHERE[0])),
        by_main()
    );
}

#[test]
fn a_service_that_policy_judges_inbound_is_captured_though_root_owns_it() {
    let facts = listening(&[listener("0.0.0.0", 22, 0)]);
    let judged = CaptureOptions {
        judged_services: vec![PortRange {
            first: 22,
            last: 22,
        }],
        ..options()
    };
    assert_eq!(
        outcome(&facts, &judged, &reply_from("192.0.2.7", 22, ANYWHERE[0])),
        to_tun()
    );
}

#[test]
fn listeners_on_ephemeral_ports_are_captured_though_root_owns_them() {
    let facts = listening(&[listener("0.0.0.0", 40000, 0), listener("0.0.0.0", 61000, 0)]);
    assert_eq!(
        outcome(
            &facts,
            &options(),
            &reply_from("192.0.2.7", 40000, ANYWHERE[0])
        ),
        to_tun()
    );
    assert_eq!(
        outcome(
            &facts,
            &options(),
            &reply_from("192.0.2.7", 61000, ANYWHERE[0])
        ),
        by_main()
    );
    let unknown = HostFacts {
        ephemeral_ports: None,
        ..facts
    };
    assert_eq!(
        outcome(
            &unknown,
            &options(),
            &reply_from("192.0.2.7", 40000, ANYWHERE[0])
        ),
        to_tun()
    );
}

#[test]
fn a_listener_at_one_address_frees_that_address_only() {
    let facts = listening(&[
        listener("192.0.2.7", 25, 0),
        listener("127.0.0.1", 631, 0),
        listener("::1", 631, 0),
    ]);
    assert_eq!(
        outcome(
            &facts,
            &options(),
            &reply_from("192.0.2.7", 25, ANYWHERE[0])
        ),
        by_main()
    );
    assert_eq!(
        outcome(
            &facts,
            &options(),
            &reply_from("192.0.2.8", 25, ANYWHERE[0])
        ),
        to_tun()
    );
    assert_eq!(
        outcome(
            &facts,
            &options(),
            &reply_from("192.0.2.7", 631, ANYWHERE[0])
        ),
        to_tun()
    );
    let unbound = Packet {
        source: None,
        ..reply_from("192.0.2.7", 25, ANYWHERE[0])
    };
    assert_eq!(outcome(&facts, &options(), &unbound), to_tun());
}

#[test]
fn an_ipv6_wildcard_listener_serves_ipv4_unless_somebody_else_has_the_port_there() {
    let alone = listening(&[listener("::", 80, 0)]);
    assert_eq!(
        outcome(
            &alone,
            &options(),
            &reply_from("192.0.2.7", 80, ANYWHERE[0])
        ),
        by_main()
    );
    let shared = listening(&[listener("::", 80, 0), listener("0.0.0.0", 80, 1000)]);
    assert_eq!(
        outcome(
            &shared,
            &options(),
            &reply_from("192.0.2.7", 80, ANYWHERE[0])
        ),
        to_tun()
    );
    assert_eq!(
        outcome(
            &shared,
            &options(),
            &reply_from("2001:db8::7", 80, ANYWHERE[1])
        ),
        by_main()
    );
}

#[test]
fn adjoining_service_ports_share_a_rule_and_the_number_of_rules_is_bounded() {
    let adjoining: Vec<Listener> = [82, 80, 81, 90, 80]
        .map(|port| listener("0.0.0.0", port, 0))
        .to_vec();
    let ranges = |ports: &[(u16, u16)]| -> Vec<Service> {
        let service = |&(first, last)| Service {
            family: Family::V4,
            address: None,
            ports: PortRange { first, last },
        };
        ports.iter().map(service).collect()
    };
    assert_eq!(
        services(&listening(&adjoining), &options()).native,
        ranges(&[(80, 82), (90, 90)])
    );

    let many: Vec<Listener> = (0..200)
        .map(|index| listener("0.0.0.0", 1000 + 2 * index, 0))
        .collect();
    let services = services(&listening(&many), &options());
    assert_eq!(
        (services.native.len(), services.left_out.len()),
        (SERVICE_LIMIT, 200 - SERVICE_LIMIT)
    );
    let plan = wanted(&listening(&many), &options()).expect("a plan");
    let by_port = |rule: &&Rule| {
        rule.selector.source_ports.is_some() && rule.selector.ip_protocol == Some(TCP)
    };
    assert_eq!(plan.rules.iter().filter(by_port).count(), SERVICE_LIMIT);
}

#[test]
fn a_new_listener_moves_no_other_rule() {
    let before = wanted(&listening(&[listener("0.0.0.0", 80, 0)]), &options()).expect("a plan");
    let after = wanted(
        &listening(&[listener("0.0.0.0", 22, 0), listener("0.0.0.0", 80, 0)]),
        &options(),
    )
    .expect("a plan");
    assert_eq!(diff(&before, &after).len(), 1);
}

fn forwarding() -> CaptureOptions {
    CaptureOptions {
        forwarded: vec!["docker0".into(), "docker0".into()],
        ..options()
    }
}

fn to_forwarded_tun() -> Outcome {
    Outcome::Device("tide0f".into(), FORWARDED_TABLE)
}

fn local(device: &str, network: &str) -> LocalNetwork {
    LocalNetwork {
        device: device.into(),
        network: network.parse().expect("a network"),
    }
}

#[test]
fn forwarded_traffic_is_captured_by_input_interface_only_when_asked_for() {
    for destination in ANYWHERE {
        let packet = Packet {
            input: "docker0",
            ..packet_to(destination)
        };
        assert_eq!(outcome(&host(), &options(), &packet), by_main());
        assert_eq!(
            outcome(&host(), &forwarding(), &packet),
            to_forwarded_tun(),
            "not into the device of this host's programs"
        );
        let other = Packet {
            input: "docker1",
            ..packet_to(destination)
        };
        assert_eq!(outcome(&host(), &forwarding(), &other), by_main());
    }
}

#[test]
fn between_networks_of_this_host_forwarded_traffic_is_left_to_the_host_s_other_rules() {
    let facts = HostFacts {
        local_networks: vec![
            local("docker0", "172.17.0.0/16"),
            local("docker1", "172.18.0.0/16"),
            local("docker1", "fd00:18::/64"),
            local("eth0", "192.0.2.0/24"),
            local("tide0", "198.51.100.0/24"),
        ],
        ..host()
    };
    let from_container = |destination: &str| Packet {
        input: "docker0",
        ..packet_to(destination)
    };
    for neighbour in ["172.17.0.9", "172.18.0.9", "fd00:18::9"] {
        let packet = from_container(neighbour);
        let outcome_of = outcome(&facts, &forwarding(), &packet);
        assert!(
            matches!(outcome_of, Outcome::Device(_, MAIN)),
            "{outcome_of:?}"
        );
        assert_eq!(
            outcome(&facts, &forwarding(), &packet_to(neighbour)),
            to_tun()
        );
    }
    // The uplink's network is beyond it, and what our own device leads to is captured.
    for distant in ["192.0.2.99", "198.51.100.9", "fd00:19::9"] {
        let packet = from_container(distant);
        assert_eq!(outcome(&facts, &forwarding(), &packet), to_forwarded_tun());
    }
}

#[test]
fn a_host_in_many_networks_has_a_bounded_number_of_routes() {
    let many = (0..600u32).map(|n| local("docker0", &format!("10.{}.{}.0/24", n / 256, n % 256)));
    let facts = HostFacts {
        local_networks: many.collect(),
        ..host()
    };
    let plan = wanted(&facts, &forwarding()).expect("a plan");
    let thrown = |route: &&Route| route.kind == RouteKind::Throw;
    assert_eq!(plan.routes.iter().filter(thrown).count(), 256);
}

#[test]
fn forwarded_traffic_is_refused_too_where_there_is_no_way_out_or_we_died() {
    let closed = CaptureOptions {
        fail: Fail::Closed,
        ..forwarding()
    };
    let v4_only = HostFacts {
        uplink_v6: None,
        ..host()
    };
    for (facts, options) in [(&v4_only, &forwarding()), (&host(), &closed)] {
        let plan = wanted(facts, options).expect("a plan");
        let refuses = |route: &Route| {
            route.table == FORWARDED_TABLE
                && route.kind == RouteKind::Unreachable
                && route.destination == "::/0".parse().expect("a network")
        };
        assert!(plan.routes.iter().any(refuses), "{plan:?}");
    }
}

#[test]
fn the_forwarded_device_s_name_is_no_longer_than_the_kernel_takes() {
    for (tun, forwarded) in [("tide0", "tide0f"), ("fifteen-letters", "fifteen-letterf")] {
        assert_eq!(CaptureOptions::new(tun).forwarded_tun(), forwarded);
    }
}

#[test]
fn what_comes_out_of_the_tun_is_not_captured_again() {
    let forwarded = CaptureOptions {
        forwarded: vec!["docker0".into()],
        ..options()
    };
    let answer = Packet {
        input: "tide0",
        ..packet_to("192.0.2.7")
    };
    assert_eq!(
        outcome(&host(), &forwarded, &answer),
        Outcome::Device("lo".into(), 255)
    );
    let to_container = Packet {
        input: "tide0",
        ..packet_to("172.17.0.2")
    };
    assert_eq!(
        outcome(&host(), &forwarded, &to_container),
        Outcome::Device("docker0".into(), MAIN)
    );
}

#[test]
fn loopback_and_own_addresses_are_not_captured() {
    for destination in ["127.0.0.53", "::1", "192.0.2.7", "2001:db8::7"] {
        assert_eq!(
            outcome(&host(), &options(), &packet_to(destination)),
            Outcome::Device("lo".into(), 255)
        );
    }
}

#[test]
fn without_the_tun_traffic_leaves_or_is_refused_as_chosen() {
    for (fail, expected) in [
        (Fail::Open, by_main()),
        (Fail::Closed, Outcome::Unreachable(TABLE)),
    ] {
        let mut kernel = planned_kernel(&host(), &CaptureOptions { fail, ..options() });
        kernel.routes.retain(
            |route| !matches!(&route.kind, RouteKind::Device { device, .. } if device == "tide0"),
        );
        for destination in ANYWHERE {
            assert_eq!(kernel.route(&packet_to(destination)).outcome, expected);
        }
    }
}

#[test]
fn a_family_without_uplink_is_unreachable_and_does_not_seem_to_be_there() {
    let v4_only = HostFacts {
        uplink_v6: None,
        ..host()
    };
    assert_eq!(
        outcome(&v4_only, &options(), &packet_to(ANYWHERE[1])),
        Outcome::Unreachable(TABLE)
    );
    assert_eq!(
        outcome(&v4_only, &options(), &packet_to(ANYWHERE[0])),
        to_tun()
    );
    let v6_only = HostFacts {
        uplink_v4: None,
        ..host()
    };
    assert_eq!(
        outcome(&v6_only, &options(), &packet_to(ANYWHERE[0])),
        Outcome::Unreachable(TABLE)
    );
    assert_eq!(
        outcome(&v6_only, &options(), &packet_to(ANYWHERE[1])),
        to_tun()
    );
}

#[test]
fn the_ipv4_default_carries_the_uplinks_source_and_the_ipv6_default_none() {
    let plan = wanted(&host(), &options()).expect("a plan");
    let sources: Vec<Option<IpAddr>> = plan
        .routes
        .iter()
        .filter_map(|route| match &route.kind {
            RouteKind::Device { source, .. } => Some(*source),
            RouteKind::Unreachable | RouteKind::Throw => None,
        })
        .collect();
    assert_eq!(sources, [Some(ip("192.0.2.7")), None]);
}

#[test]
fn strict_reverse_path_filters_are_loosened_and_others_left() {
    let set = |all, eth0| {
        let facts = HostFacts {
            reverse_path_filters: vec![("all".into(), all), ("eth0".into(), eth0)],
            ..host()
        };
        wanted(&facts, &options()).expect("a plan").settings
    };
    let loosened = |settings: Vec<super::super::Setting>| {
        settings
            .into_iter()
            .map(|setting| (setting.path, setting.value))
            .collect::<Vec<_>>()
    };
    let eth0 = ("net/ipv4/conf/eth0/rp_filter".to_owned(), "2".to_owned());
    assert_eq!(loosened(set(0, 1)), std::slice::from_ref(&eth0));
    assert_eq!(loosened(set(1, 0)), [eth0]);
    for (all, of_uplink) in [(0, 0), (0, 2), (2, 1), (1, 2)] {
        assert_eq!(set(all, of_uplink), [], "{all} {of_uplink}");
    }
}

#[test]
fn the_tun_has_the_mtu_of_the_uplink() {
    let mut facts = host();
    facts.uplink_v6 = Some(Uplink {
        mtu: 1420,
        ..uplink("wg0", "2001:db8::7")
    });
    assert_eq!(tun_mtu(&facts, &options()), 1420);
    assert_eq!(
        tun_mtu(
            &facts,
            &CaptureOptions {
                mtu: Some(9000),
                ..options()
            }
        ),
        9000
    );
    assert_eq!(
        tun_mtu(
            &facts,
            &CaptureOptions {
                mtu: Some(576),
                ..options()
            }
        ),
        1280
    );
}

#[test]
fn a_family_that_the_kernel_lacks_is_left_alone() {
    let mut facts = HostFacts {
        uplink_v6: None,
        ..host()
    };
    facts.rules.retain(|rule| rule.family == Family::V4);
    let plan = wanted(&facts, &options()).expect("a plan");
    assert!(plan.rules.iter().all(|rule| rule.family == Family::V4));
    assert!(
        plan.routes
            .iter()
            .all(|route| route.destination.addr().is_ipv4())
    );
}

#[test]
fn a_host_without_a_way_out_reaches_nobody_until_it_has_one() {
    let offline = HostFacts {
        uplink_v4: None,
        uplink_v6: None,
        ..host()
    };
    let plan = wanted(&offline, &options()).expect("a plan");
    let unreachable = |route: &Route| route.kind == RouteKind::Unreachable;
    assert!(plan.routes.len() == 2 && plan.routes.iter().all(unreachable));
}

#[test]
fn interfaces_that_make_a_circle_are_refused() {
    let no_rules = HostFacts {
        rules: Vec::new(),
        ..host()
    };
    assert_eq!(wanted(&no_rules, &options()), Err(PlanError::NoRules));
    for name in ["tide0", "tide0f", "lo"] {
        let circle = CaptureOptions {
            forwarded: vec![name.into()],
            ..options()
        };
        assert_eq!(
            wanted(&host(), &circle),
            Err(PlanError::Forwarded {
                interface: name.into()
            })
        );
    }
    let uplink = CaptureOptions {
        forwarded: vec!["eth0".into()],
        ..options()
    };
    assert_eq!(
        wanted(&host(), &uplink),
        Err(PlanError::ForwardedUplink {
            interface: "eth0".into()
        })
    );
    let own = CaptureOptions {
        tun: "eth0".into(),
        ..options()
    };
    assert_eq!(
        wanted(&host(), &own),
        Err(PlanError::UplinkIsTun {
            device: "eth0".into()
        })
    );
}
