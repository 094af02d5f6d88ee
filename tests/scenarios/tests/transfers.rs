//! What real programs transfer under either capture arrives whole, and is listed under their names.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidegate_lab::{Capture, Lab, Session, User, address, endpoint, service, under_both_captures};

const SIZE: u64 = 200_000_000;
/// How long an answer of the lab's own server may take.
const SOON: Duration = Duration::from_secs(5);
const SERVERS: [&str; 2] = [address::SERVER_V4, address::SERVER_V6];

under_both_captures! {
    downloads_of_200_megabytes_arrive_whole_in_both_families,
    uploads_of_200_megabytes_arrive_whole_in_both_families,
    sixty_four_downloads_at_once_arrive_whole,
    sixty_four_uploads_at_once_arrive_whole,
    names_are_resolved_and_reached_in_both_families,
    the_server_sees_the_host_s_address_and_the_record_the_program_s_own,
    datagrams_of_every_size_are_echoed,
    datagrams_of_an_unconnected_socket_are_echoed,
    one_socket_hears_every_peer_it_spoke_to,
    a_datagram_is_attributed_while_its_program_lives,
    dig_gets_answers_by_udp_and_by_tcp_in_both_families,
    an_ordinary_user_s_ping_is_answered_and_attributed,
    root_s_ping_is_answered_where_only_raw_sockets_are_allowed,
    ping_hears_of_the_router_at_which_its_packet_died,
}

fn downloads_of_200_megabytes_arrive_whole_in_both_families(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let web = service::Http::start(&lab.server, 80)?;
    let session = lab.captured(capture, "")?;
    let expected = service::sha256(service::Pattern::new(SIZE))?;
    for server in SERVERS {
        let url = format!("http://{}/bytes/{SIZE}", endpoint(server, 80)?);
        let sum = session.bash(&format!("curl -sS {url} | sha256sum"))?;
        ensure!(sum.success()?.starts_with(&expected), "{server}");
        let flow = session.ended_flow_to(server, 80)?;
        ensure!(flow["app"]["path"] == "/usr/bin/curl", "{flow}");
        ensure!(flow["app"]["name"] == "curl", "{flow}");
        ensure!(flow["bytes_down"].as_u64() > Some(SIZE), "{flow}");
    }
    let peers = web.peers();
    let clients: Vec<_> = peers.iter().map(|peer| peer.ip().to_string()).collect();
    ensure!(
        clients == [address::HOST_V4, address::HOST_V6],
        "{clients:?}"
    );
    Ok(())
}

fn uploads_of_200_megabytes_arrive_whole_in_both_families(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let session = lab.captured(capture, "")?;
    let payload = lab.payload(SIZE)?;
    let expected = service::sha256(service::Pattern::new(SIZE))?;
    for server in SERVERS {
        let url = format!("http://{}/", endpoint(server, 80)?);
        let sum = session
            .bash(&format!("curl -sS -T {} {url}", payload.display()))?
            .success()?;
        ensure!(sum == format!("{SIZE} {expected}"), "{server}: {sum}");
        let flow = session.ended_flow_to(server, 80)?;
        ensure!(flow["app"]["name"] == "curl", "{flow}");
        ensure!(flow["bytes_up"].as_u64() > Some(SIZE), "{flow}");
    }
    Ok(())
}

fn sixty_four_downloads_at_once_arrive_whole(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let session = lab.captured(capture, "")?;
    let expected = service::sha256(service::Pattern::new(1_000_000))?;
    let sums = session
        .bash(
            "seq 64 | xargs -P 64 -I N bash -o pipefail -c \
             'curl -sS http://203.0.113.10/bytes/1000000 | sha256sum' | sort | uniq --count",
        )?
        .success()?;
    let words: Vec<_> = sums.split_whitespace().collect();
    ensure!(words == ["64", &expected, "-"], "{sums}");
    let flows = session.gateway().flows_to("203.0.113.10:80")?;
    let of_curl = flows.iter().filter(|flow| flow["app"]["name"] == "curl");
    ensure!(of_curl.count() == 64, "{flows:?}");
    Ok(())
}

fn sixty_four_uploads_at_once_arrive_whole(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let session = lab.captured(capture, "")?;
    let payload = lab.payload(1_000_000)?;
    let expected = service::sha256(service::Pattern::new(1_000_000))?;
    let upload = format!(
        "seq 64 | xargs -P 64 -I N curl -sS -T {} 'http://[2001:db8:113::10]/' | sort | uniq --count",
        payload.display()
    );
    let sums = session.bash(&upload)?.success()?;
    let words: Vec<_> = sums.split_whitespace().collect();
    ensure!(words == ["64", "1000000", &expected], "{sums}");
    let flows = session.gateway().flows_to("[2001:db8:113::10]:80")?;
    ensure!(flows.len() == 64, "{flows:?}");
    Ok(())
}

fn names_are_resolved_and_reached_in_both_families(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let names = [
        ("www.lab.test", address::SERVER_V4),
        ("six.lab.test", address::SERVER_V6),
    ];
    let _names = service::Dns::start(&lab.server, &names)?;
    let session = lab.captured(capture, "")?;
    for (name, server) in names {
        let curl = format!("curl -sS --max-time 10 http://{name}/bytes/1000 | wc -c");
        ensure!(session.bash(&curl)?.success()? == "1000", "{name}");
        let flow = session.flow_to(server, 80)?;
        ensure!(flow["app"]["name"] == "curl", "{flow}");
    }
    Ok(())
}

fn the_server_sees_the_host_s_address_and_the_record_the_program_s_own(
    capture: Capture,
) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let session = lab.captured(capture, "")?;
    for (server, of_host) in [
        (address::SERVER_V4, address::HOST_V4),
        (address::SERVER_V6, address::HOST_V6),
    ] {
        let url = format!("http://{}/whoami", endpoint(server, 80)?);
        let said = session
            .bash(&format!(
                "curl -sS -w '%{{local_ip}} %{{local_port}}' {url}"
            ))?
            .success()?;
        let (seen, own) = said.split_once('\n').context("curl said one line")?;
        let seen: std::net::SocketAddr = seen.parse()?;
        ensure!(seen.ip().to_string() == of_host, "{said}");
        let (own, port) = own.split_once(' ').context("curl said one word")?;
        match capture {
            // Programs keep the address that they have without us.
            Capture::Host => ensure!(own == of_host, "{said}"),
            // A namespace of its own has addresses of its own.
            Capture::Exec => ensure!(own != of_host, "{said}"),
        }
        let flow = session.flow_to(server, 80)?;
        let local = endpoint(own, port.parse()?)?.to_string();
        ensure!(flow["local"] == local, "{flow}");
    }
    Ok(())
}

fn datagrams_of_every_size_are_echoed(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let echo = service::UdpEcho::start(&lab.server, &SERVERS, 7)?;
    let session = lab.captured(capture, "")?;
    for server in SERVERS {
        for length in [0, 1, 1400, 8000] {
            let outcome = session.echo(server, 7, length, SOON)?;
            ensure!(
                outcome.word == "echoed",
                "{server}, {length} bytes: {outcome:?}"
            );
        }
        ensure_echoes_listed(&session, server, 4)?;
    }
    ensure!(echo.peers().len() == 8, "{:?}", echo.peers());
    Ok(())
}

/// Each echo was a flow of its own.
fn ensure_echoes_listed(session: &Session<'_>, server: &str, count: usize) -> Result<()> {
    let flows = session
        .gateway()
        .flows_to(&endpoint(server, 7)?.to_string())?;
    ensure!(flows.len() == count, "{flows:?}");
    Ok(())
}

fn datagrams_of_an_unconnected_socket_are_echoed(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::UdpEcho::start(&lab.server, &SERVERS, 7)?;
    let session = lab.captured(capture, "")?;
    for server in SERVERS {
        for length in [1400, 6000] {
            let said = session.python(&unconnected_echo(server, length))?;
            let said = said.success()?;
            ensure!(
                said.ends_with(&format!("{length} from {server} 7")),
                "{said}"
            );
        }
        ensure_echoes_listed(&session, server, 2)?;
    }
    Ok(())
}

fn one_socket_hears_every_peer_it_spoke_to(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4, address::OTHER_V4], 7)?;
    let session = lab.captured(capture, "")?;
    let said = session.python(
        "
import socket
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(5)
peers = [('203.0.113.10', 7), ('203.0.113.20', 7)]
for peer in peers: client.sendto(peer[0].encode(), peer)
answers = {}
while len(answers) < 2:
    answer, peer = client.recvfrom(100)
    answers[peer] = answer.decode()
print(all(answers[peer] == peer[0] for peer in peers))",
    )?;
    ensure!(said.success()? == "True");
    // One mapping for both: the server sees one source.
    let peers = echo.peers();
    ensure!(peers.len() == 2 && peers[0] == peers[1], "{peers:?}");
    session.flow_to(address::SERVER_V4, 7)?;
    session.flow_to(address::OTHER_V4, 7)?;
    Ok(())
}

fn a_datagram_is_attributed_while_its_program_lives(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4], 7)?;
    let session = lab.captured(capture, "")?;
    let program = unconnected_echo(address::SERVER_V4, 100);
    let job = session.start_python(&format!("{program}\ntime.sleep(60)"))?;
    job.wait_for_output("100 from")?;
    let flow = session.flow_to(address::SERVER_V4, 7)?;
    ensure!(flow["protocol"] == "udp", "{flow}");
    ensure!(flow["app"]["uid"] == User::ALICE.0, "{flow}");
    let said = job.output();
    let pid = format!("pid {}\n", flow["app"]["pid"]);
    ensure!(said.starts_with(&pid), "{said}: {flow}");
    Ok(())
}

/// Sends a datagram without connecting; prints its pid, then the length and the sender of the answer.
fn unconnected_echo(server: &str, length: usize) -> String {
    let (family, any) = if server.contains(':') {
        ("AF_INET6", "::")
    } else {
        ("AF_INET", "0.0.0.0")
    };
    format!(
        "
import os, socket, time
print('pid', os.getpid())
client = socket.socket(socket.{family}, socket.SOCK_DGRAM)
client.bind(('{any}', 0))
client.settimeout(5)
client.sendto(b'x' * {length}, ('{server}', 7))
answer, sender = client.recvfrom(65535)
print(len(answer), 'from', *sender[:2])"
    )
}

fn dig_gets_answers_by_udp_and_by_tcp_in_both_families(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _names = service::Dns::start(&lab.server, &[("www.lab.test", address::SERVER_V4)])?;
    let session = lab.captured(capture, "")?;
    for (server, option, protocol) in [
        (address::DNS_V4, "+notcp", "udp"),
        (address::DNS_V4, "+tcp", "tcp"),
        (address::DNS_V6, "+notcp", "udp"),
        (address::DNS_V6, "+tcp", "tcp"),
    ] {
        let dig = format!("dig +short +tries=1 +time=5 {option} @{server} www.lab.test A");
        ensure!(
            session.bash(&dig)?.success()? == address::SERVER_V4,
            "{dig}"
        );
        let remote = endpoint(server, 53)?.to_string();
        let what = format!("{protocol} to {remote}");
        let flow = session.gateway().wait_for_flow(&what, |flow| {
            flow["remote"] == remote && flow["protocol"] == protocol
        })?;
        ensure!(flow["app"]["name"] == "dig", "{flow}");
    }
    Ok(())
}

fn an_ordinary_user_s_ping_is_answered_and_attributed(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    // As distributions ship it: without this an ordinary user, and so a gateway of his, may send no echo.
    lab.host
        .sysctl("net.ipv4.ping_group_range", "0 2147483647")?;
    let session = lab.captured(capture, "")?;
    for (ping, server) in [
        ("ping", address::SERVER_V4),
        ("ping -6", address::SERVER_V6),
    ] {
        let said = session
            .bash(&format!("{ping} -c 3 -i 0.2 -W 5 {server}"))?
            .success()?;
        ensure!(said.contains("3 received"), "{said}");
        let flow = session.echo_flow_to(server)?;
        ensure!(flow["app"]["name"] == "ping", "{flow}");
        ensure!(flow["app"]["uid"] == User::ALICE.0, "{flow}");
    }
    Ok(())
}

fn root_s_ping_is_answered_where_only_raw_sockets_are_allowed(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    // The kernel's own default: no group.
    lab.host.sysctl("net.ipv4.ping_group_range", "1 0")?;
    let session = lab.captured_as(capture, User::ROOT, "")?;
    for (ping, server) in [
        ("ping", address::SERVER_V4),
        ("ping -6", address::SERVER_V6),
    ] {
        let said = session
            .bash(&format!("{ping} -c 3 -i 0.2 -W 5 {server}"))?
            .success()?;
        ensure!(said.contains("3 received"), "{said}");
        session.echo_flow_to(server)?;
    }
    Ok(())
}

fn ping_hears_of_the_router_at_which_its_packet_died(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let session = lab.captured_as(capture, User::ROOT, "")?;
    for (ping, server, router) in [
        ("ping -4", address::SERVER_V4, address::ROUTER_V4),
        ("ping -6", address::SERVER_V6, address::ROUTER_V6),
    ] {
        let died = format!("{ping} -n -c 1 -t 1 -W 5 {server}");
        let said = session.bash(&died)?.failure()?;
        let expected = format!("From {router} icmp_seq=1 Time");
        ensure!(said.contains(&expected), "{said}");
        session
            .bash(&format!("{ping} -c 1 -W 5 {server}"))?
            .success()?;
        session.echo_flow_to(server)?;
    }
    Ok(())
}
