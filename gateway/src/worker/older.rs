//! Connections that are older than our start: shown and passed on, or ended.
//!
//! To end one, its socket is aborted: the program hears at once, also where nothing moves, and the kernel sends the peer a RST
//! that is right. A RST of our own has to guess what the program expects next, and in a fast download the guess is late.

use std::collections::VecDeque;
use std::time::Instant;

use tidegate_netstack::{FlowKey, Protocol, Refusal};
use tidegate_platform::sockets::{Destroyed, SocketTable, TcpConnection};

use super::unknown::Way;
use super::{Strangers, Worker};
use crate::config::Existing;
use crate::record::Carriage;

/// So many are shown before they send something.
const SHOWN: usize = 4_096;
/// So many are dealt with before packets get their turn: each takes several questions to the kernel.
const BATCH: usize = 16;

/// Connections that were there before us and have not been dealt with yet. There are no more than the kernel had.
#[derive(Debug, Default)]
pub(super) struct Older {
    waiting: VecDeque<TcpConnection>,
    /// What ends them.
    table: Option<SocketTable>,
    ended: usize,
}

impl Older {
    /// Whether some wait.
    pub(super) fn is_ready(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl Worker {
    /// These connections come out of the device, and what of them is no flow of ours is older than our start.
    pub(super) fn note_older(&mut self, connections: Vec<TcpConnection>) {
        let Strangers::Host { existing, .. } = self.strangers else {
            return;
        };
        let older = connections
            .into_iter()
            .filter(|connection| self.stack.find(&key(connection)).is_none());
        match existing {
            Existing::Pass => {
                let shown = older.filter(|connection| connection.is_held);
                self.older.waiting.extend(shown.take(SHOWN));
            }
            Existing::Reset => self.older.waiting.extend(older),
        }
    }

    /// Deals with a few of those that wait.
    pub(super) fn take_older(&mut self, now: Instant) {
        let Strangers::Host { existing, .. } = self.strangers else {
            return;
        };
        for _ in 0..BATCH {
            let Some(connection) = self.older.waiting.pop_front() else {
                break;
            };
            match existing {
                Existing::Pass => self.show_older(now, key(&connection)),
                Existing::Reset => self.older.end(&connection),
            }
        }
        self.older.note_end();
    }

    /// None is begun or ended any more.
    pub(super) fn forget_older(&mut self) {
        self.older = Older::default();
    }

    fn show_older(&mut self, now: Instant, key: FlowKey) {
        // What has sent something meanwhile is shown already.
        if self.stack.find(&key).is_none()
            && let inner = self.identify.inner(&key)
            && let Some(way) = self.identify.way_of_segment(&key, inner.as_ref())
        {
            self.begin_pass(now, key, inner, Way::One(way), Carriage::Existing, None);
        }
    }

    /// One that was not in the table when that was read, or could not be ended then.
    pub(super) fn abort_older(&mut self, now: Instant, key: FlowKey, packet: &[u8]) {
        let aborted =
            SocketTable::open().and_then(|mut table| table.destroy_tcp(key.local, key.remote));
        match aborted {
            Ok(Destroyed::Aborted) => return,
            // It went meanwhile, or is bound to a device, which these addresses do not say.
            Ok(Destroyed::Absent) => {}
            Err(error) => {
                tracing::debug!(%error, "an older connection cannot be aborted: it is reset");
            }
        }
        self.answer(now, packet, Refusal::Reset);
    }
}

impl Older {
    fn end(&mut self, connection: &TcpConnection) {
        match self.destroy(connection) {
            Ok(Destroyed::Aborted) => self.ended += 1,
            Ok(Destroyed::Absent) => {}
            Err(error) => {
                tracing::warn!(%error, ended = self.ended, "older connections are reset only once they send something");
                *self = Self::default();
            }
        }
    }

    /// Says what was done once all are ended.
    fn note_end(&mut self) {
        if self.waiting.is_empty() && self.table.take().is_some() {
            let ended = std::mem::take(&mut self.ended);
            tracing::info!(ended, "connections older than our start were ended");
        }
    }

    fn destroy(&mut self, connection: &TcpConnection) -> anyhow::Result<Destroyed> {
        let table = match &mut self.table {
            Some(table) => table,
            none => none.insert(SocketTable::open()?),
        };
        Ok(table.destroy_connection(connection)?)
    }
}

fn key(connection: &TcpConnection) -> FlowKey {
    FlowKey {
        protocol: Protocol::Tcp,
        local: connection.local,
        remote: connection.remote,
    }
}
