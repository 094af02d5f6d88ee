//! Other programs' rules: which clash, which overtake ours, and how our block moves ahead of them.

use super::super::{BLOCK, FIRST_PREFERENCE, PROTOCOL, PlanError, block_base, overtaken};
use super::*;

const WG_QUICK: Mark = Mark {
    value: 0xca6c,
    mask: u32::MAX,
};

/// What wg-quick adds: everything that is not marked goes to its table.
fn wg_quick(family: Family) -> Rule {
    let unmarked_by_it = Selector {
        not: true,
        mark: Some(WG_QUICK),
        ..Selector::default()
    };
    foreign(family, 0, unmarked_by_it, RuleAction::Lookup(51820))
}

fn wg_quick_route(destination: &str) -> Route {
    let kind = RouteKind::Device {
        device: "wg0".into(),
        gateway: None,
        source: None,
    };
    Route {
        table: 51820,
        destination: net(destination),
        kind,
        metric: 0,
        protocol: 3,
    }
}

fn with_rules(rules: impl IntoIterator<Item = Rule>) -> HostFacts {
    let mut facts = host();
    facts.rules.extend(rules);
    facts.rules.sort_by_key(|rule| rule.preference);
    facts
}

fn marked(value: u32, mask: u32) -> Rule {
    let selector = Selector {
        mark: Some(Mark { value, mask }),
        ..Selector::default()
    };
    foreign(Family::V4, 9000, selector, RuleAction::Lookup(7))
}

/// A host where a VPN client added two rules a family, as `ip rule add` does, after us.
fn overtaken_host() -> (HostFacts, Kernel) {
    let mut kernel = planned_kernel(&host(), &options());
    kernel
        .routes
        .extend(["0.0.0.0/0", "::/0"].map(wg_quick_route));
    for family in Family::ALL {
        kernel.add_rule_without_preference(wg_quick(family));
        kernel.add_rule_without_preference(foreign(
            family,
            0,
            Selector::default(),
            RuleAction::Lookup(52),
        ));
    }
    (facts_of(&kernel, &host()), kernel)
}

#[test]
fn a_vpn_that_starts_after_us_overtakes_and_is_named() {
    let (facts, kernel) = overtaken_host();
    for destination in ANYWHERE {
        assert_eq!(
            kernel.route(&packet_to(destination)).outcome,
            Outcome::Device("wg0".into(), 51820)
        );
    }
    let preferences: Vec<u32> = overtaken(&facts, &options())
        .iter()
        .map(|rule| rule.preference)
        .collect();
    assert_eq!(preferences, [5098, 5098, 5099, 5099]);
    assert_eq!(overtaken(&host(), &options()), Vec::<&Rule>::new());
}

#[test]
fn our_block_moves_ahead_of_it_and_our_egress_then_goes_through_the_vpn() {
    let (facts, mut kernel) = overtaken_host();
    assert_eq!(block_base(&facts, &options()), Ok(5098 - BLOCK));
    let steps = diff(
        &present(&facts),
        &wanted(&facts, &options()).expect("a plan"),
    );
    for step in &steps {
        kernel.apply(step);
        for destination in ANYWHERE {
            let own = Packet {
                mark: MARK.value,
                ..packet_to(destination)
            };
            assert_eq!(
                kernel.route(&own).outcome,
                Outcome::Device("wg0".into(), 51820)
            );
        }
    }
    for destination in ANYWHERE {
        assert_eq!(kernel.route(&packet_to(destination)).outcome, to_tun());
    }
    let moved = facts_of(&kernel, &host());
    assert_eq!(overtaken(&moved, &options()), Vec::<&Rule>::new());
    assert_eq!(
        diff(
            &present(&moved),
            &wanted(&moved, &options()).expect("a plan")
        ),
        []
    );
}

#[test]
fn the_block_moves_again_and_again_until_there_is_no_room_and_that_is_said() {
    let mut kernel = planned_kernel(&host(), &options());
    let mut moves = 0;
    let refusal = loop {
        kernel.add_rule_without_preference(wg_quick(Family::V4));
        let facts = facts_of(&kernel, &host());
        match wanted(&facts, &options()) {
            Ok(plan) => diff(&present(&facts), &plan)
                .iter()
                .for_each(|step| kernel.apply(step)),
            Err(refusal) => break refusal,
        }
        assert_eq!(kernel.route(&packet_to(ANYWHERE[0])).outcome, to_tun());
        moves += 1;
    };
    assert!(moves >= 49, "{moves}");
    assert!(matches!(refusal, PlanError::NoRoom { .. }), "{refusal}");
}

#[test]
fn a_rule_among_ours_moves_the_block_without_the_two_interleaving() {
    let mut kernel = planned_kernel(&host(), &options());
    let between = foreign(
        Family::V6,
        5150,
        Selector::default(),
        RuleAction::Lookup(52),
    );
    kernel.apply(&Change::AddRule(between));
    let facts = facts_of(&kernel, &host());
    assert_eq!(block_base(&facts, &options()), Ok(FIRST_PREFERENCE - BLOCK));
    for step in diff(
        &present(&facts),
        &wanted(&facts, &options()).expect("a plan"),
    ) {
        kernel.apply(&step);
        for destination in ANYWHERE {
            let own = Packet {
                mark: MARK.value,
                ..packet_to(destination)
            };
            assert_eq!(kernel.route(&own).outcome, by_main());
        }
    }
    assert_eq!(kernel.route(&packet_to(ANYWHERE[1])).outcome, to_tun());
}

#[test]
fn rules_that_cannot_take_captured_traffic_do_not_move_the_block() {
    let harmless = [
        (
            Selector {
                mark: Some(WG_QUICK),
                ..Selector::default()
            },
            RuleAction::Lookup(7),
        ),
        (
            Selector {
                input: Some("eth1".into()),
                ..Selector::default()
            },
            RuleAction::Lookup(7),
        ),
        (
            Selector {
                output: Some("tun9".into()),
                ..Selector::default()
            },
            RuleAction::Lookup(7),
        ),
        (
            Selector {
                to: Some(net("239.0.0.0/8")),
                ..Selector::default()
            },
            RuleAction::Lookup(7),
        ),
        (Selector::default(), RuleAction::Lookup(255)),
        (Selector::default(), RuleAction::Goto(4000)),
        (Selector::default(), RuleAction::Nop),
    ];
    for (selector, action) in harmless {
        let facts = with_rules([foreign(Family::V4, 100, selector, action)]);
        assert_eq!(
            block_base(&facts, &options()),
            Ok(FIRST_PREFERENCE),
            "{action}"
        );
        assert_eq!(overtaken(&facts, &options()), Vec::<&Rule>::new());
    }
}

#[test]
fn rules_that_stood_before_us_and_take_traffic_are_preceded_as_well() {
    let harmful = [
        (
            Selector {
                from: Some(net("192.0.2.7/32")),
                ..Selector::default()
            },
            RuleAction::Lookup(7),
        ),
        (
            Selector {
                not: true,
                mark: Some(WG_QUICK),
                ..Selector::default()
            },
            RuleAction::Lookup(7),
        ),
        (Selector::default(), RuleAction::Goto(9000)),
        (
            Selector {
                to: Some(net("10.0.0.0/8")),
                ..Selector::default()
            },
            RuleAction::Prohibit,
        ),
    ];
    for (selector, action) in harmful {
        let rule = foreign(Family::V4, 1000, selector, action);
        let facts = with_rules([rule.clone()]);
        assert_eq!(overtaken(&facts, &options()), [&rule]);
        assert_eq!(block_base(&facts, &options()), Ok(900));
    }
    let strict = CaptureOptions {
        strict_marks: true,
        ..options()
    };
    let facts = with_rules([foreign(
        Family::V4,
        1000,
        marked(0x10, 0xff).selector,
        RuleAction::Lookup(7),
    )]);
    assert_eq!(
        block_base(&facts, &strict),
        Ok(900),
        "their marked packets are captured too"
    );
}

#[test]
fn our_block_never_precedes_the_lookup_of_local_addresses() {
    let mut facts = host();
    for rule in facts.rules.iter_mut().filter(|rule| rule.preference == 0) {
        rule.preference = 100;
    }
    assert_eq!(block_base(&facts, &options()), Ok(FIRST_PREFERENCE));
    facts.rules.push(foreign(
        Family::V6,
        150,
        Selector::default(),
        RuleAction::Lookup(7),
    ));
    assert_eq!(
        block_base(&facts, &options()),
        Err(PlanError::LocalBehind {
            family: Family::V4,
            base: 50
        })
    );
}

#[test]
fn a_mark_field_that_holds_our_bit_is_a_clash() {
    for rule in [
        marked(MARK.value, u32::MAX),
        marked(0, 0xff00_0000),
        marked(0x0300_0000, 0xff00_0000),
        marked(MARK.value, MARK.mask),
    ] {
        let refusal = wanted(&with_rules([rule.clone()]), &options()).expect_err("a clash");
        assert_eq!(
            refusal,
            PlanError::MarkClash {
                rule: Box::new(rule)
            }
        );
    }
}

#[test]
fn the_marks_of_well_known_programs_are_no_clash() {
    for rule in [
        marked(0xca6c, u32::MAX),
        marked(0x6d6f_6c65, u32::MAX),
        marked(0x80000, 0xff0000),
        marked(0x4000, 0xc000),
    ] {
        assert!(wanted(&with_rules([rule]), &options()).is_ok());
    }
    let wg = Rule {
        preference: 9000,
        ..wg_quick(Family::V4)
    };
    assert!(wanted(&with_rules([wg]), &options()).is_ok());
}

#[test]
fn foreign_entries_in_our_table_are_a_clash() {
    let route = Route {
        table: TABLE,
        ..wg_quick_route("10.0.0.0/8")
    };
    let facts = HostFacts {
        our_routes: vec![route.clone()],
        ..host()
    };
    assert_eq!(
        wanted(&facts, &options()),
        Err(PlanError::TableRoute {
            route: Box::new(route)
        })
    );
    let rule = foreign(
        Family::V4,
        9000,
        Selector::default(),
        RuleAction::Lookup(TABLE),
    );
    let refusal = wanted(&with_rules([rule.clone()]), &options());
    assert_eq!(
        refusal,
        Err(PlanError::TableRule {
            rule: Box::new(rule)
        })
    );
}

#[test]
fn an_entry_is_ours_only_by_number_and_range() {
    let above = Rule {
        protocol: PROTOCOL,
        ..foreign(Family::V4, 5200, Selector::default(), RuleAction::Lookup(7))
    };
    let elsewhere = Route {
        protocol: PROTOCOL,
        ..wg_quick_route("10.0.0.0/8")
    };
    let other_number = foreign(Family::V4, 5110, Selector::default(), RuleAction::Lookup(7));
    let facts = HostFacts {
        our_routes: vec![elsewhere],
        ..with_rules([above, other_number])
    };
    let ours = present(&facts);
    assert_eq!((ours.rules, ours.routes), (Vec::new(), Vec::new()));
}

#[test]
fn a_rule_reads_as_ip_rule_prints_it() {
    let rule = Rule {
        preference: 5099,
        ..wg_quick(Family::V6)
    };
    assert_eq!(
        rule.to_string(),
        "5099: not from all fwmark 0xca6c lookup 51820 (IPv6)"
    );
    let marked_at_all = Selector {
        not: true,
        mark: Some(Mark {
            value: 0,
            mask: u32::MAX,
        }),
        ..Selector::default()
    };
    assert_eq!(
        marked_at_all.to_string(),
        "not from all fwmark 0/0xffffffff"
    );
    let selector = Selector {
        from: Some(net("192.0.2.7/32")),
        to: Some(net("10.0.0.0/8")),
        mark: Some(MARK),
        input: Some("lo".into()),
        output: Some("eth0".into()),
        ip_protocol: Some(TCP),
        source_ports: Some(PortRange {
            first: 80,
            last: 82,
        }),
        destination_ports: Some(PortRange {
            first: 53,
            last: 53,
        }),
        ..Selector::default()
    };
    assert_eq!(
        foreign(Family::V4, 7, selector, RuleAction::Goto(9)).to_string(),
        "7: from 192.0.2.7/32 to 10.0.0.0/8 fwmark 0x2000000/0x2000000 iif lo oif eth0 ipproto 6 sport 80-82 dport 53 goto 9"
    );
}
