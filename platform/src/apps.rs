//! Who made this flow: from a flow's addresses to its socket, and from the socket to the programs that hold it.
//!
//! The look-up has two stages, because their costs differ by two orders of magnitude. [`AppFinder::find_socket`] asks the
//! kernel for exactly one socket and takes microseconds: a worker may do it inline. [`AppFinder::owners`] looks into
//! processes and belongs on a look-up thread; [`AppFinder::owners_nearby`] looks at the likely ones only and may run inline.
//!
//! macOS cannot be asked for one socket: there the first stage reads the list of all, whose entries name a process each,
//! and tells nothing of ICMP and raw sockets ([`DiagError::Unsupported`]).
//!
//! Nothing is guessed. The kernel's answer is compared with the question, a process is compared with what it was when it
//! was found, and what remains unknown says why ([`Unattributed`]). While a SYN is unanswered its program waits in
//! `connect`, so its socket and process are there to be found.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
#[cfg(target_os = "linux")]
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tidegate_policy::{App, Protocol};

#[cfg(any(target_os = "linux", test))]
mod cgroup;
pub(crate) mod command_line;
#[cfg(any(target_os = "macos", fuzzing, test))]
pub(crate) mod darwin_descriptor;
mod digest;
#[cfg(any(target_os = "linux", test))]
mod inet_table;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(any(target_os = "linux", test))]
mod process_stat;
#[cfg(any(target_os = "linux", test))]
mod script;
#[cfg(target_os = "linux")]
mod senders;

#[cfg(all(target_os = "linux", any(fuzzing, test)))]
pub(crate) use linux::fuzzing;
#[cfg(target_os = "linux")]
pub use linux::{AppFinder, DiagSocket, Identities, OtherNetworks, PingSockets, Processes, born};
#[cfg(target_os = "macos")]
pub use macos::{AppFinder, Identities, Processes, born};
#[cfg(target_os = "linux")]
pub use senders::{Connector, Missing, NotedProgram, Sender, Senders, SendersError};

/// What the kernel can note beside who sends datagrams. Each may be missing without the others. A status
/// names it, whatever system reads that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Who begins TCP connections. Else it is searched for.
    Connections,
    /// To whom a peer has spoken unasked, so that its answer leaves from its port.
    Answers,
}

/// How far up ancestors are named.
const MOST_PARENTS: usize = 16;

impl AppFinder {
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

    /// The programs that hold the socket, by a search through the processes: microseconds to milliseconds. Where one holds
    /// it on another's behalf (macOS), the program is that other's.
    ///
    /// # Errors
    /// [`Unattributed`]: why none is known.
    pub fn owners(&self, socket: &SocketInfo) -> Result<Owners, Unattributed> {
        self.processes.owners(socket)
    }

    /// The programs that hold the socket, by a look at the likely processes only: those that the kernel names with it, or
    /// that made sockets of late, the newest, and the parents of those who hold it. Fast enough to run inline, for a socket
    /// that was just made. What it can miss is a holder to whom one of the found handed the socket on purpose:
    /// [`AppFinder::owners`] finds that one too.
    pub fn owners_nearby(&self, socket: &SocketInfo) -> Option<Owners> {
        self.processes.owners_nearby(socket)
    }

    /// The programs that held the socket when it was last searched for, if that was a moment ago and all of them still do.
    /// Takes a few system calls and never searches.
    pub fn owners_cached(&self, socket: &SocketInfo) -> Option<Owners> {
        self.processes.owners_cached(socket)
    }
}

/// The IPv4 address for which an IPv6 one stands, or the address as it is.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The name under which rules know an executable.
fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// Names a file of this host for as long as it is there.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FileId {
    major: u32,
    minor: u32,
    inode: u64,
}

/// What was noted of an executable.
#[cfg(target_os = "linux")]
#[derive(Clone, Debug, PartialEq, Eq)]
struct NotedPath {
    /// As its process calls it.
    path: PathBuf,
    file: FileId,
    /// The namespace of the mounts that it is opened in; 0 if it is in none.
    mounts: u64,
}

/// A socket that the kernel knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketInfo {
    /// Owner: the user who created it.
    pub uid: u32,
    /// Number of the socket's file; 0 if no process holds it any more, or the kernel owns it.
    #[cfg(target_os = "linux")]
    pub inode: u32,
    /// Names this socket and no later one, on Linux of its network namespace; 0 if the kernel did not tell.
    pub cookie: u64,
    /// State of the connection.
    pub state: SocketState,
    /// The process that used it last.
    #[cfg(target_os = "macos")]
    pub last_process: Option<u32>,
    /// The process on whose behalf another one has it, as a browser's network service has its sockets.
    #[cfg(target_os = "macos")]
    pub effective_process: Option<u32>,
    /// Its mark, if the kernel told: it does so to `CAP_NET_ADMIN`.
    #[cfg(target_os = "linux")]
    pub mark: Option<u32>,
    /// Index of the interface that it is bound to.
    #[cfg(target_os = "linux")]
    pub device: Option<u32>,
}

/// Names one socket and no other, for as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketName {
    /// 0 where the kernel does not tell it.
    cookie: u64,
    /// Number of its file, where there is no cookie.
    file: u32,
}

impl SocketName {
    /// As [`SocketInfo::cookie`], if it has one.
    pub fn cookie(self) -> Option<u64> {
        (self.cookie != 0).then_some(self.cookie)
    }
}

impl SocketInfo {
    /// What tells it from others, if the kernel told enough.
    pub fn name(&self) -> Option<SocketName> {
        #[cfg(target_os = "linux")]
        let file = self.inode;
        #[cfg(not(target_os = "linux"))]
        let file = 0;
        match (self.cookie, file) {
            (0, 0) => None,
            (0, file) => Some(SocketName { cookie: 0, file }),
            (cookie, _) => Some(SocketName { cookie, file: 0 }),
        }
    }

    /// Why nobody is known to hold it, where a search gave this `reason`. One that has no file is no program's any more, and
    /// root's may be the kernel's own; any other is somebody's who is not to be seen.
    #[cfg(target_os = "linux")]
    pub fn why_unseen(&self, reason: Unattributed) -> Unattributed {
        let unseen = matches!(
            reason,
            Unattributed::NoProcess | Unattributed::PermissionDenied | Unattributed::TooMany
        );
        if unseen && self.inode != 0 && self.uid != 0 {
            Unattributed::Hidden
        } else {
            reason
        }
    }

    /// Whether segments of this socket still mean something: not a listener, not a closed socket.
    pub fn is_connection(&self) -> bool {
        !matches!(
            self.state,
            SocketState::Listen | SocketState::Closed | SocketState::Unconnected
        )
    }
}

/// State of a socket. UDP sockets are `Established` when connected, else `Unconnected`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SocketState {
    /// Both directions are open.
    Established,
    /// Our SYN is unanswered.
    SynSent,
    /// Their SYN is answered.
    SynReceived,
    /// Closed on our side.
    FinWait,
    /// Closed on both sides, remembered for a while.
    TimeWait,
    /// Closed on their side.
    CloseWait,
    /// Closed on both sides, our FIN unanswered.
    LastAck,
    /// Waits for connections.
    Listen,
    /// A datagram socket without a peer.
    Unconnected,
    /// Neither open nor listening.
    Closed,
}

/// The programs that hold a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owners {
    /// At least one. Several share the socket by `fork` or because one passed it to another: the strictest verdict holds.
    pub apps: Arc<[App]>,
    /// Where they were looked for.
    pub coverage: Coverage,
}

/// How far a search for owners went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coverage {
    /// Through every process: these are all.
    Everything,
    /// Through the likely processes: one of these may have handed the socket to others.
    Nearby,
    /// Until a limit: there may be more.
    Limited,
    /// Nowhere: this is who the kernel noted when it sent, or when it began the connection and held the socket alone.
    Noted,
}

/// Why a flow's program is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Unattributed {
    /// The kernel has no socket with these addresses: it is closed already, or was never in this network namespace.
    #[error("no socket with these addresses")]
    NoSocket,
    /// There is a socket but no process holds it: its program has ended, or it is the kernel's own.
    #[error("no process holds the socket")]
    NoProcess,
    /// It was forwarded, and no network of a process here has its source: another host's, or a container's that is gone.
    #[error("no network on this host has its source address")]
    NoNetwork,
    /// Some processes could not be looked into, and none of the others holds the socket.
    #[error("not allowed to look into every process")]
    PermissionDenied,
    /// The kernel noted who sent it, or may have, and the note is gone: a flood of others pushed it out, or its program's
    /// executable lies too deep to be noted.
    #[error("the note of who sent it was lost in a flood of others")]
    NoteLost,
    /// Several sockets may have sent this, of different programs.
    #[error("several sockets may have sent this")]
    Ambiguous,
    /// The system has no means to tell for this protocol.
    #[error("the system does not tell for this protocol")]
    Unsupported,
    /// There is a socket, of an ordinary user, and no process is seen to hold it: its program hides it (in a UNIX socket's
    /// queue, registered with io_uring, behind others of its kind), or may not be looked into.
    #[error("the socket is in use, and no process is seen to hold it")]
    Hidden,
    /// The search was given up at a limit.
    #[error("too many processes or descriptors to search")]
    TooMany,
    /// The system failed; the log says how.
    #[error("the look-up failed")]
    Failed,
}

impl Unattributed {
    /// Why a search that went so far found nobody; `denied` where some processes could not be looked into.
    fn after(coverage: Coverage, denied: bool) -> Self {
        match coverage {
            Coverage::Limited => Self::TooMany,
            Coverage::Everything | Coverage::Nearby | Coverage::Noted if denied => {
                Self::PermissionDenied
            }
            Coverage::Everything | Coverage::Nearby | Coverage::Noted => Self::NoProcess,
        }
    }

    /// The reason's name in counters.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSocket => "no socket",
            Self::NoProcess => "no process",
            Self::NoNetwork => "no network of this host",
            Self::PermissionDenied => "permission denied",
            Self::NoteLost => "note lost",
            Self::Ambiguous => "ambiguous",
            Self::Unsupported => "unsupported",
            Self::Hidden => "hidden",
            Self::TooMany => "too many",
            Self::Failed => "failed",
        }
    }
}

/// The kernel could not be asked about a socket.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DiagError {
    /// The netlink socket failed.
    #[error(
        "cannot ask the kernel about sockets: {0}; is NETLINK_SOCK_DIAG allowed here (seccomp, container)?"
    )]
    Socket(#[source] io::Error),
    /// The kernel refused the question.
    #[error("the kernel refuses to tell about sockets: {0}; is INET_DIAG built for this protocol?")]
    Refused(#[source] io::Error),
    /// An answer contradicts the protocol.
    #[error("malformed answer about a socket")]
    Malformed,
    /// A table of `/proc`, on macOS of sysctl(3), could not be read.
    #[error("cannot read {table}: {source}")]
    Table {
        /// Which one.
        table: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Several sockets may have sent this.
    #[error("several sockets may have sent this")]
    Ambiguous,
    /// Several ping sockets share this identifier, which an ordinary user's may.
    #[error("several ping sockets share this identifier")]
    Shared,
    /// The table is too long to be read by who must not wait.
    #[error("the kernel's table of such sockets is too long to be read at once")]
    TooLong,
    /// The system has no means to tell for this protocol.
    #[error("the system does not tell for this protocol")]
    Unsupported,
}

impl From<&DiagError> for Unattributed {
    fn from(error: &DiagError) -> Self {
        match error {
            DiagError::Ambiguous => Self::Ambiguous,
            DiagError::Shared => Self::Hidden,
            DiagError::TooLong => Self::TooMany,
            DiagError::Unsupported => Self::Unsupported,
            DiagError::Socket(_)
            | DiagError::Refused(_)
            | DiagError::Malformed
            | DiagError::Table { .. } => Self::Failed,
        }
    }
}
