//! Raw sockets of Linux (raw(7), ipv6(7)).

use std::io;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// The socket of each family; a kernel without IPv6 has one.
pub(super) fn sockets() -> io::Result<(Socket, Option<Socket>)> {
    let v4 = raw_socket(Domain::IPV4)?;
    let v6 = match raw_socket(Domain::IPV6) {
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => None,
        socket => Some(socket?),
    };
    Ok((v4, v6))
}

fn raw_socket(domain: Domain) -> io::Result<Socket> {
    // IPPROTO_RAW implies that the header is included and that nothing is received.
    let protocol = Protocol::from(libc::IPPROTO_RAW);
    Socket::new(domain, Type::RAW.nonblocking(), Some(protocol))
}

/// Sends a packet as it is.
pub(super) fn send(socket: &Socket, packet: &[u8], destination: &SockAddr) -> io::Result<usize> {
    socket.send_to(packet, destination)
}

#[cfg(test)]
mod tests;
