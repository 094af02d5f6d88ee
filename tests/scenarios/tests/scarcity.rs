//! Where ports or descriptors run out, something says so at once, and the rest goes on.

use std::time::Duration;

use anyhow::{Result, ensure};
use tidegate_lab::{
    Capture, Hidden, Lab, Session, address, service, under_both_captures, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(10);

under_both_captures! {
    connections_beyond_the_ports_fail_at_once_and_go_on_elsewhere,
    quiet_datagram_flows_give_their_ports_to_new_ones,
    a_program_with_many_flows_takes_its_ports_from_itself,
}

/// An odd number: each connection takes a port for the program and one for us, so that it is we who find none.
const PORTS: &str = "40000 40062";

/// What gives the port that a program sends from next.
fn next_port(capture: Capture) -> &'static str {
    match capture {
        // All differ. They need not be of the range, in which the gateway finds its own ports.
        Capture::Exec => "import itertools; port = itertools.count(10_000).__next__",
        // Programs have the ports that the gateway leaves them.
        Capture::Host => "port = lambda: 0",
    }
}

fn with_few_ports(lab: &Lab, capture: Capture) -> Result<Session<'_>> {
    lab.host.sysctl("net.ipv4.ip_local_port_range", PORTS)?;
    lab.captured(capture, "")
}

/// Connects until it can no more, and says how often it could, how it failed and whether that was at once; then whether another
/// destination answers; then whether this one does, once the others are gone.
const CONNECT: &str = "
import socket, struct, time
def connect(to):
    s = socket.socket()
    s.settimeout(20)
    s.connect((to, 80))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    return s
calls = []
while len(calls) < 100:
    begun = time.monotonic()
    try: calls.append(connect('203.0.113.10'))
    except OSError as error:
        print(len(calls), error.errno, time.monotonic() - begun < 10)
        break
connect('203.0.113.20')
print('elsewhere')
for call in calls: call.close()
for _ in range(100):
    try: connect('203.0.113.10')
    except OSError: time.sleep(0.1)
    else: print('again'); break
";

fn connections_beyond_the_ports_fail_at_once_and_go_on_elsewhere(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let session = with_few_ports(&lab, capture)?;
    let said = session.python(CONNECT)?.success()?;
    // 111 is ECONNREFUSED.
    let possible = match capture {
        Capture::Exec => 63,
        Capture::Host => 31,
    };
    // On a busy machine the kernel now and then finds one port less.
    let [all, one_less] =
        [possible, possible - 1].map(|possible| format!("{possible} 111 True\nelsewhere\nagain"));
    ensure!(said == all || said == one_less, "{said}");
    let status = session.gateway().status()?;
    let counted = &status["counters"]["dial_failures"]["no-port-left"];
    ensure!(counted.as_u64() >= Some(1), "{status}");
    Ok(())
}

/// More flows that nobody answers than there are ports, each from a socket of its own, beside an old one and before a new one.
/// `port` says from which port the next socket sends.
const SPEAK: &str = "
import socket
def open_to(to):
    s = socket.socket(socket.AF_INET6 if ':' in to[0] else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(10)
    s.bind(('', port()))
    s.connect(to)
    return s
def speaker(to):
    s = open_to((to, 7))
    def speak():
        s.send(b'x')
        s.recv(10)
    return speak
for echo, silent in ('203.0.113.10', '203.0.113.66'), ('2001:db8:113::10', '2001:db8:113::66'):
    old = speaker(echo)
    old()
    for number in range(150):
        with open_to((silent, 1024 + number)) as s: s.send(b'x')
    speaker(echo)()
    old()
";

fn quiet_datagram_flows_give_their_ports_to_new_ones(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let servers = [address::SERVER_V4, address::SERVER_V6];
    let echo = service::UdpEcho::start(&lab.server, &servers, 7)?;
    let session = with_few_ports(&lab, capture)?;
    let program = format!("{}{SPEAK}", next_port(capture));
    session.python(&program)?.success()?;
    for family in echo.peers().chunks(3) {
        let [before, new, after] = family else {
            anyhow::bail!("{family:?}");
        };
        ensure!(before == after && before != new, "{family:?}");
    }
    let expected = match capture {
        // Those of one family beyond its 63 ports, twice.
        Capture::Exec => 2 * (152 - 63),
        // Some were from ports that others had been from, and share their sockets.
        Capture::Host => 10,
    };
    // Whoever had closed its socket is looked for a few times before its flow gets one.
    wait_until("quiet flows have given room", PATIENCE, || {
        let status = session.gateway().status();
        status.is_ok_and(|status| status["counters"]["flows_evicted"].as_u64() >= Some(expected))
    })
}

/// Has three conversations, is quiet, and goes on with them once there is a file `go`.
const MODEST: &str = "
import os, socket, sys, time
def call():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(10)
    s.connect(('203.0.113.10', 7))
    return s
def speak(s):
    s.send(b'modest')
    s.recv(10)
calls = [call() for _ in range(3)]
for s in calls: speak(s)
while not os.path.exists(sys.argv[1]): time.sleep(0.1)
for s in calls: speak(s)
";

/// Begins more flows than there are ports. `port` says from which one the next socket sends.
const BUSY: &str = "
import socket
for number in range(150):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(('', port()))
        s.sendto(b'busy', ('203.0.113.66', 1024 + number))
";

fn a_program_with_many_flows_takes_its_ports_from_itself(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4], 7)?;
    for name in ["modest", "busy"] {
        lab.program("/usr/bin/python3", name)?;
    }
    let session = with_few_ports(&lab, capture)?;
    let (folder, go) = (lab.folder().display(), lab.folder().join("go"));
    let script = lab.file("modest.py", MODEST)?;
    let modest = session.start(&format!(
        "{folder}/modest {} {}",
        script.display(),
        go.display()
    ))?;
    wait_until("three conversations", PATIENCE, || echo.peers().len() == 3)?;
    // So long that they count as quiet.
    std::thread::sleep(Duration::from_secs(6));
    session.program(
        &format!("{folder}/busy"),
        &format!("{}{BUSY}", next_port(capture)),
    )?;
    wait_until("flows have given room", PATIENCE, || {
        let status = session.gateway().status();
        status.is_ok_and(|status| status["counters"]["flows_evicted"].as_u64() >= Some(5))
    })?;
    lab.file("go", "")?;
    modest.finish(PATIENCE)?.success()?;
    let peers = echo.peers();
    ensure!(
        peers.len() == 6 && peers[..3] == peers[3..],
        "they have lost their ports: {peers:?}"
    );
    Ok(())
}

/// From all ports that it can have, to two peers from each.
const TO_TWO_PEERS: &str = "
import socket
for port in 2 * list(range(40000, 40200)):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try: s.bind(('', port))
        except OSError: continue
        for peer in (1, 2): s.sendto(b'x', ('203.0.113.66', peer))
";

/// How many sockets have one of these ports.
const PORTS_IN_USE: &str = "
rows = [row.split() for row in open('/proc/net/udp')][1:]
ports = [int(row[1].split(':')[1], 16) for row in rows]
print(sum(port in range(40000, 40200) for port in ports))
";

#[test]
fn half_of_the_ports_stay_the_programs_whatever_they_are_used_for() -> Result<()> {
    let lab = Lab::new()?;
    lab.host
        .sysctl("net.ipv4.ip_local_port_range", "40000 40199")?;
    let tidegate = lab.tidegate("")?;
    lab.host.python(TO_TWO_PEERS)?.success()?;
    wait_until("quiet flows have given room", PATIENCE, || {
        let status = tidegate.status();
        status.is_ok_and(|status| status["counters"]["flows_evicted"].as_u64() >= Some(10))
    })?;
    let in_use: usize = lab.host.python(PORTS_IN_USE)?.success()?.parse()?;
    ensure!((90..=100).contains(&in_use), "{in_use}");
    Ok(())
}

/// More flows than the host has ports, each from a port of its own.
const FROM_MANY_PORTS: &str = "
import socket
for number in range(150):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(('', 10_000 + number))
        s.sendto(b'x', ('203.0.113.66', 9))
";

#[test]
fn a_container_leaves_ports_to_programs_of_the_host() -> Result<()> {
    let lab = Lab::new()?;
    let containers = lab.containers(Hidden::Masqueraded)?;
    lab.host.sysctl("net.ipv4.ip_local_port_range", PORTS)?;
    let tidegate = lab.tidegate("[capture]\nforwarded = [\"br0\"]\n")?;
    containers.one.python(FROM_MANY_PORTS)?.success()?;
    wait_until("quiet flows have given room", PATIENCE, || {
        let status = tidegate.status();
        status.is_ok_and(|status| status["counters"]["flows_evicted"].as_u64() >= Some(50))
    })?;
    // Of 63 ports half, less what else may have one.
    let held = "
import socket
held = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(30)]
for s in held: s.bind(('', 0))
";
    lab.host.python(held)?.success()?;
    Ok(())
}
