use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tidegate_policy::Verdict;

use super::*;
use crate::record::FlowLogLimits;
use crate::shared::{CaptureKind, CaptureStatus};
use crate::test_folder::TestFolder;

const BLOCK: &str = "[policy]\ndefault = \"block\"\n";
const ALLOW: &str = "[policy]\ndefault = \"allow\"\n";

/// Longer than any notice takes, so that a test that fails ends.
const PATIENCE: Duration = Duration::from_secs(10);

fn start(folder: &TestFolder) -> (Arc<Shared>, Arc<Reloader>) {
    let source = ConfigSource::new(Some(folder.path().join("tidegate.toml")));
    let config = Config::load(&source).unwrap();
    let capture = CaptureStatus::new(CaptureKind::Exec, "tide0");
    let shared = Shared::new(config.policy, capture, FlowLogLimits::default());
    let reloader = Reloader::new(source, config.capture, Arc::clone(&shared));
    (shared, reloader)
}

fn verdict(shared: &Shared) -> Verdict {
    shared.policy.load().policy.default_verdict()
}

fn until(condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_good_file_is_put_in_force_and_workers_are_woken() {
    let folder = TestFolder::new();
    folder.write("tidegate.toml", ALLOW);
    let (shared, reloader) = start(&folder);
    let woken = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&woken);
    shared.on_change(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    folder.write("tidegate.toml", BLOCK);
    assert_eq!(reloader.reload(), Ok(2));
    assert_eq!(verdict(&shared), Verdict::Block);
    assert_eq!(shared.policy.load().generation, 2);
    assert_eq!(woken.load(Ordering::Relaxed), 1);
}

#[test]
fn a_bad_file_changes_nothing_but_a_message() {
    let folder = TestFolder::new();
    folder.write("tidegate.toml", BLOCK);
    let (shared, reloader) = start(&folder);
    shared.on_change(|| panic!("nothing changed"));
    folder.write("tidegate.toml", "[policy]\ndefault = \"alow\"\n");
    assert!(reloader.reload().is_err());
    assert_eq!(verdict(&shared), Verdict::Block);
    assert_eq!(shared.policy.load().generation, 1);
    let failure = shared.reload_failure().unwrap();
    assert!(
        failure.message.contains("tidegate.toml:2:11: error:"),
        "{}",
        failure.message
    );
}

#[test]
fn a_good_file_after_a_bad_one_takes_the_message_back() {
    let folder = TestFolder::new();
    folder.write("tidegate.toml", BLOCK);
    let (shared, reloader) = start(&folder);
    folder.write("tidegate.toml", "broken");
    assert!(reloader.reload().is_err());
    folder.write("tidegate.toml", ALLOW);
    assert_eq!(reloader.reload(), Ok(2));
    assert_eq!(shared.reload_failure(), None);
}

#[test]
fn a_changed_file_is_noticed_whether_written_or_renamed() {
    let folder = TestFolder::new();
    folder.write("tidegate.toml", ALLOW);
    let (shared, reloader) = start(&folder);
    let watch = ConfigWatch::start(reloader).unwrap();
    folder.write("tidegate.toml", BLOCK);
    until(|| verdict(&shared) == Verdict::Block);
    let other = folder.write("new.tmp", ALLOW);
    fs::rename(other, folder.path().join("tidegate.toml")).unwrap();
    until(|| verdict(&shared) == Verdict::Allow);
    drop(watch);
}

#[test]
fn rule_files_are_noticed_even_in_a_folder_made_later() {
    let folder = TestFolder::new();
    folder.write("tidegate.toml", ALLOW);
    let (shared, reloader) = start(&folder);
    let _watch = ConfigWatch::start(reloader).unwrap();
    let rules = || shared.policy.load().policy.len();
    fs::create_dir(folder.path().join("rules.d")).unwrap();
    until(|| shared.policy.load().generation == 2);
    let rule = folder.write("rules.d/a.toml", "[[rule]]\naction = \"block\"\n");
    until(|| rules() == 1);
    fs::remove_file(rule).unwrap();
    until(|| rules() == 0);
}

#[test]
fn several_writes_in_a_row_make_one_reload_and_other_files_none() {
    let folder = TestFolder::new();
    folder.write("tidegate.toml", ALLOW);
    let (shared, reloader) = start(&folder);
    let _watch = ConfigWatch::start(reloader).unwrap();
    folder.write("notes.txt", "nothing to do with it");
    for _ in 0..5 {
        folder.write("tidegate.toml", ALLOW);
    }
    folder.write("tidegate.toml", BLOCK);
    until(|| verdict(&shared) == Verdict::Block);
    assert_eq!(shared.policy.load().generation, 2);
}
