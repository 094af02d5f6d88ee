//! Staying able to work while memory is short.
//!
//! What leaves the machine goes through this process, the packets of network disks too. While memory is short the kernel writes
//! such disks out to get some free, and waits for the packets: were this process killed then, or made to wait for a disk itself,
//! neither would ever go on.

use std::io;

use procfs::ProcError;
use procfs::process::{MMapPath, MemoryMap, Process};
use thiserror::Error;

use crate::sys::memory;

/// What the kernel adds to this process's score when it looks for one to kill: from -1000, never, to 1000 (proc(5)). The lowest
/// that still lets it go when it is itself what takes the memory.
const SCORE: &str = "-900";

/// A means was refused.
#[derive(Debug, Error)]
#[error("cannot {action}: {source}")]
pub struct PressureError {
    /// What was tried.
    pub action: &'static str,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

/// Prepares this process for times when memory is short: others are killed before it, its code stays where it is once it was
/// read, and what it asks memory for does not wait for disks.
///
/// The last is the calling thread's and those' that it starts from now on. Takes `CAP_SYS_RESOURCE` and `CAP_IPC_LOCK`, which need not be
/// kept.
///
/// # Errors
/// Every step is tried; what failed is listed. Without them the process works, less surely.
pub fn prepare() -> Vec<PressureError> {
    let steps = [
        ("be killed last when memory is short", be_killed_last()),
        ("keep the program in memory", keep_code()),
        (
            "take memory without waiting for disks",
            take_without_disks(),
        ),
    ];
    let failed = |(action, result): (_, io::Result<()>)| {
        let source = result.err()?;
        Some(PressureError { action, source })
    };
    steps.into_iter().filter_map(failed).collect()
}

fn be_killed_last() -> io::Result<()> {
    std::fs::write("/proc/self/oom_score_adj", SCORE)
}

/// Keeps what is mapped of files: the program and its libraries. They could be given up at any time, and read again.
fn keep_code() -> io::Result<()> {
    let maps = Process::myself()
        .and_then(|process| process.maps())
        .map_err(io_error)?;
    let of_file = |map: &&MemoryMap| matches!(map.pathname, MMapPath::Path(_));
    for map in maps.iter().filter(of_file) {
        memory::keep_once_read(map.address.0, map.address.1)?;
    }
    Ok(())
}

/// `PR_SET_IO_FLUSHER` (prctl(2)); Linux 5.6 and newer have it.
fn take_without_disks() -> io::Result<()> {
    Ok(rustix::process::configure_io_flusher_behavior(true)?)
}

fn io_error(error: ProcError) -> io::Error {
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Root of a container may lack the capability; then the other step still has its effect.
    #[test]
    fn a_prepared_process_is_killed_last_and_keeps_its_code() {
        let failed: Vec<_> = prepare().into_iter().map(|error| error.action).collect();
        let held = rustix::thread::capabilities(None).unwrap().effective;
        let score = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        if held.contains(rustix::thread::CapabilitySet::SYS_RESOURCE) {
            assert_eq!(failed, [""; 0]);
            assert_eq!(score.trim(), SCORE);
            assert!(rustix::process::is_io_flusher().unwrap());
        } else {
            let lacking = [
                "be killed last when memory is short",
                "take memory without waiting for disks",
            ];
            assert_eq!(failed, lacking);
        }
        let status = Process::myself().unwrap().status().unwrap();
        assert!(status.vmlck.unwrap() > 0);
    }
}
