//! Sockets of other programs, as the kernel's socket table has them.

use std::net::{IpAddr, SocketAddr};

use tidegate_netstack::{LocalAddr, RemoteAddr};

use crate::inet_diag;
use crate::netlink::{Connection, NetlinkError};

/// Whether a socket was there to be destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destroyed {
    /// It was aborted: its owner reads ECONNABORTED, its peer gets a RST.
    Aborted,
    /// There is no such socket.
    Absent,
}

/// The socket table of the network namespace that the opening thread is in.
#[derive(Debug)]
pub struct SocketTable {
    connection: Connection,
}

impl SocketTable {
    /// Opens a netlink socket to ask on.
    ///
    /// # Errors
    /// [`NetlinkError::Socket`].
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            connection: Connection::sock_diag()?,
        })
    }

    /// Aborts the TCP socket with these addresses (`SOCK_DESTROY`), whoever owns it.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`] with `EPERM` without `CAP_NET_ADMIN`, with `EOPNOTSUPP` where the kernel was built without
    /// `CONFIG_INET_DIAG_DESTROY`.
    pub fn destroy_tcp(
        &mut self,
        local: LocalAddr,
        remote: RemoteAddr,
    ) -> Result<Destroyed, NetlinkError> {
        let request = inet_diag::exact_request(inet_diag::TCP, plain(local.0), plain(remote.0));
        match self.connection.change_raw(inet_diag::DESTROY, &request) {
            Ok(()) => Ok(Destroyed::Aborted),
            Err(error) if error.refusal() == Some(libc::ENOENT) => Ok(Destroyed::Absent),
            Err(error) => Err(error),
        }
    }
}

/// A dual-stack socket's IPv4 connection is found under its IPv4 addresses.
fn plain(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => SocketAddr::new(
            v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
            address.port(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::sys::test_network::in_new_network;

    fn connected(listen: &str, connect: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(format!("{listen}:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(format!("{connect}:{port}")).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn a_destroyed_socket_tells_both_ends() {
        in_new_network(|| {
            for (listen, connect) in [
                ("127.0.0.1", "127.0.0.1"),
                ("[::1]", "[::1]"),
                ("[::]", "127.0.0.1"),
            ] {
                let (_client, mut server) = connected(listen, connect);
                let (local, remote) = (server.local_addr().unwrap(), server.peer_addr().unwrap());
                let mut table = SocketTable::open().unwrap();
                assert_eq!(
                    table
                        .destroy_tcp(LocalAddr(local), RemoteAddr(remote))
                        .unwrap(),
                    Destroyed::Aborted
                );
                let error = server.read(&mut [0]).unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
            }
        });
    }

    #[test]
    fn a_socket_that_is_not_there_is_no_error() {
        in_new_network(|| {
            let mut table = SocketTable::open().unwrap();
            let local = LocalAddr("127.0.0.1:9".parse().unwrap());
            let remote = RemoteAddr("127.0.0.1:10".parse().unwrap());
            assert_eq!(table.destroy_tcp(local, remote).unwrap(), Destroyed::Absent);
        });
    }
}
