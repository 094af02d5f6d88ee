//! Whose is a packet that left past the capture, and by which way.

use std::borrow::Cow;
use std::sync::Arc;

use tidegate_platform::apps::{
    AppFinder, DiagError, DiagSocket, Processes, Senders, SocketInfo, Unattributed,
};
use tidegate_platform::uplink_tap::{Departure, Place, Places, UplinkTap};
use tidegate_policy::{App, Direction, Protocol};

use crate::config::ForeignMarks;
use crate::leaks::{Known, Leak, Way};
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
    foreign_marks: ForeignMarks,
    shared: Arc<Shared>,
}

/// What was found out about a packet.
struct Findings {
    way: Way,
    direction: Direction,
    owners: Result<Vec<App>, Cow<'static, str>>,
}

impl Examiner {
    /// `foreign_marks` says whether a mark of another program explains that a packet was not captured.
    pub(super) fn new(
        shared: Arc<Shared>,
        senders: Option<Arc<Senders>>,
        foreign_marks: ForeignMarks,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            processes: Arc::default(),
            senders,
            places: Places::open()?,
            foreign_marks,
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

    /// Finds out about a packet, and writes it down unless it is what the host is meant to send by itself.
    pub(super) fn examine(
        &mut self,
        tap: &UplinkTap,
        finder: &mut AppFinder,
        departure: &Departure,
    ) {
        let Some(Findings {
            way,
            direction,
            owners,
        }) = self.findings(tap, finder, departure)
        else {
            return;
        };
        let device = tap.device();
        let leak = Leak {
            way,
            device,
            owner: match &owners {
                Ok(apps) => apps.first().ok_or("no owner found"),
                Err(reason) => Err(reason),
            },
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
        record.leave_uncaptured(format!("{way}, through {device}"));
    }

    /// None for what is no leak.
    fn findings(
        &mut self,
        tap: &UplinkTap,
        finder: &mut AppFinder,
        departure: &Departure,
    ) -> Option<Findings> {
        let (local, remote) = (departure.local, departure.remote);
        let socket = finder
            .find_socket(departure.protocol, local, remote)
            .unwrap_or_else(|error| {
                tracing::debug!(%error, "a socket could not be looked up");
                None
            });
        let is_service =
            departure.protocol == Protocol::Tcp && matches!(finder.listener(local), Ok(Some(_)));
        let owners = self.owners(socket.as_ref(), departure);
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

    fn owners(
        &self,
        socket: Option<&SocketInfo>,
        departure: &Departure,
    ) -> Result<Vec<App>, Unattributed> {
        let found = match socket {
            Some(socket) => self.processes.owners_somewhere(socket),
            None => Err(Unattributed::NoSocket),
        };
        let noted = self.senders.as_deref().and_then(|senders| {
            (departure.protocol == Protocol::Udp)
                .then(|| senders.sender(departure.local, departure.remote))?
                .map(|noted| (senders, noted))
        });
        let owners = match noted {
            Some((senders, noted)) => {
                // The port may be another's by now.
                let is_same = socket.is_some_and(|socket| socket.cookie == noted.cookie());
                let found = if is_same {
                    found
                } else {
                    Err(Unattributed::NoSocket)
                };
                senders.complete(&noted, found)
            }
            None => found,
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
            .map(|app| format!("{} (process {})", app.name, app.pid))
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
