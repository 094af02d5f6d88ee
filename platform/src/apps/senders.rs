//! Who sent this datagram, when its socket and perhaps its process are gone: noted by the kernel at the moment of the send.
//! And who began this TCP connection, without a search.
//!
//! A program that does `sendto`, `close` and `exit` lives shorter than it takes to ask for its socket. So small programs
//! run inside the kernel, attached to the root of the control groups. One runs in `connect` and `sendto`, within the process
//! that calls: it notes which process gave which socket an address ([`addressed`]). The other runs for each datagram that
//! leaves: it notes which socket sent it ([`egress`]). Where services are to be known, a third runs for each that a socket is
//! given: it notes to whom a peer has spoken unasked ([`arrivals`]). In TCP's `connect` it is also noted whether anybody else
//! holds the socket ([`connected`], [`connections`]). All only watch. What they note, an executable's path with it, stands
//! in tables of fixed size, of which what was not used for long makes room. Everything ends with the last descriptor.
//!
//! This is an addition where the system allows it. It takes root (CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN), cgroup v2, and a
//! kernel that describes itself (BTF) and has these helpers: Linux 5.15 or newer, 5.19 to read the tables without CAP_BPF.
//!
//! For datagrams through a connected socket the sender is whoever connected it. Another process that inherited it is found
//! only while it holds it.

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;
use thiserror::Error;

use super::{Part, Unattributed};
use crate::bpf::btf::BtfError;
use crate::sys::bpf;

mod addressed;
mod arrivals;
mod cgroup_root;
mod connected;
mod connections;
mod egress;
mod loading;
mod noted_apps;
mod offsets;
mod packet;
mod records;
mod tally;
mod walk;

use addressed::Scope;
use arrivals::Arrivals;
pub use connections::Connector;
use noted_apps::NotedApps;
pub use noted_apps::NotedProgram;
use offsets::Described;
use records::Send;
use tally::Tallies;

/// What was noted is still there as long as fewer notes than these came after it. The kernel pushes those out first that came
/// first and were not used since, but leaves up to half of a table to those that were used.
const SAFE: u64 = (loading::TUPLES / 4) as u64;
/// How long a datagram may wait for its look-up while another program takes over its port.
const RECENT: Duration = Duration::from_secs(5);
/// Most look-ups that are remembered. When full, all are forgotten.
const MOST_ANSWERS: usize = 4096;
/// The first process-id namespace always has this name (`PROC_PID_INIT_INO`, linux/proc_ns.h).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// The kernel does not note who sends.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SendersError {
    /// Where things are in this kernel is not known.
    #[error("{0}")]
    #[expect(private_interfaces, reason = "shown, not matched")]
    Description(#[source] BtfError),
    /// There is no control group that holds every process.
    #[error("no cgroup v2 is mounted; mount it (systemd does so by itself)")]
    NoControlGroups,
    /// The root of the control groups cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    ControlGroup {
        /// Where it is mounted.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Process ids here mean other processes than they do to the kernel.
    #[error("runs in a process-id namespace of its own, a container perhaps")]
    OtherProcessIds,
    /// The network namespace has no name.
    #[error("this kernel does not tell network namespaces apart: {0}")]
    Network(#[source] io::Error),
    /// A table could not be made.
    #[error("the kernel refuses a BPF map: {source}{}", remedy(.source))]
    Map {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program was refused.
    #[error("the kernel refuses a BPF program for {hook}: {source}{}{}", remedy(.source), last_lines(.log))]
    Program {
        /// Where it should run.
        hook: &'static str,
        /// Why.
        #[source]
        source: io::Error,
        /// What the verifier said.
        log: String,
    },
    /// A program could not be attached.
    #[error("cannot attach a BPF program to the root control group: {0}")]
    Attach(#[source] io::Error),
    /// The tables cannot be read.
    #[error("cannot read a BPF map without CAP_BPF: {0}; Linux 5.19 or newer allows it")]
    Read(#[source] io::Error),
}

fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM) => "; it takes root, and a kernel that is not locked down",
        _ => "",
    }
}

/// The end of the verifier's log says what it did not like.
fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().rev().take(6).collect();
    lines.iter().rev().map(|line| format!("\n{line}")).collect()
}

/// What the kernel notes about senders of datagrams in one network namespace.
#[derive(Debug)]
pub struct Senders {
    tuples: OwnedFd,
    tallies: Tallies,
    arrivals: Option<Arrivals>,
    connections: OwnedFd,
    apps: NotedApps,
    /// For each tuple, when what was last asked about was sent: that datagram has been read, and no longer waits.
    answers: Mutex<FxHashMap<[u8; records::TUPLE], u64>>,
    missing: Vec<Missing>,
    _attached: Vec<OwnedFd>,
}

/// A part that is missing.
#[derive(Debug)]
pub struct Missing {
    /// Which.
    pub part: Part,
    /// Why.
    pub error: SendersError,
}

/// The socket and process that sent a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    last: Send,
    /// Another that sent with the same addresses a moment before: the datagram at hand may be its.
    before: Option<Send>,
}

impl Sender {
    /// Names the socket that sent last, as [`super::SocketInfo::cookie`].
    pub fn cookie(&self) -> u64 {
        self.last.cookie
    }

    /// Whether both were sent by one process under one executable.
    pub fn is_of_same_process(&self, other: &Self) -> bool {
        self.last.process == other.last.process
    }

    fn sends(&self) -> impl Iterator<Item = &Send> {
        [Some(&self.last), self.before.as_ref()]
            .into_iter()
            .flatten()
    }
}

impl Senders {
    /// Lets the kernel note who sends datagrams in the network namespace of `network`, any socket there. Sockets that carry
    /// a bit of `without_mark` are left out. On which of the ports `answering` datagrams arrive unasked is noted too.
    ///
    /// # Errors
    /// [`SendersError`]: what the system lacks or refuses.
    pub fn attach(
        network: BorrowedFd<'_>,
        without_mark: u32,
        answering: Option<RangeInclusive<u16>>,
    ) -> Result<Self, SendersError> {
        let process_ids = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        if process_ids.to_str() != Some(FIRST_PID_NAMESPACE) {
            return Err(SendersError::OtherProcessIds);
        }
        let root = cgroup_root::open()?;
        let network_cookie = bpf::network_cookie(network).map_err(SendersError::Network)?;
        let scope = Scope {
            network_cookie,
            without_mark,
        };
        // After the first thing that takes privileges: the description is long.
        let tables = loading::tables()?;
        let kernel = Described::of_kernel().map_err(SendersError::Description)?;
        let loaded = loading::load(
            tables,
            scope,
            root.as_fd(),
            answering,
            kernel,
            &bpf::load_program,
        )?;
        Ok(Self {
            tuples: loaded.tables.tuples,
            tallies: loaded.tables.tallies,
            arrivals: loaded.arrivals,
            connections: loaded.tables.connections,
            apps: NotedApps::new(loaded.tables.processes, loaded.tables.paths),
            answers: Mutex::default(),
            missing: loaded.missing,
            _attached: loaded.attached,
        })
    }

    /// What else could be had of the kernel and is refused.
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// Whether the tables can be read, once privileges are given up.
    ///
    /// # Errors
    /// [`SendersError::Read`].
    pub fn check(&self) -> Result<(), SendersError> {
        let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
        self.sends(nobody, nobody)
            .map(drop)
            .map_err(SendersError::Read)
    }

    /// Who sent the last datagram from `local` to `remote`. Takes one system call. To be asked about each datagram that begins
    /// a flow, in their order: where another program sent from there before and was not asked about yet, the datagram at
    /// hand may be its.
    pub fn sender(&self, local: SocketAddr, remote: SocketAddr) -> Option<Sender> {
        let (last, before) = self.sends(local, remote).ok().flatten()?;
        let answered = self.note_answer(records::tuple(local, remote), last.at);
        let may_wait = |before: &Send| {
            answered != Some(before.at)
                && Duration::from_nanos(last.at.saturating_sub(before.at)) < RECENT
                && before.process != last.process
        };
        Some(Sender {
            last,
            before: before.filter(may_wait),
        })
    }

    /// What comes by this device is an answer to something that went out by it: it is not noted as unasked.
    ///
    /// # Errors
    /// [`SendersError::Read`].
    pub fn leave_out_device(&self, index: u32) -> Result<(), SendersError> {
        let Some(arrivals) = &self.arrivals else {
            return Ok(());
        };
        arrivals.leave_out(index).map_err(SendersError::Read)
    }

    /// Whether what was just sent from `local` to `remote` answers a peer that had spoken to the very same socket unasked.
    /// Takes a system call, and a second if it does.
    pub fn is_answer(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        let tuple = records::tuple(local, remote);
        let spoken_to = |arrivals: &Arrivals| arrivals.socket(&tuple).ok().flatten();
        let Some(socket) = self.arrivals.as_ref().and_then(spoken_to) else {
            return false;
        };
        let sent = self.sends(local, remote).ok().flatten();
        sent.is_some_and(|(last, _)| last.cookie == socket)
    }

    /// Whether it is known who sent the last datagram from `local` to `remote`. Takes a system call.
    pub fn knows(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        self.sends(local, remote).is_ok_and(|sends| sends.is_some())
    }

    /// Why nobody is known who sent a datagram of which there is no note, where `reason` says that no process holds its socket.
    /// It may have been noted, and the note have been pushed out by others. Takes two system calls.
    pub fn why_unnoted(&self, reason: Unattributed) -> Unattributed {
        let is_gone = matches!(reason, Unattributed::NoSocket | Unattributed::NoProcess);
        if is_gone && self.tallies.are_filling(SAFE, RECENT).unwrap_or(false) {
            Unattributed::NoteLost
        } else {
            reason
        }
    }

    /// Gives when what was asked about the time before had been sent.
    fn note_answer(&self, tuple: [u8; records::TUPLE], at: u64) -> Option<u64> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MOST_ANSWERS {
            answers.clear();
        }
        answers.insert(tuple, at)
    }

    fn sends(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> io::Result<Option<(Send, Option<Send>)>> {
        let mut value = [0; records::SENDS];
        let found = bpf::look_up(
            self.tuples.as_fd(),
            &records::tuple(local, remote),
            &mut value,
        )?;
        Ok(found.then(|| records::sends(&value)))
    }
}
