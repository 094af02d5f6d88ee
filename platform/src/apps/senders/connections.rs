//! Who began a TCP connection, from what the kernel noted within `connect`: nobody needs to be searched for.
//!
//! The note tells whether the calling process alone held the socket, and which process id was the next to be given out. So
//! whoever holds it besides has an id from there on, and nearly always none has been given out since. Everything else is
//! left to the search: a socket that several held, a note that is gone, or too many new processes.

use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tidegate_policy::App;

use super::records::{self, Connection, Send};
use super::{Sender, Senders};
use crate::apps::{AppFinder, Coverage, Owners, SocketInfo};
use crate::sys::bpf;

/// How long the newest process id tells whether there are new processes: it takes far longer to give out all ids once.
const TELLS: Duration = Duration::from_millis(100);

/// The process that began a TCP connection.
#[derive(Clone, Copy, Debug)]
pub struct Connector {
    connection: Connection,
    cookie: u64,
    uid: u32,
}

impl Connector {
    /// As what was noted of it is added to what a search has found: see [`Senders::complete`].
    pub fn sender(&self) -> Sender {
        Sender {
            last: Send {
                process: self.connection.process,
                cookie: self.cookie,
                at: self.connection.at,
                uid: self.uid,
            },
            before: None,
        }
    }

    /// The first process id that another holder of the socket can have, if there was none to begin with.
    fn first_other(&self) -> Option<NonZeroU32> {
        let now = clock_gettime(ClockId::Monotonic);
        let now = Duration::try_from(now).ok()?;
        let age = now.checked_sub(Duration::from_nanos(self.connection.at))?;
        let next = NonZeroU32::new(self.connection.next_id)?;
        (self.connection.alone && age < TELLS).then_some(next)
    }
}

impl Senders {
    /// Who began the connection of a TCP socket. Takes one system call.
    pub fn connector(&self, socket: &SocketInfo) -> Option<Connector> {
        let mut value = [0; records::CONNECTION];
        let key = socket.cookie.to_ne_bytes();
        let noted = bpf::look_up(self.connections.as_fd(), &key, &mut value).ok()?;
        noted.then(|| Connector {
            connection: records::connection(&value),
            cookie: socket.cookie,
            uid: socket.uid,
        })
    }
}

impl AppFinder {
    /// The programs that hold the TCP socket whose connection was just begun, without a search: who began it, and the
    /// processes that were forked since, if they inherited it. Takes one system call where there are none. `None` if that
    /// may not be all.
    pub fn owners_noted(
        &self,
        senders: &Senders,
        connector: &Connector,
        socket: &SocketInfo,
    ) -> Option<Owners> {
        let first_other = connector.first_other()?;
        let mut apps = senders.app(&connector.sender().last)?;
        let maker = apps.first()?.pid;
        let newer = self.processes.holders_from(socket, first_other, maker)?;
        if !newer.is_empty() {
            let is_new = |app: &&App| apps.iter().all(|known| !is_same(known, app));
            let newer = newer.iter().filter(is_new);
            apps = apps.iter().chain(newer).cloned().collect();
        }
        Some(Owners {
            apps,
            coverage: Coverage::Noted,
        })
    }
}

/// Whether it is the same program in the same process.
fn is_same(one: &App, other: &App) -> bool {
    (one.pid, &one.path) == (other.pid, &other.path)
}
