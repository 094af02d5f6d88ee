//! Programs in network namespaces of their own, found from ours.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::*;

/// Gives its namespace an address of the family, opens a socket there, says its port, and waits.
const PROGRAM: &str = "
import socket, subprocess, sys
kind, address, remote = sys.argv[1:]
subprocess.run(['ip', 'address', 'add', address, 'dev', 'lo'] + ['nodad'] * (':' in address), check=True)
subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
subprocess.run(['ip', 'route', 'add', 'default', 'dev', 'lo'] + ['-6'] * (':' in address), check=False)
family = socket.AF_INET6 if ':' in address else socket.AF_INET
made = socket.socket(family, socket.SOCK_STREAM if kind in ('connect', 'listen') else socket.SOCK_DGRAM)
made.bind((address, 0))
if kind == 'listen': made.listen()
if kind == 'connected': made.connect((remote, 9))
print(made.getsockname()[1], flush=True)
sys.stdin.read()
";

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program in a new namespace, and its port.
fn start(kind: &str, address: &str) -> (Running, SocketAddr) {
    let child = Command::new("unshare")
        .args(["--net", "python3", "-c", PROGRAM, kind, address, address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.expect("util-linux and python3 are installed, and tests run as root");
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let running = Running(child);
    let port = line.trim().parse().expect("a port");
    (running, SocketAddr::new(address.parse().unwrap(), port))
}

fn found(
    networks: &mut OtherNetworks,
    (protocol, direction): (Protocol, Direction),
    local: SocketAddr,
    remote: &str,
) -> Result<Vec<u32>, Unattributed> {
    let owners = networks.owners(protocol, direction, local, remote.parse().unwrap());
    owners.map(|owners| owners.apps.iter().map(|app| app.pid).collect())
}

#[test]
fn a_program_in_another_namespace_is_found_by_its_own_addresses() {
    let mut networks = OtherNetworks::new(Arc::default());
    let cases = [
        (
            "listen",
            "198.51.100.201",
            (Protocol::Tcp, Direction::In),
            "203.0.113.9:9",
        ),
        (
            "listen",
            "2001:db8:201::1",
            (Protocol::Tcp, Direction::In),
            "[2001:db8::9]:9",
        ),
        (
            "datagrams",
            "198.51.100.202",
            (Protocol::Udp, Direction::Out),
            "203.0.113.9:9",
        ),
        (
            "connected",
            "198.51.100.203",
            (Protocol::Udp, Direction::Out),
            "198.51.100.203:9",
        ),
    ];
    for (kind, address, flow, remote) in cases {
        let (program, local) = start(kind, address);
        let found = found(&mut networks, flow, local, remote);
        assert_eq!(found, Ok(vec![program.0.id()]), "{kind} {local}");
        networks.read_at = None;
    }
}

#[test]
fn what_is_no_namespace_s_or_no_socket_s_is_nobody_s() {
    let mut networks = OtherNetworks::new(Arc::default());
    let out = (Protocol::Udp, Direction::Out);
    let nowhere = "198.51.100.204:7".parse().unwrap();
    assert_eq!(
        found(&mut networks, out, nowhere, "203.0.113.9:9"),
        Err(Unattributed::NoNetwork)
    );
    networks.read_at = None;
    let (program, local) = start("connected", "198.51.100.205");
    for remote in ["203.0.113.9:9", "198.51.100.205:10"] {
        assert_eq!(
            found(&mut networks, out, local, remote),
            Err(Unattributed::NoSocket),
            "connected elsewhere"
        );
    }
    let other_port = SocketAddr::new(local.ip(), 9);
    assert_eq!(
        found(&mut networks, out, other_port, "198.51.100.205:9"),
        Err(Unattributed::NoSocket)
    );
    drop(program);
    assert_eq!(
        found(&mut networks, out, local, "198.51.100.205:9"),
        Err(Unattributed::NoNetwork),
        "the namespace went with its program"
    );
}

#[test]
fn a_socket_of_our_own_namespace_is_never_a_forwarded_flow_s() {
    let own = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut networks = OtherNetworks::new(Arc::default());
    let out = (Protocol::Udp, Direction::Out);
    let local = own.local_addr().unwrap();
    assert_eq!(
        found(&mut networks, out, local, "203.0.113.9:9"),
        Err(Unattributed::NoNetwork)
    );
}

#[test]
fn a_raw_socket_at_another_address_is_not_the_flow_s() {
    let wanted = Wanted {
        protocol: Protocol::Other(47),
        direction: Direction::Out,
        local: "198.51.100.206:0".parse().unwrap(),
        remote: "203.0.113.9:0".parse().unwrap(),
    };
    let fits = |address: &str, protocol| {
        wanted.fits(&TableRow {
            local: address.parse().unwrap(),
            local_port: protocol,
            remote: "0.0.0.0".parse().unwrap(),
            remote_port: 0,
            state: 7,
            uid: 0,
            inode: 1,
        })
    };
    for protocol in [47, IPPROTO_RAW] {
        assert!(fits("198.51.100.206", protocol) && fits("0.0.0.0", protocol));
        assert!(!fits("198.51.100.207", protocol), "{protocol}");
    }
    assert!(!fits("198.51.100.206", 50));
}
