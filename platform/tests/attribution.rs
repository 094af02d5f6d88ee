//! Many short-lived programs at once: every one under its right name.
//!
//! 300 copies of one program under different names, 20 at a time. Each opens one TCP connection whose SYN nobody answers,
//! and is ended as soon as its flow is attributed, while unrelated processes come and go. Needs root: it makes a network
//! namespace and a TUN device in it. Starts itself again as the many programs, and so has a `main` of its own, which
//! answers a test runner as the usual one would: `--list [--ignored]`, then `--exact NAME`.
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

use std::collections::HashMap;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use copies::Copies;
use runner::run_tests;
use silence::{flow_of, silent_network};
use storm::while_others_come_and_go;
use tidegate_platform::apps::{AppFinder, DiagSocket, Processes};
use tidegate_policy::Protocol;

const NAME: &str = "short_lived_programs_are_named_rightly";
const COPIES: u16 = 300;
const AT_A_TIME: usize = 20;
/// The copy with number N connects to this port plus N.
const FIRST_PORT: u16 = 20_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [first, port] if first == "connect" => connect(port.parse().unwrap()),
        _ => run_tests(&arguments, &[(NAME, attribute_all)], |test| test()),
    }
}

/// One of the many programs: alternately TCP, and UDP from an unconnected socket.
fn connect(port: u16) {
    let remote = SocketAddr::from((Ipv4Addr::new(198, 51, 100, 1), port));
    if port.is_multiple_of(2) {
        let _ = TcpStream::connect(remote);
    } else {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(b"x", remote).unwrap();
        // Lives until it is ended.
        let _ = socket.recv(&mut [0; 1]);
    }
}

fn attribute_all() {
    let mut device = silent_network();
    let copies = Copies::make("copies", COPIES);
    let finder = AppFinder::new(
        DiagSocket::open().unwrap(),
        0,
        "/proc/self/net".into(),
        Arc::new(Processes::default()),
    );
    let ((), forks) = while_others_come_and_go(2, || run_copies(&mut device, &copies, finder));
    assert!(forks > 10, "unrelated processes were forked meanwhile");
}

fn run_copies(device: &mut std::fs::File, copies: &Copies, mut finder: AppFinder) {
    let mut waiting = (0..COPIES).rev().collect::<Vec<_>>();
    let mut running: HashMap<u16, Child> = HashMap::new();
    let mut times = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(120);
    while !(waiting.is_empty() && running.is_empty()) {
        while running.len() < AT_A_TIME
            && let Some(number) = waiting.pop()
        {
            let port = (FIRST_PORT + number).to_string();
            running.insert(
                number,
                Command::new(copies.path(number))
                    .args(["connect", &port])
                    .spawn()
                    .unwrap(),
            );
        }
        let mut packet = [0; 2048];
        let length = device.read(&mut packet).unwrap();
        assert!(
            Instant::now() < deadline,
            "{} programs sent nothing",
            running.len()
        );
        let Some((protocol, local, remote)) = packet
            .get(..length)
            .and_then(flow_of)
            .filter(|(_, _, remote)| remote.port() >= FIRST_PORT)
        else {
            continue;
        };
        let number = remote.port() - FIRST_PORT;
        // A packet that was sent again, of a program that has been ended.
        let Some(child) = running.get_mut(&number) else {
            continue;
        };
        let begun = Instant::now();
        check(
            &mut finder,
            child.id(),
            &copies.path(number),
            (protocol, local, remote),
        );
        times.push(begun.elapsed());
        child.kill().unwrap();
        child.wait().unwrap();
        running.remove(&number);
    }
    times.sort_unstable();
    assert_eq!(times.len(), usize::from(COPIES));
    println!(
        "test {NAME} ... ok; {COPIES} copies, look-up p50 {:?}, p99 {:?}",
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    );
}

fn check(
    finder: &mut AppFinder,
    pid: u32,
    path: &Path,
    (protocol, local, remote): (Protocol, SocketAddr, SocketAddr),
) {
    let socket = finder
        .find_socket(protocol, local, remote)
        .unwrap()
        .expect("the program waits, so its socket is there");
    // The quick look need not find it, but must not find another.
    if let Some(owners) = finder.owners_nearby(&socket) {
        assert!(
            owners
                .apps
                .iter()
                .all(|app| app.pid == pid && app.path == path),
            "{owners:?}"
        );
    }
    let owners = finder
        .owners(&socket)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let found: Vec<_> = owners
        .apps
        .iter()
        .map(|app| (app.pid, app.path.as_path()))
        .collect();
    assert_eq!(found, [(pid, path)], "{protocol:?} {local} {remote}");
}
