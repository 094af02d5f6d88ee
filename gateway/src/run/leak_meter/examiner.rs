//! Whose is a packet that left past the capture, and by which way.

use std::borrow::Cow;
use std::sync::Arc;

use tidegate_platform::apps::{
    AppFinder, DiagError, DiagSocket, Processes, Sender, Senders, SocketInfo, Unattributed,
};
use tidegate_platform::sockets::{Destroyed, SocketTable, WaysOut};
use tidegate_platform::uplink_tap::{Departure, Place, Places, UplinkTap};
use tidegate_policy::{App, Direction, Protocol};
use tidegate_routing::plan::BoundSockets;

use crate::config::{Capture, ForeignMarks};
use crate::leaks::{Fate, Known, Leak, Way};
use crate::record::{Carriage, NewFlow};
use crate::shared::Shared;

/// Sockets of this gateway's network namespace.
const TABLES: &str = "/proc/self/net";
/// Programs that are named as those who may have written a packet.
const MOST_WRITERS: usize = 4;

/// Traces packets to programs.
pub(super) struct Examiner {
    processes: Arc<Processes>,
    senders: Option<Arc<Senders>>,
    places: Places,
    /// Whether a mark of another program explains that a packet was not captured.
    foreign_marks: ForeignMarks,
    /// To end sockets with, where that is asked for.
    ends: Option<Ends>,
    shared: Arc<Shared>,
}

/// What it takes to end the sockets that chose a device, and no others.
struct Ends {
    sockets: SocketTable,
    ways: WaysOut,
}

/// What was found out about a packet.
struct Findings {
    way: Way,
    socket: Option<SocketInfo>,
    direction: Direction,
    owners: Result<Vec<App>, Cow<'static, str>>,
}

impl Examiner {
    pub(super) fn new(
        shared: Arc<Shared>,
        senders: Option<Arc<Senders>>,
        capture: &Capture,
    ) -> anyhow::Result<Self> {
        let ends = match capture.bound_sockets {
            BoundSockets::Destroy => Some(Ends {
                sockets: SocketTable::open()?,
                ways: WaysOut::open()?,
            }),
            BoundSockets::Report | BoundSockets::Prohibit => None,
        };
        Ok(Self {
            processes: Arc::default(),
            senders,
            places: Places::open()?,
            foreign_marks: capture.foreign_marks,
            ends,
            shared,
        })
    }

    /// Finds sockets that may be bound to this device.
    pub(super) fn finder(&self, device: u32) -> Result<AppFinder, DiagError> {
        Ok(AppFinder::new(
            DiagSocket::open()?,
            device,
            TABLES.into(),
            Arc::clone(&self.processes),
        ))
    }

    /// Finds out about a packet, and writes it down unless it is what the host is meant to send by itself. Ends its socket
    /// where that is asked for.
    pub(super) fn examine(
        &mut self,
        tap: &UplinkTap,
        finder: &mut AppFinder,
        departure: &Departure,
    ) -> Fate {
        let Some(findings) = self.findings(tap, finder, departure) else {
            return Fate::LetGo;
        };
        let fate = self.end(tap, departure, findings.way, findings.socket);
        self.note(tap, departure, findings, fate);
        fate
    }

    /// Ends the socket of a flow once more: one that names its device with each packet goes on after its first error.
    pub(super) fn end_again(
        &mut self,
        tap: &UplinkTap,
        finder: &mut AppFinder,
        departure: &Departure,
    ) {
        let (socket, _) = self.sender(finder, departure);
        let way = match socket {
            Some(socket) if socket.device == Some(tap.index()) => Way::BoundToDevice,
            _ => Way::PastTheRules,
        };
        self.end(tap, departure, way, socket);
    }

    /// Ends the socket that chose this device. What another program's rule led here is let go, and so is what no socket
    /// sent.
    fn end(
        &mut self,
        tap: &UplinkTap,
        departure: &Departure,
        way: Way,
        socket: Option<SocketInfo>,
    ) -> Fate {
        let (Some(Ends { sockets, ways }), Some(socket)) = (&mut self.ends, socket) else {
            return Fate::LetGo;
        };
        let (protocol, between) = (departure.protocol, (departure.local, departure.remote));
        let chosen = match way {
            Way::BoundToDevice => true,
            Way::PastTheRules => {
                let mark = departure.mark.or(socket.mark).unwrap_or_default();
                ways.by_the_rules(protocol, between, &socket, mark) != Some(tap.index())
            }
            Way::ForeignMark(_) | Way::NoSocket | Way::ForeignSource => false,
        };
        if !chosen {
            return Fate::LetGo;
        }
        match sockets.destroy(protocol, between, &socket) {
            Ok(Destroyed::Aborted) => Fate::Ended,
            Ok(Destroyed::Absent) => Fate::LetGo,
            Err(error) => {
                tracing::warn!(%error, remote = %departure.remote, "a socket that went past the capture could not be ended");
                Fate::LetGo
            }
        }
    }

    fn note(&self, tap: &UplinkTap, departure: &Departure, findings: Findings, fate: Fate) {
        let Findings {
            way,
            direction,
            owners,
            ..
        } = findings;
        let device = tap.device();
        let leak = Leak {
            way,
            device,
            owner: match &owners {
                Ok(apps) => apps.first().ok_or("no owner found"),
                Err(reason) => Err(reason),
            },
            fate,
            protocol: departure.protocol,
            remote: departure.remote,
        };
        self.shared.counters.uncaptured.add(way.name());
        if self.shared.leaks.note(&leak) == Known::Now {
            tracing::info!(device, %way, "a program goes past the capture; `tidegate status` names it");
        }
        tracing::debug!(device, %way, remote = %leak.remote, owner = ?leak.owner, "left past the capture");
        let record = self.shared.flows.open(NewFlow {
            // Not ours: nothing that we do ends it.
            carriage: Carriage::Passed,
            protocol: departure.protocol,
            direction,
            local: departure.local,
            remote: departure.remote,
            names: Vec::new(),
        });
        record.set_apps(owners);
        record.leave_uncaptured(match fate {
            Fate::LetGo => format!("{way}, through {device}"),
            Fate::Ended => format!("{way}, through {device}; its socket was ended"),
        });
    }

    /// None for what is no leak.
    fn findings(
        &mut self,
        tap: &UplinkTap,
        finder: &mut AppFinder,
        departure: &Departure,
    ) -> Option<Findings> {
        let local = departure.local;
        let (socket, noted) = self.sender(finder, departure);
        let is_service =
            departure.protocol == Protocol::Tcp && matches!(finder.listener(local), Ok(Some(_)));
        let owners = self.owners(socket.as_ref(), noted);
        let mark = match self.foreign_marks {
            ForeignMarks::Pass => departure.mark.or(socket.and_then(|socket| socket.mark)),
            ForeignMarks::Capture => None,
        };
        let way = match (mark, &socket, &owners) {
            (Some(mark), _, _) if mark != 0 => Way::ForeignMark(mark),
            (_, Some(socket), _) if socket.device == Some(tap.index()) => Way::BoundToDevice,
            // The kernel sends these by its table of local addresses, ahead of all rules; their socket may be gone.
            _ if self.is_broadcast(departure) => return None,
            (_, Some(_), _) | (_, _, Ok(_)) => Way::PastTheRules,
            (_, None, Err(_)) if self.places.of(local.ip()) == Place::Here => Way::NoSocket,
            (_, None, Err(_)) => Way::ForeignSource,
        };
        let owners = owners.map_err(|reason| match way {
            Way::NoSocket | Way::ForeignSource => self.with_writers(finder, reason),
            Way::BoundToDevice | Way::PastTheRules | Way::ForeignMark(_) => {
                reason.to_string().into()
            }
        });
        Some(Findings {
            way,
            socket,
            direction: if is_service {
                Direction::In
            } else {
                Direction::Out
            },
            owners,
        })
    }

    /// A network's own broadcast, sent under an address of this host.
    fn is_broadcast(&mut self, departure: &Departure) -> bool {
        self.places.of(departure.remote.ip()) == Place::Broadcast
            && self.places.of(departure.local.ip()) == Place::Here
    }

    /// The socket of a packet, and what the kernel noted about who used it.
    fn sender(
        &self,
        finder: &mut AppFinder,
        departure: &Departure,
    ) -> (Option<SocketInfo>, Option<Sender>) {
        let (local, remote) = (departure.local, departure.remote);
        let socket = finder
            .find_socket(departure.protocol, local, remote)
            .unwrap_or_else(|error| {
                tracing::debug!(%error, "a socket could not be looked up");
                None
            });
        let noted = self
            .senders
            .as_deref()
            .filter(|_| departure.protocol == Protocol::Udp)
            .and_then(|senders| senders.sender(local, remote));
        // The port may be another's by now.
        let is_same =
            |socket: &SocketInfo| noted.is_none_or(|noted| noted.cookie() == socket.cookie);
        (socket.filter(is_same), noted)
    }

    fn owners(
        &self,
        socket: Option<&SocketInfo>,
        noted: Option<Sender>,
    ) -> Result<Vec<App>, Unattributed> {
        let found = match socket {
            Some(socket) => self.processes.owners_somewhere(socket),
            None => Err(Unattributed::NoSocket),
        };
        let owners = match (self.senders.as_deref(), noted) {
            (Some(senders), Some(noted)) => senders.complete(&noted, found),
            _ => found,
        };
        let mut apps = owners?.apps.to_vec();
        // What we send carries our mark: a raw socket of ours was the only one that might have sent this.
        apps.retain(|app| app.pid != std::process::id());
        if apps.is_empty() {
            return Err(Unattributed::NoSocket);
        }
        Ok(apps)
    }

    /// The reason, and the programs that could have written a packet without a socket of its own.
    fn with_writers(&self, finder: &AppFinder, reason: Unattributed) -> Cow<'static, str> {
        let writers = finder.packet_writers().unwrap_or_else(|error| {
            tracing::debug!(%error, "packet sockets could not be listed");
            Vec::new()
        });
        let mut names: Vec<String> = writers
            .iter()
            .filter_map(|writer| self.processes.owners_somewhere(writer).ok())
            .flat_map(|owners| owners.apps.to_vec())
            // Without the process: what several of one program send is one entry.
            .map(|app| format!("{} ({})", app.name, app.path.display()))
            .collect();
        names.sort();
        names.dedup();
        names.truncate(MOST_WRITERS);
        if names.is_empty() {
            return reason.to_string().into();
        }
        format!("{reason}; packet sockets are open in {}", names.join(", ")).into()
    }
}
