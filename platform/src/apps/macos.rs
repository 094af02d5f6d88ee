//! From a flow's addresses to its programs on macOS: the kernel's lists of sockets, then libproc.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tidegate_policy::Protocol;

use super::{DiagError, Owners, SocketInfo, SocketState, Unattributed};
use crate::socket_list::{self, Entry, Fit, State, Table};
use crate::sys::sysctl;

mod processes;
mod program;
mod search;

pub use processes::Processes;

/// Finds the programs behind flows of this host. Each thread has its own; they share [`Processes`].
#[derive(Debug)]
pub struct AppFinder {
    processes: Arc<Processes>,
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

    /// Whether segments between these addresses still mean something to a socket of this host: what tells a connection
    /// that is older than the gateway from a stray segment. Remembered ones (TIME-WAIT) count.
    ///
    /// # Errors
    /// See [`DiagError`].
    pub fn is_alive(
        &mut self,
        protocol: Protocol,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<bool, DiagError> {
        let socket = self.find_socket(protocol, local, remote)?;
        Ok(socket.is_some_and(|socket| protocol != Protocol::Tcp || socket.is_connection()))
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

    /// The programs that hold the socket, by a search through all processes: milliseconds. Where one holds it on another's
    /// behalf, the program is that other's.
    ///
    /// # Errors
    /// [`Unattributed`]: why none is known.
    pub fn owners(&self, socket: &SocketInfo) -> Result<Owners, Unattributed> {
        self.processes.owners(socket)
    }

    /// The programs that hold the socket, by a look at the processes that the kernel names with it. What it can miss are
    /// others who share it: [`AppFinder::owners`] finds them too.
    pub fn owners_nearby(&self, socket: &SocketInfo) -> Option<Owners> {
        self.processes.owners_nearby(socket)
    }

    /// The programs that held the socket when it was last searched for, if that was a moment ago and all of them still do.
    /// Takes a few system calls and never searches.
    pub fn owners_cached(&self, socket: &SocketInfo) -> Option<Owners> {
        self.processes.owners_cached(socket)
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

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
