//! What a forwarded packet was before this host's address translation (masquerade, published ports) changed it.
//!
//! The kernel translates a source on a packet's way *out*, so into our device too. It tracks each connection with both
//! forms of its addresses; one exact question (ctnetlink) gives them, in some microseconds and without waiting.

use std::net::SocketAddr;
use std::path::Path;

use tidegate_policy::{Direction, Protocol};

use crate::netlink::{Connection, NetlinkError};

mod message;

use message::{GET, Tracked, Tuple};

/// A packet's connection as it is on the inner side of the address translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inside {
    /// The inner end: a container's or a neighbour's own address.
    pub source: SocketAddr,
    /// Whom that end speaks to, as it knows it.
    pub destination: SocketAddr,
    /// Who spoke first.
    pub direction: Direction,
}

/// The connection tracking of the network namespace that the opening thread is in.
#[derive(Debug)]
pub struct Conntrack {
    connection: Connection,
}

impl Conntrack {
    /// Whether the kernel tracks connections. Where it does not, to ask it of one would make it load what does.
    pub fn is_in_use() -> bool {
        Path::new("/proc/sys/net/netfilter/nf_conntrack_count").exists()
    }

    /// Opens a netlink socket to ask on.
    ///
    /// # Errors
    /// [`NetlinkError::Socket`].
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            connection: Connection::netfilter()?,
        })
    }

    /// The inner side of the connection of a packet that left the translation from `local` to `remote`; for ICMP echo the
    /// local port is the identifier. `None` if the kernel tracks no such connection: then nothing was translated. Of
    /// protocols without such ports nothing is asked: their packets do not tell what tells their connections apart.
    ///
    /// # Errors
    /// The kernel does not tell: ctnetlink takes `CAP_NET_ADMIN` and `CONFIG_NF_CT_NETLINK`.
    pub fn inside(
        &mut self,
        protocol: Protocol,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Option<Inside>, NetlinkError> {
        // What the far end sends is what the kernel finds the connection by, whoever spoke first.
        let answer = Tuple {
            source: remote,
            destination: local,
        };
        let answer = match protocol {
            Protocol::Icmp => answer.with_identifier(local.port()),
            Protocol::Tcp | Protocol::Udp => answer,
            Protocol::Other(_) => return Ok(None),
        };
        let mut found = None;
        let asked =
            self.connection
                .query_raw(GET, &message::request(protocol, answer), &mut |payload| {
                    found = message::parse(payload);
                    Ok(())
                });
        match asked {
            Err(error) if error.refusal() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
            Ok(()) => Ok(found.and_then(|found| inside(&found, answer))),
        }
    }
}

/// Which side of a tracked connection lies inwards of one that the far end answers like this.
fn inside(tracked: &Tracked, answer: Tuple) -> Option<Inside> {
    if tracked.reply == answer {
        Some(Inside {
            source: tracked.original.source,
            destination: tracked.original.destination,
            direction: Direction::Out,
        })
    } else if tracked.original == answer {
        Some(Inside {
            source: tracked.reply.source,
            destination: tracked.reply.destination,
            direction: Direction::In,
        })
    } else {
        None
    }
}

/// Reads an answer of the kernel, for the fuzz target.
#[cfg(any(fuzzing, test))]
pub(crate) fn fuzz_answer(payload: &[u8]) {
    message::parse(payload);
}

#[cfg(test)]
mod tests;
