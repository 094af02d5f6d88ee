//! What holds for any pair of plans, and at every step between them.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{BoundSockets, Fail, PROTOCOL};
use super::*;

fn a_rule() -> impl Strategy<Value = Rule> {
    let action = prop_oneof![
        Just(RuleAction::Nop),
        Just(RuleAction::Lookup(TABLE)),
        Just(RuleAction::Lookup(MAIN)),
        Just(RuleAction::Prohibit),
        (5150u32..5152).prop_map(RuleAction::Goto),
    ];
    (
        0usize..2,
        5100u32..5104,
        any::<bool>(),
        prop::option::of(Just(MARK)),
        action,
    )
        .prop_map(|(family, preference, not, mark, action)| Rule {
            family: Family::ALL[family],
            preference,
            selector: Selector {
                not,
                mark,
                ..Selector::default()
            },
            action,
            protocol: PROTOCOL,
        })
}

fn a_route() -> impl Strategy<Value = Route> {
    let kind = prop_oneof![
        Just(RouteKind::Unreachable),
        prop_oneof![Just("tide0"), Just("tide1")].prop_map(|device| RouteKind::Device {
            device: device.into(),
            gateway: None,
            source: None
        }),
    ];
    let destination = prop_oneof![
        Just(net("0.0.0.0/0")),
        Just(net("::/0")),
        Just(net("10.0.0.0/8"))
    ];
    (destination, kind, 1u32..3).prop_map(|(destination, kind, metric)| Route {
        table: TABLE,
        destination,
        kind,
        metric,
        protocol: PROTOCOL,
    })
}

/// Any entries of ours, as another version or a half-finished run may have left them.
fn a_plan() -> impl Strategy<Value = HostPlan> {
    (vec(a_rule(), 0..8), vec(a_route(), 0..5)).prop_map(|(rules, mut routes)| {
        routes.sort_by_key(|route| (route.destination, route.metric));
        routes.dedup_by_key(|route| (route.destination, route.metric));
        HostPlan {
            rules,
            routes,
            settings: Vec::new(),
        }
    })
}

/// What the user may want.
fn some_options() -> impl Strategy<Value = CaptureOptions> {
    (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(closed, prohibit, strict_marks, forwards)| CaptureOptions {
            fail: if closed { Fail::Closed } else { Fail::Open },
            bound_sockets: if prohibit {
                BoundSockets::Prohibit
            } else {
                BoundSockets::Report
            },
            strict_marks,
            forwarded: if forwards {
                vec!["docker0".into()]
            } else {
                Vec::new()
            },
            ..options()
        },
    )
}

/// What the host may look like; at least one family has an uplink.
fn some_host() -> impl Strategy<Value = HostFacts> {
    let listener = (
        prop_oneof![Just("0.0.0.0"), Just("::"), Just("192.0.2.7")],
        1u16..2000,
        0u32..2,
    )
        .prop_map(|(address, port, uid)| Listener {
            address: ip(address),
            port,
            uid,
        });
    let device = prop_oneof![
        Just(("eth0", "192.0.2.7")),
        Just(("eth0", "192.0.2.8")),
        Just(("wlan0", "192.0.2.7"))
    ];
    (1u8..4, device, vec(listener, 0..6), 0u8..3).prop_map(
        |(families, (device, source), listeners, filter)| HostFacts {
            uplink_v4: (families & 1 != 0).then(|| uplink(device, source)),
            uplink_v6: (families & 2 != 0).then(|| uplink(device, "2001:db8::7")),
            reverse_path_filters: vec![("all".into(), 0), (device.into(), filter)],
            listeners,
            ..host()
        },
    )
}

fn sorted(mut plan: HostPlan) -> (Vec<Rule>, Vec<Route>) {
    plan.rules.sort();
    plan.routes.sort();
    (plan.rules, plan.routes)
}

/// What holds at every moment of a move between two good states: our own traffic is never captured, and with `closed` no
/// packet of this host meets a lookup of our table while nothing is in it.
fn assert_safe(kernel: &Kernel, closed: bool) {
    for destination in ANYWHERE {
        let own = Packet {
            mark: MARK.value,
            ..packet_to(destination)
        };
        for own in [
            Packet {
                bound: Some("eth0"),
                ..own.clone()
            },
            own,
        ] {
            let Trace { outcome, .. } = kernel.route(&own);
            assert_ne!(
                outcome,
                to_tun(),
                "our own traffic is captured: {:#?}",
                kernel.rules
            );
            assert!(
                !matches!(outcome, Outcome::Unreachable(_) | Outcome::RefusedByRule(_)),
                "{outcome:?}"
            );
        }
        let trace = kernel.route(&packet_to(destination));
        assert!(
            !closed || !trace.empty_tables.contains(&TABLE),
            "a hole: {:#?}",
            kernel.routes
        );
    }
}

proptest! {
    #[test]
    fn diff_then_apply_equals_wanted_and_is_then_empty(before in a_plan(), after in a_plan()) {
        let mut kernel = Kernel::new(before.rules.clone(), before.routes.clone());
        for change in diff(&before, &after) {
            kernel.apply(&change);
        }
        prop_assert_eq!(sorted(kernel.ours()), sorted(after.clone()));
        prop_assert_eq!(diff(&kernel.ours(), &after), []);
    }

    #[test]
    fn undoing_every_prefix_backwards_restores(before in a_plan(), after in a_plan(), length in 0usize..30) {
        let mut kernel = Kernel::new(before.rules.clone(), before.routes.clone());
        let changes = diff(&before, &after);
        let done = &changes[..length.min(changes.len())];
        done.iter().for_each(|change| kernel.apply(change));
        done.iter().rev().for_each(|change| kernel.apply(&invert(change)));
        prop_assert_eq!(sorted(kernel.ours()), sorted(before));
    }

    #[test]
    fn an_arbitrary_present_becomes_the_plan(before in a_plan(), options in some_options()) {
        let facts = HostFacts {
            rules: kernel_rules().into_iter().chain(before.rules).collect(),
            our_routes: before.routes,
            ..host()
        };
        let kernel = planned_kernel(&facts, &options);
        let now = facts_of(&kernel, &facts);
        prop_assert_eq!(sorted(kernel.ours()), sorted(wanted(&now, &options).expect("a plan")));
        assert_safe(&kernel, options.fail == Fail::Closed);
    }

    #[test]
    fn installing_replanning_and_removing_are_safe_at_every_step(
        first in (some_host(), some_options()),
        second in (some_host(), some_options()),
        overtaken in any::<bool>(),
        cut in 0usize..40,
    ) {
        let closed = |options: &CaptureOptions| options.fail == Fail::Closed;
        let mut kernel = bare_kernel(&first.0);

        // Put up, and left half-done by a crash at `cut`, or not.
        let steps = diff(&HostPlan::default(), &wanted(&first.0, &first.1).expect("a plan"));
        kernel.settings = present(&first.0).settings;
        for step in steps.iter().filter(|step| !matches!(step, Change::Set { .. })).take(cut) {
            kernel.apply(step);
            assert_safe(&kernel, closed(&first.1));
        }
        if overtaken {
            kernel.add_rule_without_preference(foreign(Family::V6, 0, Selector::default(), RuleAction::Lookup(MAIN)));
        }

        // Planned anew, for another host and other wishes.
        let facts = facts_of(&kernel, &second.0);
        kernel.settings = present(&facts).settings;
        let steps = diff(&present(&facts), &wanted(&facts, &second.1).expect("a plan"));
        for step in &steps {
            kernel.apply(step);
            assert_safe(&kernel, closed(&first.1) && closed(&second.1));
        }
        let done = kernel.clone();

        // Undone, and done again.
        for step in steps.iter().rev() {
            kernel.apply(&invert(step));
            assert_safe(&kernel, closed(&first.1) && closed(&second.1));
        }
        kernel = done;

        // Removed.
        for step in diff(&kernel.ours(), &HostPlan::default()) {
            kernel.apply(&step);
            assert_safe(&kernel, closed(&second.1));
        }
        prop_assert_eq!(sorted(kernel.ours()), (Vec::new(), Vec::new()));
    }

    #[test]
    fn changes_survive_the_journal(plan in a_plan(), host in some_host(), options in some_options()) {
        let mut changes = diff(&HostPlan::default(), &plan);
        changes.extend(diff(&present(&host), &wanted(&host, &options).expect("a plan")));
        for change in changes {
            let text = serde_json::to_string(&change).expect("serializes");
            prop_assert_eq!(serde_json::from_str::<Change>(&text).expect("parses"), change.clone());
            prop_assert_eq!(invert(&invert(&change)), change);
        }
    }
}

#[test]
fn a_setting_is_changed_once_and_changed_back() {
    let with_filter = |value| vec![("all".into(), 0), ("eth0".into(), value)];
    let facts = HostFacts {
        reverse_path_filters: with_filter(1),
        ..host()
    };
    let mut kernel = bare_kernel(&facts);
    let steps = diff(
        &present(&facts),
        &wanted(&facts, &options()).expect("a plan"),
    );
    let settings: Vec<&Change> = steps
        .iter()
        .filter(|step| matches!(step, Change::Set { .. }))
        .collect();
    assert_eq!(settings.len(), 1);
    let before = kernel.settings.clone();
    steps.iter().for_each(|step| kernel.apply(step));
    assert_ne!(kernel.settings, before);
    let loosened = HostFacts {
        reverse_path_filters: with_filter(2),
        ..facts_of(&kernel, &facts)
    };
    assert_eq!(
        diff(
            &present(&loosened),
            &wanted(&loosened, &options()).expect("a plan")
        ),
        []
    );
    steps
        .iter()
        .rev()
        .for_each(|step| kernel.apply(&invert(step)));
    assert_eq!(kernel.settings, before);
}

#[test]
fn closing_comes_before_the_way_out_is_replaced() {
    let before = wanted(&host(), &options()).expect("a plan");
    let moved = HostFacts {
        uplink_v4: Some(uplink("eth0", "192.0.2.8")),
        ..host()
    };
    let after = wanted(
        &moved,
        &CaptureOptions {
            fail: Fail::Closed,
            ..options()
        },
    )
    .expect("a plan");
    let mut kernel = Kernel::new(
        [kernel_rules(), before.rules.clone()].concat(),
        before.routes.clone(),
    );
    for step in diff(&before, &after) {
        kernel.apply(&step);
        let trace = kernel.route(&packet_to(ANYWHERE[0]));
        assert!(!trace.empty_tables.contains(&TABLE), "{step:?}");
    }
}
