//! Flows of this host's own programs: whose socket it is, and who holds that.
//!
//! The socket is asked of the kernel on this thread, which takes two system calls. Its programs are found in a cache or
//! among the likely processes, or else by the look-up thread while the flow is held: a search through all of `/proc` may
//! take milliseconds. Where the kernel notes who begins a connection and who sends datagrams, that counts too: a connection
//! needs no search then, and the socket of a datagram may be closed, and its program gone, before anyone can ask.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use tidegate_netstack::{FlowId, FlowKey, Protocol};
use tidegate_platform::apps::{
    AppFinder, Connector, DiagError, Owners, Processes, Sender as Noted, Senders, SocketInfo,
    SocketState, Unattributed,
};
use tidegate_policy::Direction;

use super::Known;
use super::own_translation::OwnTranslation;
use super::pings::Pings;
use crate::worker::caller::Household;
use crate::worker::entry::policy_protocol;
use crate::worker::inbox::{Handle, Message};
use crate::worker::newcomers::{Line, Member};
use crate::worker::speaker::{Speaker, Speaking};

/// Finds the programs behind flows of this host, or of one command's network.
#[derive(Debug)]
pub struct HostFlows {
    finder: AppFinder,
    senders: Option<Arc<Senders>>,
    searches: Sender<Search>,
    pings: Pings,
    translation: OwnTranslation,
}

/// A search for the look-up thread.
struct Search {
    flow: FlowId,
    protocol: Protocol,
    socket: SocketInfo,
    noted: Option<Noted>,
    reply_to: Handle,
}

impl HostFlows {
    /// Asks `finder` for sockets; a thread of its own searches `processes`, which `finder` shares. What the kernel notes of
    /// senders is in `senders`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        finder: AppFinder,
        processes: Arc<Processes>,
        senders: Option<Arc<Senders>>,
    ) -> io::Result<Self> {
        let pings = Pings::start(finder.ping_sockets(), Arc::clone(&processes))?;
        let (searches, inbox) = channel();
        let for_thread = senders.clone();
        thread::Builder::new()
            .name("look-up".to_owned())
            .spawn(move || serve(&inbox, &processes, for_thread.as_deref()))?;
        Ok(Self {
            finder,
            senders,
            searches,
            pings,
            translation: OwnTranslation::None,
        })
    }

    /// Lets connections that this host's address translation leads elsewhere be known too.
    pub fn behind_translation(self) -> Self {
        Self {
            translation: OwnTranslation::Unasked,
            ..self
        }
    }

    pub(super) fn find(
        &mut self,
        flow: FlowId,
        key: &FlowKey,
        direction: Direction,
        handle: &Handle,
        speaking: Option<&mut Speaking>,
        is_older: bool,
    ) -> Known {
        let mut noted = self.noted(key);
        let socket = match self.socket(key, direction) {
            Ok(None) if key.protocol == Protocol::Tcp && direction == Direction::Out => {
                self.socket_before_translation(key)
            }
            socket => socket,
        };
        if let Some(speaking) = speaking {
            speaking.begins(match key.protocol {
                Protocol::Icmp => Speaker::of_ping(socket),
                Protocol::Tcp | Protocol::Udp | Protocol::Other(_) => {
                    Speaker::of(noted, socket.ok().flatten())
                }
            });
        }
        if let (Protocol::Icmp, Err(Unattributed::TooMany)) = (key.protocol, &socket) {
            return self.pings.find(flow, key, handle);
        }
        let complete = |noted: &Option<Noted>, owners| {
            complete(
                self.senders.as_deref(),
                key.protocol,
                noted.as_ref(),
                owners,
            )
        };
        let socket = match socket {
            // The port is another's by now.
            Ok(Some(socket)) if noted.is_some_and(|noted| noted.cookie() != socket.cookie) => {
                return Known::Now(complete(&noted, Err(Unattributed::NoSocket)));
            }
            Ok(Some(socket)) => socket,
            Ok(None) => return Known::Now(complete(&noted, Err(Unattributed::NoSocket))),
            Err(reason) => return Known::Now(complete(&noted, Err(reason))),
        };
        if let Some((senders, connector)) = self.connector(key, direction, &socket) {
            let owners = self.finder.owners_noted(senders, &connector, &socket);
            if let Some(owners) = owners {
                return Known::Now(Ok(owners));
            }
            noted = Some(connector.sender());
        }
        let likely = self.finder.owners_cached(&socket);
        // A new flow's socket was made a moment ago, so its program is nearly always among the few likely ones. That of a
        // connection older than us seldom is.
        let nearby = || {
            (!is_older)
                .then(|| self.finder.owners_nearby(&socket))
                .flatten()
        };
        if let Some(owners) = likely.or_else(nearby) {
            return Known::Now(complete(&noted, Ok(owners)));
        }
        match self.searches.send(Search {
            flow,
            protocol: key.protocol,
            socket,
            noted,
            reply_to: handle.clone(),
        }) {
            Ok(()) => Known::Later,
            Err(_) => Known::Now(Err(Unattributed::Failed)),
        }
    }

    /// Who sends in this UDP or echo flow now.
    pub(in crate::worker) fn speaker(&mut self, key: &FlowKey) -> Option<Speaker> {
        if key.protocol == Protocol::Icmp {
            // Thousands of pings in a turn would read the table as often.
            let socket = self.finder.find_ping_late(key.local.0, key.remote.0);
            return Speaker::of_ping(socket.map_err(not_looked_up));
        }
        Speaker::of(self.noted(key), None).or_else(|| {
            let socket = self.socket(key, Direction::Out).ok().flatten();
            Speaker::of(None, socket)
        })
    }

    /// Who began this connection, if it is one that goes out.
    fn connector(
        &self,
        key: &FlowKey,
        direction: Direction,
        socket: &SocketInfo,
    ) -> Option<(&Senders, Connector)> {
        let senders = self.senders.as_deref()?;
        (key.protocol == Protocol::Tcp && direction == Direction::Out)
            .then(|| senders.connector(socket))
            .flatten()
            .map(|connector| (senders, connector))
    }

    /// Who sent the last datagram of this flow.
    fn noted(&self, key: &FlowKey) -> Option<Noted> {
        let senders = self.senders.as_deref()?;
        (key.protocol == Protocol::Udp)
            .then(|| senders.sender(key.local.0, key.remote.0))
            .flatten()
    }

    /// In which line this new flow waits. Whose a ping is takes a table to find out: it is asked when it is its turn.
    pub(super) fn line_of(&mut self, key: &FlowKey) -> Line {
        if key.protocol == Protocol::Icmp {
            return Line {
                household: Household::Pings,
                member: Member::Socket(key.local),
                process: 0,
            };
        }
        let senders = self.senders.as_deref();
        let noted = senders.and_then(|senders| senders.program(key.local.0, key.remote.0));
        if let Some((program, process)) = noted {
            return Line {
                household: Household::User(program.uid),
                member: Member::Program(program),
                process,
            };
        }
        match self.socket(key, Direction::Out) {
            Ok(Some(socket)) => Line {
                household: Household::User(socket.uid),
                member: Member::Socket(key.local),
                process: 0,
            },
            Ok(None) | Err(_) => Line {
                household: Household::Unknown,
                member: Member::Nobody,
                process: 0,
            },
        }
    }

    /// Whether a datagram of no flow yet, which has just come out of the device, is a service's answer although its port is
    /// one that clients get: its peer has spoken to the socket before. Sockets of the kernel's own (WireGuard, VXLAN) wait on
    /// a fixed port, and call no function that the notes are made in.
    pub(in crate::worker) fn is_answer(&mut self, key: &FlowKey) -> bool {
        let (local, remote) = (key.local.0, key.remote.0);
        let Some(senders) = self.senders.as_deref() else {
            return false;
        };
        if senders.is_answer(local, remote) {
            return true;
        }
        if senders.knows(local, remote) {
            return false;
        }
        let socket = self.socket(key, Direction::Out).ok().flatten();
        socket.is_some_and(|socket| socket.uid == 0 && socket.state == SocketState::Unconnected)
    }

    fn socket(
        &mut self,
        key: &FlowKey,
        direction: Direction,
    ) -> Result<Option<SocketInfo>, Unattributed> {
        let (local, remote) = (key.local.0, key.remote.0);
        let found = match (direction, key.protocol) {
            // A half-open connection belongs to no process yet; its listener does.
            (Direction::In, Protocol::Tcp) => match self.finder.listener(local) {
                Ok(None) => self
                    .finder
                    .find_socket(policy_protocol(key.protocol), local, remote),
                listener => listener,
            },
            _ => self
                .finder
                .find_socket(policy_protocol(key.protocol), local, remote),
        };
        found.map_err(not_looked_up)
    }

    fn socket_before_translation(
        &mut self,
        key: &FlowKey,
    ) -> Result<Option<SocketInfo>, Unattributed> {
        let Some((local, remote)) = self.translation.before(key) else {
            return Ok(None);
        };
        let found = self
            .finder
            .find_socket(policy_protocol(key.protocol), local, remote);
        found.map_err(not_looked_up)
    }

    /// Which way the connection of an unknown segment was opened, if a living socket of this host has it.
    pub(in crate::worker) fn way_of_segment(&mut self, key: &FlowKey) -> Option<Direction> {
        let (local, remote) = (key.local.0, key.remote.0);
        if !self
            .finder
            .is_alive(policy_protocol(key.protocol), local, remote)
            .unwrap_or(false)
        {
            return None;
        }
        Some(if self.listens(local) {
            Direction::In
        } else {
            Direction::Out
        })
    }

    /// Which way the connection of a SYN-ACK is opened. A connection that a service takes belongs to no process before it
    /// is complete. If one holds the socket, its program called out and the peer's SYN crossed its own (RFC 9293 section
    /// 3.5, simultaneous open).
    pub(in crate::worker) fn way_of_syn_ack(&mut self, key: &FlowKey) -> Direction {
        let (local, remote) = (key.local.0, key.remote.0);
        match self
            .finder
            .find_socket(policy_protocol(key.protocol), local, remote)
        {
            Ok(Some(socket)) if socket.inode != 0 => Direction::Out,
            Ok(_) => Direction::In,
            Err(error) => {
                tracing::debug!(%error, "the socket of a SYN-ACK could not be looked up");
                Direction::In
            }
        }
    }

    fn listens(&mut self, local: SocketAddr) -> bool {
        matches!(self.finder.listener(local), Ok(Some(_)))
    }
}

fn not_looked_up(error: DiagError) -> Unattributed {
    tracing::debug!(%error, "a socket could not be looked up");
    Unattributed::from(&error)
}

/// What was found out about the socket, and what the kernel noted. A datagram that it should have noted, and of which there is
/// nothing, says more than that nobody holds its socket.
fn complete(
    senders: Option<&Senders>,
    protocol: Protocol,
    noted: Option<&Noted>,
    owners: Result<Owners, Unattributed>,
) -> Result<Owners, Unattributed> {
    match (senders, noted) {
        (Some(senders), Some(noted)) => senders.complete(noted, owners),
        (Some(senders), None) if protocol == Protocol::Udp => {
            owners.map_err(|reason| senders.why_unnoted(reason))
        }
        _ => owners,
    }
}

fn serve(inbox: &Receiver<Search>, processes: &Processes, senders: Option<&Senders>) {
    while let Ok(search) = inbox.recv() {
        let owners = processes.owners_somewhere(&search.socket);
        // The kernel's own sockets have no file, and what they send is never noted.
        let senders = senders.filter(|_| search.socket.inode != 0);
        let owners = complete(senders, search.protocol, search.noted.as_ref(), owners);
        let owners = owners.map_err(|reason| search.socket.why_unseen(reason));
        search.reply_to.tell(Message::Owners(search.flow, owners));
    }
}
