//! From a flow's addresses to its programs on macOS: the kernel's lists of sockets, then libproc.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tidegate_policy::Protocol;

use super::{DiagError, SocketInfo, SocketState, canonical};
use crate::socket_list::{self, Entry, Fit, State, Table};
use crate::sys::sysctl;

mod birth;
mod identities;
mod processes;
mod program;
mod search;

pub use birth::born;
pub use identities::Identities;
pub use processes::Processes;

/// Finds the programs behind flows of this host. Each thread has its own; they share [`Processes`].
#[derive(Debug)]
pub struct AppFinder {
    pub(super) processes: Arc<Processes>,
}

impl AppFinder {
    /// Finds programs of this host.
    pub fn new(processes: Arc<Processes>) -> Self {
        Self { processes }
    }

    /// The one socket of a flow, or `None` if the kernel has none. Reads the list of all sockets of the protocol.
    ///
    /// `local` and `remote` are the program's and the far end.
    ///
    /// # Errors
    /// See [`DiagError`]; [`DiagError::Ambiguous`] if several unconnected UDP sockets share the port and the processes
    /// that they name differ.
    pub fn find_socket(
        &mut self,
        protocol: Protocol,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Option<SocketInfo>, DiagError> {
        let (table, at_least) = match protocol {
            Protocol::Tcp => (Table::Tcp, Fit::Exact),
            Protocol::Udp => (Table::Udp, Fit::AtPort),
            Protocol::Icmp | Protocol::Other(_) => return Err(DiagError::Unsupported),
        };
        let entries = read(table)?;
        one(&socket_list::best(
            &entries,
            canonical(local),
            canonical(remote),
            at_least,
        ))
    }

    /// The TCP socket that takes connections to `local`.
    ///
    /// # Errors
    /// See [`DiagError`].
    pub fn listener(&mut self, local: SocketAddr) -> Result<Option<SocketInfo>, DiagError> {
        let local = canonical(local);
        let nobody: IpAddr = match local {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let mut entries = read(Table::Tcp)?;
        entries.retain(|entry| entry.state == Some(State::Listen));
        let nobody = SocketAddr::new(nobody, 0);
        one(&socket_list::best(&entries, local, nobody, Fit::AtPort))
    }
}

fn read(table: Table) -> Result<Vec<Entry>, DiagError> {
    let list = sysctl::read_named(table.name()).map_err(|source| DiagError::Table {
        table: table.name().to_string_lossy().into_owned(),
        source,
    })?;
    socket_list::entries(&list).ok_or(DiagError::Malformed)
}

/// Several sockets may be told by one if it makes no difference whose they are.
fn one(found: &[&Entry]) -> Result<Option<SocketInfo>, DiagError> {
    let Some((first, others)) = found.split_first() else {
        return Ok(None);
    };
    let whose = |entry: &Entry| (entry.user, entry.last_process, entry.effective_process);
    if others.iter().any(|other| whose(other) != whose(first)) {
        return Err(DiagError::Ambiguous);
    }
    Ok(Some(SocketInfo {
        uid: first.user,
        cookie: first.generation,
        state: state(first),
        last_process: first.last_process,
        effective_process: first.effective_process,
    }))
}

fn state(entry: &Entry) -> SocketState {
    match entry.state {
        Some(State::Closed) => SocketState::Closed,
        Some(State::Listen) => SocketState::Listen,
        Some(State::SynSent) => SocketState::SynSent,
        Some(State::SynReceived) => SocketState::SynReceived,
        Some(State::Established) => SocketState::Established,
        Some(State::CloseWait) => SocketState::CloseWait,
        Some(State::FinWait) => SocketState::FinWait,
        Some(State::LastAck) => SocketState::LastAck,
        Some(State::TimeWait) => SocketState::TimeWait,
        None if entry.remote_port == 0 => SocketState::Unconnected,
        None => SocketState::Established,
    }
}
