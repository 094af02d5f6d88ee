//! Connections of this host's programs that its own address translation leads elsewhere: through a port that a container
//! publishes, for one. Their packets have other addresses than their sockets.

use std::net::SocketAddr;

use tidegate_netstack::FlowKey;
use tidegate_platform::conntrack::Conntrack;
use tidegate_policy::{Direction, Protocol};

/// Tells what such a connection was before.
#[derive(Debug)]
pub(super) enum OwnTranslation {
    /// There is none.
    None,
    /// There may be one.
    Unasked,
    /// There is one.
    Tracked(Conntrack),
}

impl OwnTranslation {
    /// Both ends of an outgoing TCP connection as its program knows them, if they were others. Takes some microseconds; where
    /// the kernel tracks no connections, a look at a file.
    pub(super) fn before(&mut self, key: &FlowKey) -> Option<(SocketAddr, SocketAddr)> {
        if matches!(self, Self::Unasked) && Conntrack::is_in_use() {
            match Conntrack::open() {
                Ok(conntrack) => *self = Self::Tracked(conntrack),
                Err(error) => tracing::debug!(%error, "no socket to ask about translations"),
            }
        }
        let Self::Tracked(conntrack) = self else {
            return None;
        };
        let (local, remote) = (key.local.0, key.remote.0);
        let inside = conntrack.inside(Protocol::Tcp, local, remote);
        let inside = inside.unwrap_or_else(|error| {
            tracing::debug!(%error, "the addresses of a connection could not be asked for");
            None
        })?;
        let before = (inside.source, inside.destination);
        (inside.direction == Direction::Out && before != (local, remote)).then_some(before)
    }
}
