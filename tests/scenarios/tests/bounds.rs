//! What one program does to excess leaves room for the others.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use tidegate_lab::{Hidden, Lab, User, address, service, wait_until};

/// Calls thousands of addresses that never answer, says so, and waits.
const FLOOD: &str = "
import resource, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
calls = []
for number in range(2000):
    call = socket.socket()
    call.setblocking(False)
    call.connect_ex((sys.argv[1], 1024 + number))
    calls.append(call)
print('flooded', flush=True)
sys.stdin.read()";

#[test]
fn a_flood_of_half_open_connections_leaves_other_programs_alone() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("")?;
    let script = lab.file("flood.py", FLOOD)?;
    // Processes of one program count as one.
    let flood = format!(
        "sleep 60 | exec python3 {} {}",
        script.display(),
        address::BLACK_HOLE_V4
    );
    let floods = (0..3)
        .map(|_| lab.host.background(&flood))
        .collect::<Result<Vec<_>>>()?;
    for flood in &floods {
        flood.wait_for_output("flooded")?;
    }
    for _ in 0..5 {
        let size = lab
            .host
            .bash("curl -sS --max-time 15 http://203.0.113.10/bytes/1000 | wc -c")?;
        ensure!(size.success()? == "1000");
    }
    let status = tidegate.status()?;
    let fallen = &status["counters"]["dial_failures"]["too-many-half-open"];
    ensure!(fallen.as_u64() > Some(1_000), "{status}");
    Ok(())
}

/// What speaks before, during and after a flood: an old flow of datagrams, and large ones that travel in fragments.
const SPEAK: &str = "
import socket, struct, sys
def speaker(size, to='203.0.113.10'):
    s = socket.socket(socket.AF_INET6 if ':' in to else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(1)
    s.connect((to, 7))
    def speak():
        global lost
        # All programs share the device's queue: of a flood it drops some, of whomever.
        for _ in range(10):
            s.send(b'x' * size)
            try: return len(s.recv(65535)) == size or sys.exit('garbled')
            except TimeoutError: lost += 1
        sys.exit('silence')
    speak()
    return speak
lost = 0
old, large = speaker(100), speaker(8000)
";

/// From 50,000 local ports to an address that never answers.
const SOURCES: &str = "
for number, port in enumerate(range(5000, 30000)):
    for family, to in (socket.AF_INET, '203.0.113.66'), (socket.AF_INET6, '2001:db8:113::66'):
        with socket.socket(family, socket.SOCK_DGRAM) as s:
            s.bind(('', port))
            s.sendto(b'x', (to, 9))
    if number % 100 == 0: old()
";

/// Why datagrams are thrown away: of a program that begins too many flows, and where programs are not known and sockets have
/// lines of their own.
const TOO_MANY: [&str; 2] = ["too many new flows of one program", "too many new flows"];

fn refused(counters: &Value) -> u64 {
    let dropped = &counters["packets_dropped"];
    let of = |reason| dropped[reason].as_u64().unwrap_or(0);
    TOO_MANY.into_iter().map(of).sum()
}

#[test]
fn datagrams_from_fifty_thousand_ports_leave_other_programs_alone() -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4], 7)?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("")?;
    let program = format!("{SPEAK}{SOURCES}old(); large()");
    lab.host.python(&program)?.success()?;
    let size = "curl -sS --max-time 15 http://203.0.113.10/bytes/1000 | wc -c";
    ensure!(lab.host.bash(size)?.success()? == "1000");
    let counters = &tidegate.status()?["counters"];
    let begun = counters["flows_opened"].as_u64().unwrap_or(0) + refused(counters);
    ensure!(begun > 50_000, "{counters}");
    Ok(())
}

/// A hundred times: six hundred fragments whose rest never comes, which is more than are waited for and less than the device's
/// queue holds, so that every other packet must arrive.
const FRAGMENTS: &str = "
NOWHERE_V4, NOWHERE_V6 = '203.0.113.66', '2001:db8:113::66'
raw_v4 = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw_v6 = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
ends_v4 = socket.inet_aton('192.168.77.2') + socket.inet_aton(NOWHERE_V4)
ends_v6 = b''.join(socket.inet_pton(socket.AF_INET6, at) for at in ('2001:db8:77::2', NOWHERE_V6))
datagram = struct.pack('!HHHH', 5000, 9, 2000, 1) + bytes(1224)
def fragment_v4(number):
    head = struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(datagram), number, 0x2000, 64, socket.IPPROTO_UDP, 0)
    return head + ends_v4 + datagram
def fragment_v6(number):
    head = struct.pack('!IHBB', 6 << 28, 8 + len(datagram), socket.IPPROTO_FRAGMENT, 64)
    return head + ends_v6 + struct.pack('!BBHI', socket.IPPROTO_UDP, 0, 1, number) + datagram
speakers = [speaker(size, to) for to in ('203.0.113.10', '2001:db8:113::10') for size in (100, 8000)]
for number in range(1, 30_001):
    raw_v4.sendto(fragment_v4(number), (NOWHERE_V4, 0))
    raw_v6.sendto(fragment_v6(number), (NOWHERE_V6, 0))
    if number % 300 == 0:
        for speak in speakers:
            speak()
            if lost: sys.exit(f'lost after {number} fragments')
";

#[test]
fn a_flood_of_fragments_leaves_old_flows_and_whole_datagrams_alone() -> Result<()> {
    let lab = Lab::new()?;
    let servers = [address::SERVER_V4, address::SERVER_V6];
    let _echo = service::UdpEcho::start(&lab.server, &servers, 7)?;
    let tidegate = lab.tidegate("")?;
    lab.host.python(&format!("{SPEAK}{FRAGMENTS}"))?.success()?;
    let status = tidegate.status()?;
    let given_up = &status["counters"]["packets_dropped"]["fragments without the rest"];
    ensure!(given_up.as_u64() > Some(59_000), "{status}");
    Ok(())
}

/// Hears datagrams, and tells who says `end` how many came behind.
const HEAR: &str = "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)
s.bind(('203.0.113.10', 9000))
print('ready', flush=True)
while True:
    said, sender = s.recvfrom(100)
    if said == b'end': break
s.settimeout(1)
behind = 0
try:
    while s.recv(100): behind += 1
except TimeoutError: s.sendto(str(behind).encode(), sender)
";

/// One process begins 6,000 flows at a time, which the device's queue holds, and then another process one.
const BURST: &str = "
import os, resource, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
def open_socket():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(('203.0.113.10', 9000))
    return s
begun, begin = os.pipe()
if os.fork() == 0:
    s = open_socket()
    os.read(begun, 1)
    s.send(b'end')
    s.settimeout(20)
    print(s.recv(100).decode())
    sys.exit()
burst = [open_socket() for _ in range(6000)]
for s in burst: s.send(b'x')
os.write(begin, b'x')
os.wait()
";

/// Begins 6,000 flows at a time, each from a socket of its own.
const FROM_SOCKETS: &str = "
import resource, socket
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
burst = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(6000)]
for s in burst: s.connect(('203.0.113.66', 9))
for s in burst: s.send(b'x')
";

#[test]
fn a_new_flow_does_not_wait_for_those_that_another_program_has_begun_before() -> Result<()> {
    let lab = Lab::new()?;
    let far_end = lab.server.python_background_as(User::ROOT, HEAR)?;
    far_end.wait_for_output("ready")?;
    let tidegate = lab.tidegate("")?;
    let behind: u32 = lab.host.python(BURST)?.success()?.parse()?;
    ensure!(
        behind > 100,
        "only {behind} of a burst came behind what was said after it"
    );
    let status = tidegate.status()?;
    ensure!(refused(&status["counters"]) > 100, "{status}");
    Ok(())
}

/// Eight processes of one program begin 750 flows each, all at a time, and then another program one.
const BURST_OF_PROCESSES: &str = "
import os, resource, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
wait, begin = os.pipe()
children = []
for child in range(8):
    ready, tell = os.pipe()
    children.append(ready)
    if os.fork() == 0:
        burst = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(750)]
        for s in burst: s.connect(('203.0.113.10', 9000))
        os.write(tell, b'x')
        os.read(wait, 1)
        for s in burst: s.send(b'x')
        sys.exit()
for ready in children: os.read(ready, 1)
os.write(begin, b'x' * 8)
for child in children: os.wait()
os.execv(sys.argv[1], [sys.argv[1], '-c', sys.argv[2]])
";

/// What that one says.
const END: &str = "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(('203.0.113.10', 9000))
s.settimeout(20)
s.send(b'end')
print(s.recv(100).decode())
";

#[test]
fn many_processes_of_one_program_leave_room_in_line_for_another() -> Result<()> {
    let lab = Lab::new()?;
    let far_end = lab.server.python_background_as(User::ROOT, HEAR)?;
    far_end.wait_for_output("ready")?;
    let other = lab.program("/usr/bin/python3", "other")?;
    let [burst, end] = [("burst.py", BURST_OF_PROCESSES), ("end.py", END)]
        .map(|(name, text)| lab.file(name, text));
    let tidegate = lab.tidegate("")?;
    let script = format!(
        "python3 {} {} \"$(cat {})\"",
        burst?.display(),
        other.display(),
        end?.display()
    );
    let behind: u32 = lab.host.bash(&script)?.success()?.parse()?;
    ensure!(behind > 100, "only {behind} came behind");
    let status = tidegate.status()?;
    let dropped = &status["counters"]["packets_dropped"];
    ensure!(dropped[TOO_MANY[0]].as_u64() > Some(100), "{status}");
    ensure!(dropped[TOO_MANY[1]].is_null(), "{status}");
    Ok(())
}

/// Pings ten thousand hosts that never answer, six thousand of them at a time.
const PINGS: &str = "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 24)
for number in range(6000):
    s.sendto(bytes([8, 0, 0, 0, 0, 0, 0, 1]), (f'198.18.{number >> 8}.{number & 255}', 0))
";

#[test]
fn pings_of_thousands_of_hosts_wait_in_line() -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4], 7)?;
    lab.host
        .sysctl("net.ipv4.ping_group_range", "0 2147483647")?;
    let tidegate = lab.tidegate("")?;
    lab.host.python(PINGS)?.success()?;
    let echoed = lab
        .host
        .echo(address::SERVER_V4, 7, 100, Duration::from_secs(10))?;
    ensure!(echoed.word == "echoed", "{echoed:?}");
    let status = tidegate.status()?;
    ensure!(refused(&status["counters"]) > 100, "{status}");
    Ok(())
}

/// Holds ten thousand ping sockets, and pings from each.
const PING_SOCKETS: &str = "
import resource, socket, time
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
def ping_socket():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    s.connect(('203.0.113.66', 0))
    return s
sockets = [ping_socket() for _ in range(10_000)]
print('ready', flush=True)
while True:
    for s in sockets:
        s.send(bytes([8, 0, 0, 0, 0, 0, 0, 1]))
        # The device's queue is everybody's.
        time.sleep(0.001)
";

/// Asks a hundred times, each time from another socket.
const ASK: &str = "
import socket, time
slowest = 0
for _ in range(100):
    begun = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(10)
        s.connect(('203.0.113.10', 7))
        s.send(b'x')
        s.recv(10)
    slowest = max(slowest, time.monotonic() - begun)
print(int(1000 * slowest))
";

#[test]
fn who_holds_thousands_of_ping_sockets_keeps_no_other_waiting() -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4], 7)?;
    lab.host
        .sysctl("net.ipv4.ping_group_range", "0 2147483647")?;
    let tidegate = lab.tidegate("")?;
    let pinging = lab.host.python_background_as(User::ROOT, PING_SOCKETS)?;
    pinging.wait_for_output("ready")?;
    wait_until("it pings", Duration::from_secs(10), || {
        let flows = tidegate.flows();
        flows.is_ok_and(|flows| flows.iter().any(|flow| flow["protocol"] == "icmp"))
    })?;
    let slowest: u64 = lab.host.python(ASK)?.success()?.parse()?;
    ensure!(slowest < 3_000, "{slowest} ms");
    let ping = format!("ping -c 1 -W 10 {}", address::SERVER_V4);
    lab.host.bash(&ping)?.success()?;
    Ok(())
}

#[test]
fn a_container_s_new_flows_do_not_keep_another_s_waiting() -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4], 7)?;
    let containers = lab.containers(Hidden::Masqueraded)?;
    let tidegate = lab.tidegate("[capture]\nforwarded = [\"br0\"]\n")?;
    containers.one.python(FROM_SOCKETS)?.success()?;
    let of_one = |status: &Value| {
        let dropped = &status["counters"]["packets_dropped"];
        dropped["too many new flows of one host"].as_u64()
    };
    wait_until("the container has too many", Duration::from_secs(5), || {
        tidegate
            .status()
            .is_ok_and(|status| of_one(&status) > Some(100))
    })?;
    let status = tidegate.status()?;
    let dropped = &status["counters"]["packets_dropped"];
    ensure!(
        dropped[TOO_MANY[1]].is_null(),
        "other lines have room: {status}"
    );
    let echoed = containers
        .two
        .echo(address::SERVER_V4, 7, 100, Duration::from_secs(10))?;
    ensure!(echoed.word == "echoed", "{echoed:?}");
    Ok(())
}

/// Starts itself sixteen times over from a folder with a long name, and then a program that shares a hundred sockets with its
/// ten ancestors and sends from each.
const DEEP: &str = "
if [ $1 -gt 0 ]; then $2/bash $0 $(($1 - 1)) $2; else $2/python3 -c \"
import os, socket, sys, time
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(100)]
for s in sockets: s.connect(('203.0.113.66', 9))
for _ in range(10):
    if os.fork(): time.sleep(60)
for s in sockets: s.send(b'x')
print('sent', flush=True)
time.sleep(60)
\"; fi
true
";

#[test]
fn what_is_known_of_a_program_is_kept_once_for_all_its_flows() -> Result<()> {
    let lab = Lab::new()?;
    let deep = (0..15).fold(lab.folder().to_owned(), |deep, _| {
        deep.join("x".repeat(250))
    });
    std::fs::create_dir_all(&deep)?;
    let tidegate = lab.tidegate("[capture]\nebpf = \"off\"\n")?;
    for program in ["bash", "python3"] {
        std::fs::copy(format!("/usr/bin/{program}"), deep.join(program))?;
    }
    let pid = tidegate.status()?["pid"].to_string();
    let before = resident(&pid)?;
    let script = lab.file("deep.sh", DEEP)?;
    let deep = format!("bash {} 16 {}", script.display(), deep.display());
    let sending = lab.host.background(&deep)?;
    sending.wait_for_output("sent")?;
    let flows = || tidegate.flows().unwrap_or_default();
    wait_until("every flow is judged", Duration::from_secs(60), || {
        let flows = flows();
        let judged = flows.iter().filter(|flow| flow["verdict"].is_string());
        judged.count() >= 100
    })?;
    for flow in flows() {
        let others = flow["other_owners"].as_array().map_or(0, Vec::len);
        ensure!(others >= 5, "{others}");
    }
    let kept = resident(&pid)?.saturating_sub(before);
    ensure!(kept < 30 << 10, "{kept} KiB for a hundred flows");
    Ok(())
}

/// What a process has in memory, in KiB.
fn resident(pid: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_ascii_whitespace().next());
    Ok(number.unwrap_or_default().parse()?)
}

/// Begins more new flows than may wait, each from a socket of its own, again and again; the device's queue holds them.
const AGAIN_AND_AGAIN: &str = "
import socket, time
print('begun', flush=True)
while True:
    for _ in range(1500):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.connect(('203.0.113.10', 9))
        try: s.send(b'x')
        except OSError: pass
        s.close()
    time.sleep(0.2)
";

#[test]
fn a_reload_while_a_line_is_full_holds_for_those_that_wait_and_leaves_others_alone() -> Result<()> {
    const SOON: Duration = Duration::from_secs(5);
    let lab = Lab::new()?;
    let flooded = service::UdpEcho::start(&lab.server, &[address::SERVER_V4], 9)?;
    let _echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4], 7)?;
    let tidegate = lab.tidegate("")?;
    let many = |least: u64| {
        let status = tidegate.status();
        status.is_ok_and(|status| refused(&status["counters"]) > least)
    };
    let flood = lab
        .host
        .python_background_as(User::ALICE, AGAIN_AND_AGAIN)?;
    flood.wait_for_output("begun")?;
    wait_until("the line is full", SOON, || many(100))?;
    let rule = "[[rule]]\nname = \"enough\"\nport = \"udp/9\"\naction = \"block\"\n";
    tidegate.rewrite_config(rule)?;
    wait_until("the rule is in force", SOON, || {
        let status = tidegate.status();
        status.is_ok_and(|status| status["policy"]["rules"] == 1)
    })?;
    // What had passed may still be on its way.
    std::thread::sleep(Duration::from_secs(1));
    let before = flooded.peers().len();
    let too_many = refused(&tidegate.status()?["counters"]);
    wait_until("more have come than may wait", SOON, || {
        many(too_many + 1_000)
    })?;
    ensure!(before > 0 && flooded.peers().len() == before, "some passed");
    let other = lab.host.echo(address::SERVER_V4, 7, 100, SOON)?;
    ensure!(other.word == "echoed", "{other:?}");
    tidegate.wait_for_flow("a refused one", |flow| {
        flow["rule"] == "enough" && flow["verdict"] == "block"
    })?;
    Ok(())
}
