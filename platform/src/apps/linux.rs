//! From a flow's addresses to its programs on Linux: `sock_diag`, then `/proc`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tidegate_policy::Protocol;

use super::cgroup::{self, Membership};
use super::inet_table::TableRow;
use super::{DiagError, NotedPath, SocketInfo, SocketState, canonical};
use crate::inet_diag;

mod birth;
mod descriptors;
mod diag;
mod familiar;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;
mod identities;
mod kin;
mod mounts;
mod networks;
mod own_sockets;
mod packet_writers;
mod process;
mod processes;
#[cfg(test)]
mod running;
mod search;
mod tables;

pub use birth::born;
use descriptors::ProcessDirectory;
pub use diag::DiagSocket;
use diag::Found;
pub use identities::Identities;
pub(super) use mounts::may_be_called;
pub use networks::OtherNetworks;
pub use processes::Processes;
pub use tables::PingSockets;
use tables::{LatePings, Tables};

const NANOSECONDS_PER_TICK: u64 = 10_000_000;

/// Finds the programs behind flows of one network namespace. Each thread has its own; they share [`Processes`].
#[derive(Debug)]
pub struct AppFinder {
    diag: DiagSocket,
    /// Index of the interface that flows come out of.
    device: u32,
    tables: Tables,
    pings: Box<LatePings>,
    pub(super) processes: Arc<Processes>,
}

impl AppFinder {
    /// Finds programs in the network namespace of `diag`. `device` is the index of the TUN device there: with it, sockets
    /// that are bound to it are found too. `tables` is the `net` directory in `/proc` of a process in that namespace.
    pub fn new(diag: DiagSocket, device: u32, tables: PathBuf, processes: Arc<Processes>) -> Self {
        Self {
            diag,
            device,
            tables: Tables::new(tables),
            pings: Box::default(),
            processes,
        }
    }

    /// The one socket of a flow, or `None` if the kernel has none. Two system calls for TCP and UDP; for ICMP a table of
    /// `/proc` is read.
    ///
    /// `local` and `remote` are the program's and the far end; for ICMP the local port is the echo identifier. Of several
    /// unconnected UDP sockets that share one port by `SO_REUSEPORT` (all of one user) the kernel names one.
    ///
    /// # Errors
    /// See [`DiagError`].
    pub fn find_socket(
        &mut self,
        protocol: Protocol,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Option<SocketInfo>, DiagError> {
        let (local, remote) = (canonical(local), canonical(remote));
        match protocol {
            Protocol::Tcp => self.find_tcp(local, remote),
            Protocol::Udp => self.find_udp(local, remote),
            Protocol::Icmp => self.pings.find(&self.tables, local, remote),
            Protocol::Other(number) => {
                self.tables
                    .find_raw(u16::from(number), local.ip(), remote.ip())
            }
        }
    }

    /// The socket of a ping that was found before, as it was a few milliseconds ago, but not before any was last found: one look
    /// at the table serves all who ask in that time.
    ///
    /// # Errors
    /// See [`DiagError`].
    pub fn find_ping_late(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Option<SocketInfo>, DiagError> {
        let (local, remote) = (canonical(local), canonical(remote));
        self.pings
            .find_late(Instant::now(), &self.tables, local, remote)
    }

    /// The TCP socket that takes connections to `local`.
    ///
    /// # Errors
    /// See [`DiagError`].
    pub fn listener(&mut self, local: SocketAddr) -> Result<Option<SocketInfo>, DiagError> {
        let local = canonical(local);
        let nobody = SocketAddr::new(unspecified(local.ip()), 0);
        let found = self.diag.ask(inet_diag::TCP, local, nobody, self.device)?;
        Ok(found
            .filter(|found| found.info.state == SocketState::Listen && is_at(found, local))
            .map(|found| found.info))
    }

    fn find_tcp(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Option<SocketInfo>, DiagError> {
        // The kernel finds IPv6 sockets with mapped addresses by their IPv4 form.
        let found = self.diag.ask(inet_diag::TCP, local, remote, self.device)?;
        // Where there is no connection it answers with the listener.
        Ok(found
            .filter(|found| found.source == local && found.destination == remote)
            .map(|found| found.info))
    }

    fn find_udp(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Option<SocketInfo>, DiagError> {
        // The kernel looks a datagram socket up as for a datagram that arrives: the far end is its source.
        let mut found = self.diag.ask(inet_diag::UDP, remote, local, self.device)?;
        if found.is_none()
            && let (Some(local), Some(remote)) = (mapped(local), mapped(remote))
        {
            found = self.diag.ask(inet_diag::UDP, remote, local, self.device)?;
        }
        Ok(found
            .filter(|found| is_at(found, local) && sends_to(found, remote))
            .map(|found| datagram_info(&found)))
    }

    /// For a thread that may wait for a long table: see [`DiagError::TooLong`].
    pub fn ping_sockets(&self) -> PingSockets {
        PingSockets {
            tables: self.tables.clone(),
        }
    }
}

/// The control groups of a process that was forked so many nanoseconds after boot, unless it has ended.
pub(super) fn control_groups(pid: u32, started: u64) -> Option<Membership> {
    let text = living(pid, started)?.read(c"cgroup").ok()?;
    Some(cgroup::parse(&String::from_utf8_lossy(&text)))
}

/// The noted path of such a process's executable, as it is called here.
pub(super) fn noted_path(pid: u32, started: u64, noted: NotedPath) -> PathBuf {
    mounts::noted_path(living(pid, started).as_ref(), noted)
}

fn living(pid: u32, started: u64) -> Option<ProcessDirectory> {
    let process = ProcessDirectory::open(pid).ok()?;
    // `/proc` counts in ticks, a hundred each second on every machine.
    (process.stat().ok()?.started == started / NANOSECONDS_PER_TICK).then_some(process)
}

fn mapped(address: SocketAddr) -> Option<SocketAddr> {
    match address.ip() {
        IpAddr::V4(ip) => Some(SocketAddr::new(ip.to_ipv6_mapped().into(), address.port())),
        IpAddr::V6(_) => None,
    }
}

fn unspecified(like: IpAddr) -> IpAddr {
    if like.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    }
}

/// Whether the socket is bound to this address, or to its port on every address.
fn is_at(found: &Found, local: SocketAddr) -> bool {
    found.source.port() == local.port()
        && (found.source.ip().is_unspecified() || found.source.ip() == local.ip())
}

/// Whether the socket is connected to this address, or to none.
fn sends_to(found: &Found, remote: SocketAddr) -> bool {
    found.destination == remote
        || (found.destination.port() == 0 && found.destination.ip().is_unspecified())
}

/// UDP has TCP's state numbers: a socket without a peer is "closed".
fn datagram_info(found: &Found) -> SocketInfo {
    let state = if found.destination.port() == 0 {
        SocketState::Unconnected
    } else {
        SocketState::Established
    };
    SocketInfo {
        state,
        ..found.info
    }
}

fn row_matches(row: &TableRow, local: IpAddr, remote: IpAddr) -> bool {
    (row.local.is_unspecified() || row.local == local)
        && (row.remote.is_unspecified() || row.remote == remote)
}

fn table_info(row: &TableRow) -> SocketInfo {
    let state = if row.remote.is_unspecified() {
        SocketState::Unconnected
    } else {
        SocketState::Established
    };
    SocketInfo {
        uid: row.uid,
        inode: row.inode,
        cookie: 0,
        state,
        mark: None,
        device: None,
    }
}

#[cfg(test)]
mod tests;
