//! Connections that are older than our start: shown and passed on, or ended.
//!
//! To end one, its socket is aborted: the program hears at once, also where nothing moves, and the kernel sends the peer a RST
//! that is right. A RST of our own has to guess what the program expects next, and in a fast download the guess is late.

use std::time::Instant;

use tidegate_netstack::{FlowKey, Protocol, Refusal};
use tidegate_platform::sockets::{Destroyed, SocketTable, TcpConnection};

use super::unknown::Way;
use super::{Strangers, Worker};
use crate::config::Existing;
use crate::record::Carriage;

/// So many are shown before they send something.
const SHOWN_AT_ONCE: usize = 4_096;

impl Worker {
    /// These connections come out of the device, and what of them is no flow of ours is older than our start.
    pub(super) fn take_older(&mut self, now: Instant, connections: &[TcpConnection]) {
        let Strangers::Host { existing, .. } = self.strangers else {
            return;
        };
        let older = connections
            .iter()
            .filter(|connection| self.stack.find(&key(connection)).is_none());
        let older: Vec<&TcpConnection> = older.collect();
        match existing {
            Existing::Pass => {
                let shown = older.into_iter().filter(|connection| connection.is_held);
                for connection in shown.take(SHOWN_AT_ONCE) {
                    let key = key(connection);
                    if let Some(way) = self.identify.way_of_segment(&key) {
                        self.begin_pass(now, key, Way::One(way), Carriage::Existing, None);
                    }
                }
            }
            Existing::Reset => self.end_older(&older),
        }
    }

    fn end_older(&self, older: &[&TcpConnection]) {
        let mut table = match SocketTable::open() {
            Ok(table) => table,
            Err(error) => {
                return tracing::warn!(%error, "older connections are reset only once they send something");
            }
        };
        let mut ended = 0_usize;
        for connection in older {
            match table.destroy_connection(connection) {
                Ok(Destroyed::Aborted) => ended += 1,
                Ok(Destroyed::Absent) => {}
                Err(error) => {
                    return tracing::warn!(%error, ended, "older connections are reset only once they send something");
                }
            }
        }
        tracing::info!(ended, "connections older than our start were ended");
    }

    /// One that was not in the table when that was read, or could not be ended then.
    pub(super) fn abort_older(&mut self, now: Instant, key: FlowKey, packet: &[u8]) {
        let aborted =
            SocketTable::open().and_then(|mut table| table.destroy_tcp(key.local, key.remote));
        if let Err(error) = aborted {
            tracing::debug!(%error, "an older connection cannot be aborted: it is reset");
            self.answer(now, packet, Refusal::Reset);
        }
    }
}

fn key(connection: &TcpConnection) -> FlowKey {
    FlowKey {
        protocol: Protocol::Tcp,
        local: connection.local,
        remote: connection.remote,
    }
}
