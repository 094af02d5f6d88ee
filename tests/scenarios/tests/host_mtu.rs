//! Host capture while the uplink's MTU changes: the device follows, and with it what programs are told.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidegate_lab::{Lab, User, address, endpoint, service, wait_until};

const SOON: Duration = Duration::from_millis(2500);
const PATIENCE: Duration = Duration::from_secs(10);
const ECHO: u16 = 7;
const SERVERS: [&str; 2] = [address::SERVER_V4, address::SERVER_V6];
/// Down to the least that IPv6 allows, and up to what jumbo frames carry.
const MTUS: [usize; 4] = [1500, 1280, 9000, 1400];
const SIZE: u64 = 20_000_000;
/// Of the second uplink, where it is narrower than the first.
const NARROW: usize = 1300;

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

/// A service's clients are beyond a link that is narrower than the uplink, whose MTU the device has.
#[test]
fn who_answers_over_a_narrower_way_than_the_uplink_is_told_what_fits() -> Result<()> {
    let lab = Lab::new()?;
    over_second_uplink(&lab)?;
    second_mtu(&lab, NARROW)?;
    lab.file("body", vec![7; 2_000_000])?;
    let folder = lab.folder().display();
    let web = format!("cd {folder} && exec /usr/bin/python3 -u -m http.server --bind :: 8080");
    let web = lab.host.background_as(User::ALICE, &web)?;
    web.wait_for_output("Serving")?;
    let _tidegate = lab.tidegate("")?;
    for (host, server) in [
        (address::HOST_V4, address::SERVER_V4),
        (address::HOST_V6, address::SERVER_V6),
    ] {
        let url = format!("http://{}/body", endpoint(host, 8080)?);
        let said = lab.server.bash(&format!("curl -sS -m 10 {url} | wc -c"))?;
        let said = said.success().context(url)?;
        ensure!(said == "2000000", "{host}: {said}");
        ensure_answers_fit(&lab, host, server)?;
    }
    Ok(())
}

/// The service answers with datagrams that must not be cut: at the second its own kernel knows better.
fn ensure_answers_fit(lab: &Lab, host: &str, server: &str) -> Result<()> {
    let (family, _) = family(server);
    let (level, discover) = level(server);
    let service = format!(
        "
import errno, socket
s = socket.socket(socket.{family}, socket.SOCK_DGRAM)
s.setsockopt(socket.{level}, {discover}, 2)
s.bind(('{host}', 9000))
print('ready')
while True:
    _, client = s.recvfrom(100)
    try: s.sendto(bytes(1400), client)
    except OSError as error: s.sendto(errno.errorcode[error.errno].encode(), client)"
    );
    let service = lab.host.python_background_as(User::ALICE, &service)?;
    service.wait_for_output("ready")?;
    let said = lab.server.python(&format!(
        "
import socket
s = socket.socket(socket.{family}, socket.SOCK_DGRAM)
s.bind(('{server}', 0))
s.settimeout(0.5)
for _ in range(10):
    s.sendto(b'?', ('{host}', 9000))
    try: print(s.recv(2000).decode()); break
    except TimeoutError: pass"
    ))?;
    let said = said.success()?;
    ensure!(said == "EMSGSIZE", "{server}: {said:?}");
    Ok(())
}

#[test]
fn a_connection_older_than_us_goes_on_when_its_way_becomes_narrower_than_the_uplink() -> Result<()>
{
    let lab = Lab::new()?;
    over_second_uplink(&lab)?;
    let _echo = service::TcpEcho::start(&lab.server, ECHO)?;
    let mut older = Vec::new();
    for server in SERVERS {
        older.push(session_with(&lab, server)?);
    }
    let _tidegate = lab.tidegate("")?;
    for mtu in [1500, NARROW] {
        second_mtu(&lab, mtu)?;
        for stream in &mut older {
            talk(stream).with_context(|| format!("{:?} at {mtu}", stream.peer_addr()))?;
        }
    }
    Ok(())
}

/// The server is reached by another link than the uplink.
fn over_second_uplink(lab: &Lab) -> Result<()> {
    lab.second_uplink()?;
    let routes = "set -e
ip route add 203.0.113.0/24 via 192.168.78.1 dev up1
ip route add 2001:db8:113::/64 via 2001:db8:78::1 dev up1";
    lab.host.bash(routes)?.success().map(drop)
}

fn second_mtu(lab: &Lab, mtu: usize) -> Result<()> {
    lab.host.ip(&format!("link set up1 mtu {mtu}"))?;
    lab.router.ip(&format!("link set down1 mtu {mtu}"))?;
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
    let (level, discover) = level(server);
    // IP_MTU and IPV6_MTU.
    let show = if headers == 20 { 14 } else { 24 };
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

/// The socket options' level in Python, and the number of `IP_MTU_DISCOVER` and its like.
fn level(server: &str) -> (&'static str, u8) {
    if server.contains(':') {
        ("IPPROTO_IPV6", 23)
    } else {
        ("IPPROTO_IP", 10)
    }
}

fn session(lab: &Lab) -> Result<TcpStream> {
    session_with(lab, address::SERVER_V4)
}

fn session_with(lab: &Lab, server: &str) -> Result<TcpStream> {
    let server = endpoint(server, ECHO)?;
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
