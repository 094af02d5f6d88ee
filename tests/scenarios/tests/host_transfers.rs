//! Host capture: what real programs transfer arrives whole, and is listed under their names.

use anyhow::{Result, ensure};
use serde_json::Value;
use tidegate_lab::{Daemon, Lab, User, address, client, endpoint, service};

const SIZE: u64 = 200_000_000;

#[test]
fn downloads_of_200_megabytes_arrive_whole_in_both_families() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("")?;
    let expected = service::sha256(service::Pattern::new(SIZE))?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let server = endpoint(server, 80)?.to_string();
        let sum = lab.host.bash(&format!(
            "curl -sS http://{server}/bytes/{SIZE} | sha256sum"
        ))?;
        ensure!(sum.success()?.starts_with(&expected), "{server}");
        let flow = finished_flow(&tidegate, &server, "curl")?;
        ensure!(flow["bytes_down"].as_u64() > Some(SIZE), "{flow}");
        ensure!(flow["app"]["path"] == "/usr/bin/curl", "{flow}");
    }
    Ok(())
}

#[test]
fn uploads_of_200_megabytes_arrive_whole_in_both_families() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("")?;
    let body = lab.file("body", "")?;
    std::io::copy(
        &mut service::Pattern::new(SIZE),
        &mut std::fs::File::create(&body)?,
    )?;
    let expected = service::sha256(service::Pattern::new(SIZE))?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let server = endpoint(server, 80)?.to_string();
        let sum = lab
            .host
            .bash(&format!("curl -sS -T {} http://{server}/", body.display()))?
            .success()?;
        ensure!(sum == format!("{SIZE} {expected}"), "{server}: {sum}");
        let flow = finished_flow(&tidegate, &server, "curl")?;
        ensure!(flow["bytes_up"].as_u64() > Some(SIZE), "{flow}");
    }
    Ok(())
}

#[test]
fn sixty_four_downloads_at_once_arrive_whole() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("")?;
    let expected = service::sha256(service::Pattern::new(1_000_000))?;
    let sums = lab
        .host
        .bash(
            "seq 64 | xargs -P 64 -I N bash -o pipefail -c \
             'curl -sS http://203.0.113.10/bytes/1000000 | sha256sum' | sort | uniq --count",
        )?
        .success()?;
    let words: Vec<_> = sums.split_whitespace().collect();
    ensure!(words == ["64", &expected, "-"], "{sums}");
    let flows = tidegate.flows_to("203.0.113.10:80")?;
    let of_curl = flows.iter().filter(|flow| flow["app"]["name"] == "curl");
    ensure!(of_curl.count() == 64, "{flows:?}");
    Ok(())
}

#[test]
fn sixty_four_uploads_at_once_arrive_whole() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("")?;
    let body = lab.file("body", "")?;
    std::io::copy(
        &mut service::Pattern::new(1_000_000),
        &mut std::fs::File::create(&body)?,
    )?;
    let expected = service::sha256(service::Pattern::new(1_000_000))?;
    let sums = lab.host.bash(&format!(
        "seq 64 | xargs -P 64 -I N curl -sS -T {} 'http://[2001:db8:113::10]/' | sort | uniq --count",
        body.display()
    ))?;
    let sums = sums.success()?;
    let words: Vec<_> = sums.split_whitespace().collect();
    ensure!(words == ["64", "1000000", &expected], "{sums}");
    ensure!(tidegate.flows_to("[2001:db8:113::10]:80")?.len() == 64);
    Ok(())
}

#[test]
fn programs_keep_the_source_address_that_they_have_without_us() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("")?;
    for (server, own) in [
        (address::SERVER_V4, address::HOST_V4),
        (address::SERVER_V6, address::HOST_V6),
    ] {
        let server = endpoint(server, 80)?.to_string();
        let local = lab.host.bash(&format!(
            "curl -sS -o /dev/null -w '%{{local_ip}}' http://{server}/whoami"
        ))?;
        ensure!(local.success()? == own);
        let flow = tidegate.flow_to(&server)?;
        let local: std::net::SocketAddr = serde_json::from_value(flow["local"].clone())?;
        ensure!(local.ip().to_string() == own, "{flow}");
    }
    Ok(())
}

#[test]
fn datagrams_are_echoed_to_connected_and_to_unconnected_sockets() -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4, address::SERVER_V6], 7)?;
    let tidegate = lab.tidegate("")?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let connected = lab.host.bash(&client::udp_echo(server, 7, 5))?;
        ensure!(connected.success()? == "echoed", "{server}");
        let unconnected = lab.host.python(&unconnected_echo(server, 1400))?;
        ensure!(unconnected.success()? == format!("1400 from {server} 7"));
        let remote = endpoint(server, 7)?.to_string();
        let flows = tidegate.flows_to(&remote)?;
        ensure!(flows.len() == 2, "{flows:?}");
    }
    Ok(())
}

#[test]
fn one_socket_s_datagrams_to_several_servers_leave_from_one_port() -> Result<()> {
    let lab = Lab::new()?;
    let servers = [address::SERVER_V4, address::OTHER_V4];
    let echo = service::UdpEcho::start(&lab.server, &servers, 7)?;
    let tidegate = lab.tidegate("")?;
    let said = lab.host.python(
        "
import socket
client = socket.socket(type=socket.SOCK_DGRAM)
client.settimeout(5)
for server in ('203.0.113.10', '203.0.113.20'):
    client.sendto(server.encode(), (server, 7))
    print(client.recvfrom(100)[1][0])",
    )?;
    ensure!(said.success()? == "203.0.113.10\n203.0.113.20");
    let peers = echo.peers();
    ensure!(peers.len() == 2 && peers[0] == peers[1], "{peers:?}");
    ensure!(tidegate.flows_to("203.0.113.20:7")?.len() == 1);
    Ok(())
}

#[test]
fn a_datagram_larger_than_a_packet_is_echoed() -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4, address::SERVER_V6], 7)?;
    let tidegate = lab.tidegate("")?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let echo = lab.host.python(&unconnected_echo(server, 6000))?;
        ensure!(echo.success()? == format!("6000 from {server} 7"));
        tidegate.flow_to(&endpoint(server, 7)?.to_string())?;
    }
    Ok(())
}

#[test]
fn a_datagram_is_attributed_while_its_program_lives() -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4], 7)?;
    let tidegate = lab.tidegate("")?;
    let program = format!(
        "{}\ntime.sleep(60)",
        unconnected_echo(address::SERVER_V4, 100)
    );
    let alice = lab.host.python_background_as(User::ALICE, &program)?;
    alice.wait_for_output("100 from")?;
    let flow = tidegate.flow_to("203.0.113.10:7")?;
    ensure!(flow["protocol"] == "udp", "{flow}");
    ensure!(flow["app"]["uid"] == User::ALICE.0, "{flow}");
    ensure!(flow["app"]["pid"] == alice.pid(), "{flow}");
    Ok(())
}

/// Sends a datagram without connecting, and prints the length and the sender of the answer.
fn unconnected_echo(server: &str, length: usize) -> String {
    let (family, any) = if server.contains(':') {
        ("AF_INET6", "::")
    } else {
        ("AF_INET", "0.0.0.0")
    };
    format!(
        "
import socket, time
client = socket.socket(socket.{family}, socket.SOCK_DGRAM)
client.bind(('{any}', 0))
client.settimeout(5)
client.sendto(b'x' * {length}, ('{server}', 7))
answer, sender = client.recvfrom(65535)
print(len(answer), 'from', *sender[:2])"
    )
}

#[test]
fn dig_gets_answers_by_udp_and_by_tcp_in_both_families() -> Result<()> {
    let lab = Lab::new()?;
    let _names = service::Dns::start(&lab.server, &[("www.lab.test", "203.0.113.10")])?;
    let tidegate = lab.tidegate("")?;
    for (server, option, protocol) in [
        (address::DNS_V4, "+notcp", "udp"),
        (address::DNS_V4, "+tcp", "tcp"),
        (address::DNS_V6, "+notcp", "udp"),
        (address::DNS_V6, "+tcp", "tcp"),
    ] {
        let dig = format!("dig +short +tries=1 +time=5 {option} @{server} www.lab.test A");
        ensure!(lab.host.bash(&dig)?.success()? == "203.0.113.10", "{dig}");
        let remote = endpoint(server, 53)?.to_string();
        let flow = tidegate.wait_for_flow(&format!("{protocol} to {remote}"), |flow| {
            flow["remote"] == remote && flow["protocol"] == protocol
        })?;
        ensure!(flow["app"]["name"] == "dig", "{flow}");
    }
    Ok(())
}

#[test]
fn ping_is_answered_in_both_families() -> Result<()> {
    let lab = Lab::new()?;
    let tidegate = lab.tidegate("")?;
    for (command, server) in [
        ("ping -4", address::SERVER_V4),
        ("ping -6", address::SERVER_V6),
    ] {
        let said = lab
            .host
            .bash(&format!("{command} -c 3 -i 0.2 -W 5 {server}"))?
            .success()?;
        ensure!(said.contains("3 received"), "{said}");
        tidegate.wait_for_flow(&format!("an echo to {server}"), |flow| {
            flow["protocol"] == "icmp" && is_at(&flow["remote"], server)
        })?;
    }
    Ok(())
}

#[test]
fn an_ordinary_user_s_ping_is_answered_and_attributed() -> Result<()> {
    let lab = Lab::new()?;
    lab.host
        .sysctl("net.ipv4.ping_group_range", "0 2147483647")?;
    let tidegate = lab.tidegate("")?;
    let ping = format!("ping -c 2 -i 0.2 -W 5 {}", address::SERVER_V4);
    let said = lab.host.bash_as(User::ALICE, &ping)?.success()?;
    ensure!(said.contains("2 received"), "{said}");
    let flow = tidegate.wait_for_flow("alice's echo", |flow| {
        flow["protocol"] == "icmp" && is_at(&flow["remote"], address::SERVER_V4)
    })?;
    ensure!(flow["app"]["name"] == "ping", "{flow}");
    ensure!(flow["app"]["uid"] == User::ALICE.0, "{flow}");
    Ok(())
}

#[test]
fn ping_hears_of_the_router_at_which_its_packet_died() -> Result<()> {
    let lab = Lab::new()?;
    let tidegate = lab.tidegate("")?;
    for (command, server, router) in [
        ("ping -4", address::SERVER_V4, address::ROUTER_V4),
        ("ping -6", address::SERVER_V6, address::ROUTER_V6),
    ] {
        let ping = format!("{command} -n -c 1 -t 1 -W 5 {server}");
        let said = lab.host.bash(&ping)?.failure()?;
        let expected = format!("From {router} icmp_seq=1 Time");
        ensure!(said.contains(&expected), "{said}");
        lab.host
            .bash(&format!("{command} -c 1 -W 5 {server}"))?
            .success()?;
        tidegate.wait_for_flow(&format!("an echo to {server}"), |flow| {
            flow["protocol"] == "icmp" && is_at(&flow["remote"], server)
        })?;
    }
    Ok(())
}

fn is_at(remote: &Value, address: &str) -> bool {
    remote
        .as_str()
        .and_then(|text| text.parse::<std::net::SocketAddr>().ok())
        .is_some_and(|remote| remote.ip().to_string() == address)
}

fn finished_flow(tidegate: &Daemon<'_>, remote: &str, name: &str) -> Result<Value> {
    tidegate.wait_for_flow(&format!("a finished flow of {name} to {remote}"), |flow| {
        flow["remote"] == remote && flow["app"]["name"] == name && !flow["ended"].is_null()
    })
}
