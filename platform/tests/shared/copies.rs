//! One program under many names: copies of the test that runs.

use std::path::PathBuf;

/// Removed when dropped.
pub(crate) struct Copies {
    directory: PathBuf,
}

impl Copies {
    /// `count` copies in a folder that has `name` in its own.
    pub(crate) fn make(name: &str, count: u16) -> Self {
        let directory = format!("/var/tmp/tidegate-{name}-{}", std::process::id());
        let directory = PathBuf::from(directory);
        std::fs::create_dir_all(&directory).unwrap();
        let copies = Self { directory };
        let first = copies.path(0);
        std::fs::copy(std::env::current_exe().unwrap(), &first).unwrap();
        for number in 1..count {
            // The kernel names the path that was executed, so links are as good as copies.
            std::fs::hard_link(&first, copies.path(number)).unwrap();
        }
        copies
    }

    pub(crate) fn path(&self, number: u16) -> PathBuf {
        self.directory.join(format!("copy-{number}"))
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
