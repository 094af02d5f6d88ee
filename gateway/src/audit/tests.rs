use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::test_folder::TestFolder;

fn change(after: &str) -> Change {
    Change {
        author: Author::Client {
            uid: 1000,
            pid: Some(7),
        },
        subject: Subject::Answer,
        before: None,
        after: Some(after.to_owned()),
    }
}

/// A record of five changes.
fn five() -> (TestFolder, PathBuf) {
    let folder = TestFolder::new();
    let audit = Audit::in_folder(folder.path().join("state"));
    for number in 0..5 {
        audit.append(change(&format!("change {number}"))).unwrap();
    }
    let file = folder.path().join("state/audit.log");
    (folder, file)
}

fn faults(file: &Path) -> Vec<Fault> {
    verify(file.parent().unwrap()).unwrap().faults
}

#[test]
fn what_was_recorded_is_read_and_verified() {
    let (_folder, file) = five();
    let folder = file.parent().unwrap();
    let records = read(folder).unwrap();
    let numbers: Vec<u64> = records.iter().map(|(_, record)| record.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    assert_eq!(records[2].1.change, change("change 2"));
    let found = verify(folder).unwrap();
    assert_eq!((found.lines, found.faults), (5, Vec::new()));
    assert_eq!(found.last, records[4].0);
}

#[test]
fn every_changed_byte_is_found() {
    let (_folder, file) = five();
    let whole = fs::read(&file).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&file, changed).unwrap();
        assert!(!faults(&file).is_empty(), "byte {at}");
    }
    fs::write(&file, whole).unwrap();
    assert_eq!(faults(&file), []);
}

#[test]
fn a_line_that_is_taken_out_put_twice_or_moved_is_found() {
    let (_folder, file) = five();
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for wrong in [
        vec![0, 1, 3, 4],
        vec![1, 2, 3, 4],
        vec![0, 1, 1, 2, 3, 4],
        vec![0, 2, 1, 3, 4],
    ] {
        let wrong: String = wrong
            .iter()
            .map(|line| format!("{}\n", lines[*line]))
            .collect();
        fs::write(&file, wrong).unwrap();
        assert!(!faults(&file).is_empty());
    }
}

#[test]
fn an_end_that_is_missing_is_found() {
    let (_folder, file) = five();
    let text = fs::read_to_string(&file).unwrap();
    let three: String = text
        .lines()
        .take(3)
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(&file, three).unwrap();
    let cut_off = Fault::CutOff {
        records: 3,
        once: 5,
    };
    assert_eq!(faults(&file), [cut_off]);
    let audit = Audit::in_folder(file.parent().unwrap().to_owned());
    assert_eq!(audit.append(change("after")).unwrap().number, 6);
    let gap = Fault::OutOfOrder {
        line: 4,
        number: 6,
        expected: 4,
    };
    let goes_on = [Fault::Broken { line: 4 }, gap];
    assert_eq!(
        faults(&file),
        goes_on,
        "what is recorded later hides nothing"
    );
    fs::remove_file(&file).unwrap();
    let once = Fault::CutOff {
        records: 0,
        once: 6,
    };
    assert_eq!(faults(&file), [once]);
}

#[test]
fn a_writer_that_was_interrupted_leaves_a_line_that_is_said_and_the_chain_goes_on() {
    let (_folder, file) = five();
    let mut torn = fs::read(&file).unwrap();
    torn.extend(b"0123 {\"numb");
    fs::write(&file, torn).unwrap();
    let audit = Audit::in_folder(file.parent().unwrap().to_owned());
    assert_eq!(audit.append(change("after")).unwrap().number, 6);
    assert_eq!(faults(&file), [Fault::Broken { line: 6 }]);
}

#[test]
fn texts_are_bounded() {
    let folder = TestFolder::new();
    let audit = Audit::in_folder(folder.path().to_owned());
    let record = audit.append(change(&"\u{1}ö".repeat(1 << 20))).unwrap();
    assert!(record.change.after.unwrap().len() < 20 << 10);
    audit.append(change("next")).unwrap();
    assert_eq!(verify(folder.path()).unwrap().faults, []);
}
