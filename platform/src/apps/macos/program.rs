//! What identifies a program, as libproc and sysctl(3) tell.

use std::io;
use std::path::PathBuf;

use crate::apps::{MOST_PARENTS, command_line, file_name};
use crate::sys::process::{self, Basics};
use crate::sys::sysctl;

/// A program as it was read: all that is known of it but whose socket it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) command_line: Vec<String>,
    pub(super) parents: Vec<PathBuf>,
}

impl Program {
    /// # Errors
    /// The system's: the process has ended, or its executable has no name any more.
    pub(super) fn read(id: u32, basics: Basics) -> io::Result<Self> {
        let path = process::executable(id)?;
        Ok(Self {
            name: file_name(&path),
            path,
            command_line: arguments(id),
            parents: parents(basics.parent),
        })
    }
}

/// None where the system does not show them: those of another user's process, to all but root.
fn arguments(id: u32) -> Vec<String> {
    let read = || {
        let id = libc::c_int::try_from(id).ok()?;
        let answer = sysctl::read(&[libc::CTL_KERN, libc::KERN_PROCARGS2, id]).ok()?;
        command_line::of_darwin(&answer)
    };
    read().unwrap_or_default()
}

/// Executables of the ancestors. The chain ends at the first that cannot be read, and at the kernel.
fn parents(mut parent: u32) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    while parent != 0 && paths.len() < MOST_PARENTS {
        let read = || Ok::<_, io::Error>((process::executable(parent)?, process::basics(parent)?));
        let Ok((path, basics)) = read() else { break };
        paths.push(path);
        parent = basics.parent;
    }
    paths
}
