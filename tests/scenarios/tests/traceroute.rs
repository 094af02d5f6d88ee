//! The programs that trace a route name every router on it under either capture, as they would without us.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidegate_lab::{
    Capture, Lab, LongWay, User, address, service, under_both_captures, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Who is met on the way, up to its end.
const WAYS: [[&str; 4]; 2] = [
    [
        address::ROUTER_V4,
        address::SERVER_V4,
        LongWay::THIRD_V4,
        LongWay::TARGET_V4,
    ],
    [
        address::ROUTER_V6,
        address::SERVER_V6,
        LongWay::THIRD_V6,
        LongWay::TARGET_V6,
    ],
];

under_both_captures! {
    traceroute_by_datagrams_names_every_router,
    an_ordinary_user_s_traceroute_does_so_too,
    traceroute_by_connections_does_so_too,
    traceroute_by_echo_requests_does_so_too,
    an_ordinary_user_s_traceroute_by_echo_requests_does_so_too,
    mtr_names_every_router,
    an_ordinary_user_s_mtr_does_so_too,
    what_a_router_says_of_one_echo_request_fails_no_other,
    a_connection_that_ends_at_a_router_fails_at_once_and_may_be_tried_again,
    a_connection_with_a_hop_limit_of_its_own_outlives_a_router_s_word,
}

fn traceroute_by_datagrams_names_every_router(capture: Capture) -> Result<()> {
    traces(&Lab::new()?, capture, User::ROOT, "")
}

fn an_ordinary_user_s_traceroute_does_so_too(capture: Capture) -> Result<()> {
    traces(&Lab::new()?, capture, User::ALICE, "")
}

fn traceroute_by_connections_does_so_too(capture: Capture) -> Result<()> {
    traces(&Lab::new()?, capture, User::ROOT, "-T -p 80")
}

fn traceroute_by_echo_requests_does_so_too(capture: Capture) -> Result<()> {
    traces(&Lab::new()?, capture, User::ROOT, "-I")
}

/// Without a raw socket on either side. One probe at a time: the kernel refuses to send a second from a socket that was not
/// asked yet what became of the first, and traceroute takes that for a loss, without us too.
fn an_ordinary_user_s_traceroute_by_echo_requests_does_so_too(capture: Capture) -> Result<()> {
    traces(&with_ping_sockets()?, capture, User::ALICE, "-I -N 1")
}

/// Where every user may have ping sockets, as systemd has it.
fn with_ping_sockets() -> Result<Lab> {
    let lab = Lab::new()?;
    lab.host
        .sysctl("net.ipv4.ping_group_range", "0 2147483647")?;
    Ok(lab)
}

fn what_a_router_says_of_one_echo_request_fails_no_other(capture: Capture) -> Result<()> {
    let lab = with_ping_sockets()?;
    let session = lab.captured_as(capture, User::ALICE, "")?;
    let said = session.python(
        "
import socket, struct
ping = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
ping.settimeout(5)
for number in range(64):
    hops = 1 if number % 2 else 64
    ping.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
    ping.sendto(struct.pack('!BBHHH', 8, 0, 0, 0, number), ('203.0.113.10', 0))
answered = {struct.unpack('!H', ping.recv(100)[6:8])[0] for _ in range(32)}
print(answered == set(range(0, 64, 2)))",
    )?;
    ensure!(said.success()? == "True");
    Ok(())
}

fn a_connection_that_ends_at_a_router_fails_at_once_and_may_be_tried_again(
    capture: Capture,
) -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::TcpEcho::start(&lab.server, 7)?;
    let session = lab.captured(capture, "")?;
    let said = session.python(
        "
import errno, socket, time
for server, level, option in [('203.0.113.10', socket.IPPROTO_IP, socket.IP_TTL),
                              ('2001:db8:113::10', socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)]:
    family = socket.AF_INET6 if ':' in server else socket.AF_INET
    for hops in (1, 2):
        client = socket.socket(family)
        client.settimeout(20)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.setsockopt(level, option, hops)
        client.bind(('', 4242))
        began = time.monotonic()
        outcome = client.connect_ex((server, 7))
        soon = time.monotonic() - began < 0.5
        print(errno.errorcode.get(outcome, 'connected'), soon)
        client.close()",
    )?;
    ensure!(said.success()? == "EHOSTUNREACH True\nconnected True\n".repeat(2).trim_end());
    Ok(())
}

fn a_connection_with_a_hop_limit_of_its_own_outlives_a_router_s_word(
    capture: Capture,
) -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::TcpEcho::start(&lab.server, 7)?;
    let session = lab.captured(capture, "")?;
    let shut = lab.folder().join("shut");
    let job = session.start_python(&format!(
        "
import os, socket, time
client = socket.socket()
client.settimeout(20)
client.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 70)
client.connect(('203.0.113.10', 7))
client.sendall(b'one')
print(client.recv(10))
while not os.path.exists('{}'):
    time.sleep(0.01)
client.sendall(b'two')
print(client.recv(10))",
        shut.display()
    ))?;
    job.wait_for_output("one")?;
    lab.router.ip("route add prohibit 203.0.113.10")?;
    lab.file("shut", "")?;
    // The first word comes while the kernel still sends, and is not heard.
    wait_until("the router has refused three segments", PATIENCE, || {
        refused_by(&lab).is_ok_and(|count| count >= 3)
    })?;
    lab.router.ip("route del prohibit 203.0.113.10")?;
    ensure!(job.finish(PATIENCE)?.success()? == "b'one'\nb'two'");
    Ok(())
}

/// How many packets the router has refused with an ICMP error.
fn refused_by(lab: &Lab) -> Result<u64> {
    let said = lab
        .router
        .bash("nstat -asz IcmpOutDestUnreachs")?
        .success()?;
    let counted = said
        .lines()
        .find_map(|line| line.strip_prefix("IcmpOutDestUnreachs"));
    let count = counted.and_then(|line| line.split_whitespace().next());
    Ok(count.context("no such counter")?.parse()?)
}

/// Each of the three probes of each hop is answered, by who should.
fn traces(lab: &Lab, capture: Capture, user: User, how: &str) -> Result<()> {
    let _way = lab.long_way()?;
    let session = lab.captured_as(capture, user, "")?;
    for way in WAYS {
        let target = way[3];
        let said = session.bash(&format!("traceroute -n -w 5 {how} {target}"))?;
        let said = said.success()?;
        let hops: Vec<_> = said.lines().skip(1).collect();
        ensure!(hops.len() == way.len(), "not {way:?}: {said}");
        for (hop, expected) in hops.iter().zip(way) {
            let mut words = hop.split_whitespace().skip(1);
            let named = words.next().context("a hop without a word")?;
            ensure!(named == expected, "not {expected}: {said}");
            // Times follow, and nothing else: no asterisk, no mark of an error, no other address.
            let rest: Vec<_> = words.filter(|word| *word != "ms").collect();
            let are_times = rest.iter().all(|word| word.parse::<f64>().is_ok());
            ensure!(rest.len() == 3 && are_times, "{said}");
        }
    }
    Ok(())
}

fn mtr_names_every_router(capture: Capture) -> Result<()> {
    traces_with_mtr(
        &Lab::new()?,
        capture,
        User::ROOT,
        ["--interval 0.2", "--interval 0.2 --udp"],
    )
}

fn an_ordinary_user_s_mtr_does_so_too(capture: Capture) -> Result<()> {
    // Faster is root's only, says mtr, and its datagrams find nobody without a raw socket, without us too.
    traces_with_mtr(
        &with_ping_sockets()?,
        capture,
        User::ALICE,
        ["--interval 1"; 2],
    )
}

/// The same of a tool that sends its probes one by one: none is lost.
fn traces_with_mtr(lab: &Lab, capture: Capture, user: User, how: [&str; 2]) -> Result<()> {
    let _way = lab.long_way()?;
    let session = lab.captured_as(capture, user, "")?;
    for (way, how) in WAYS.iter().zip(how) {
        let target = way[3];
        let said = session.bash(&format!(
            "mtr --no-dns --report --report-cycles 2 --gracetime 1 {how} {target}"
        ))?;
        let said = said.success()?;
        let hops: Vec<Vec<_>> = said
            .lines()
            .filter(|line| line.contains(".|--"))
            .map(|line| line.split_whitespace().skip(1).take(2).collect())
            .collect();
        let expected: Vec<_> = way.iter().map(|hop| vec![*hop, "0.0%"]).collect();
        ensure!(hops == expected, "{said}");
    }
    Ok(())
}
