//! Which ports are waited on, from the kernel's socket table (linux/inet_diag.h).

use tidegate_routing::plan::Listener;

use crate::inet_diag::{self, Answer, LISTEN, UNCONNECTED};
use crate::netlink::{Connection, NetlinkError};
use crate::sockets::each;

/// Every listening TCP socket of both families.
pub(super) fn read(connection: &mut Connection) -> Result<Vec<Listener>, NetlinkError> {
    let mut listeners = Vec::new();
    each(
        connection,
        inet_diag::TCP,
        LISTEN,
        |Answer { local, uid, .. }| {
            listeners.push(Listener {
                address: local.ip(),
                port: local.port(),
                uid,
            });
        },
    )?;
    Ok(listeners)
}

/// The ports of UDP sockets without a peer, each once, ascending.
pub(super) fn datagram_ports(connection: &mut Connection) -> Result<Vec<u16>, NetlinkError> {
    let mut ports = Vec::new();
    each(connection, inet_diag::UDP, UNCONNECTED, |answer| {
        ports.push(answer.local.port())
    })?;
    ports.sort_unstable();
    ports.dedup();
    Ok(ports)
}
