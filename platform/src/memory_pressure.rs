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
    let of_file = |map: &&MemoryMap| matches!(map.pathname, MMapPath::Path(_));
    for map in maps()?.iter().filter(of_file) {
        let (from, to) = map.address;
        match memory::keep_once_read(from, to) {
            // Another thread may have taken it off since. Otherwise it is more than may be kept.
            Err(error) if error.kind() != io::ErrorKind::OutOfMemory || is_mapped(from, to)? => {
                return Err(error);
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn maps() -> io::Result<Vec<MemoryMap>> {
    let maps = Process::myself().and_then(|process| process.maps());
    Ok(maps.map_err(io_error)?.into_iter().collect())
}

/// Whether all between these addresses is mapped now.
fn is_mapped(from: u64, to: u64) -> io::Result<bool> {
    let maps = maps()?;
    let within = maps.iter().map(|map| {
        map.address
            .1
            .min(to)
            .saturating_sub(map.address.0.max(from))
    });
    Ok(within.sum::<u64>() == to - from)
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

    #[test]
    fn that_the_program_is_more_than_may_be_kept_is_told() {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let before = getrlimit(Resource::Memlock);
        let current = Some(4096);
        setrlimit(Resource::Memlock, Rlimit { current, ..before }).unwrap();
        // Capabilities are each thread's own.
        let unprivileged = || {
            let mut held = rustix::thread::capabilities(None).unwrap();
            held.effective
                .remove(rustix::thread::CapabilitySet::IPC_LOCK);
            rustix::thread::set_capabilities(None, held).unwrap();
            keep_code()
        };
        let kept = std::thread::scope(|scope| scope.spawn(unprivileged).join().unwrap());
        setrlimit(Resource::Memlock, before).unwrap();
        assert_eq!(kept.unwrap_err().kind(), io::ErrorKind::OutOfMemory);
    }

    #[test]
    fn what_is_mapped_is_told_from_what_is_not() {
        let maps = maps().unwrap();
        let (from, to) = maps[0].address;
        assert!(is_mapped(from, to).unwrap() && is_mapped(from, from + 1).unwrap());
        assert!(!is_mapped(from - 4096, to).unwrap());
    }
}
