//! Host capture while the uplink's MTU changes: the device follows, and with it what programs are told.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidegate_lab::{Lab, address, endpoint, service, wait_until};

const SOON: Duration = Duration::from_millis(2500);
const PATIENCE: Duration = Duration::from_secs(10);
const ECHO: u16 = 7;
const SERVERS: [&str; 2] = [address::SERVER_V4, address::SERVER_V6];
/// Down to the least that IPv6 allows, and up to what jumbo frames carry.
const MTUS: [usize; 4] = [1500, 1280, 9000, 1400];
const SIZE: u64 = 20_000_000;

#[test]
fn the_device_follows_the_uplink_s_mtu_and_programs_are_told_the_truth() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let _echo = service::TcpEcho::start(&lab.server, ECHO)?;
    let _datagrams = service::UdpEcho::start(&lab.server, &SERVERS, ECHO)?;
    let mut older = session(&lab)?;
    let _tidegate = lab.tidegate("")?;
    let mut old = session(&lab)?;
    for mtu in MTUS {
        set_mtu(&lab, mtu)?;
        wait_until("the device has the uplink's MTU", SOON, || {
            lab.host
                .bash("ip link show tide0")
                .is_ok_and(|shown| shown.stdout.contains(&format!("mtu {mtu} ")))
        })
        .with_context(|| format!("{mtu}: {:?}", lab.host.bash("ip link")))?;
        for server in SERVERS {
            ensure_segments_fit(&lab, server, mtu)?;
            ensure_datagrams_fit(&lab, server, mtu)?;
            ensure_transfers(&lab, server).with_context(|| format!("{server} at {mtu}"))?;
        }
        talk(&mut old).with_context(|| format!("an old session at {mtu}"))?;
        talk(&mut older).with_context(|| format!("a session from before our start at {mtu}"))?;
    }
    Ok(())
}

fn set_mtu(lab: &Lab, mtu: usize) -> Result<()> {
    for (machine, device) in [
        (&lab.host, "up0"),
        (&lab.router, "down0"),
        (&lab.router, "core0"),
        (&lab.server, "up0"),
    ] {
        machine.ip(&format!("link set {device} mtu {mtu}"))?;
    }
    Ok(())
}

/// A new connection's segments are as large as the MTU allows, less at most 12 bytes of options.
fn ensure_segments_fit(lab: &Lab, server: &str, mtu: usize) -> Result<()> {
    let (family, headers) = family(server);
    let said = lab.host.python(&format!(
        "
import socket
s = socket.socket(socket.{family})
s.settimeout(5)
s.connect(('{server}', {ECHO}))
s.sendall(b'x')
s.recv(1)
print(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))"
    ))?;
    let segment: usize = said.success()?.parse()?;
    let room = mtu - headers - 20;
    ensure!(
        (room - 12..=room).contains(&segment),
        "{server} at {mtu}: {segment}"
    );
    Ok(())
}

/// A datagram that must not be cut passes if it fits, and is refused with the right size if it does not.
fn ensure_datagrams_fit(lab: &Lab, server: &str, mtu: usize) -> Result<()> {
    let (family, headers) = family(server);
    let (level, discover, show) = if headers == 20 {
        ("IPPROTO_IP", 10, 14)
    } else {
        ("IPPROTO_IPV6", 23, 24)
    };
    let fits = mtu - headers - 8;
    let said = lab.host.python(&format!(
        "
import errno, socket
s = socket.socket(socket.{family}, socket.SOCK_DGRAM)
s.settimeout(5)
s.setsockopt(socket.{level}, {discover}, 2)
s.connect(('{server}', {ECHO}))
s.send(bytes({fits}))
print(len(s.recv(65535)))
try: s.send(bytes({fits} + 1))
except OSError as error: print(errno.errorcode[error.errno])
print(s.getsockopt(socket.{level}, {show}))"
    ))?;
    let expected = format!("{fits}\nEMSGSIZE\n{mtu}");
    let said = said.success()?;
    ensure!(said == expected, "{server} at {mtu}: {said}");
    Ok(())
}

fn ensure_transfers(lab: &Lab, server: &str) -> Result<()> {
    let server = endpoint(server, 80)?;
    let expected = service::sha256(service::Pattern::new(SIZE))?;
    let down = format!("curl -sS -m 20 http://{server}/bytes/{SIZE} | sha256sum");
    ensure!(
        lab.host.bash(&down)?.success()?.starts_with(&expected),
        "down"
    );
    let up = format!(
        "cd {} && truncate -s {SIZE} body && curl -sS -m 20 -T body http://{server}/",
        lab.folder().display()
    );
    let said = lab.host.bash(&up)?.success()?;
    ensure!(said.starts_with(&SIZE.to_string()), "up: {said}");
    Ok(())
}

/// The family's name in Python, and the length of its header.
fn family(server: &str) -> (&'static str, usize) {
    if server.contains(':') {
        ("AF_INET6", 40)
    } else {
        ("AF_INET", 20)
    }
}

fn session(lab: &Lab) -> Result<TcpStream> {
    let server = endpoint(address::SERVER_V4, ECHO)?;
    let stream = lab
        .host
        .inside(|| TcpStream::connect_timeout(&server, PATIENCE))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Many full segments each way.
fn talk(stream: &mut TcpStream) -> Result<()> {
    let said = [7; 60_000];
    let mut heard = vec![0; said.len()];
    for _ in 0..10 {
        stream.write_all(&said)?;
        stream.read_exact(&mut heard)?;
        ensure!(heard == said, "another answer");
    }
    Ok(())
}
