//! The leak meter: what goes past host capture is seen, with its program; what is meant to leave natively is not.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidegate_lab::{Daemon, Lab, User, address, service, wait_until};

/// How soon a leak is to be seen.
const SEEN: Duration = Duration::from_secs(1);
/// What a busy machine may add to that before it counts.
const SLACK: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(5);

const SERVERS: [&str; 2] = [address::SERVER_V4, address::SERVER_V6];

/// What the senders below share: sockets of the family of an address, and the number of the uplink.
const PRELUDE: &str = "
import socket, struct, sys
UPLINK = socket.if_nametoindex('up0')
def made(server, kind):
    family = socket.AF_INET6 if ':' in server else socket.AF_INET
    made = socket.socket(family, kind)
    made.settimeout(5)
    return made, family == socket.AF_INET6
def checksum(data):
    data += b'\\0' * (len(data) % 2)
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def datagram(source, server, port):
    six = ':' in server
    family = socket.AF_INET6 if six else socket.AF_INET
    ends = socket.inet_pton(family, source) + socket.inet_pton(family, server)
    udp = struct.pack('!HHHH', 4711, port, 9, 0) + b'x'
    if six: return 0x86dd, struct.pack('!IHBB', 6 << 28, len(udp), 17, 64) + ends + udp
    head = struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + ends
    return 0x0800, head[:10] + struct.pack('!H', checksum(head)) + head[12:] + udp
";

/// A TCP connection of a socket that is bound to the uplink, for a moment.
const BOUND_TCP: &str = "
def send(server, port):
    client, _ = made(server, socket.SOCK_STREAM)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'up0')
    client.connect((server, port))
    import time; time.sleep(0.2)";
/// A datagram of one.
const BOUND_UDP: &str = "
def send(server, port):
    sender, _ = made(server, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'up0')
    sender.sendto(b'x', (server, port))";
/// A datagram of a socket that sends through the uplink by choice (IP_UNICAST_IF, IPV6_UNICAST_IF).
const UNICAST_IF: &str = "
def send(server, port):
    sender, six = made(server, socket.SOCK_DGRAM)
    option = (socket.IPPROTO_IPV6, 76) if six else (socket.IPPROTO_IP, 50)
    sender.setsockopt(*option, struct.pack('!I', UPLINK))
    sender.sendto(b'x', (server, port))";
/// A datagram that is sent through the uplink by choice (IP_PKTINFO, IPV6_PKTINFO).
const PKTINFO: &str = "
def send(server, port):
    sender, six = made(server, socket.SOCK_DGRAM)
    if six: control = (socket.IPPROTO_IPV6, 50, b'\\0' * 16 + struct.pack('i', UPLINK))
    else: control = (socket.IPPROTO_IP, 8, struct.pack('i', UPLINK) + b'\\0' * 8)
    sender.sendmsg([b'x'], [control], 0, (server, port))";
/// A datagram with another program's mark.
const MARKED: &str = "
def send(server, port):
    sender, _ = made(server, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0xca6c)
    sender.sendto(b'x', (server, port))";
/// A packet written below the network layer, by a program that stays.
const PACKET: &str = "
def send(server, port, source=None):
    own = source or ('2001:db8:77::2' if ':' in server else '192.168.77.2')
    kind, packet = datagram(own, server, port)
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
    sender.sendto(packet, ('up0', kind, 0, 0, bytes([255] * 6)))
    print('sent')
    import time; time.sleep(20)";

fn program(sender: &str, server: &str, port: u16) -> String {
    format!("{PRELUDE}{sender}\nsend('{server}', {port})")
}

fn endpoint(server: &str, port: u16) -> Result<String> {
    Ok(tidegate_lab::endpoint(server, port)?.to_string())
}

/// The record of the one flow to there, which is to come within a second.
fn seen(tidegate: &Daemon<'_>, remote: &str) -> Result<Value> {
    let mut flows = Vec::new();
    wait_until("the leak is seen", SEEN + SLACK, || {
        flows = tidegate.flows_to(remote).unwrap_or_default();
        !flows.is_empty()
    })
    .with_context(|| format!("{remote}: {:?}", tidegate.ask(&["flows"])))?;
    ensure!(flows.len() == 1, "{flows:?}");
    let flow = flows.remove(0);
    ensure!(flow["state"] == "uncaptured", "{flow}");
    ensure!(flow["verdict"].is_null(), "{flow}");
    Ok(flow)
}

#[test]
fn each_way_past_the_capture_is_seen_within_a_second_with_its_program() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("")?;
    let ways = [
        (BOUND_TCP, 80, "bound to a device, through up0"),
        (BOUND_UDP, 7001, "through up0"),
        (UNICAST_IF, 7002, "past the rules, through up0"),
        (PKTINFO, 7003, "past the rules, through up0"),
        (MARKED, 7004, "mark 0xca6c (wg-quick), through up0"),
    ];
    for server in SERVERS {
        for (sender, port, reason) in ways {
            lab.host.python(&program(sender, server, port))?.success()?;
            let flow = seen(&tidegate, &endpoint(server, port)?)?;
            let name = flow["app"]["name"].as_str().unwrap_or_default();
            ensure!(name.starts_with("python3"), "{flow}");
            let said = flow["reason"].as_str().unwrap_or_default();
            ensure!(said.ends_with(reason), "{flow}");
        }
    }
    let status = tidegate.status()?;
    let ways = &status["counters"]["uncaptured"];
    ensure!(ways["another program's mark"] == 2, "{status}");
    let text = tidegate.ask(&["status"])?.success()?;
    for words in [
        "leaks",
        "python3",
        "mark 0xca6c (wg-quick)",
        "flows past the capture: 10",
    ] {
        ensure!(text.contains(words), "{text}");
    }
    Ok(())
}

#[test]
fn packets_written_below_the_network_layer_are_seen_and_their_possible_writers_named() -> Result<()>
{
    let lab = Lab::new()?;
    let tidegate = lab.tidegate("")?;
    for (server, foreign) in SERVERS.into_iter().zip(["192.0.2.9", "2001:db8:9::9"]) {
        for (port, source) in [(7005, None), (7006, Some(foreign))] {
            let source = source.map_or("None".to_owned(), |source| format!("'{source}'"));
            let script = format!("{PRELUDE}{PACKET}\nsend('{server}', {port}, {source})");
            let writer = lab.host.python_background_as(User::ROOT, &script)?;
            writer.wait_for_output("sent")?;
            let flow = seen(&tidegate, &endpoint(server, port)?)?;
            ensure!(flow["app"].is_null(), "{flow}");
            let why = flow["unattributed"].as_str().unwrap_or_default();
            ensure!(why.contains("packet sockets are open in python3"), "{flow}");
            let way = match port {
                7005 => "without a socket, through up0",
                _ => "from a foreign address, through up0",
            };
            ensure!(flow["reason"] == way, "{flow}");
        }
    }
    // Of several processes of one program it is one leak each way.
    let status = tidegate.status()?;
    let leaks = status["leaks"].as_array().context("no leaks")?;
    let flows: Vec<_> = leaks.iter().map(|leak| &leak["flows"]).collect();
    ensure!(flows == [2, 2], "{status}");
    Ok(())
}

#[test]
fn what_is_captured_and_what_is_meant_to_leave_natively_is_no_leak() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let _echo = service::UdpEcho::start(&lab.server, &SERVERS, 7)?;
    // One that answers natively, and an ordinary user's, whose answers are re-emitted.
    let _own = service::Http::start(&lab.host, 81)?;
    let users = lab.host.background_as(
        User::ALICE,
        "exec socat TCP6-LISTEN:8082,reuseaddr,fork SYSTEM:'echo well'",
    )?;
    wait_until("Alice listens", PATIENCE, || {
        lab.host
            .bash("ss -ltn | grep -q :8082")
            .is_ok_and(|done| done.status.success())
    })?;
    let tidegate = lab.tidegate("")?;
    for server in SERVERS {
        let url = endpoint(server, 80)?;
        lab.host
            .bash(&format!(
                "curl -sS http://{url}/bytes/3000000 | wc -c; ping -c 2 -i 0.2 {server}"
            ))?
            .success()?;
        lab.host
            .python(&format!(
                "{PRELUDE}
sender, _ = made('{server}', socket.SOCK_DGRAM)
sender.sendto(b'x', ('{server}', 7)); sender.recv(9)
try:
    sender.sendto(b'x', ('{server}', 9)); sender.recv(9)
except OSError: pass"
            ))?
            .success()?;
    }
    for host in [address::HOST_V4, address::HOST_V6] {
        let (own, users) = (endpoint(host, 81)?, endpoint(host, 8082)?);
        lab.server
            .bash(&format!(
                "set -e
curl -sS http://{own}/bytes/3000000 | wc -c
socat -u TCP:{users} - | grep well
ping -c 2 -i 0.2 {host}
socat - TCP:{},connect-timeout=2 </dev/null || true
echo x | socat -u - UDP:{}",
                endpoint(host, 9)?,
                endpoint(host, 9)?
            ))?
            .success()?;
    }
    // Neighbours are looked for anew, both ways; names on the link; DHCP; a network's own broadcast.
    lab.host
        .bash("ip neigh flush dev up0; ping -c 1 192.168.77.1; ping -c 1 2001:db8:77::1")?
        .success()?;
    lab.router
        .bash("ip neigh flush dev down0; ping -c 1 192.168.77.2; ping -c 1 2001:db8:77::2")?
        .success()?;
    lab.host.python(TO_THE_LINK)?.success()?;
    // What is seen later came later: so what came before it and is not there, was not taken for a leak.
    lab.host
        .python(&program(BOUND_UDP, address::SERVER_V4, 7007))?
        .success()?;
    seen(&tidegate, &endpoint(address::SERVER_V4, 7007)?)?;
    let status = tidegate.status()?;
    ensure!(
        status["leaks"].as_array().map(Vec::len) == Some(1),
        "{:#}",
        status["leaks"]
    );
    drop(users);
    Ok(())
}

/// Multicast, a broadcast of the network, and a DHCP client.
const TO_THE_LINK: &str = "
import socket
sender = socket.socket(type=socket.SOCK_DGRAM)
sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
sender.sendto(b'x', ('224.0.0.251', 5353))
for _ in range(50):
    # Most of these sockets are gone before anybody asks for them.
    with socket.socket(type=socket.SOCK_DGRAM) as announcer:
        announcer.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        announcer.sendto(b'x', ('192.168.77.255', 137))
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
six.sendto(b'x', ('ff02::fb', 5353, 0, socket.if_nametoindex('up0')))
client = socket.socket(type=socket.SOCK_DGRAM)
client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'up0')
client.bind(('', 68))
client.sendto(b'x', ('255.255.255.255', 67))
client.sendto(b'x', ('192.168.77.1', 67))";

#[test]
fn a_flood_past_the_capture_is_one_leak_and_hides_no_other() -> Result<()> {
    let lab = Lab::new()?;
    let tidegate = lab.tidegate("")?;
    let flood = "
def send(server, port):
    sender, _ = made(server, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'up0')
    sender.connect((server, port))
    while True:
        try: sender.send(b'x' * 1200)
        except OSError: pass";
    let flood = lab
        .host
        .python_background_as(User::ROOT, &program(flood, address::SERVER_V4, 7008))?;
    seen(&tidegate, &endpoint(address::SERVER_V4, 7008)?)?;
    // The flow that floods is looked away from by then, so that a few datagrams find room.
    std::thread::sleep(Duration::from_millis(200));
    let few = "import time\nfor _ in range(3): send";
    let other = program(BOUND_UDP, address::SERVER_V6, 7009).replace("\nsend", &format!("\n{few}"));
    lab.host
        .python(&other.replace("7009)", "7009); time.sleep(0.1)"))?
        .success()?;
    let remote = endpoint(address::SERVER_V6, 7009)?;
    wait_until("the other is seen", SEEN + SLACK, || {
        tidegate
            .flows_to(&remote)
            .is_ok_and(|flows| !flows.is_empty())
    })?;
    ensure!(
        tidegate
            .flows_to(&endpoint(address::SERVER_V4, 7008)?)?
            .len()
            == 1
    );
    drop(flood);
    Ok(())
}

#[test]
fn the_meter_follows_the_uplink() -> Result<()> {
    let lab = Lab::new()?;
    let tidegate = lab.tidegate("")?;
    lab.host
        .bash(
            "set -e
ip link add up9 type veth peer name down9
ip address add 192.168.99.2/24 dev up9
ip link set down9 up
ip link set up9 up
ip neigh add 192.168.99.1 lladdr 02:00:00:00:00:01 dev up9
ip route replace default via 192.168.99.1 dev up9",
        )?
        .success()?;
    wait_until("the uplink is another", PATIENCE, || {
        tidegate
            .status()
            .is_ok_and(|status| status["capture"]["uplinks"].to_string().contains("up9"))
    })?;
    let sender = BOUND_UDP.replace("up0", "up9");
    lab.host
        .python(&program(&sender, address::SERVER_V4, 7010))?
        .success()?;
    let flow = seen(&tidegate, &endpoint(address::SERVER_V4, 7010)?)?;
    ensure!(
        flow["reason"]
            .as_str()
            .is_some_and(|reason| reason.ends_with("through up9")),
        "{flow}"
    );
    Ok(())
}

#[test]
fn an_uplink_whose_new_filter_finds_no_room_is_unmeasured_until_it_does() -> Result<()> {
    const ROOM: &str = "/proc/sys/net/core/optmem_max";
    let lab = Lab::new()?;
    let is_of_the_lab = lab.host.bash(&format!("test -e {ROOM}"))?.success().is_ok();
    if !is_of_the_lab {
        eprintln!("not tested: before Linux 6.8 this room is the machine's");
        return Ok(());
    }
    let tidegate = lab.tidegate("")?;
    let unmeasured = || -> Result<String> { Ok(tidegate.status()?["unmeasured"].to_string()) };
    let known = lab.host.bash(&format!("cat {ROOM}; echo 1000 > {ROOM}"))?;
    let known = known.success()?;
    // What is sent from its port is meant to leave natively: the filter is another.
    let _web = service::Http::start(&lab.host, 80)?;
    wait_until("it is unmeasured", PATIENCE, || {
        unmeasured().is_ok_and(|places| places.contains("up0"))
    })
    .with_context(|| format!("{:?}", tidegate.status()))?;
    let reload =
        "ip link add another0 type veth peer another1 && ip link set another0 up && sleep 1";
    lab.host.bash(reload)?.success()?;
    let places = unmeasured()?;
    ensure!(places.contains("up0"), "{places}");
    let more = format!("echo {known} > {ROOM} && ip link delete another0");
    lab.host.bash(&more)?.success()?;
    wait_until("it is measured", PATIENCE, || {
        unmeasured().is_ok_and(|places| places == "[]")
    })
    .with_context(|| format!("{:?}", tidegate.status()))?;
    Ok(())
}
