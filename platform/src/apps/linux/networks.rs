//! Programs in the other network namespaces of this host: containers whose packets it forwards.
//!
//! `sock_diag` answers for its own namespace only, and to enter another takes more privileges than we keep. But `/proc/PID/net`
//! shows the tables of a process's namespace: its addresses, by which a packet's source leads there, and its sockets. That
//! is text and slower, so it belongs on a look-up thread. The numbers of socket files are those of the whole host, so from
//! there on the search is as for any socket.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};
use tidegate_policy::{App, Direction, Protocol};

use super::descriptors;
use super::tables::{IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_RAW};
use super::{Processes, table_info};
use crate::apps::inet_table::{self, TableRow};
use crate::apps::{Coverage, Owners, SocketInfo, SocketState, Unattributed};

mod addresses;

pub(super) use addresses::addresses;

/// Most namespaces that are looked into.
const MOST_NETWORKS: usize = 1024;
/// Most namespaces with one address: those beyond are not looked at.
const MOST_ALIKE: usize = 8;
/// Most sockets of one port that are searched for.
const MOST_SOCKETS: usize = 8;
/// Longest table that is read; a socket's line has 150 bytes.
const LONGEST_TABLE: u64 = 32 << 20;
/// Addresses that nobody had are looked for again after so long.
const FORGET: Duration = Duration::from_secs(1);

const TCP_LISTEN: u8 = 10;

/// The network namespaces of this host's processes, but for our own.
#[derive(Debug)]
pub struct OtherNetworks {
    processes: Arc<Processes>,
    by_address: FxHashMap<IpAddr, Vec<Network>>,
    read_at: Option<Instant>,
}

/// A namespace, and a process that is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    /// The number of its file: no other has it as long as it lives.
    number: u64,
    pid: u32,
}

impl OtherNetworks {
    /// Looks for programs among `processes`.
    pub fn new(processes: Arc<Processes>) -> Self {
        Self {
            processes,
            by_address: FxHashMap::default(),
            read_at: None,
        }
    }

    /// The programs behind a forwarded flow, by the addresses that their own namespace knows; for ICMP echo the local port
    /// is the identifier. Never one that has its socket in this namespace.
    ///
    /// # Errors
    /// [`Unattributed`]: why none is known.
    pub fn owners(
        &mut self,
        protocol: Protocol,
        direction: Direction,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Owners, Unattributed> {
        let wanted = Wanted {
            protocol,
            direction,
            local,
            remote,
        };
        match self.look(&wanted) {
            // Its process may be one that a namespace was known by, and have ended; or the namespace may be new.
            Err(Unattributed::NoNetwork) if self.is_old() => {
                self.read()?;
                self.look(&wanted)
            }
            found => found,
        }
    }

    fn is_old(&self) -> bool {
        self.read_at.is_none_or(|at| at.elapsed() >= FORGET)
    }

    /// Looks into the namespaces that have the address.
    fn look(&mut self, wanted: &Wanted) -> Result<Owners, Unattributed> {
        let address = wanted.local.ip().to_canonical();
        let Some(networks) = self.by_address.get_mut(&address) else {
            return Err(Unattributed::NoNetwork);
        };
        let mut apps: Vec<App> = Vec::new();
        let mut why_none = Unattributed::NoSocket;
        networks.retain(|network| network.is_there());
        if networks.is_empty() {
            self.by_address.remove(&address);
            self.read_at = None;
            return Err(Unattributed::NoNetwork);
        }
        for network in networks {
            for socket in network.sockets(wanted) {
                match self.processes.owners_somewhere(&socket) {
                    Ok(owners) => apps.extend(owners.apps.iter().cloned()),
                    Err(reason) => why_none = reason,
                }
            }
        }
        if apps.is_empty() {
            return Err(why_none);
        }
        Ok(Owners {
            apps: apps.into(),
            coverage: Coverage::Nearby,
        })
    }

    /// Reads which namespaces there are and what addresses each has.
    fn read(&mut self) -> Result<(), Unattributed> {
        let failed = |error: io::Error| {
            tracing::warn!(%error, "the network namespaces of this host cannot be listed");
            Unattributed::Failed
        };
        let own = number("self").map_err(failed)?;
        let mut known = FxHashSet::from_iter([own]);
        self.by_address.clear();
        self.read_at = Some(Instant::now());
        for pid in descriptors::process_ids().map_err(failed)? {
            let Ok(number) = number(pid) else { continue };
            if known.len() > MOST_NETWORKS || !known.insert(number) {
                continue;
            }
            let network = Network { number, pid };
            for address in network.addresses() {
                let alike = self.by_address.entry(address).or_default();
                // Tables that the kernel has merged are shown twice.
                if alike.len() < MOST_ALIKE && !alike.contains(&network) {
                    alike.push(network);
                }
            }
        }
        Ok(())
    }
}

/// The number of a process's network namespace.
fn number(pid: impl std::fmt::Display) -> io::Result<u64> {
    Ok(std::fs::metadata(format!("/proc/{pid}/ns/net"))?.ino())
}

impl Network {
    fn is_there(self) -> bool {
        number(self.pid).is_ok_and(|number| number == self.number)
    }

    fn table(self, name: &str) -> String {
        let mut text = Vec::new();
        let path = format!("/proc/{}/net/{name}", self.pid);
        // What cannot be read is not there: a kernel without IPv6, a process that has ended.
        let read =
            File::open(path).and_then(|file| file.take(LONGEST_TABLE).read_to_end(&mut text));
        match read {
            Ok(_) => String::from_utf8_lossy(&text).into_owned(),
            Err(_) => String::new(),
        }
    }

    fn addresses(self) -> Vec<IpAddr> {
        addresses(&self.table("fib_trie"), &self.table("if_inet6")).collect()
    }

    /// The sockets that such a flow may be of. Several of one port share it (`SO_REUSEPORT`).
    fn sockets(self, wanted: &Wanted) -> Vec<SocketInfo> {
        let mut sockets = Vec::new();
        for table in wanted.tables() {
            let text = self.table(table);
            sockets.extend(
                inet_table::rows(&text)
                    .filter(|row| wanted.fits(row))
                    .take(MOST_SOCKETS)
                    .map(|row| wanted.socket(&row)),
            );
            if !sockets.is_empty() && wanted.protocol == Protocol::Icmp {
                // A ping socket has the identifier; a raw one would only be possible.
                break;
            }
        }
        // What was read is that namespace's only if the process was still in it.
        if !self.is_there() {
            return Vec::new();
        }
        let raw =
            wanted.protocol == Protocol::Icmp || matches!(wanted.protocol, Protocol::Other(_));
        if raw && sockets.len() > 1 {
            // Raw sockets do not tell what they send.
            return Vec::new();
        }
        sockets.sort_by_key(|socket| socket.state != SocketState::Established);
        sockets.dedup_by_key(|socket| socket.inode);
        if sockets
            .first()
            .is_some_and(|socket| socket.state == SocketState::Established)
        {
            sockets.retain(|socket| socket.state == SocketState::Established);
        }
        sockets
    }
}

/// A flow as the namespace of its program knows it.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    protocol: Protocol,
    direction: Direction,
    local: SocketAddr,
    remote: SocketAddr,
}

impl Wanted {
    fn tables(&self) -> &'static [&'static str] {
        match (self.protocol, self.local.is_ipv4()) {
            (Protocol::Tcp, true) => &["tcp", "tcp6"],
            (Protocol::Tcp, false) => &["tcp6"],
            (Protocol::Udp, true) => &["udp", "udp6"],
            (Protocol::Udp, false) => &["udp6"],
            (Protocol::Icmp, true) => &["icmp", "raw"],
            (Protocol::Icmp, false) => &["icmp6", "raw6"],
            (Protocol::Other(_), true) => &["raw"],
            (Protocol::Other(_), false) => &["raw6"],
        }
    }

    fn fits(&self, row: &TableRow) -> bool {
        let local = self.local.ip().to_canonical();
        let remote = self.remote.ip().to_canonical();
        let here = row.local.is_unspecified() || row.local == local;
        let at_port = here && row.local_port == self.local.port();
        let there = row.remote == remote && row.remote_port == self.remote.port();
        let of_protocol =
            |number: u16| here && (row.local_port == IPPROTO_RAW || row.local_port == number);
        match (self.protocol, self.direction) {
            // A half-open connection belongs to no process yet; its listener does.
            (Protocol::Tcp, Direction::In) => at_port && row.state == TCP_LISTEN,
            (Protocol::Tcp, Direction::Out) => at_port && there,
            (Protocol::Udp, _) => at_port && (there || row.remote.is_unspecified()),
            (Protocol::Icmp, _) => {
                let raw = if self.local.is_ipv4() {
                    IPPROTO_ICMP
                } else {
                    IPPROTO_ICMPV6
                };
                at_port || of_protocol(raw)
            }
            (Protocol::Other(number), _) => of_protocol(number.into()),
        }
    }

    fn socket(&self, row: &TableRow) -> SocketInfo {
        let mut info = table_info(row);
        if self.direction == Direction::In && row.state == TCP_LISTEN {
            info.state = SocketState::Listen;
        }
        info
    }
}

#[cfg(test)]
mod tests;
