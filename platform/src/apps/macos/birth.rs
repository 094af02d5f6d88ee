//! What tells a process from a later one of the same number.

use crate::sys::process;

/// When the process was started, in microseconds since 1970; `None` if there is no such process, or no telling. `exec`
/// does not change it.
pub fn born(process: u32) -> Option<u64> {
    Some(process::basics(process).ok()?.started)
}
