//! Sockets of other programs, as the kernel's socket table has them.

mod trial;
mod ways_out;

use std::net::{IpAddr, SocketAddr};

use tidegate_netstack::{LocalAddr, RemoteAddr};
use tidegate_policy::Protocol;
use tidegate_routing::plan::Family;

use crate::apps::SocketInfo;
use crate::inet_diag::{self, Answer};
use crate::netlink::{Connection, NetlinkError};

/// Whether a socket was there to be destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destroyed {
    /// It was aborted: its owner reads ECONNABORTED, its peer gets a RST.
    Aborted,
    /// There is no such socket.
    Absent,
}

pub use trial::{CannotDestroy, try_destroy};
pub use ways_out::WaysOut;

/// A TCP connection of this host that stands or is being closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpConnection {
    /// The program's end; a dual-stack socket's IPv4 connection has IPv4 addresses.
    pub local: LocalAddr,
    /// The far end.
    pub remote: RemoteAddr,
    /// Whether a program still has it; if not, the kernel sends what is left and ends it.
    pub is_held: bool,
    uid: u32,
    mark: u32,
    /// Index of the interface that it is bound to; 0 for none.
    device: u32,
    cookie: u64,
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

    /// Aborts this TCP or UDP socket (`SOCK_DESTROY`), whoever owns it, and none that has its addresses by now. A datagram
    /// socket stays open, but loses its peer and the device that it was bound to, and its owner reads ECONNABORTED once.
    /// The kernel ends no sockets of other protocols this way: for them there is none.
    ///
    /// # Errors
    /// As of [`SocketTable::destroy_tcp`].
    pub fn destroy(
        &mut self,
        protocol: Protocol,
        (local, remote): (SocketAddr, SocketAddr),
        socket: &SocketInfo,
    ) -> Result<Destroyed, NetlinkError> {
        let number = match protocol {
            Protocol::Tcp => inet_diag::TCP,
            Protocol::Udp => inet_diag::UDP,
            Protocol::Icmp | Protocol::Other(_) => return Ok(Destroyed::Absent),
        };
        let request = inet_diag::exact_request(number, plain(local), plain(remote));
        let request = inet_diag::at_device(request, socket.device.unwrap_or_default());
        self.destroy_by(&inet_diag::with_cookie(request, socket.cookie))
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
        self.destroy_by(&request)
    }

    /// Every TCP connection.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn connections(&mut self) -> Result<Vec<TcpConnection>, NetlinkError> {
        let mut connections = Vec::new();
        let states = inet_diag::CONNECTED;
        each(&mut self.connection, inet_diag::TCP, states, |answer| {
            connections.push(TcpConnection::from(answer));
        })?;
        Ok(connections)
    }

    /// Aborts this connection, and no other that has its addresses by now.
    ///
    /// # Errors
    /// As [`destroy_tcp`](Self::destroy_tcp).
    pub fn destroy_connection(
        &mut self,
        connection: &TcpConnection,
    ) -> Result<Destroyed, NetlinkError> {
        let (local, remote) = (connection.local.0, connection.remote.0);
        let request = inet_diag::exact_request(inet_diag::TCP, local, remote);
        let request = inet_diag::at_device(request, connection.device);
        self.destroy_by(&inet_diag::with_cookie(request, connection.cookie))
    }

    fn destroy_by(&mut self, request: &[u8]) -> Result<Destroyed, NetlinkError> {
        match self.connection.change_raw(inet_diag::DESTROY, request) {
            Ok(()) => Ok(Destroyed::Aborted),
            // The second: another socket has these addresses.
            Err(error) if matches!(error.refusal(), Some(libc::ENOENT | libc::ESTALE)) => {
                Ok(Destroyed::Absent)
            }
            Err(error) => Err(error),
        }
    }
}

impl From<Answer> for TcpConnection {
    fn from(answer: Answer) -> Self {
        Self {
            local: LocalAddr(plain(answer.local)),
            remote: RemoteAddr(plain(answer.remote)),
            is_held: answer.inode != 0,
            uid: answer.uid,
            mark: answer.mark.unwrap_or_default(),
            device: answer.device,
            cookie: answer.cookie,
        }
    }
}

/// Tells of the sockets of a protocol that are in one of `states`, in both families.
pub(crate) fn each(
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
    use std::io::{self, Read};
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;
    use crate::apps::{AppFinder, DiagSocket, Processes};
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
                assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
            }
        });
    }

    #[test]
    fn a_connection_of_the_list_is_destroyed_and_not_one_that_takes_its_place() {
        in_new_network(|| {
            let mut table = SocketTable::open().unwrap();
            for (listen, connect) in [("[::]", "127.0.0.1"), ("[::1]", "[::1]")] {
                let (_client, mut server) = connected(listen, connect);
                let ends = (
                    plain(server.local_addr().unwrap()),
                    plain(server.peer_addr().unwrap()),
                );
                let connections = table.connections().unwrap();
                let listed = connections
                    .iter()
                    .find(|listed| (listed.local.0, listed.remote.0) == ends)
                    .unwrap();
                assert!(listed.is_held);
                let another = TcpConnection {
                    cookie: listed.cookie + 1,
                    ..listed.clone()
                };
                assert_eq!(
                    table.destroy_connection(&another).unwrap(),
                    Destroyed::Absent
                );
                assert_eq!(
                    table.destroy_connection(listed).unwrap(),
                    Destroyed::Aborted
                );
                let error = server.read(&mut [0]).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
                assert_eq!(table.destroy_connection(listed).unwrap(), Destroyed::Absent);
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

    /// A datagram socket with a port of its own, and how the kernel names it.
    fn datagram_socket(at: &str) -> (UdpSocket, (SocketAddr, SocketAddr), SocketInfo) {
        let socket = UdpSocket::bind((at, 0)).unwrap();
        let local = socket.local_addr().unwrap();
        let peer = SocketAddr::new(local.ip(), 9);
        let mut finder = AppFinder::new(
            DiagSocket::open().unwrap(),
            0,
            "/proc/self/net".into(),
            Processes::default().into(),
        );
        let found = finder.find_socket(Protocol::Udp, local, peer).unwrap();
        (socket, (local, peer), found.unwrap())
    }

    #[test]
    fn of_datagram_sockets_only_the_one_that_was_meant_is_ended() {
        in_new_network(|| {
            for at in ["127.0.0.1", "::1"] {
                let (socket, between, found) = datagram_socket(at);
                let mut table = SocketTable::open().unwrap();
                let mut destroy = |found| table.destroy(Protocol::Udp, between, found).unwrap();
                let later = SocketInfo {
                    cookie: found.cookie + 1,
                    ..found
                };
                assert_eq!(destroy(&later), Destroyed::Absent);
                assert!(socket.take_error().unwrap().is_none());
                assert_eq!(destroy(&found), Destroyed::Aborted);
                let error = socket.take_error().unwrap().unwrap();
                assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
            }
        });
    }
}
