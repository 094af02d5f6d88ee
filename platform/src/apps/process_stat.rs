//! `/proc/PID/stat`, as far as it tells one life of a process id from the next.

/// What never changes in a process's life, and its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ProcessStat {
    /// Process id of the parent; changes when the parent ends.
    pub(super) parent: u32,
    /// When it was forked, in clock ticks since boot. `exec` does not change it.
    pub(super) started: u64,
}

/// Parses the file's text. The command's name stands in parentheses and may contain anything, parentheses too.
pub(super) fn parse(text: &[u8]) -> Option<ProcessStat> {
    let name_ends = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(name_ends + 1..)?).ok()?;
    let mut columns = rest.split_ascii_whitespace();
    // Fields are numbered from 1 in proc_pid_stat(5); the third is the first after the name.
    let parent = columns.nth(1)?.parse().ok()?; // field 4
    let started = columns.nth(17)?.parse().ok()?; // field 22
    Some(ProcessStat { parent, started })
}

/// Whether the process has one thread, and that waits for something.
pub(super) fn is_one_sleeping_thread(text: &[u8]) -> bool {
    let is = || {
        let name_ends = text.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(text.get(name_ends + 1..)?).ok()?;
        let mut columns = rest.split_ascii_whitespace();
        let state = columns.next()?; // field 3
        let threads = columns.nth(16)?; // field 20
        Some(matches!(state, "S" | "D" | "T") && threads == "1")
    };
    is().unwrap_or(false)
}

/// The process that a thread belongs to, from the text of `/proc/TID/status`.
pub(super) fn thread_group(status: &[u8]) -> Option<u32> {
    let line = status
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"Tgid:"))?;
    std::str::from_utf8(line.trim_ascii()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let text = b"42 (a) b (c) S 7 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 123456 1 1 18446744073709551615\n";
        assert_eq!(
            parse(text),
            Some(ProcessStat {
                parent: 7,
                started: 123_456
            })
        );
    }

    #[test]
    fn only_one_thread_that_waits_is_a_sleeping_process() {
        let stat = |state: &str, threads: &str| {
            format!(
                "42 (S 1) {state} 7 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 {threads} 0 9 1 1\n"
            )
        };
        let sleeps = |state, threads| is_one_sleeping_thread(stat(state, threads).as_bytes());
        assert!(sleeps("S", "1") && sleeps("D", "1"));
        assert!(!sleeps("R", "1") && !sleeps("S", "2") && !sleeps("Z", "1"));
        assert!(!is_one_sleeping_thread(b"42 (a) S 7"));
    }

    #[test]
    fn a_thread_names_its_process() {
        assert_eq!(thread_group(b"Name:\tx\nTgid:\t42\nPid:\t43\n"), Some(42));
        assert_eq!(thread_group(b"Name:\tTgid: 1\n"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(&text);
            is_one_sleeping_thread(&text);
            thread_group(&text);
        }
    }
}
