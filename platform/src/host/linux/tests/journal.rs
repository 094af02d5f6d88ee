//! The journal's file: its owner, its lines, what it forgets.

use serde_json::json;
use tidegate_routing::plan::Change;

use super::{Scratch, changes};
use crate::host::{Journal, JournalError};

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

#[test]
fn a_cleared_journal_is_gone_and_the_next_one_starts_afresh() {
    let scratch = Scratch::new("cleared");
    let mut journal = Journal::open(scratch.journal(), json!({})).unwrap();
    journal.record(&changes().remove(1)).unwrap();
    journal.clear().unwrap();
    assert!(Journal::load(scratch.journal()).unwrap().is_none());
    let journal = Journal::open(scratch.journal(), json!({})).unwrap();
    assert_eq!(
        (journal.changes(), journal.previous_owner()),
        (&[][..], None)
    );
}
