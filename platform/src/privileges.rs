//! Giving up privileges: the gateway's own after its start, and on Linux a contained command's before it begins.
//!
//! What can be given up differs. Linux divides root's power, and the gateway keeps the few parts that it needs. macOS does
//! not, and routes must be undone at the end, which takes root: there the gateway stays root, and gives up what would let
//! others read its memory or act through its groups.

use std::io;

use thiserror::Error;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as imp;
#[cfg(target_os = "macos")]
use macos as imp;

pub use imp::Held;
#[cfg(target_os = "linux")]
pub use linux::NEEDED;
#[cfg(target_os = "linux")]
pub(crate) use linux::{CommandOwner, confine_command};

/// A privilege could not be given up.
#[derive(Debug, Error)]
#[error("cannot {action}: {source}")]
pub struct PrivilegeError {
    /// What was tried.
    pub action: &'static str,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

/// Gives up what the gateway does not need once it has started, and says what is left. Call it before other threads start.
///
/// On Linux the calling thread, and all threads that it starts from now on, keep of `NEEDED` what they had; programs
/// started later can gain nothing. On macOS the process leaves its supplementary groups, makes no core dumps, and lets no
/// debugger in.
///
/// # Errors
/// Every step is tried; what failed is listed. The caller decides whether to go on.
pub fn drop_to_needed() -> Result<Held, Vec<PrivilegeError>> {
    imp::drop_to_needed()
}
