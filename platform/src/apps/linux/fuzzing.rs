//! The parsers of `/proc/PID` and `/proc/net`, for the fuzz targets.

use crate::apps::{cgroup, command_line, inet_table, process_stat};

/// A process's `stat`, `status`, `cgroup` and `cmdline`, and a socket table.
pub fn process_files(text: &[u8]) {
    process_stat::parse(text);
    process_stat::thread_group(text);
    command_line::split(text);
    let text = String::from_utf8_lossy(text);
    let membership = cgroup::parse(&text);
    if let Some(container) = membership.container {
        assert!(text.contains(&container), "{container} is made up");
    }
    inet_table::rows(&text).count();
    super::networks::addresses(&text, &text).count();
}
