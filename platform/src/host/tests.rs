//! Against the kernel's own tables, in a network namespace per test.

use std::net::TcpListener;
use std::path::PathBuf;

use serde_json::json;
use tidegate_routing::plan::{
    Change, FIRST_PREFERENCE, Family, LAST_PREFERENCE, Listener, MARK, Mark, PROTOCOL, PortRange,
    Route, RouteKind, Rule, RuleAction, Selector, TABLE,
};

use super::*;
use crate::sys::test_network::{in_new_network, ip};

/// A journal path of its own for each test; its folder goes with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("tidegate-host-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `eth0` with both families and a gateway, its far end `far0` in the same namespace.
fn uplink() {
    ip("link add eth0 type veth peer name far0");
    ip("link set eth0 up");
    ip("link set far0 up");
    ip("address add 192.0.2.7/24 dev eth0");
    ip("address add 2001:db8::7/64 dev eth0 nodad");
    ip("route add default via 192.0.2.1 dev eth0");
    ip("route add default via 2001:db8::1 dev eth0");
}

fn rule(family: Family, preference: u32, selector: Selector, action: RuleAction) -> Rule {
    Rule {
        family,
        preference,
        selector,
        action,
        protocol: PROTOCOL,
    }
}

fn route(destination: &str, kind: RouteKind, metric: u32) -> Route {
    Route {
        table: TABLE,
        destination: destination.parse().unwrap(),
        kind,
        metric,
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

/// A setting, routes of both families, rules of every kind.
fn changes() -> Vec<Change> {
    let path = "net/ipv4/conf/eth0/rp_filter".to_owned();
    let mut changes = vec![Change::Set {
        path,
        from: "0".to_owned(),
        to: "2".to_owned(),
    }];
    for destination in ["0.0.0.0/0", "::/0"] {
        changes.push(Change::AddRoute(route(
            destination,
            RouteKind::Unreachable,
            200,
        )));
        changes.push(Change::AddRoute(route(destination, through("far0"), 100)));
    }
    changes.extend(
        rules(Family::V4, "192.0.2.0/24")
            .into_iter()
            .map(Change::AddRule),
    );
    changes.extend(
        rules(Family::V6, "2001:db8::/32")
            .into_iter()
            .map(Change::AddRule),
    );
    changes
}

fn rules(family: Family, network: &str) -> Vec<Rule> {
    let network = network.parse().ok();
    let ports = Some(PortRange {
        first: 22,
        last: 23,
    });
    let nothing = Selector::default;
    let past = RuleAction::Goto(LAST_PREFERENCE);
    let input = Some("lo".to_owned());
    let rules = [
        (LAST_PREFERENCE, nothing(), RuleAction::Nop),
        (
            FIRST_PREFERENCE,
            Selector {
                mark: Some(MARK),
                ..nothing()
            },
            past,
        ),
        (
            FIRST_PREFERENCE + 1,
            Selector {
                output: Some("eth0".to_owned()),
                ..nothing()
            },
            RuleAction::Prohibit,
        ),
        (
            FIRST_PREFERENCE + 2,
            Selector {
                ip_protocol: Some(6),
                source_ports: ports,
                ..nothing()
            },
            past,
        ),
        (
            FIRST_PREFERENCE + 3,
            Selector {
                input,
                to: network,
                ip_protocol: Some(17),
                destination_ports: ports,
                not: true,
                ..nothing()
            },
            RuleAction::Lookup(TABLE),
        ),
        (
            FIRST_PREFERENCE + 4,
            Selector {
                from: network,
                mark: Some(Mark {
                    value: 0,
                    mask: 0xffff,
                }),
                ..nothing()
            },
            RuleAction::Unreachable,
        ),
    ];
    rules
        .into_iter()
        .map(|(preference, selector, action)| rule(family, preference, selector, action))
        .collect()
}

fn ours(facts: &HostFacts) -> (Vec<Rule>, Vec<Route>) {
    let mut rules: Vec<_> = facts
        .rules
        .iter()
        .filter(|rule| rule.protocol == PROTOCOL)
        .cloned()
        .collect();
    let mut routes = facts.our_routes.clone();
    rules.sort();
    routes.sort();
    (rules, routes)
}

fn wanted(changes: &[Change]) -> (Vec<Rule>, Vec<Route>) {
    let mut rules = Vec::new();
    let mut routes = Vec::new();
    for change in changes {
        match change {
            Change::AddRule(rule) => rules.push(rule.clone()),
            Change::AddRoute(route) => routes.push(route.clone()),
            Change::RemoveRoute(_) | Change::RemoveRule(_) | Change::Set { .. } => {}
        }
    }
    rules.sort();
    routes.sort();
    (rules, routes)
}

#[test]
fn what_is_applied_is_there_and_what_is_undone_is_as_before() {
    let scratch = Scratch::new("apply");
    in_new_network(|| {
        uplink();
        let mut host = HostNetwork::open().unwrap();
        let before = host.facts().unwrap();
        let mut journal = Journal::open(scratch.journal(), json!({})).unwrap();

        host.apply(&changes(), &mut journal).unwrap();
        let facts = host.facts().unwrap();
        assert_eq!(ours(&facts), wanted(&changes()));
        assert!(
            facts.reverse_path_filters.contains(&("eth0".to_owned(), 2)),
            "{:?}",
            facts.reverse_path_filters
        );

        let failures = host.undo(&journal);
        assert!(failures.is_empty(), "{failures:?}");
        assert_eq!(host.facts().unwrap(), before);
        journal.clear().unwrap();
        assert!(!scratch.journal().exists());
    });
}

#[test]
fn a_successor_undoes_what_a_dead_instance_left_even_if_part_is_gone() {
    let scratch = Scratch::new("successor");
    in_new_network(|| {
        uplink();
        let before = HostNetwork::open().unwrap().facts().unwrap();
        let mut journal = Journal::open(scratch.journal(), json!({ "tun": "tide0" })).unwrap();
        HostNetwork::open()
            .unwrap()
            .apply(&changes(), &mut journal)
            .unwrap();
        drop(journal);

        ip("rule flush");
        ip("rule add lookup main preference 32766");
        let journal = Journal::load(scratch.journal()).unwrap().unwrap();
        let owner = journal.previous_owner().unwrap();
        assert_eq!(
            (owner.pid, &owner.options),
            (std::process::id(), &json!({ "tun": "tide0" }))
        );
        let mut host = HostNetwork::open().unwrap();
        let failures = host.undo(&journal);
        assert!(failures.is_empty(), "{failures:?}");
        let after = host.facts().unwrap();
        assert_eq!(ours(&after), (vec![], vec![]));
        assert_eq!(after.reverse_path_filters, before.reverse_path_filters);
    });
}

#[test]
fn a_change_that_fails_takes_back_those_before_it_and_says_why() {
    let scratch = Scratch::new("fails");
    in_new_network(|| {
        uplink();
        let mut host = HostNetwork::open().unwrap();
        let before = host.facts().unwrap();
        let mut journal = Journal::open(scratch.journal(), json!({})).unwrap();
        let mut changes = changes();
        changes.push(Change::AddRoute(route(
            "198.51.100.0/24",
            through("gone0"),
            100,
        )));
        let error = host.apply(&changes, &mut journal).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot add the route 198.51.100.0/24 to table 5100: no network interface is named \"gone0\"; nothing is changed"
        );
        assert_eq!(host.facts().unwrap(), before);
    });
}

#[test]
fn each_change_is_on_disk_before_it_is_made() {
    let scratch = Scratch::new("order");
    in_new_network(|| {
        uplink();
        let mut journal = Journal::open(scratch.journal(), json!({})).unwrap();
        let refused = Change::AddRoute(route("198.51.100.0/24", through("gone0"), 100));
        HostNetwork::open()
            .unwrap()
            .apply(std::slice::from_ref(&refused), &mut journal)
            .unwrap_err();
        drop(journal);
        let journal = Journal::load(scratch.journal()).unwrap().unwrap();
        assert_eq!(journal.changes(), [refused]);
    });
}

#[test]
fn a_setting_that_someone_else_changed_since_is_left_alone() {
    let scratch = Scratch::new("setting");
    in_new_network(|| {
        uplink();
        let path = "net/ipv4/conf/eth0/rp_filter";
        settings::write(path, "1").unwrap();
        let mut journal = Journal::open(scratch.journal(), json!({})).unwrap();
        let mut host = HostNetwork::open().unwrap();
        let set = Change::Set {
            path: path.to_owned(),
            from: "1".to_owned(),
            to: "2".to_owned(),
        };
        host.apply(std::slice::from_ref(&set), &mut journal)
            .unwrap();
        settings::write(path, "0").unwrap();
        assert!(host.undo(&journal).is_empty());
        assert_eq!(settings::read(path).unwrap(), "0");

        settings::write(path, "2").unwrap();
        assert!(host.undo(&journal).is_empty());
        assert_eq!(settings::read(path).unwrap(), "1");
    });
}

#[test]
fn what_we_removed_of_ours_is_not_brought_back_but_what_was_anothers_is() {
    let scratch = Scratch::new("removed");
    in_new_network(|| {
        ip("rule add lookup 77 preference 6000 protocol 99");
        ip("rule add lookup 78 preference 6001 protocol 219");
        let mut host = HostNetwork::open().unwrap();
        let rules: Vec<Rule> = host
            .facts()
            .unwrap()
            .rules
            .into_iter()
            .filter(|rule| rule.preference / 1000 == 6)
            .collect();
        let changes: Vec<_> = rules.iter().cloned().map(Change::RemoveRule).collect();
        assert_eq!(changes.len(), 2);
        let mut journal = Journal::open(scratch.journal(), json!({})).unwrap();
        host.apply(&changes, &mut journal).unwrap();
        assert!(!ip("rule").contains("lookup 7"));
        assert!(host.undo(&journal).is_empty());
        let shown = ip("rule");
        assert!(
            shown.contains("lookup 77") && !shown.contains("lookup 78"),
            "{shown}"
        );
    });
}

#[test]
fn the_facts_name_the_uplink_of_each_family_and_never_a_tunnel_before_a_wire() {
    in_new_network(|| {
        uplink();
        ip("tuntap add vpn0 mode tun");
        ip("link set vpn0 up");
        ip("address add 10.8.0.2/24 dev vpn0");
        ip("route add default dev vpn0 metric 1");
        ip("route replace default via 192.0.2.1 dev eth0 metric 100");
        let facts = HostNetwork::open().unwrap().facts().unwrap();
        let v4 = facts.uplink_v4.unwrap();
        assert_eq!((v4.device.as_str(), v4.mtu), ("eth0", 1500));
        assert_eq!(v4.source, "192.0.2.7".parse().ok());
        assert_eq!(v4.gateway, "192.0.2.1".parse().ok());
        let v6 = facts.uplink_v6.unwrap();
        assert_eq!(
            (v6.device.as_str(), v6.source),
            ("eth0", "2001:db8::7".parse().ok())
        );
        assert_eq!(v6.gateway, "2001:db8::1".parse().ok());
    });
}

#[test]
fn the_source_is_the_routes_own_where_it_names_one() {
    in_new_network(|| {
        uplink();
        ip("address add 192.0.2.8/24 dev eth0");
        ip("route replace default via 192.0.2.1 dev eth0 src 192.0.2.8");
        let facts = HostNetwork::open().unwrap().facts().unwrap();
        assert_eq!(facts.uplink_v4.unwrap().source, "192.0.2.8".parse().ok());
    });
}

#[test]
fn a_host_without_default_route_has_no_uplink() {
    in_new_network(|| {
        let facts = HostNetwork::open().unwrap().facts().unwrap();
        assert_eq!((facts.uplink_v4, facts.uplink_v6), (None, None));
        assert_eq!(facts.our_routes, vec![]);
        assert!(facts.ephemeral_ports.is_some());
    });
}

#[test]
fn the_facts_name_who_listens() {
    in_new_network(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wide = TcpListener::bind("[::]:0").unwrap();
        let facts = HostNetwork::open().unwrap().facts().unwrap();
        for socket in [&listener, &wide] {
            let address = socket.local_addr().unwrap();
            let expected = Listener {
                address: address.ip(),
                port: address.port(),
                uid: 0,
            };
            assert!(facts.listeners.contains(&expected), "{:?}", facts.listeners);
        }
        assert_eq!(facts.listeners.len(), 2);
    });
}

#[test]
fn the_rules_of_others_are_read_as_they_are() {
    in_new_network(|| {
        ip("rule add not fwmark 0xca6c lookup 51820 preference 32764 protocol 3");
        ip("-6 rule add from 2001:db8::/32 iif lo blackhole preference 900");
        let rules = HostNetwork::open().unwrap().facts().unwrap().rules;
        let wireguard = Rule {
            family: Family::V4,
            preference: 32764,
            selector: Selector {
                not: true,
                mark: Some(Mark {
                    value: 0xca6c,
                    mask: u32::MAX,
                }),
                ..Selector::default()
            },
            action: RuleAction::Lookup(51820),
            protocol: 3,
        };
        assert!(rules.contains(&wireguard), "{rules:?}");
        let six = rules.iter().find(|rule| rule.preference == 900).unwrap();
        assert_eq!(
            (six.family, six.action),
            (Family::V6, RuleAction::Blackhole)
        );
        assert!(rules.is_sorted_by_key(|rule| rule.preference));
    });
}

#[test]
fn a_journal_has_one_owner_at_a_time() {
    let scratch = Scratch::new("owner");
    let journal = Journal::open(scratch.journal(), json!({})).unwrap();
    for error in [
        Journal::open(scratch.journal(), json!({})).unwrap_err(),
        Journal::load(scratch.journal()).unwrap_err(),
    ] {
        let pid = std::process::id();
        assert!(
            matches!(error, JournalError::InUse { pid: Some(found), .. } if found == pid),
            "{error}"
        );
    }
    drop(journal);
    assert!(Journal::load(scratch.journal()).unwrap().is_some());
    assert!(Journal::load(scratch.0.join("other")).unwrap().is_none());
}

#[test]
fn a_line_torn_by_a_death_hides_nothing_before_or_after_it() {
    let scratch = Scratch::new("torn");
    let (first, second) = (changes().remove(1), changes().remove(2));
    let mut journal = Journal::open(scratch.journal(), json!({})).unwrap();
    journal.record(&first).unwrap();
    drop(journal);
    let mut text = std::fs::read(scratch.journal()).unwrap();
    text.extend(b"{\"change\":{\"add-ru");
    std::fs::write(scratch.journal(), text).unwrap();

    let mut journal = Journal::open(scratch.journal(), json!({})).unwrap();
    assert_eq!(
        (journal.changes(), journal.damaged_lines()),
        (&[first.clone()][..], 1)
    );
    journal.record(&second).unwrap();
    drop(journal);
    let journal = Journal::load(scratch.journal()).unwrap().unwrap();
    assert_eq!(journal.changes(), [first, second]);
}

#[test]
fn a_thing_is_journalled_once_however_often_it_changes() {
    let scratch = Scratch::new("once");
    let mut journal = Journal::open(scratch.journal(), json!({})).unwrap();
    let Change::AddRoute(route) = changes().remove(1) else {
        panic!("a route")
    };
    for _ in 0..3 {
        journal.record(&Change::AddRoute(route.clone())).unwrap();
        journal.record(&Change::RemoveRoute(route.clone())).unwrap();
    }
    assert_eq!(journal.changes(), [Change::AddRoute(route)]);
}

#[test]
fn what_an_earlier_boot_changed_is_forgotten() {
    let scratch = Scratch::new("boot");
    let mut journal = Journal::open(scratch.journal(), json!({})).unwrap();
    journal.record(&changes().remove(1)).unwrap();
    drop(journal);
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let text = std::fs::read_to_string(scratch.journal()).unwrap();
    std::fs::write(
        scratch.journal(),
        text.replace(boot.trim(), "an earlier one"),
    )
    .unwrap();
    let journal = Journal::load(scratch.journal()).unwrap().unwrap();
    assert_eq!(journal.changes(), []);
}
