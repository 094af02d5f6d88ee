//! Who made a flow, for every shape that a program and its socket may have: how many are named rightly, how many not at all, and
//! that none is named wrongly.
//!
//! Copies of one program under different names, 20 at a time, while unrelated processes come and go. One that connects waits to
//! be found; one that sends a datagram has ended before it is asked for. Each flow is asked about with what the kernel notes and
//! without, in the order of the gateway's look-up. Run by hand as `shapes long` it makes 5,000 flows. Needs root: it makes a
//! network namespace and a TUN device in it, and attaches programs, which only watch, to the root control group. Starts itself
//! again as the many programs, and so has a `main` of its own, which answers a test runner as the usual one would.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test program fails by panicking")]
#![expect(
    clippy::print_stdout,
    reason = "a test program reports on its standard streams"
)]

#[path = "shared/copies.rs"]
mod copies;
#[path = "shared/runner.rs"]
mod runner;
#[path = "shared/silence.rs"]
mod silence;
#[path = "shared/storm.rs"]
mod storm;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use copies::Copies;
use runner::run_tests;
use rustix::process::{Pid, Signal, kill_process_group};
use silence::{flow_of, silent_network};
use socket2::{Domain, Socket, Type};
use storm::while_others_come_and_go;
use tidegate_platform::apps::{AppFinder, DiagSocket, Owners, Processes, Senders, Unattributed};
use tidegate_policy::Protocol;

const NAME: &str = "of_flows_of_every_shape_none_is_under_a_wrong_name";
/// Flows of each shape, by each protocol; 5,000 in all in the long run.
const FLOWS: u16 = 20;
const FLOWS_LONG: u16 = 250;
const AT_A_TIME: u16 = 20;
/// The copy with number N speaks to this port plus N.
const FIRST_PORT: u16 = 20_000;
const OTHER_USER: u32 = 1_000;
const REMOTE_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const REMOTE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
/// How a program runs, and what socket it has.
const SHAPES: [&str; 10] = [
    "IPv4",
    "IPv6",
    "IPv4-mapped",
    "dual-stack, bound",
    "from a thread",
    "setuid",
    "passed to another user",
    "executable deleted",
    "other pid namespace",
    "other mounts",
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [first, shape, protocol, port] if first == "call" => call(shape, protocol, port),
        [first, taker, protocol, port] if first == "give" => give(taker, protocol, port),
        [first] if first == "long" => count_all(FLOWS_LONG),
        _ => run_tests(&arguments, &[(NAME, || count_all(FLOWS))], |test| test()),
    }
}

/// One of the many programs.
fn call(shape: &str, protocol: &str, port: &str) {
    let (remote, any): (IpAddr, IpAddr) = match shape {
        "IPv6" => (REMOTE_V6.into(), Ipv6Addr::UNSPECIFIED.into()),
        "IPv4-mapped" | "dual-stack, bound" => (
            REMOTE_V4.to_ipv6_mapped().into(),
            Ipv6Addr::UNSPECIFIED.into(),
        ),
        _ => (REMOTE_V4.into(), Ipv4Addr::UNSPECIFIED.into()),
    };
    let remote = SocketAddr::new(remote, port.parse().unwrap());
    if shape == "passed to another user" {
        let given = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
        return speak(&given.into(), protocol, remote);
    }
    let socket = socket(Domain::for_address(remote), protocol);
    match shape {
        "dual-stack, bound" => {
            socket.set_only_v6(false).unwrap();
            socket.bind(&SocketAddr::new(any, 0).into()).unwrap();
        }
        "executable deleted" => std::fs::remove_file(std::env::current_exe().unwrap()).unwrap(),
        _ => {}
    }
    let speak = || speak(&socket, protocol, remote);
    if shape == "from a thread" {
        std::thread::scope(|scope| scope.spawn(speak).join().unwrap());
    } else {
        speak();
    }
}

fn socket(domain: Domain, protocol: &str) -> Socket {
    let kind = match protocol {
        "tcp" => Type::STREAM,
        _ => Type::DGRAM,
    };
    Socket::new(domain, kind, None).unwrap()
}

/// Nobody answers: a connection waits until its program is ended.
fn speak(socket: &Socket, protocol: &str, remote: SocketAddr) {
    if protocol == "tcp" {
        let _ = socket.connect(&remote.into());
    } else {
        socket.send_to(b"x", &remote.into()).unwrap();
    }
}

/// Makes a socket, gives it to a program of another user, and lets it go.
fn give(taker: &str, protocol: &str, port: &str) {
    let mut taker = Command::new(taker)
        .args(["call", "passed to another user", protocol, port])
        .stdin(OwnedFd::from(socket(Domain::IPV4, protocol)))
        .uid(OTHER_USER)
        .spawn()
        .unwrap();
    taker.wait().unwrap();
}

/// How many flows of one shape are named how.
#[derive(Debug, Default)]
struct Count {
    right: u16,
    unknown: u16,
    wrong: Vec<String>,
}

impl Count {
    fn add(&mut self, path: &Path, owners: Result<Owners, Unattributed>) {
        match owners {
            Err(_) => self.unknown += 1,
            Ok(owners) if owners.apps.iter().all(|app| app.path == path) => self.right += 1,
            Ok(owners) => self.wrong.push(format!("{}: {owners:?}", path.display())),
        }
    }
}

/// The look-ups, and the programs they are about.
struct Trial {
    device: File,
    senders: Senders,
    finder: AppFinder,
    finder_without: AppFinder,
    copies: Copies,
    setuid: Copies,
}

fn finder() -> AppFinder {
    let tables = "/proc/thread-self/net".into();
    let processes = Arc::new(Processes::default());
    AppFinder::new(DiagSocket::open().unwrap(), 0, tables, processes)
}

fn count_all(flows: u16) {
    let device = silent_network();
    let network = DiagSocket::open().unwrap();
    let senders = Senders::attach(network.as_fd(), 1, None);
    let all = flows * 2 * u16::try_from(SHAPES.len()).unwrap();
    let mut trial = Trial {
        device,
        senders: senders.unwrap_or_else(|error| panic!("{error}")),
        finder: finder(),
        finder_without: finder(),
        copies: Copies::make("shapes", all),
        setuid: Copies::make("shapes-setuid", all),
    };
    let first = trial.setuid.path(0);
    chown(&first, Some(OTHER_USER), None).unwrap();
    std::fs::set_permissions(&first, PermissionsExt::from_mode(0o4755)).unwrap();
    while_others_come_and_go(2, || trial.count_shapes(flows));
}

impl Trial {
    fn count_shapes(&mut self, flows: u16) {
        let mut first = 0;
        for shape in SHAPES {
            for protocol in ["tcp", "udp"] {
                let counts = self.count(shape, protocol, first..first + flows);
                first += flows;
                for (count, means) in counts.iter().zip(["with eBPF", "without"]) {
                    let Count {
                        right,
                        unknown,
                        wrong,
                    } = count;
                    println!(
                        "{shape:24} {protocol} {means:9}: {right:3} right, {unknown:3} unknown, {:3} wrong",
                        wrong.len()
                    );
                    assert_eq!(wrong.first(), None, "{shape}, {protocol}, {means}");
                    assert_eq!(right + unknown, flows);
                    assert!(
                        *right >= floor(protocol, means, flows),
                        "{shape}, {protocol}, {means}: {count:?}"
                    );
                }
            }
        }
    }

    /// With what the kernel notes, and without.
    fn count(&mut self, shape: &str, protocol: &str, numbers: Range<u16>) -> [Count; 2] {
        let mut counts = [Count::default(), Count::default()];
        for first in numbers.clone().step_by(AT_A_TIME.into()) {
            let numbers = first..(first + AT_A_TIME).min(numbers.end);
            let mut running: BTreeMap<u16, Child> = numbers
                .map(|number| (number, self.start(shape, protocol, number)))
                .collect();
            if protocol == "udp" {
                for child in running.values_mut() {
                    assert!(child.wait().unwrap().success(), "{shape}");
                }
            }
            while !running.is_empty() {
                let flow = self.next();
                let number = flow.2.port() - FIRST_PORT;
                // A packet that was sent again, of a program that has been ended.
                let Some(mut child) = running.remove(&number) else {
                    continue;
                };
                let path = self.path(shape, number);
                let [with, without] = &mut counts;
                with.add(&path, who(&mut self.finder, Some(&self.senders), flow));
                without.add(&path, who(&mut self.finder_without, None, flow));
                if protocol == "tcp" {
                    let group = Pid::from_child(&child);
                    kill_process_group(group, Signal::KILL).unwrap();
                    child.wait().unwrap();
                }
            }
        }
        counts
    }

    fn path(&self, shape: &str, number: u16) -> PathBuf {
        match shape {
            "setuid" => self.setuid.path(number),
            _ => self.copies.path(number),
        }
    }

    fn start(&self, shape: &str, protocol: &str, number: u16) -> Child {
        let path = self.path(shape, number);
        let port = (FIRST_PORT + number).to_string();
        let mut command = match shape {
            "other pid namespace" => Command::new("unshare"),
            "other mounts" => Command::new("unshare"),
            "passed to another user" => Command::new(self.copies.path(0)),
            _ => Command::new(&path),
        };
        match shape {
            "other pid namespace" => command.args(["--pid", "--fork"]).arg(&path),
            "other mounts" => command.arg("--mount").arg(&path),
            "setuid" => command.uid(OTHER_USER + 1),
            _ => &mut command,
        };
        match shape {
            "passed to another user" => command.arg("give").arg(&path),
            _ => command.args(["call", shape]),
        };
        command.args([protocol, &port]).process_group(0);
        command.spawn().unwrap()
    }

    /// The next of our flows.
    fn next(&mut self) -> (Protocol, SocketAddr, SocketAddr) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut packet = [0; 2048];
        while Instant::now() < deadline {
            let length = self.device.read(&mut packet).unwrap();
            let flow = packet.get(..length).and_then(flow_of);
            if let Some(flow) = flow.filter(|(_, _, remote)| remote.port() >= FIRST_PORT) {
                return flow;
            }
        }
        panic!("no packet comes");
    }
}

/// How many of so many must be right. Who has sent a datagram and ended is known from notes only.
fn floor(protocol: &str, means: &str, flows: u16) -> u16 {
    match (protocol, means) {
        ("udp", "without") => 0,
        _ => flows - flows / 20,
    }
}

/// As the gateway's workers do it.
fn who(
    finder: &mut AppFinder,
    senders: Option<&Senders>,
    (protocol, local, remote): (Protocol, SocketAddr, SocketAddr),
) -> Result<Owners, Unattributed> {
    let datagrams = senders.filter(|_| protocol == Protocol::Udp);
    let mut noted = datagrams.and_then(|senders| senders.sender(local, remote));
    let socket = finder.find_socket(protocol, local, remote).unwrap();
    let same = |cookie| noted.is_none_or(|noted| noted.cookie() == cookie);
    let owners = match socket.filter(|socket| same(socket.cookie)) {
        None => Err(Unattributed::NoSocket),
        Some(socket) => {
            let connections = senders.filter(|_| protocol == Protocol::Tcp);
            let connector = connections.and_then(|senders| senders.connector(&socket));
            if let (Some(senders), Some(connector)) = (senders, connector) {
                if let Some(owners) = finder.owners_noted(senders, &connector, &socket) {
                    return Ok(owners);
                }
                noted = Some(connector.sender());
            }
            let nearby = finder.owners_nearby(&socket);
            nearby.map_or_else(|| finder.owners(&socket), Ok)
        }
    };
    match (senders, noted) {
        (Some(senders), Some(noted)) => senders.complete(&noted, owners),
        _ => owners,
    }
}
