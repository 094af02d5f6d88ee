//! Which ports are waited on, from the kernel's socket table (linux/inet_diag.h).

use tidegate_routing::plan::{Family, Listener};

use crate::inet_diag::{self, Answer, LISTEN, UNCONNECTED};
use crate::netlink::{Connection, NetlinkError};

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

fn each(
    connection: &mut Connection,
    protocol: u8,
    states: u32,
    mut tell: impl FnMut(Answer),
) -> Result<(), NetlinkError> {
    for family in [Family::V4, Family::V6] {
        let request = inet_diag::dump_request(family, protocol, states);
        let dumped = connection.dump_raw(inet_diag::BY_FAMILY, &request, &mut |payload| {
            tell(inet_diag::parse(payload).ok_or(NetlinkError::Malformed)?);
            Ok(())
        });
        match dumped {
            // A kernel without IPv6 has no such sockets; without IPv4 sockets something is wrong.
            Err(error) if family == Family::V6 && error.refusal() == Some(libc::ENOENT) => {}
            dumped => dumped?,
        }
    }
    Ok(())
}
