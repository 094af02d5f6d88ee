//! How much this process may have of what the system shares out.

use std::io;

use crate::sys::resource;

/// More are refused by macOS, whatever the limit says (setrlimit(2)).
const MOST_ON_MACOS: libc::rlim_t = 10_240;

/// What the allocator takes from the system by itself, in bytes: glibc's own first value.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BUFFER: libc::c_int = 128 << 10;

/// Lets this process open as many files as the system allows it at most, and says how many. Each flow takes one, and the
/// usual limit, 1,024, is meant for programs that use `select`.
///
/// Programs that are started afterwards inherit it: start them before.
///
/// # Errors
/// The system's; the limit is as before.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = resource::open_files()?;
    limit.rlim_cur = if cfg!(target_os = "macos") {
        limit.rlim_max.min(MOST_ON_MACOS)
    } else {
        limit.rlim_max
    };
    resource::set_open_files(limit)?;
    Ok(limit.rlim_cur)
}

/// What a process or the system may have no more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// Local ports towards one destination, or at all.
    Ports,
    /// Descriptors, buffers or memory.
    Descriptors,
}

impl Spent {
    /// What the system says where a process has no more descriptors.
    pub const TOO_MANY_FILES: i32 = libc::EMFILE;
    /// What it says where there is no local port left.
    pub const NO_PORT: i32 = libc::EADDRNOTAVAIL;

    /// What a socket call failed for want of; `None` if it failed otherwise.
    pub fn of(error: &io::Error) -> Option<Self> {
        match error.raw_os_error()? {
            libc::EADDRNOTAVAIL | libc::EADDRINUSE => Some(Self::Ports),
            libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => Some(Self::Descriptors),
            _ => None,
        }
    }
}

/// Keeps large buffers out of the allocator's heap, so that a fresh one takes no memory until it is used, and a freed one
/// none at all.
///
/// glibc raises its threshold to the size of what is freed, up to 32 MiB: then a zeroed buffer is an old one, wiped, and
/// takes its whole size in memory (mallopt(3)). A set threshold stays. Other allocators do not move theirs.
pub fn keep_large_buffers_apart() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if !resource::map_blocks_from(LARGE_BUFFER) {
        tracing::warn!("the allocator refuses a fixed threshold: flows may hold more memory");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_is_told_from_what_is_refused() {
        let spent = |number| Spent::of(&io::Error::from_raw_os_error(number));
        assert_eq!(spent(libc::EMFILE), Some(Spent::Descriptors));
        assert_eq!(spent(libc::EADDRNOTAVAIL), Some(Spent::Ports));
        assert_eq!(spent(libc::ECONNREFUSED), None);
        assert_eq!(Spent::of(&io::Error::from(io::ErrorKind::Other)), None);
    }

    #[test]
    fn a_lowered_limit_is_raised_to_the_most_that_is_allowed() {
        let limit = resource::open_files().unwrap();
        // Low, but more than the tests beside this one need.
        resource::set_open_files(libc::rlimit {
            rlim_cur: limit.rlim_max.min(512),
            ..limit
        })
        .unwrap();
        let raised = raise_open_files().unwrap();
        assert_eq!(raised, resource::open_files().unwrap().rlim_cur);
        if cfg!(target_os = "linux") {
            assert_eq!(raised, limit.rlim_max);
        }
    }
}
