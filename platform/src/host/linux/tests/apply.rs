//! Changes made and taken back, against the kernel's own tables.

use serde_json::json;
use tidegate_routing::plan::{Change, Rule};

use super::{Scratch, changes, ours, route, through, uplink, wanted};
use crate::host::linux::settings;
use crate::host::{HostNetwork, Journal};
use crate::sys::test_network::{in_new_network, ip};

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
fn interfaces_that_come_and_go_do_not_make_the_journal_grow() {
    let scratch = Scratch::new("interfaces");
    in_new_network(|| {
        uplink();
        let loosened = |interface: &str| {
            let path = format!("net/ipv4/conf/{interface}/rp_filter");
            settings::write(&path, "1").unwrap();
            Change::Set {
                path,
                from: "1".to_owned(),
                to: "2".to_owned(),
            }
        };
        let mut host = HostNetwork::open().unwrap();
        let mut journal = Journal::open(scratch.journal(), json!({})).unwrap();
        host.apply(&changes(), &mut journal).unwrap();
        let lasting = journal.changes().to_vec();
        for round in 0..300 {
            let name = format!("short{round}");
            ip(&format!("link add {name} type veth peer name far{name}"));
            host.apply(&[loosened(&name)], &mut journal).unwrap();
            ip(&format!("link del {name}"));
        }
        assert!(journal.changes().len() < 256, "{}", journal.changes().len());
        assert!(Journal::load(scratch.journal()).is_err(), "not locked");
        drop(journal);
        // What a successor reads.
        let journal = Journal::load(scratch.journal()).unwrap().unwrap();
        assert!(journal.changes().len() < 256);
        assert!(journal.changes().starts_with(&lasting));
        assert_eq!(journal.previous_owner().unwrap().pid, std::process::id());
        assert_eq!(journal.damaged_lines(), 0);
        let failures = host.undo(&journal);
        assert!(failures.is_empty(), "{failures:?}");
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
