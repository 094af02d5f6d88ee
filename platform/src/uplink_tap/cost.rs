//! What a tap costs the packets that carry our mark: run by hand, alone on the machine.
//!
//! The difference that it makes to a bulk transfer is lost in the noise of that. So a datagram is sent with and without a
//! tap, many times, and what it costs more is multiplied by the packets of a bulk transfer, those that come in included.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};
use tidegate_routing::plan::MARK;

use super::UplinkTap;
use crate::sys::test_network::{PairedNetworks, ip};

const ROUNDS: usize = 25;
const DATAGRAMS: u32 = 200_000;
const BULK: Duration = Duration::from_secs(3);
const FAR: &str = "192.0.2.2:9000";
const FAR_DATAGRAMS: &str = "192.0.2.2:9001";

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Packets and super-packets that the near device has sent and received.
fn packets() -> f64 {
    let table = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let (_, row) = table.split_once("near0:").unwrap();
    let columns: Vec<f64> = row
        .lines()
        .next()
        .unwrap()
        .split_whitespace()
        .map(|column| column.parse().unwrap())
        .collect();
    columns[1] + columns[9]
}

/// Packets a GB of a bulk transfer, and its Gbit/s.
fn bulk(listener: &TcpListener) -> (f64, f64) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_mark(MARK.value).unwrap();
    let far: SocketAddr = FAR.parse().unwrap();
    socket.connect(&far.into()).unwrap();
    let mut near = TcpStream::from(socket);
    let (mut far, _) = listener.accept().unwrap();
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 18];
        while far.read(&mut buffer).unwrap() > 0 {}
    });
    let (begun, before, data) = (Instant::now(), packets(), vec![0; 1 << 18]);
    let mut gigabytes = 0.0;
    while begun.elapsed() < BULK {
        near.write_all(&data).unwrap();
        gigabytes += 262_144e-9;
    }
    drop(near);
    reader.join().unwrap();
    let speed = gigabytes * 8.0 / begun.elapsed().as_secs_f64();
    ((packets() - before) / gigabytes, speed)
}

/// Nanoseconds for a small datagram.
fn datagrams(socket: &UdpSocket) -> f64 {
    let begun = Instant::now();
    for _ in 0..DATAGRAMS {
        let _ = socket.send(b"x");
    }
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(DATAGRAMS)
}

#[test]
#[ignore = "a measurement"]
fn what_a_tap_costs() {
    let there = || {
        let far = TcpListener::bind(FAR).unwrap();
        (far, UdpSocket::bind(FAR_DATAGRAMS).unwrap())
    };
    PairedNetworks::run(there, |(listener, _far)| {
        ip("route replace 192.0.2.0/24 dev near0 src 192.0.2.1 congctl cubic");
        let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
        SockRef::from(&sender).set_mark(MARK.value).unwrap();
        sender.connect(FAR_DATAGRAMS).unwrap();
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            without.push(datagrams(&sender));
            let tap = UplinkTap::open("near0", MARK, &[]).unwrap();
            with.push(datagrams(&sender));
            drop(tap);
        }
        let (without, with) = (median(without), median(with));
        let (packets, speed) = bulk(&listener);
        let share = (with - without) * 1e-9 * packets * 1.25 * 100.0;
        println!("{without:.0} ns a datagram, {with:.0} ns with a tap");
        println!("{packets:.0} packets a GB at {speed:.1} Gbit/s");
        println!("at 10 Gbit/s: {share:.2} % of a core");
    });
}
