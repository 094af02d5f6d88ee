//! Host capture while the host's network changes: default routes, addresses, links, sleep.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidegate_lab::{Capture, Daemon, Lab, address, endpoint, service, wait_until};

/// How soon new flows take the new way, and flows that cannot go on are told.
const SOON: Duration = Duration::from_secs(2);
/// What a busy machine may add to that before it counts.
const SLACK: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);
const ECHO: u16 = 7;

const SERVERS: [&str; 2] = [address::SERVER_V4, address::SERVER_V6];
const FIRST: [&str; 2] = [address::HOST_V4, address::HOST_V6];
const SECOND: [&str; 2] = [address::SECOND_HOST_V4, address::SECOND_HOST_V6];

/// Default routes over the second uplink, in place of the first or behind it.
const OVER_SECOND: &str = "set -e
ip -4 route replace default via 192.168.78.1 dev up1
ip -6 route del default
ip -6 route add default via 2001:db8:78::1 dev up1";
const BEHIND_FIRST: &str = "set -e
ip -4 route add default via 192.168.78.1 dev up1 metric 3000
ip -6 route add default via 2001:db8:78::1 dev up1 metric 3000";
/// The first link is set up again, with what setting it down took away.
const FIRST_UP_AGAIN: &str = "set -e
ip link set up0 up
ip -4 route add default via 192.168.77.1 dev up0
ip -6 address add 2001:db8:77::2/64 dev up0
ip -6 route add default via 2001:db8:77::1 dev up0";

#[test]
fn a_new_default_route_carries_new_flows_and_old_ones_go_on() -> Result<()> {
    let lab = Lab::new()?;
    lab.second_uplink()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let _echo = service::TcpEcho::start(&lab.server, ECHO)?;
    let tidegate = lab.tidegate("")?;
    let mut old = sessions(&lab)?;
    lab.host.bash(OVER_SECOND)?.success()?;
    ensure_new_flows_come_from(&lab, &tidegate, SECOND)?;
    for session in &mut old {
        session.talk().context("an old session")?;
    }
    // The kernel takes the new way at once; the plan, and with it `status`, follow the change.
    wait_until("the new uplink is named", SOON + SLACK, || {
        let named = uplinks(&tidegate);
        named.contains("up1") && !named.contains("up0")
    })
    .with_context(|| uplinks(&tidegate))
}

#[test]
fn datagrams_of_an_open_socket_move_to_the_new_way() -> Result<()> {
    let lab = Lab::new()?;
    lab.second_uplink()?;
    let echo = service::UdpEcho::start(&lab.server, &SERVERS, ECHO)?;
    let tidegate = lab.tidegate("")?;
    // One socket for each family, not connected: a program that talks to many.
    let go = lab.folder().join("go");
    let program = lab.host.python_background_as(
        tidegate_lab::User::ALICE,
        &format!(
            "
import os, socket, time
sockets = []
for family, server in ((socket.AF_INET, '203.0.113.10'), (socket.AF_INET6, '2001:db8:113::10')):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(1)
    sockets.append((s, server))
def talk(word):
    for s, server in sockets:
        for attempt in range(5):
            try:
                s.sendto(word, (server, {ECHO}))
                if s.recv(100) == word: break
            except OSError as error: print(server, error)
        else: print(server, 'is silent')
    print(word.decode())
talk(b'before')
while not os.path.exists('{}'): time.sleep(0.02)
talk(b'after')
time.sleep(60)",
            go.display()
        ),
    )?;
    program.wait_for_output("before")?;
    lab.host.bash(OVER_SECOND)?.success()?;
    wait_until("the new way is planned", SOON + SLACK, || {
        uplinks(&tidegate).contains("up1")
    })?;
    lab.file("go", "")?;
    program.wait_for_output("after")?;
    ensure!(!program.output().contains("silent"), "{}", program.output());
    for source in SECOND {
        let came = echo
            .peers()
            .iter()
            .any(|peer| peer.ip().to_string() == source);
        ensure!(came, "{source}: {:?}", echo.peers());
    }
    Ok(())
}

#[test]
fn flows_of_an_address_that_went_are_ended_at_once_and_new_ones_take_the_new_address() -> Result<()>
{
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let _echo = service::TcpEcho::start(&lab.server, ECHO)?;
    let _datagrams = service::UdpEcho::start(&lab.server, &SERVERS, ECHO)?;
    let mut older = sessions(&lab)?;
    let tidegate = lab.tidegate("")?;
    let mut old = sessions(&lab)?;
    for session in older.iter_mut().chain(&mut old) {
        session.talk()?;
    }
    for server in SERVERS {
        ensure!(lab.host.echo(server, ECHO, 100, PATIENCE)?.word == "echoed");
    }
    lab.host
        .bash(
            "set -e
ip address del 192.168.77.2/24 dev up0
ip address add 192.168.77.9/24 dev up0
ip -4 route replace default via 192.168.77.1
ip address del 2001:db8:77::2/64 dev up0
ip address add 2001:db8:77::9/64 dev up0",
        )?
        .success()?;
    let changed = Instant::now();
    for session in old.iter_mut().chain(&mut older) {
        session.ensure_ended_within(changed + SOON + SLACK)?;
    }
    ensure_new_flows_come_from(&lab, &tidegate, ["192.168.77.9", "2001:db8:77::9"])?;
    let flows = tidegate.flows()?;
    let of_old = flows.iter().filter(|flow| {
        let local = flow["local"].as_str().unwrap_or_default();
        local.starts_with("192.168.77.2:") || local.starts_with("[2001:db8:77::2]")
    });
    let of_old: Vec<_> = of_old.collect();
    // The probe's are no flows: two sessions and one datagram flow a family, and those from before us.
    ensure!(of_old.len() >= 6, "{flows:?}");
    for flow in of_old {
        ensure!(flow["reason"] == "the local address is gone", "{flow}");
    }
    Ok(())
}

#[test]
fn a_link_that_goes_down_leaves_its_traffic_to_the_other_and_may_come_back() -> Result<()> {
    let lab = Lab::new()?;
    lab.second_uplink()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let _echo = service::TcpEcho::start(&lab.server, ECHO)?;
    lab.host.bash(BEHIND_FIRST)?.success()?;
    let tidegate = lab.tidegate("")?;
    ensure_new_flows_come_from(&lab, &tidegate, FIRST)?;
    let [mut kept, mut lost] = sessions(&lab)?;
    // A link that is set down keeps its IPv4 addresses and loses those of IPv6.
    lab.host.ip("link set up0 down")?;
    let changed = Instant::now();
    ensure_new_flows_come_from(&lab, &tidegate, SECOND)?;
    lost.ensure_ended_within(changed + SOON + SLACK)?;
    lab.host.bash(FIRST_UP_AGAIN)?.success()?;
    ensure_new_flows_come_from(&lab, &tidegate, FIRST)?;
    kept.talk().context("its address was always there")
}

#[test]
fn without_any_link_programs_are_told_at_once_and_with_one_they_go_on() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let mut tidegate = lab.tidegate("")?;
    lab.host.ip("link set up0 down")?;
    wait_until("the lack is told", SOON + SLACK, || {
        tidegate.status().is_ok_and(|status| {
            status["capture"]["problems"]
                .to_string()
                .contains("no default route")
        })
    })?;
    for server in SERVERS {
        let outcome = lab.host.connect(server, 80, PATIENCE)?;
        ensure!(
            outcome.word == "EHOSTUNREACH" || outcome.word == "ENETUNREACH",
            "{outcome:?}"
        );
    }
    lab.host.bash(FIRST_UP_AGAIN)?.success()?;
    ensure_new_flows_come_from(&lab, &tidegate, FIRST)?;
    wait_until("all is well again", SOON + SLACK, || is_well(&tidegate))
        .with_context(|| format!("{:?}", tidegate.status()))?;
    ensure!(!tidegate.process().has_ended());
    Ok(())
}

#[test]
fn a_start_without_any_link_waits_for_one() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    lab.host
        .bash("ip -4 route del default; ip -6 route del default")?
        .success()?;
    let tidegate = lab.tidegate("")?;
    wait_until("the lack is told", SOON + SLACK, || {
        tidegate
            .status()
            .is_ok_and(|status| status["health"] == "degraded")
    })?;
    lab.host.ip("-4 route add default via 192.168.77.1")?;
    lab.host.ip("-6 route add default via 2001:db8:77::1")?;
    ensure_new_flows_come_from(&lab, &tidegate, FIRST)
}

#[test]
fn a_host_that_moves_between_networks_again_and_again_is_no_fight() -> Result<()> {
    let lab = Lab::new()?;
    lab.second_uplink()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("")?;
    for round in 0..14 {
        let (number, device) = if round % 2 == 0 {
            (78, "up1")
        } else {
            (77, "up0")
        };
        lab.host.ip(&format!(
            "-4 route replace default via 192.168.{number}.1 dev {device}"
        ))?;
        wait_until("the new way is planned", SOON + SLACK, || {
            lab.host
                .bash("ip -4 route show table 5100")
                .is_ok_and(|shown| shown.stdout.contains(&format!("src 192.168.{number}.2")))
        })
        .with_context(|| format!("round {round}: {:?}", tidegate.status()))?;
    }
    wait_until("all is well", SOON + SLACK, || is_well(&tidegate))
        .with_context(|| format!("{:?}", tidegate.status()))
}

#[test]
fn nothing_leaves_in_the_clear_while_an_address_is_replaced() -> Result<()> {
    let lab = Lab::new()?;
    lab.second_uplink()?;
    let web = service::Http::start(&lab.server, 80)?;
    lab.host.bash(BEHIND_FIRST)?.success()?;
    let tidegate = lab.tidegate("[capture]\nfail = \"open\"\n")?;
    // There is another way out all along. Until the plan has followed, our own route names an address that is gone.
    let said = lab.host.python(
        "
import errno, socket, subprocess, time
subprocess.run('ip address del 192.168.77.2/24 dev up0', shell=True, check=True)
ends = time.monotonic() + 1
while time.monotonic() < ends:
    client = socket.socket()
    client.settimeout(5)
    refused = client.connect_ex(('203.0.113.10', 80))
    print(errno.errorcode[refused] if refused else client.getsockname()[1])
    client.close()
    time.sleep(0.02)",
    )?;
    let ports: Vec<String> = said.success()?.lines().map(str::to_owned).collect();
    let (refused, ports): (Vec<String>, Vec<String>) =
        ports.into_iter().partition(|word| word == "ENETUNREACH");
    ensure!(ports.len() > 5, "{ports:?}, {refused:?}");
    let flows = tidegate.flows_to("203.0.113.10:80")?;
    for port in &ports {
        let captured = flows.iter().any(|flow| {
            flow["local"]
                .as_str()
                .is_some_and(|local| local.ends_with(&format!(":{port}")))
        });
        ensure!(captured, "port {port} is in none of {} flows", flows.len());
    }
    drop(web);
    Ok(())
}

#[test]
fn a_command_s_connections_end_with_the_address_that_carries_them() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let session = lab.captured(Capture::Exec, "")?;
    for (server, address, route) in [
        (
            "203.0.113.10",
            "192.168.77.{}/24",
            "ip -4 route replace default via 192.168.77.1",
        ),
        ("[2001:db8:113::10]", "2001:db8:77::{}/64", ""),
    ] {
        let drip = session.start(&format!("curl -sSN http://{server}/drip"))?;
        drip.wait_for_output("drip")?;
        let (old, new) = (address.replace("{}", "2"), address.replace("{}", "9"));
        lab.host
            .bash(&format!(
                "set -e
ip address del {old} dev up0
ip address add {new} dev up0
{route}"
            ))?
            .success()?;
        const RECEIVE_ERROR: i32 = 56;
        let ended = drip.finish(SOON + SLACK)?;
        ensure!(ended.code() == RECEIVE_ERROR, "{ended:?}");
        let fetch = format!("curl -sS -m 2 http://{server}/whoami");
        let seen = session.bash(&fetch)?.success()?;
        ensure!(
            seen.contains(new.split('/').next().unwrap_or_default()),
            "{seen}"
        );
    }
    Ok(())
}

#[test]
fn a_connection_in_the_making_is_begun_anew_from_the_new_address() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let session = lab.captured(Capture::Exec, "")?;
    lab.router.ip("route add blackhole 203.0.113.20")?;
    let fetch =
        session.start("curl -sS -m 10 -w ' in %{time_connect}' http://203.0.113.20/whoami")?;
    session
        .gateway()
        .wait_for_flow("a flow that is being dialed", |flow| {
            flow["remote"] == "203.0.113.20:80" && flow["state"] == "dialing"
        })?;
    lab.router.ip("route del blackhole 203.0.113.20")?;
    lab.host
        .bash(
            "set -e
ip address del 192.168.77.2/24 dev up0
ip address add 192.168.77.9/24 dev up0
ip -4 route replace default via 192.168.77.1",
        )?
        .success()?;
    let said = fetch.finish(PATIENCE)?.success()?;
    ensure!(said.contains("192.168.77.9"), "{said}");
    Ok(())
}

#[test]
fn after_a_sleep_dead_connections_are_found_and_the_living_go_on() -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::TcpEcho::start(&lab.server, ECHO)?;
    let _tidegate = lab.tidegate("")?;
    let mut living = sessions(&lab)?;
    let mut forgotten = session(&lab, address::OTHER_V4)?;
    let mut silent = session(&lab, address::OTHER_V6)?;
    // The one's server has lost the connection without a word, the other's router drops all.
    lab.server
        .bash(
            "set -e
ip route add blackhole 192.168.77.2
ss --kill --no-header --tcp src 203.0.113.20
ip route del blackhole 192.168.77.2",
        )?
        .success()?;
    lab.router.ip("route add blackhole 2001:db8:113::20")?;
    sleep_an_hour(&lab)?;
    let woken = Instant::now();
    forgotten.ensure_ended_within(woken + SOON + SLACK)?;
    silent.ensure_ended_within(woken + Duration::from_secs(20))?;
    // No question is asked any more once all have been answered.
    wait_until("nobody is asked any more", PATIENCE, || {
        let timers = lab.host.bash("ss --no-header --tcp --options");
        timers.is_ok_and(|shown| !shown.stdout.contains("keepalive"))
    })?;
    for session in &mut living {
        session.talk()?;
    }
    Ok(())
}

/// To the gateway it looks so: more time has passed since boot than its clock has counted, and the network has news.
fn sleep_an_hour(lab: &Lab) -> Result<()> {
    let later = lab.folder().join("uptime");
    let later = later.display();
    lab.host
        .bash(&format!(
            "set -e
awk '{{ printf \"%.2f %.2f\\n\", $1 + 3600, $2 }}' /proc/uptime > {later}
mount --bind {later} /proc/uptime
ip address add 192.0.2.200/32 dev lo"
        ))?
        .success()
        .map(drop)
}

/// A TCP connection of a program on the host to the echo service.
struct Session(TcpStream);

fn sessions(lab: &Lab) -> Result<[Session; 2]> {
    let [v4, v6] = SERVERS.map(|server| session(lab, server));
    Ok([v4?, v6?])
}

fn session(lab: &Lab, server: &str) -> Result<Session> {
    let server = endpoint(server, ECHO)?;
    let stream = lab
        .host
        .inside(|| TcpStream::connect_timeout(&server, PATIENCE))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut session = Session(stream);
    session.talk()?;
    Ok(session)
}

impl Session {
    fn talk(&mut self) -> Result<()> {
        let mut answer = [0; 5];
        self.0.write_all(b"hello")?;
        self.0.read_exact(&mut answer)?;
        ensure!(&answer == b"hello");
        Ok(())
    }

    /// The program waits for an answer; it must learn that none will come.
    fn ensure_ended_within(&mut self, deadline: Instant) -> Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.0
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let read = self.0.read(&mut [0]);
        let ended = read.as_ref().is_err_and(|error| {
            [ErrorKind::ConnectionAborted, ErrorKind::ConnectionReset].contains(&error.kind())
        });
        ensure!(ended, "{read:?}");
        Ok(())
    }
}

/// New connections in both families reach the server from these addresses, and are captured.
fn ensure_new_flows_come_from(lab: &Lab, tidegate: &Daemon<'_>, expected: [&str; 2]) -> Result<()> {
    let begun = Instant::now();
    for (server, source) in SERVERS.into_iter().zip(expected) {
        let url = format!("curl -sS -m 1 http://{}/whoami", endpoint(server, 80)?);
        let left = (SOON + SLACK).saturating_sub(begun.elapsed());
        let mut said = None;
        wait_until(
            &format!("flows to {server} come from {source}"),
            left,
            || {
                said = lab.host.bash(&url).ok();
                said.as_ref().is_some_and(|said| {
                    let peer = said.stdout.rsplit_once(':').map(|(ip, _)| ip);
                    peer.is_some_and(|ip| ip.trim_matches(['[', ']']).ends_with(source))
                })
            },
        )
        .with_context(|| {
            format!(
                "{said:?}; {:?}",
                lab.host
                    .bash("ip route; ip -6 route; ip route show table 5100")
            )
        })?;
        ensure!(lab.is_captured(tidegate, server)?, "{server}");
    }
    Ok(())
}

fn uplinks(tidegate: &Daemon<'_>) -> String {
    tidegate
        .status()
        .map(|status| status["capture"]["uplinks"].to_string())
        .unwrap_or_default()
}

fn is_well(tidegate: &Daemon<'_>) -> bool {
    tidegate
        .status()
        .is_ok_and(|status| status["health"] == "good")
}
