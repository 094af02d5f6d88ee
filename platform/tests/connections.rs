//! Who begins a TCP connection is noted by the kernel, and so is whether anybody shares the socket: every program under its
//! right name, nearly all of them without a search.
//!
//! Needs root: it makes a network namespace and a TUN device in it, and attaches programs, which only watch, to the root
//! control group for as long as it runs. Starts itself again as the programs that connect, and so has a `main` of its own,
//! which answers a test runner as the usual one would: `--list [--ignored]`, then `--exact NAME`.
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

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use copies::Copies;
use runner::run_tests;
use silence::{flow_of, silent_network};
use socket2::{Domain, SockRef, Socket, Type};
use storm::while_others_come_and_go;
use tidegate_platform::apps::{
    AppFinder, Coverage, DiagSocket, Owners, Processes, Senders, SocketInfo,
};
use tidegate_policy::{App, Protocol};

const TESTS: [(&str, fn()); 4] = [
    ("who_connects_alone_is_named_without_a_search", name_all),
    ("whoever_shares_a_connection_is_named_too", share),
    ("of_a_note_that_is_gone_the_search_finds_the_program", flood),
    (
        "marked_connections_and_other_networks_leave_no_note",
        leave_out,
    ),
];
const COPIES: u16 = 80;
/// The copy with number N connects to this port plus N.
const FIRST_PORT: u16 = 20_000;
/// Sockets with this mark are not noted.
const MARK: u32 = 0x2000_0000;
const REMOTE_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const REMOTE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [first] if first == "cost" => std::thread::spawn(cost).join().unwrap(),
        [first] if first == "wait" => wait(),
        [first, way, port] if first == "connect" => connect(way, port.parse().unwrap()),
        // Each in a network of its own, which belongs to the thread.
        _ => run_tests(&arguments, &TESTS, |test| {
            std::thread::spawn(test).join().unwrap();
        }),
    }
}

/// Until it is ended.
fn wait() -> ! {
    loop {
        std::thread::park();
    }
}

/// How the many programs connect.
const WAYS: [&str; 8] = [
    "v4", "v6", "mapped", "at-once", "thread", "threads", "deleted", "become",
];

/// One of the many programs. The kernel tries for two minutes, or until it is ended.
fn connect(way: &str, port: u16) {
    let remote: IpAddr = match way {
        "v6" => REMOTE_V6.into(),
        "mapped" => REMOTE_V4.to_ipv6_mapped().into(),
        _ => REMOTE_V4.into(),
    };
    let remote = SocketAddr::new(remote, port);
    let threads: Vec<_> = match way {
        "threads" => (0..4).map(|_| std::thread::spawn(wait)).collect(),
        _ => Vec::new(),
    };
    if way == "deleted" {
        std::fs::remove_file(std::env::current_exe().unwrap()).unwrap();
    }
    let connect = move || match way {
        // One that another program made.
        "input" => drop(SockRef::from(&std::io::stdin()).connect(&remote.into())),
        "at-once" => {
            let _socket = begin(remote, 0);
            wait();
        }
        // By a program that was another one when it made the socket, and had connections then.
        "become" => {
            drop(begin(SocketAddr::new(remote.ip(), 1), 0));
            let program = std::env::current_exe().unwrap();
            let error = Command::new(program)
                .args(["connect", "input", &port.to_string()])
                .stdin(OwnedFd::from(socket(remote)))
                .exec();
            panic!("{error}");
        }
        _ => drop(socket(remote).connect(&remote.into())),
    };
    std::thread::scope(|scope| match way {
        "thread" => scope.spawn(connect).join().unwrap(),
        _ => connect(),
    });
    drop(threads);
}

fn socket(remote: SocketAddr) -> Socket {
    Socket::new(Domain::for_address(remote), Type::STREAM, None).unwrap()
}

/// Begins a connection and goes on at once.
fn begin(remote: SocketAddr, mark: u32) -> Socket {
    let socket = socket(remote);
    socket.set_nonblocking(true).unwrap();
    if mark != 0 {
        socket.set_mark(mark).unwrap();
    }
    let begun = socket.connect(&remote.into()).unwrap_err();
    assert_eq!(begun.raw_os_error(), Some(libc::EINPROGRESS));
    socket
}

impl Copies {
    fn command(&self, number: u16, way: &str) -> Command {
        let mut command = Command::new(self.path(number));
        let port = FIRST_PORT + number;
        command.args(["connect", way, &port.to_string()]);
        command
    }
}

/// Ended with the test, also where it fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A network with a device that takes every packet and answers none, and what finds the programs in it.
struct Network {
    device: File,
    senders: Senders,
    finder: AppFinder,
}

impl Network {
    fn enter() -> Self {
        let device = silent_network();
        let diag = DiagSocket::open().unwrap();
        let senders =
            Senders::attach(diag.as_fd(), MARK, None).unwrap_or_else(|error| panic!("{error}"));
        Self {
            device,
            senders,
            finder: finder(),
        }
    }

    /// The socket of the next connection that is begun to the port of this copy.
    fn next(&mut self, number: u16) -> SocketInfo {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut packet = [0; 2048];
        while Instant::now() < deadline {
            let length = self.device.read(&mut packet).unwrap();
            let flow = packet.get(..length).and_then(flow_of);
            if let Some((Protocol::Tcp, local, remote)) = flow
                && remote.port() == FIRST_PORT + number
            {
                let found = self.finder.find_socket(Protocol::Tcp, local, remote);
                return found.unwrap().expect("its program waits");
            }
        }
        panic!("no SYN comes");
    }

    /// As the gateway finds them: without a search where the note suffices.
    fn owners(&self, socket: &SocketInfo) -> Owners {
        let connector = self.senders.connector(socket).expect("a note");
        let noted = self.finder.owners_noted(&self.senders, &connector, socket);
        noted.unwrap_or_else(|| {
            let nearby = self.finder.owners_nearby(socket);
            let found = nearby.map_or_else(|| self.finder.owners(socket), Ok);
            self.senders.complete(&connector.sender(), found).unwrap()
        })
    }
}

fn finder() -> AppFinder {
    let diag = DiagSocket::open().unwrap();
    let processes = Arc::new(Processes::default());
    AppFinder::new(diag, 0, "/proc/thread-self/net".into(), processes)
}

fn name_all() {
    let mut network = Network::enter();
    let copies = Copies::make("connections", COPIES);
    (0..COPIES)
        .filter(|number| way_of(*number) == "deleted")
        .for_each(|number| separate(&copies.path(number)));
    let (unsearched, _) = while_others_come_and_go(1, || {
        let named = (0..COPIES).filter(|number| name(&mut network, &copies, *number));
        named.collect::<Vec<u16>>()
    });
    // A search is right too, where more processes come and go than can be looked at.
    let [count, of] = [unsearched.len(), usize::from(COPIES)];
    assert!(count > of / 2, "{count} without a search");
    for way in WAYS {
        let any = unsearched.iter().any(|number| way_of(*number) == way);
        assert!(any, "{way}: none without a search");
    }
}

fn way_of(number: u16) -> &'static str {
    WAYS[usize::from(number) % WAYS.len()]
}

/// Gives it a file of its own, which is gone with its only name.
fn separate(path: &Path) {
    let own = path.with_extension("own");
    std::fs::copy(path, &own).unwrap();
    std::fs::rename(&own, path).unwrap();
}

/// Whether it was named without a search.
fn name(network: &mut Network, copies: &Copies, number: u16) -> bool {
    let way = way_of(number);
    let path = copies.path(number);
    let child = Running(copies.command(number, way).spawn().unwrap());
    let socket = network.next(number);
    let owners = network.owners(&socket);
    let [app] = &*owners.apps else {
        panic!("{way}: {owners:?}")
    };
    assert_eq!((&app.path, app.pid), (&path, child.0.id()), "{way}");
    // The note tells of a program what a search would, and of ancestors that may not be looked into too.
    let searched = network.finder.owners(&socket).unwrap();
    assert!(app.parents.starts_with(&searched.apps[0].parents));
    let parents = &app.parents;
    let searched = searched.apps.iter().map(|app| App {
        parents: parents.clone(),
        ..app.clone()
    });
    assert_eq!(owners.apps, searched.collect());
    owners.coverage == Coverage::Noted
}

fn remote(number: u16) -> SocketAddr {
    (REMOTE_V4, FIRST_PORT + number).into()
}

fn share() {
    let mut network = Network::enter();
    let copies = Copies::make("shared", 4);
    let own = std::process::id();
    let pids = |owners: Owners| -> Vec<u32> {
        let mut pids: Vec<u32> = owners.apps.iter().map(|app| app.pid).collect();
        pids.sort_unstable();
        pids
    };
    let with_input = |number: u16, socket: OwnedFd| {
        let mut command = copies.command(number, "input");
        Running(command.stdin(socket).spawn().unwrap())
    };

    // Made here, and connected by a child.
    let made = socket(remote(0));
    let child = with_input(0, made.try_clone().unwrap().into());
    let socket_0 = network.next(0);
    let owners = network.owners(&socket_0);
    assert_ne!(owners.coverage, Coverage::Noted);
    assert_eq!(pids(owners), [own, child.0.id()], "both hold it");

    // The same, but let go here.
    let child = with_input(1, socket(remote(1)).into());
    let socket_1 = network.next(1);
    assert_eq!(pids(network.owners(&socket_1)), [child.0.id()], "let go");

    // Connected here, and inherited by a child before anybody asks.
    let begun = begin(remote(2), 0);
    let mut heir = Command::new(copies.path(2));
    heir.arg("wait")
        .stdin(OwnedFd::from(begun.try_clone().unwrap()));
    let heir = Running(heir.spawn().unwrap());
    let socket_2 = network.next(2);
    assert_eq!(pids(network.owners(&socket_2)), [own, heir.0.id()], "heir");

    // A second descriptor could be in any process.
    let made = socket(remote(3));
    let second = made.try_clone().unwrap();
    made.set_nonblocking(true).unwrap();
    made.connect(&remote(3).into()).unwrap_err();
    let socket_3 = network.next(3);
    let owners = network.owners(&socket_3);
    assert_ne!(owners.coverage, Coverage::Noted);
    assert_eq!(pids(owners), [own]);
    drop(second);
}

fn flood() {
    // More than there is room for.
    const CONNECTIONS: u16 = 20_000;
    let mut network = Network::enter();
    let _first = begin(remote(0), 0);
    let first = network.next(0);
    assert!(network.senders.connector(&first).is_some());
    for _ in 0..CONNECTIONS {
        drop(begin(remote(1), 0));
    }
    assert!(network.senders.connector(&first).is_none());
    let owners = network.finder.owners(&first).unwrap();
    assert_eq!(owners.apps[0].pid, std::process::id());
}

fn leave_out() {
    let mut network = Network::enter();
    let mut noted = |number, mark| {
        let _socket = begin(remote(number), mark);
        let socket = network.next(number);
        network.senders.connector(&socket).is_some()
    };
    assert!(!noted(0, MARK));
    assert!(noted(1, MARK << 1));
    let elsewhere = silent_network();
    let outside = std::mem::replace(&mut network.device, elsewhere);
    network.finder = finder();
    let _socket = begin(remote(2), 0);
    let socket = network.next(2);
    assert!(network.senders.connector(&socket).is_none());
    drop(outside);
}

/// What it costs to begin a connection with and without notes: run by hand, `connections cost`.
fn cost() {
    let device = silent_network();
    let link = "link set silent0 txqueuelen 1";
    let set = Command::new("ip").args(link.split(' ')).status().unwrap();
    assert!(set.success());
    for round in 0..5 {
        let without = time_connects();
        let senders = Senders::attach(DiagSocket::open().unwrap().as_fd(), MARK, None).unwrap();
        println!(
            "round {round}: {without} ns and with notes {} ns",
            time_connects()
        );
        drop(senders);
    }
    drop(device);
}

fn time_connects() -> u128 {
    const CONNECTIONS: u32 = 20_000;
    let begun = Instant::now();
    (0..CONNECTIONS).for_each(|_| drop(begin(remote(0), 0)));
    begun.elapsed().as_nanos() / u128::from(CONNECTIONS)
}
