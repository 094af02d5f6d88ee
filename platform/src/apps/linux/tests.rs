use std::fs;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;

use socket2::{Domain, Socket, Type};

use super::tables::IPPROTO_RAW;
use super::*;
use crate::apps::Unattributed;
use crate::sys::test_network::in_new_network;

fn finder() -> AppFinder {
    AppFinder::new(
        DiagSocket::open().unwrap(),
        0,
        PathBuf::from("/proc/thread-self/net"),
        Arc::default(),
    )
}

fn inode(socket: &impl AsRawFd) -> u32 {
    let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
    let text = link
        .to_str()
        .unwrap()
        .strip_prefix("socket:[")
        .unwrap()
        .strip_suffix(']')
        .unwrap();
    text.parse().unwrap()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A socket that may talk IPv4 too.
fn dual_stack(kind: Type) -> Socket {
    let socket = Socket::new(Domain::IPV6, kind, None).unwrap();
    socket.set_only_v6(false).unwrap();
    socket
}

fn found(protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> Option<SocketInfo> {
    finder().find_socket(protocol, local, remote).unwrap()
}

#[test]
fn a_tcp_connection_is_found_by_both_of_its_ends() {
    in_new_network(|| {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(listen).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            let near = found(Protocol::Tcp, local, remote).unwrap();
            assert_eq!(
                (near.inode, near.state),
                (inode(&client), SocketState::Established)
            );
            assert_eq!(
                found(Protocol::Tcp, remote, local).unwrap().inode,
                inode(&server)
            );
        }
    });
}

#[test]
fn a_listener_is_never_taken_for_a_connection() {
    in_new_network(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let remote = address("127.0.0.1:9");
        assert_eq!(found(Protocol::Tcp, local, remote), None);
        assert!(!finder().is_alive(Protocol::Tcp, local, remote).unwrap());
        let listening = finder().listener(local).unwrap().unwrap();
        assert_eq!(
            (listening.inode, listening.state),
            (inode(&listener), SocketState::Listen)
        );
        drop(listener);
        assert_eq!(finder().listener(local).unwrap(), None);
    });
}

#[test]
fn a_listener_on_every_address_is_found_for_one_of_them() {
    in_new_network(|| {
        let listener = dual_stack(Type::STREAM);
        listener.bind(&address("[::]:0").into()).unwrap();
        listener.listen(1).unwrap();
        let port = listener.local_addr().unwrap().as_socket().unwrap().port();
        for local in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            let local = SocketAddr::new(local.parse().unwrap(), port);
            assert_eq!(
                finder().listener(local).unwrap().unwrap().inode,
                inode(&listener),
                "{local}"
            );
        }
    });
}

#[test]
fn ipv4_over_an_ipv6_socket_is_found_for_tcp_and_udp() {
    in_new_network(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let remote = listener.local_addr().unwrap();
        let client = dual_stack(Type::STREAM);
        client.connect(&mapped(remote).unwrap().into()).unwrap();
        let port = client.local_addr().unwrap().as_socket().unwrap().port();
        let local = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        assert_eq!(
            found(Protocol::Tcp, local, remote).unwrap().inode,
            inode(&client)
        );

        let datagram = dual_stack(Type::DGRAM);
        datagram.bind(&address("[::]:0").into()).unwrap();
        let port = datagram.local_addr().unwrap().as_socket().unwrap().port();
        let local = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        assert_eq!(
            found(Protocol::Udp, local, remote).unwrap().inode,
            inode(&datagram)
        );
        datagram.connect(&mapped(remote).unwrap().into()).unwrap();
        assert_eq!(
            found(Protocol::Udp, local, remote).unwrap().inode,
            inode(&datagram)
        );
    });
}

#[test]
fn a_udp_socket_is_found_connected_or_not_and_only_for_its_own_peer() {
    in_new_network(|| {
        for loopback in [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv6Addr::LOCALHOST.into(),
        ] {
            let any = unspecified(loopback);
            let remote = SocketAddr::new(loopback, 53);
            let socket = UdpSocket::bind(SocketAddr::new(any, 0)).unwrap();
            let local = SocketAddr::new(loopback, socket.local_addr().unwrap().port());
            let loose = found(Protocol::Udp, local, remote).unwrap();
            assert_eq!(
                (loose.inode, loose.state),
                (inode(&socket), SocketState::Unconnected)
            );
            socket.connect(remote).unwrap();
            let bound = found(Protocol::Udp, local, remote).unwrap();
            assert_eq!(
                (bound.inode, bound.state),
                (inode(&socket), SocketState::Established)
            );
            assert_eq!(
                found(Protocol::Udp, local, SocketAddr::new(loopback, 54)),
                None
            );
        }
    });
}

#[test]
fn a_udp_socket_of_another_address_is_not_the_one() {
    in_new_network(|| {
        let socket = UdpSocket::bind("127.0.0.2:0").unwrap();
        let local = SocketAddr::new(
            Ipv4Addr::LOCALHOST.into(),
            socket.local_addr().unwrap().port(),
        );
        assert_eq!(found(Protocol::Udp, local, address("127.0.0.1:53")), None);
    });
}

#[test]
fn a_closed_connection_is_remembered_without_an_owner() {
    in_new_network(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        drop(client);
        drop(server);
        let mut finder = finder();
        let socket = finder
            .find_socket(Protocol::Tcp, local, remote)
            .unwrap()
            .unwrap();
        assert_eq!((socket.state, socket.inode), (SocketState::TimeWait, 0));
        assert!(finder.is_alive(Protocol::Tcp, local, remote).unwrap());
        assert_eq!(finder.owners(&socket), Err(Unattributed::NoProcess));
    });
}

#[test]
fn a_ping_socket_is_found_by_its_identifier_and_two_raw_ones_are_ambiguous() {
    in_new_network(|| {
        fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
        let ping = Socket::new(Domain::IPV4, Type::DGRAM, Some(socket2::Protocol::ICMPV4)).unwrap();
        ping.bind(&address("0.0.0.0:4242").into()).unwrap();
        let (local, remote) = (address("127.0.0.1:4242"), address("127.0.0.1:0"));
        assert_eq!(
            found(Protocol::Icmp, local, remote).unwrap().inode,
            inode(&ping)
        );
        let stranger = address("127.0.0.1:4243");
        assert_eq!(found(Protocol::Icmp, stranger, remote), None);
        let raw = || Socket::new(Domain::IPV4, Type::RAW, Some(socket2::Protocol::ICMPV4)).unwrap();
        let one = raw();
        assert_eq!(
            found(Protocol::Icmp, stranger, remote).unwrap().inode,
            inode(&one)
        );
        // Of several, those of this program are the gateway's own.
        let two = raw();
        assert_eq!(found(Protocol::Icmp, stranger, remote), None);
        drop(two);
        let mut holder = Command::new("sleep")
            .arg("60")
            .stdin(OwnedFd::from(raw()))
            .stdout(OwnedFd::from(raw()))
            .spawn()
            .unwrap();
        let answer = finder().find_socket(Protocol::Icmp, stranger, remote);
        holder.kill().unwrap();
        holder.wait().unwrap();
        assert!(matches!(answer, Err(DiagError::Ambiguous)), "{answer:?}");
    });
}

#[test]
fn what_this_program_passes_packets_on_with_is_never_who_sent_them() {
    in_new_network(|| {
        const UDP_LITE: i32 = 136;
        let protocol = Protocol::Other(136);
        for (own, any) in [("127.0.0.1:0", "0.0.0.0:0"), ("[::1]:0", "[::]:0")] {
            let (own, any) = (address(own), address(any));
            let domain = Domain::for_address(own);
            let open = |kind, number: i32| {
                Socket::new(domain, kind, Some(socket2::Protocol::from(number))).unwrap()
            };
            let _passes_on = open(Type::RAW, i32::from(IPPROTO_RAW));
            assert_eq!(found(protocol, own, own), None);
            // The program's own, which is not raw.
            let lite = open(Type::DGRAM, UDP_LITE);
            lite.bind(&any.into()).unwrap();
            assert_eq!(found(protocol, own, own).unwrap().inode, inode(&lite));
        }
    });
}

#[test]
fn this_program_is_the_owner_of_its_sockets() {
    in_new_network(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut finder = finder();
        let local = socket.local_addr().unwrap();
        let info = finder
            .find_socket(Protocol::Udp, local, address("127.0.0.1:53"))
            .unwrap()
            .unwrap();
        assert_eq!(finder.owners_cached(&info), None);
        let owners = finder.owners(&info).unwrap();
        let [app] = &*owners.apps else {
            panic!("{owners:?}")
        };
        assert_eq!(
            (app.pid, app.uid, app.user.as_deref()),
            (std::process::id(), 0, Some("root"))
        );
        assert_eq!(app.path, std::env::current_exe().unwrap());
        assert_eq!(finder.owners_cached(&info), Some(owners));
        drop(socket);
        assert_eq!(finder.owners_cached(&info), None);
        assert_eq!(finder.owners(&info), Err(Unattributed::NoProcess));
    });
}
