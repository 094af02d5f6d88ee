//! Programs that send one datagram and are gone before anyone can ask: every one under its right name.
//!
//! Copies of one program under different names, 20 at a time, while unrelated processes come and go. Each makes a socket,
//! sends and exits, in one of the ways there are; only when all have ended is asked who they were. Needs root: it makes a
//! network namespace and a TUN device in it, and attaches programs, which only watch, to the root control group for as long
//! as it runs. Starts itself again as the many programs, and so has a `main` of its own, which answers a test runner as the
//! usual one would: `--list [--ignored]`, then `--exact NAME`.
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
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use copies::Copies;
use etherparse::PacketBuilder;
use runner::run_tests;
use silence::{flow_of, silent_network};
use storm::while_others_come_and_go;
use tidegate_platform::apps::{DiagSocket, Senders, Unattributed};
use tidegate_platform::link::index;
use tidegate_policy::{App, Protocol};

const TESTS: [(&str, fn()); 8] = [
    ("programs_that_send_and_end_are_named_rightly", name_all),
    (
        "of_two_that_share_a_port_in_turn_both_are_named",
        share_port,
    ),
    ("of_a_connected_socket_who_connected_it_is_named", lend),
    (
        "who_is_started_from_a_folder_too_deep_to_note_is_named",
        start_deep,
    ),
    (
        "a_file_in_another_s_place_does_not_have_its_path_when_its_program_has_ended",
        replace_file,
    ),
    (
        "a_note_that_a_flood_has_pushed_out_is_known_to_be_lost",
        flood,
    ),
    ("marked_sockets_and_other_networks_leave_no_note", leave_out),
    (
        "what_answers_a_peer_that_spoke_first_is_told_from_the_rest",
        answer,
    ),
];
const COPIES: u16 = 300;
const AT_A_TIME: u16 = 20;
/// The copy with number N sends to this port plus N.
const FIRST_PORT: u16 = 20_000;
/// Sockets with this mark are not noted.
const MARK: u32 = 0x2000_0000;
/// Ports on which arriving datagrams are noted.
const ANSWERING: std::ops::RangeInclusive<u16> = 32_768..=60_999;
const REMOTE_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const REMOTE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [first] if first == "cost" => std::thread::spawn(cost).join().unwrap(),
        [first] if first == "send-through-input" => send_through_input(),
        [first, way, from, to] if first == "send" => send(way, from, to.parse().unwrap()),
        // Each in a network of its own, which belongs to the thread.
        _ => run_tests(&arguments, &TESTS, |test| {
            std::thread::spawn(test).join().unwrap();
        }),
    }
}

/// How the many programs send.
const WAYS: [&str; 8] = [
    "unconnected-4",
    "connected-4",
    "unconnected-6",
    "connected-6",
    "mapped",
    "mapped-connected",
    "thread",
    "deleted",
];

/// One of the many programs.
fn send(way: &str, from: &str, port: u16) {
    let (remote, any): (IpAddr, IpAddr) = match way {
        "unconnected-6" | "connected-6" => (REMOTE_V6.into(), Ipv6Addr::UNSPECIFIED.into()),
        "mapped" | "mapped-connected" => (
            REMOTE_V4.to_ipv6_mapped().into(),
            Ipv6Addr::UNSPECIFIED.into(),
        ),
        _ => (REMOTE_V4.into(), Ipv4Addr::UNSPECIFIED.into()),
    };
    let remote = SocketAddr::new(remote, port);
    if way == "deleted" {
        std::fs::remove_file(std::env::current_exe().unwrap()).unwrap();
    }
    let socket = UdpSocket::bind((any, from.parse().unwrap())).unwrap();
    if way.ends_with("connected") || way.starts_with("connected") {
        socket.connect(remote).unwrap();
        socket.send(b"x").unwrap();
    } else if way == "thread" {
        let sender = std::thread::spawn(move || socket.send_to(b"x", remote));
        sender.join().unwrap().unwrap();
    } else {
        socket.send_to(b"x", remote).unwrap();
    }
}

/// Sends through a socket that another program made and connected.
fn send_through_input() {
    let input = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    UdpSocket::from(input).send(b"x").unwrap();
}

impl Copies {
    fn start(&self, number: u16, way: &str, from: u16, to: u16) -> Child {
        let arguments = ["send", way, &from.to_string(), &to.to_string()].map(str::to_owned);
        Command::new(self.path(number))
            .args(arguments)
            .spawn()
            .unwrap()
    }

    /// Runs it to its end.
    fn run(&self, number: u16, way: &str, from: u16, to: u16) {
        let ended = self.start(number, way, from, to).wait().unwrap();
        assert!(ended.success());
    }
}

fn attach() -> Senders {
    let network = DiagSocket::open().unwrap();
    Senders::attach(network.as_fd(), MARK, Some(ANSWERING))
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Local and remote address of a datagram, if it is one of ours.
fn addresses(packet: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (protocol, local, remote) = flow_of(packet)?;
    (protocol == Protocol::Udp && remote.port() >= FIRST_PORT).then_some((local, remote))
}

/// The next of our datagrams.
fn next(device: &mut File) -> (SocketAddr, SocketAddr) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut packet = [0; 2048];
    while Instant::now() < deadline {
        let length = device.read(&mut packet).unwrap();
        if let Some(found) = packet.get(..length).and_then(addresses) {
            return found;
        }
    }
    panic!("no datagram comes");
}

fn name_all() {
    let mut device = silent_network();
    let senders = attach();
    let copies = Copies::make("senders", COPIES);
    let ((), forks) = while_others_come_and_go(2, || {
        for first in (0..COPIES).step_by(AT_A_TIME.into()) {
            run_batch(&mut device, &senders, &copies, first..first + AT_A_TIME);
        }
    });
    assert!(forks > 10, "unrelated processes were forked meanwhile");
}

fn way_of(number: u16) -> &'static str {
    WAYS[usize::from(number) % WAYS.len()]
}

fn run_batch(device: &mut File, senders: &Senders, copies: &Copies, numbers: std::ops::Range<u16>) {
    let start = |number| copies.start(number, way_of(number), 0, FIRST_PORT + number);
    let mut running: Vec<Child> = numbers.clone().map(start).collect();
    for child in &mut running {
        assert!(child.wait().unwrap().success());
    }
    for _ in &running {
        let (local, remote) = next(device);
        let number = remote.port() - FIRST_PORT;
        let way = way_of(number);
        let sender = senders.sender(local, remote);
        let sender = sender.unwrap_or_else(|| panic!("{way}: no note of {local} to {remote}"));
        let owners = senders.complete(&sender, Err(Unattributed::NoSocket));
        let owners = owners.unwrap_or_else(|error| panic!("{way}: {error}"));
        let [app] = &*owners.apps else {
            panic!("{way}: {owners:?}")
        };
        let pid = running[usize::from(number - numbers.start)].id();
        check(app, pid, &copies.path(number), way, remote.port());
    }
}

fn check(app: &App, pid: u32, path: &Path, way: &str, port: u16) {
    assert_eq!((app.path.as_path(), app.pid), (path, pid), "{way}");
    assert_eq!(app.name, path.file_name().unwrap().to_str().unwrap());
    let port = port.to_string();
    let arguments = [path.to_str().unwrap(), "send", way, "0", &port];
    assert_eq!(app.command_line, arguments);
    let lineage = lineage();
    assert_eq!(app.parents[..lineage.len()], lineage);
    assert_eq!((app.uid, app.user.as_deref()), (0, Some("root")));
}

/// This program's executable and those of its ancestors, as far as they may be read.
fn lineage() -> Vec<PathBuf> {
    let mut pid = std::process::id().to_string();
    let mut lineage: Vec<PathBuf> = Vec::new();
    while let Ok(executable) = std::fs::read_link(format!("/proc/{pid}/exe")) {
        let executable = executable.to_str().unwrap();
        lineage.push(executable.trim_end_matches(" (deleted)").into());
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        pid = parent.unwrap().trim().to_owned();
    }
    lineage
}

/// A datagram may wait in the device while another program takes over the port: then nobody can tell whose it was.
fn share_port() {
    let mut device = silent_network();
    let senders = attach();
    let copies = Copies::make("in-turn", 2);
    let paths_of = |(local, remote): (SocketAddr, SocketAddr)| -> Vec<PathBuf> {
        let sender = senders.sender(local, remote).unwrap();
        let owners = senders.complete(&sender, Err(Unattributed::NoSocket));
        let apps = owners.unwrap().apps;
        apps.iter().map(|app| app.path.clone()).collect()
    };
    for number in [0, 1] {
        copies.run(number, "unconnected-4", 4000, FIRST_PORT);
    }
    let both = [copies.path(1), copies.path(0)];
    assert_eq!(paths_of(next(&mut device)), both);
    next(&mut device);

    // What was asked about no longer waits.
    copies.run(0, "unconnected-4", 4000, FIRST_PORT);
    assert_eq!(paths_of(next(&mut device)), [copies.path(0)]);

    // Another peer, another flow: the last user of the port is nothing to it.
    copies.run(0, "unconnected-4", 4000, FIRST_PORT + 1);
    assert_eq!(paths_of(next(&mut device)), [copies.path(0)]);
}

fn lend() {
    let mut device = silent_network();
    let senders = attach();
    let copies = Copies::make("lend", 1);
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect((REMOTE_V4, FIRST_PORT)).unwrap();
    let mut command = Command::new(copies.path(0));
    command.arg("send-through-input");
    let status = command.stdin(std::os::fd::OwnedFd::from(socket)).status();
    assert!(status.unwrap().success());
    let (local, remote) = next(&mut device);
    let sender = senders.sender(local, remote).unwrap();
    let owners = senders.complete(&sender, Err(Unattributed::NoSocket));
    let apps = owners.unwrap().apps;
    let paths: Vec<_> = apps.iter().map(|app| app.path.as_path()).collect();
    assert_eq!(paths, [std::env::current_exe().unwrap()]);
}

fn start_deep() {
    let mut device = silent_network();
    let senders = attach();
    let copies = Copies::make("deep", 1);
    let copy = copies.path(0);
    let deep = copy.parent().unwrap().join("d/".repeat(60));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::copy("/bin/bash", deep.join("bash")).unwrap();
    let script = format!("{} send unconnected-4 0 {FIRST_PORT}; true", copy.display());
    let mut command = Command::new(deep.join("bash"));
    assert!(command.args(["-c", &script]).status().unwrap().success());
    let (local, remote) = next(&mut device);
    let sender = senders.sender(local, remote).unwrap();
    let owners = senders.complete(&sender, Err(Unattributed::NoSocket));
    let [app] = &*owners.unwrap().apps else {
        panic!("one program sent")
    };
    assert_eq!(app.path, copy);
    assert!(app.parents.is_empty(), "{:?}", app.parents);

    // Who lies there himself is not known, and that is said.
    let deep = deep.join("copy");
    std::fs::hard_link(&copy, &deep).unwrap();
    let port = FIRST_PORT.to_string();
    let arguments = ["send", "unconnected-4", "0", &port];
    let ended = Command::new(deep).args(arguments).status().unwrap();
    assert!(ended.success());
    let (local, remote) = next(&mut device);
    let sender = senders.sender(local, remote).unwrap();
    let owners = senders.complete(&sender, Err(Unattributed::NoSocket));
    assert_eq!(owners, Err(Unattributed::NoteLost));
}

/// In mounts of its own, or from there.
fn replace_file() {
    let mut device = silent_network();
    let senders = attach();
    let copies = Copies::make("mounts", 1);
    let copy = copies.path(0);
    let copy = copy.to_str().unwrap();
    let send = format!("send unconnected-4 0 {FIRST_PORT}");
    let in_place = format!("mount --bind {copy} /usr/bin/env");
    let of_no_mount = format!(
        "mount -t tmpfs none /mnt && mkdir -p /mnt/usr/bin && cp {copy} /mnt/usr/bin/env && exec 3</mnt/usr/bin/env && \
         umount -l /mnt && /proc/self/fd/3 {send}"
    );
    let mut holder = Command::new("unshare");
    holder.args([
        "--mount",
        "sh",
        "-ec",
        &format!("{in_place}; echo; read end"),
    ]);
    let mut holder = holder
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    holder.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    let run_in_ours = format!(
        "exec nsenter --mount=/proc/{}/ns/mnt /proc/{}/root/usr/bin/env {send}",
        std::process::id(),
        holder.id()
    );
    let scripts = [
        (run_in_ours, false),
        (format!("{in_place} && /usr/bin/env {send}"), false),
        (of_no_mount, false),
        (format!("{copy} {send}"), true),
    ];
    for (script, is_here) in scripts {
        let mut command = Command::new("unshare");
        let ended = command.args(["--mount", "sh", "-c", &script]).status();
        assert!(ended.unwrap().success(), "{script}");
        let (local, remote) = next(&mut device);
        let sender = senders.sender(local, remote).unwrap();
        let owners = senders.complete(&sender, Err(Unattributed::NoSocket));
        let owners = owners.unwrap();
        let path = owners.apps[0].path.to_str().unwrap();
        if is_here {
            assert_eq!(path, copy);
        } else {
            let is_elsewhere = path.starts_with("/proc/inode/") && path.ends_with("/usr/bin/env");
            assert!(is_elsewhere, "{script}: {path}");
        }
    }
    drop(holder.stdin.take());
    holder.wait().unwrap();
}

/// More flows than there is room for. Those that never leave the host take none.
fn flood() {
    const FLOWS: u16 = 20_000;
    // What a processor notes first stays in a list of its own until it notes more.
    let mut first = rustix::thread::CpuSet::new();
    first.set(0);
    rustix::thread::sched_setaffinity(None, &first).unwrap();
    let mut device = silent_network();
    let senders = attach();
    let copies = Copies::make("flood", 1);
    let flood = |remote: Ipv4Addr| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for port in FIRST_PORT + 1..FIRST_PORT + FLOWS {
            // Used twice: what was used once makes room first.
            for _ in 0..2 {
                // The device is full soon, and nobody receives on the loopback.
                let _ = socket.send_to(b"x", (remote, port));
            }
        }
    };
    copies.run(0, "unconnected-4", 4000, FIRST_PORT);
    let (local, remote) = next(&mut device);
    let is_noted = || senders.sender(local, remote).is_some();
    let why = || senders.why_unnoted(Unattributed::NoSocket);
    flood(Ipv4Addr::LOCALHOST);
    assert!(is_noted());
    assert_eq!(why(), Unattributed::NoSocket);
    flood(REMOTE_V4);
    assert!(!is_noted());
    assert_eq!(why(), Unattributed::NoteLost);
    assert_eq!(
        senders.why_unnoted(Unattributed::Ambiguous),
        Unattributed::Ambiguous
    );
}

/// Puts a datagram into the device, as if it came from there.
fn arrive(device: &mut File, from: SocketAddr, port: u16) {
    let mut packet = Vec::new();
    let local = (
        Ipv4Addr::new(192, 0, 2, 1),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
    );
    let (sender, hops) = (from.port(), 64);
    let written = match from.ip() {
        IpAddr::V4(from) => PacketBuilder::ipv4(from.octets(), local.0.octets(), hops)
            .udp(sender, port)
            .write(&mut packet, b"x"),
        IpAddr::V6(from) => PacketBuilder::ipv6(from.octets(), local.1.octets(), hops)
            .udp(sender, port)
            .write(&mut packet, b"x"),
    };
    written.unwrap();
    device.write_all(&packet).unwrap();
}

fn answer() {
    const PORT: u16 = 51_820;
    const OTHER_PORT: u16 = 20_000;
    let mut device = silent_network();
    let senders = attach();
    let peer = |number: u16, ip: IpAddr| SocketAddr::new(ip, FIRST_PORT + number);
    let bound = |port: u16| {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        socket
    };
    // Whether what the socket sends to this peer is an answer.
    let is_answer = |device: &mut File, socket: &UdpSocket, peer: SocketAddr| {
        let to = match peer.ip() {
            IpAddr::V4(ip) => (ip.to_ipv6_mapped(), peer.port()),
            IpAddr::V6(ip) => (ip, peer.port()),
        };
        socket.send_to(b"x", to).unwrap();
        let (local, remote) = next(device);
        assert_eq!(remote, peer);
        senders.is_answer(local, remote)
    };
    let receive = |socket: &UdpSocket| socket.recv_from(&mut [0; 10]).unwrap();

    let (service, other) = (bound(PORT), bound(OTHER_PORT));
    for ip in [REMOTE_V4.into(), REMOTE_V6.into()] {
        arrive(&mut device, peer(0, ip), PORT);
        receive(&service);
        assert!(is_answer(&mut device, &service, peer(0, ip)), "{ip}");
        assert!(!is_answer(&mut device, &service, peer(1, ip)), "{ip}");
        arrive(&mut device, peer(0, ip), OTHER_PORT);
        receive(&other);
        assert!(!is_answer(&mut device, &other, peer(0, ip)), "{ip}");
    }

    // What has its port next was not spoken to.
    drop(service);
    let next_one = bound(PORT);
    assert!(!is_answer(
        &mut device,
        &next_one,
        peer(0, REMOTE_V4.into())
    ));

    // What the device brings, from now on, was asked for.
    senders.leave_out_device(index("silent0").unwrap()).unwrap();
    arrive(&mut device, peer(2, REMOTE_V4.into()), PORT);
    receive(&next_one);
    assert!(!is_answer(
        &mut device,
        &next_one,
        peer(2, REMOTE_V4.into())
    ));
}

/// What a send costs with and without notes: run by hand, `senders cost`.
fn cost() {
    let mut device = silent_network();
    let link = "link set silent0 txqueuelen 1";
    let set = Command::new("ip").args(link.split(' ')).status().unwrap();
    assert!(set.success());
    for round in 0..5 {
        let without = time_sends();
        let senders = attach();
        println!(
            "round {round}: {without:?} and with notes {:?}",
            time_sends()
        );
        let (noted, marked) = (
            time_arrivals(&mut device, 0),
            time_arrivals(&mut device, MARK),
        );
        println!("an arrival: {noted}, at a socket with the mark {marked}");
        drop(senders);
        println!("and without notes: {}", time_arrivals(&mut device, 0));
    }
    drop(device);
}

/// Nanoseconds for a send: unconnected, connected, and from a new socket each time.
fn time_sends() -> [u128; 3] {
    const SENDS: u32 = 50_000;
    let remote = (REMOTE_V4, FIRST_PORT);
    let time = |send: &mut dyn FnMut()| {
        let begun = Instant::now();
        (0..SENDS).for_each(|_| send());
        begun.elapsed().as_nanos() / u128::from(SENDS)
    };
    let socket = || UdpSocket::bind("0.0.0.0:0").unwrap();
    let (unconnected, connected) = (socket(), socket());
    connected.connect(remote).unwrap();
    [
        time(&mut || drop(unconnected.send_to(b"x", remote))),
        time(&mut || drop(connected.send(b"x"))),
        time(&mut || drop(socket().send_to(b"x", remote))),
    ]
}

/// Nanoseconds for a datagram that arrives by the device, at a socket with this mark.
fn time_arrivals(device: &mut File, mark: u32) -> u128 {
    const ARRIVALS: u32 = 100_000;
    let socket = UdpSocket::bind("0.0.0.0:51820").unwrap();
    socket2::SockRef::from(&socket).set_mark(mark).unwrap();
    let begun = Instant::now();
    for number in 0..ARRIVALS {
        let port = FIRST_PORT + u16::try_from(number % 4).unwrap();
        arrive(device, (REMOTE_V4, port).into(), 51_820);
    }
    begun.elapsed().as_nanos() / u128::from(ARRIVALS)
}

fn leave_out() {
    let mut device = silent_network();
    let senders = attach();
    let send = |mark: u32| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket2::SockRef::from(&socket).set_mark(mark).unwrap();
        socket.send_to(b"x", (REMOTE_V4, FIRST_PORT)).unwrap();
    };
    let noted = |device: &mut File| {
        let (local, remote) = next(device);
        senders.sender(local, remote).is_some()
    };
    send(MARK);
    assert!(!noted(&mut device));
    send(MARK << 1);
    assert!(noted(&mut device));
    let mut elsewhere = silent_network();
    send(0);
    assert!(!noted(&mut elsewhere));
}
