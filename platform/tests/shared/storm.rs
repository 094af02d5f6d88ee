//! Unrelated processes that come and go meanwhile.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Runs `test` while so many threads make processes that end at once; says how many there were.
pub(crate) fn while_others_come_and_go<T>(threads: usize, test: impl FnOnce() -> T) -> (T, usize) {
    let (done, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    let outcome = std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(Command::new("/bin/true").status().unwrap().success());
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _done = Done(&done);
        test()
    });
    (outcome, made.into_inner())
}

/// Ends them, also where the test fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
