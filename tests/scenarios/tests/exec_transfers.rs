//! Exec capture: what real programs transfer arrives whole, and is listed under their names.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use tidegate_lab::{Lab, Session, address, endpoint, service};

const SIZE: u64 = 200_000_000;
/// How long an answer of the lab's own server may take.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn downloads_of_200_megabytes_arrive_whole_in_both_families() -> Result<()> {
    let lab = Lab::new()?;
    let web = service::Http::start(&lab.server, 80)?;
    let session = lab.session("")?;
    let expected = service::sha256(service::Pattern::new(SIZE))?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let server = endpoint(server, 80)?.to_string();
        let sum = session.bash(&format!(
            "curl -sS http://{server}/bytes/{SIZE} | sha256sum"
        ))?;
        ensure!(sum.success()?.starts_with(&expected), "{server}");
        let flow = ended_flow(&session, &server)?;
        ensure!(flow["app"]["path"] == "/usr/bin/curl", "{flow}");
        ensure!(flow["bytes_down"].as_u64() > Some(SIZE), "{flow}");
    }
    let clients: Vec<_> = web
        .peers()
        .iter()
        .map(|peer| peer.ip().to_string())
        .collect();
    ensure!(
        clients == [address::HOST_V4, address::HOST_V6],
        "{clients:?}"
    );
    Ok(())
}

#[test]
fn uploads_of_200_megabytes_arrive_whole_in_both_families() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let session = lab.session("")?;
    let payload = lab.payload(SIZE)?;
    let expected = service::sha256(service::Pattern::new(SIZE))?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let server = endpoint(server, 80)?.to_string();
        let sum = session
            .bash(&format!(
                "curl -sS -T {} http://{server}/",
                payload.display()
            ))?
            .success()?;
        ensure!(sum == format!("{SIZE} {expected}"), "{server}: {sum}");
        let flow = ended_flow(&session, &server)?;
        ensure!(flow["app"]["name"] == "curl", "{flow}");
        ensure!(flow["bytes_up"].as_u64() > Some(SIZE), "{flow}");
    }
    Ok(())
}

#[test]
fn sixty_four_downloads_at_once_arrive_whole() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let session = lab.session("")?;
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

#[test]
fn sixty_four_uploads_at_once_arrive_whole() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let session = lab.session("")?;
    let payload = lab.payload(1_000_000)?;
    let expected = service::sha256(service::Pattern::new(1_000_000))?;
    let upload = format!(
        "seq 64 | xargs -P 64 -I N curl -sS -T {} 'http://[2001:db8:113::10]/' | sort | uniq --count",
        payload.display()
    );
    let sums = session.bash(&upload)?.success()?;
    let words: Vec<_> = sums.split_whitespace().collect();
    ensure!(words == ["64", "1000000", &expected], "{sums}");
    ensure!(session.gateway().flows_to("[2001:db8:113::10]:80")?.len() == 64);
    Ok(())
}

#[test]
fn datagrams_of_every_size_are_echoed() -> Result<()> {
    let lab = Lab::new()?;
    let echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4, address::SERVER_V6], 7)?;
    let session = lab.session("")?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        for length in [0, 1, 1400, 8000] {
            let outcome = session.echo(server, 7, length, SOON)?;
            ensure!(
                outcome.word == "echoed",
                "{server}, {length} bytes: {outcome:?}"
            );
        }
        let flows = session
            .gateway()
            .flows_to(&endpoint(server, 7)?.to_string())?;
        ensure!(flows.len() == 4, "{flows:?}");
    }
    ensure!(echo.peers().len() == 8, "{:?}", echo.peers());
    Ok(())
}

#[test]
fn one_socket_hears_every_peer_it_spoke_to() -> Result<()> {
    let lab = Lab::new()?;
    let echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4, address::OTHER_V4], 7)?;
    let session = lab.session("")?;
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
    Ok(())
}

#[test]
fn dig_asks_the_gateway_which_asks_the_host_s_resolver() -> Result<()> {
    let lab = Lab::new()?;
    let names = service::Dns::start(
        &lab.server,
        &[
            ("www.lab.test", address::SERVER_V4),
            ("www.lab.test", address::SERVER_V6),
        ],
    )?;
    let session = lab.session("")?;
    for (question, expected) in [
        ("+notcp www.lab.test A", address::SERVER_V4),
        ("+tcp www.lab.test A", address::SERVER_V4),
        ("+notcp www.lab.test AAAA", address::SERVER_V6),
    ] {
        let dig = format!("dig +short +tries=1 +time=5 {question}");
        ensure!(session.bash(&dig)?.success()? == expected, "{dig}");
    }
    let full = session.bash("dig nothing.lab.test")?.success()?;
    ensure!(full.contains("NXDOMAIN"), "{full}");
    ensure!(
        full.contains("SERVER: 192.0.0.1#53"),
        "dig did not ask the gateway: {full}"
    );
    let askers = names.peers();
    let host = address::HOST_V4;
    ensure!(askers.len() == 4, "{askers:?}");
    ensure!(
        askers.iter().all(|asker| asker.ip().to_string() == host),
        "{askers:?}"
    );
    Ok(())
}

#[test]
fn a_resolver_on_the_host_s_loopback_is_asked_too() -> Result<()> {
    let lab = Lab::new()?;
    let _names = service::Dns::start(&lab.server, &[("www.lab.test", address::SERVER_V4)])?;
    let stub = "socat UDP4-LISTEN:53,bind=127.0.0.53,fork UDP4:203.0.113.53:53";
    let _stub = lab.host.background(stub)?;
    let listens = "until ss -Huln | grep --quiet 127.0.0.53; do sleep 0.02; done";
    lab.host.bash(listens)?.success()?;
    lab.host
        .bash("echo nameserver 127.0.0.53 >/etc/resolv.conf")?
        .success()?;
    let session = lab.session("")?;
    let dig = "dig +short +tries=1 +time=5 www.lab.test A";
    ensure!(session.bash(dig)?.success()? == address::SERVER_V4);
    Ok(())
}

#[test]
fn dig_reaches_a_name_server_of_its_own_choice() -> Result<()> {
    let lab = Lab::new()?;
    let _names = service::Dns::start(&lab.server, &[("www.lab.test", address::SERVER_V4)])?;
    let session = lab.session("")?;
    for server in [address::DNS_V4, address::DNS_V6] {
        let dig = format!("dig +short +tries=1 +time=5 @{server} www.lab.test A");
        ensure!(
            session.bash(&dig)?.success()? == address::SERVER_V4,
            "{dig}"
        );
        let flow = session
            .gateway()
            .flow_to(&endpoint(server, 53)?.to_string())?;
        ensure!(flow["app"]["name"] == "dig", "{flow}");
    }
    Ok(())
}

#[test]
fn ping_is_answered_in_both_families() -> Result<()> {
    let lab = Lab::new()?;
    // As distributions ship it: without this an ordinary user, and so the gateway, may send no echo.
    lab.host
        .sysctl("net.ipv4.ping_group_range", "0 2147483647")?;
    let session = lab.session("")?;
    for (ping, server) in [
        ("ping", address::SERVER_V4),
        ("ping -6", address::SERVER_V6),
    ] {
        let said = session
            .bash(&format!("{ping} -c 3 -i 0.2 -W 5 {server}"))?
            .success()?;
        ensure!(said.contains("3 received"), "{said}");
        let what = format!("an echo flow to {server}");
        let flow = session.gateway().wait_for_flow(&what, |flow| {
            let remote = flow["remote"].as_str().unwrap_or_default();
            flow["protocol"] == "icmp" && remote.contains(server)
        })?;
        ensure!(flow["app"]["name"] == "ping", "{flow}");
    }
    Ok(())
}

#[test]
fn programs_inside_reach_each_other_over_their_own_loopback() -> Result<()> {
    let lab = Lab::new()?;
    let session = lab.session("")?;
    let _server = session.start("socat TCP4-LISTEN:8080,bind=127.0.0.1,fork SYSTEM:'echo mine'")?;
    let listens = "until ss -Htln | grep --quiet 127.0.0.1:8080; do sleep 0.02; done";
    session.bash(listens)?.success()?;
    let said = session.bash("socat -u TCP4:127.0.0.1:8080 -")?.success()?;
    ensure!(said == "mine", "{said}");
    ensure!(session.gateway().flows_to("127.0.0.1:8080")?.is_empty());
    Ok(())
}

#[test]
fn the_host_s_loopback_is_reached_at_the_gateway_only_where_the_user_allowed_it() -> Result<()> {
    let lab = Lab::new()?;
    let server = "socat TCP4-LISTEN:8080,bind=127.0.0.1,fork SYSTEM:'echo host'";
    let _server = lab.host.background(server)?;
    let listens = "until ss -Htln | grep --quiet 127.0.0.1:8080; do sleep 0.02; done";
    lab.host.bash(listens)?.success()?;
    let ask = "socat -u TCP4:$(ip -4 route show default | cut -d' ' -f3):8080,connect-timeout=5 -";
    let refused = lab.exec().bash(ask)?.failure()?;
    ensure!(refused.contains("refused"), "{refused}");
    let open = lab.exec().option("--host-loopback").bash(ask)?.success()?;
    ensure!(open == "host", "{open}");
    Ok(())
}

/// The flow to this remote address, once it is over.
fn ended_flow(session: &Session<'_>, remote: &str) -> Result<Value> {
    let what = format!("an ended flow to {remote}");
    session.gateway().wait_for_flow(&what, |flow| {
        flow["remote"] == remote && !flow["ended"].is_null()
    })
}
