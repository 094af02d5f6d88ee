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
    mtr_names_every_router,
    a_connection_that_ends_at_a_router_fails_at_once_and_may_be_tried_again,
    a_connection_with_a_hop_limit_of_its_own_outlives_a_router_s_word,
}

fn traceroute_by_datagrams_names_every_router(capture: Capture) -> Result<()> {
    traces(capture, User::ROOT, "")
}

fn an_ordinary_user_s_traceroute_does_so_too(capture: Capture) -> Result<()> {
    traces(capture, User::ALICE, "")
}

fn traceroute_by_connections_does_so_too(capture: Capture) -> Result<()> {
    traces(capture, User::ROOT, "-T -p 80")
}

fn traceroute_by_echo_requests_does_so_too(capture: Capture) -> Result<()> {
    traces(capture, User::ROOT, "-I")
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
fn traces(capture: Capture, user: User, how: &str) -> Result<()> {
    let lab = Lab::new()?;
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

/// The same of a tool that sends its probes one by one: none is lost.
fn mtr_names_every_router(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _way = lab.long_way()?;
    let session = lab.captured_as(capture, User::ROOT, "")?;
    for (way, how) in WAYS.iter().zip(["", "--udp"]) {
        let target = way[3];
        let said = session.bash(&format!(
            "mtr --no-dns --report --report-cycles 2 --interval 0.2 --gracetime 1 {how} {target}"
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
