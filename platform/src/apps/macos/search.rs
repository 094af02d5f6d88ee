//! The search for processes that hold a socket: in one that the kernel names, or in all.

use std::io;

use crate::apps::{Coverage, SocketInfo, Unattributed, darwin_descriptor};
use crate::sys::process;

/// Most owners of one socket that are named.
const MOST_OWNERS: usize = 16;
/// Most descriptors that a search looks at: about half a second.
const MOST_DESCRIPTORS: usize = 400_000;

/// A process with the socket, or for whom another one has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) process: u32,
    pub(super) descriptor: Holding,
}

/// How a process comes by its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holding {
    /// By this descriptor.
    Descriptor(i32),
    /// Another process has it on its behalf, says the kernel.
    OnItsBehalf,
}

impl Holder {
    /// Whether it holds the socket now. What is on its behalf it has as long as the socket is there.
    pub(super) fn holds(self, socket: &SocketInfo) -> bool {
        match self.descriptor {
            Holding::Descriptor(descriptor) => is(self.process, descriptor, socket),
            Holding::OnItsBehalf => socket.effective_process == Some(self.process),
        }
    }
}

/// What a search found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) holders: Vec<Holder>,
    pub(super) coverage: Coverage,
    denied: bool,
}

impl Found {
    /// The same, where that many are known to have been looked for.
    pub(super) fn covering(self, coverage: Coverage) -> Self {
        Self { coverage, ..self }
    }

    /// Why no program is known, if it is not.
    pub(super) fn why_none(&self) -> Unattributed {
        Unattributed::after(self.coverage, self.denied)
    }
}

/// Looks into the processes that the kernel names: the one on whose behalf the socket is before the one that used it last.
pub(super) fn nearby(socket: &SocketInfo) -> Found {
    let behalf = socket.effective_process.map(|process| Holder {
        process,
        descriptor: Holding::OnItsBehalf,
    });
    let holder = behalf.or_else(|| {
        let process = socket.last_process?;
        let descriptors = process::sockets(process).ok()?;
        let descriptor = descriptors
            .into_iter()
            .find(|descriptor| is(process, *descriptor, socket))?;
        Some(Holder {
            process,
            descriptor: Holding::Descriptor(descriptor),
        })
    });
    Found {
        holders: holder.into_iter().collect(),
        coverage: Coverage::Nearby,
        denied: false,
    }
}

/// Looks into every process, newest first as far as ids tell.
pub(super) fn everywhere(socket: &SocketInfo) -> Result<Found, Unattributed> {
    let mut ids = process::all().map_err(|error| {
        tracing::warn!(%error, "cannot list processes");
        Unattributed::Failed
    })?;
    ids.sort_unstable_by(|a, b| b.cmp(a));
    let mut found = Found {
        holders: Vec::new(),
        coverage: Coverage::Everything,
        denied: false,
    };
    let mut looked = 0;
    for process in ids {
        if found.holders.len() >= MOST_OWNERS || looked >= MOST_DESCRIPTORS {
            found.coverage = Coverage::Limited;
            break;
        }
        match process::sockets(process) {
            Ok(descriptors) => {
                looked += descriptors.len();
                let holding = descriptors
                    .into_iter()
                    .find(|descriptor| is(process, *descriptor, socket));
                found.holders.extend(holding.map(|descriptor| Holder {
                    process,
                    descriptor: Holding::Descriptor(descriptor),
                }));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => found.denied = true,
            Err(_) => {} // it has ended
        }
    }
    Ok(found)
}

fn is(process: u32, descriptor: i32, socket: &SocketInfo) -> bool {
    process::socket(process, descriptor)
        .is_ok_and(|info| darwin_descriptor::generation(&info) == Some(socket.cookie))
}
