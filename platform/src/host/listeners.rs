//! Which TCP ports are listened on, from the kernel's socket table (linux/inet_diag.h).

use tidegate_routing::plan::{Family, Listener};

use crate::inet_diag::{self, Answer, LISTEN};
use crate::netlink::{Connection, NetlinkError};

/// Every listening TCP socket of both families.
pub(super) fn read(connection: &mut Connection) -> Result<Vec<Listener>, NetlinkError> {
    let mut listeners = Vec::new();
    for family in [Family::V4, Family::V6] {
        let request = inet_diag::dump_request(family, inet_diag::TCP, LISTEN);
        let dumped = connection.dump_raw(inet_diag::BY_FAMILY, &request, &mut |payload| {
            let Answer { local, uid, .. } =
                inet_diag::parse(payload).ok_or(NetlinkError::Malformed)?;
            listeners.push(Listener {
                address: local.ip(),
                port: local.port(),
                uid,
            });
            Ok(())
        });
        match dumped {
            // A kernel without IPv6 has no such listeners; without IPv4 listeners something is wrong.
            Err(error) if family == Family::V6 && error.refusal() == Some(libc::ENOENT) => {}
            dumped => dumped?,
        }
    }
    Ok(listeners)
}
