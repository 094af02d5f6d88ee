//! What tells a process from a later one of the same number.

use super::descriptors::ProcessDirectory;

/// When the process was started, in ticks since the system's start; `None` if there is no such process, or no telling.
/// `exec` does not change it.
pub fn born(process: u32) -> Option<u64> {
    let process = ProcessDirectory::open(process).ok()?;
    Some(process.stat().ok()?.started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_was_born_once_and_one_that_is_not_there_was_not() {
        let own = born(std::process::id());
        assert!(own.is_some() && own == born(std::process::id()));
        assert_ne!(own, born(1));
        assert_eq!(born(u32::MAX), None);
    }
}
