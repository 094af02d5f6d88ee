//! Whether this system ends sockets of others, tried on sockets of our own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use thiserror::Error;
use tidegate_policy::Protocol;

use super::{Destroyed, SocketTable};
use crate::apps::{AppFinder, DiagError, DiagSocket, Processes};
use crate::netlink::NetlinkError;

/// Why this system ends no sockets of others.
#[derive(Debug, Error)]
pub enum CannotDestroy {
    /// The kernel refuses.
    #[error(
        "the kernel ends no {0} sockets of other programs (SOCK_DESTROY): it takes CAP_NET_ADMIN, and a kernel with \
         CONFIG_INET_DIAG_DESTROY"
    )]
    Refused(&'static str, #[source] NetlinkError),
    /// Its own socket could not be looked up.
    #[error(transparent)]
    LookUp(#[from] DiagError),
    /// A socket could not be made to try it on.
    #[error("cannot make a socket to try SOCK_DESTROY on")]
    Socket(#[from] io::Error),
    /// It found no socket where there is one.
    #[error(
        "the kernel does not find {0} sockets to end them (SOCK_DESTROY); is the module {1} there?"
    )]
    NotFound(&'static str, &'static str),
}

/// Tries on sockets of its own whether others' can be ended.
///
/// # Errors
/// [`CannotDestroy`].
pub fn try_destroy() -> Result<(), CannotDestroy> {
    let anywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let (stream, datagram) = (TcpListener::bind(anywhere)?, UdpSocket::bind(anywhere)?);
    let mut table = SocketTable::open().map_err(|error| CannotDestroy::Refused("TCP", error))?;
    let mut finder = AppFinder::new(
        DiagSocket::open()?,
        0,
        "/proc/self/net".into(),
        Processes::default().into(),
    );
    for (protocol, name, module, local) in [
        (Protocol::Tcp, "TCP", "tcp_diag", stream.local_addr()?),
        (Protocol::Udp, "UDP", "udp_diag", datagram.local_addr()?),
    ] {
        let socket = match protocol {
            Protocol::Tcp => finder.listener(local)?,
            Protocol::Udp | Protocol::Icmp | Protocol::Other(_) => {
                finder.find_socket(protocol, local, anywhere)?
            }
        };
        let socket = socket.ok_or(CannotDestroy::NotFound(name, module))?;
        match table.destroy(protocol, (local, anywhere), &socket) {
            Ok(Destroyed::Aborted) => {}
            Ok(Destroyed::Absent) => return Err(CannotDestroy::NotFound(name, module)),
            Err(error) => return Err(CannotDestroy::Refused(name, error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::test_network::in_new_network;

    #[test]
    fn whether_sockets_can_be_ended_is_tried_on_our_own() {
        in_new_network(|| try_destroy().unwrap());
    }

    #[test]
    fn a_kernel_that_refuses_is_named_with_what_it_lacks() {
        let refused = NetlinkError::Refused {
            error: io::Error::from_raw_os_error(libc::EOPNOTSUPP),
            detail: String::new(),
        };
        let said = CannotDestroy::Refused("UDP", refused).to_string();
        for words in [
            "no UDP sockets",
            "CAP_NET_ADMIN",
            "CONFIG_INET_DIAG_DESTROY",
        ] {
            assert!(said.contains(words), "{said}");
        }
    }
}
