//! Host capture: how connections fail and end. A program sees what it would see without us.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidegate_lab::{Lab, address, client, endpoint, service, wait_until};

/// How soon a refusal that comes at once is there, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(1);

#[test]
fn a_refused_port_is_refused_at_once() -> Result<()> {
    let lab = Lab::new()?;
    let tidegate = lab.tidegate("")?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let before = Instant::now();
        let seen = lab.host.bash(&client::connect(server, 81, 10))?.success()?;
        ensure!(seen == "ECONNREFUSED", "{server}: {seen}");
        ensure!(before.elapsed() < AT_ONCE, "{:?}", before.elapsed());
        let flow = tidegate.flow_to(&endpoint(server, 81)?.to_string())?;
        ensure!(
            flow["verdict"] == "allow" && flow["state"] == "refused",
            "{flow}"
        );
    }
    Ok(())
}

#[test]
fn a_refused_datagram_is_refused_to_its_sender() -> Result<()> {
    let lab = Lab::new()?;
    let tidegate = lab.tidegate("")?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let seen = lab.host.bash(&client::udp_echo(server, 81, 5))?.success()?;
        ensure!(seen == "ECONNREFUSED", "{server}: {seen}");
        tidegate.flow_to(&endpoint(server, 81)?.to_string())?;
    }
    Ok(())
}

#[test]
fn an_address_without_a_route_is_unreachable() -> Result<()> {
    let lab = Lab::new()?;
    let tidegate = lab.tidegate("")?;
    for (server, expected) in [
        (address::UNREACHABLE_V4, "EHOSTUNREACH"),
        (address::UNREACHABLE_V6, "ENETUNREACH"),
    ] {
        let seen = lab.host.bash(&client::connect(server, 80, 20))?.success()?;
        ensure!(seen == expected, "{server}: {seen}");
        tidegate.flow_to(&endpoint(server, 80)?.to_string())?;
    }
    Ok(())
}

#[test]
fn a_host_without_a_way_out_says_unreachable() -> Result<()> {
    let lab = Lab::new()?;
    lab.host.ip("-6 route del default")?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("")?;
    ensure!(lab.is_captured(&tidegate, address::SERVER_V4)?);
    let before = Instant::now();
    let seen = lab
        .host
        .bash(&client::connect(address::SERVER_V6, 80, 20))?;
    let seen = seen.success()?;
    ensure!(seen == "ENETUNREACH" || seen == "EHOSTUNREACH", "{seen}");
    ensure!(before.elapsed() < AT_ONCE, "{:?}", before.elapsed());
    Ok(())
}

#[test]
fn a_black_hole_times_out_and_never_connects() -> Result<()> {
    let lab = Lab::new()?;
    let tidegate = lab.tidegate("")?;
    for server in [address::BLACK_HOLE_V4, address::BLACK_HOLE_V6] {
        let seen = lab.host.bash(&client::connect(server, 80, 4))?.success()?;
        ensure!(seen == "timeout", "{server}: {seen}");
        let flow = tidegate.flow_to(&endpoint(server, 80)?.to_string())?;
        ensure!(flow["state"] != "open" && flow["bytes_down"] == 0, "{flow}");
    }
    Ok(())
}

#[test]
fn the_echo_of_100_megabytes_comes_back_after_the_client_has_finished_sending() -> Result<()> {
    const SIZE: u64 = 100_000_000;
    let lab = Lab::new()?;
    let _echo = service::TcpEcho::start(&lab.server, 7)?;
    let tidegate = lab.tidegate("")?;
    let body = lab.file("body", "")?;
    std::io::copy(
        &mut service::Pattern::new(SIZE),
        &mut std::fs::File::create(&body)?,
    )?;
    let expected = service::sha256(service::Pattern::new(SIZE))?;
    for server in ["TCP4:203.0.113.10:7", "TCP6:[2001:db8:113::10]:7"] {
        let sum = lab.host.bash(&format!(
            "socat -t 60 - {server} < {} | sha256sum",
            body.display()
        ))?;
        ensure!(sum.success()?.starts_with(&expected), "{server}");
    }
    let flow = tidegate.flow_to("203.0.113.10:7")?;
    ensure!(
        flow["bytes_up"] == SIZE && flow["bytes_down"] == SIZE,
        "{flow}"
    );
    Ok(())
}

#[test]
fn a_server_may_finish_first_and_still_hear_the_client() -> Result<()> {
    let lab = Lab::new()?;
    let _talker = service::TcpTalker::start(&lab.server, 19, 1000, service::Talk::ThenFinish)?;
    let tidegate = lab.tidegate("")?;
    let said = lab.host.python(
        "
import socket
client = socket.create_connection(('203.0.113.10', 19), 10)
heard = 0
while data := client.recv(4096): heard += len(data)
client.sendall(b'x' * 50000)
client.shutdown(socket.SHUT_WR)
print(heard)",
    )?;
    ensure!(said.success()? == "1000");
    let flow = tidegate.wait_for_flow("an ended flow", |flow| {
        flow["remote"] == "203.0.113.10:19" && !flow["ended"].is_null()
    })?;
    ensure!(
        flow["bytes_up"] == 50_000 && flow["bytes_down"] == 1000,
        "{flow}"
    );
    Ok(())
}

#[test]
fn a_server_may_speak_first() -> Result<()> {
    let lab = Lab::new()?;
    let _talker = service::TcpTalker::start(&lab.server, 19, 1000, service::Talk::ThenListen)?;
    let tidegate = lab.tidegate("")?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let said = lab.host.python(&format!(
            "
import socket
client = socket.create_connection(('{server}', 19), 10)
heard = 0
while heard < 1000: heard += len(client.recv(4096))
print(heard)"
        ))?;
        ensure!(said.success()? == "1000");
        tidegate.flow_to(&endpoint(server, 19)?.to_string())?;
    }
    Ok(())
}

#[test]
fn a_server_s_reset_in_mid_transfer_reaches_the_program_as_a_reset() -> Result<()> {
    let lab = Lab::new()?;
    let _talker = service::TcpTalker::start(&lab.server, 19, 100_000, service::Talk::ThenReset)?;
    let tidegate = lab.tidegate("")?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let said = lab.host.python(&format!(
            "
import socket
client = socket.create_connection(('{server}', 19), 10)
try:
    while client.recv(4096): pass
    print('finished')
except ConnectionResetError:
    print('reset')"
        ))?;
        ensure!(said.success()? == "reset", "{server}");
        tidegate.flow_to(&endpoint(server, 19)?.to_string())?;
    }
    Ok(())
}

#[test]
fn a_program_s_reset_in_mid_transfer_reaches_the_server_as_a_reset() -> Result<()> {
    let lab = Lab::new()?;
    let sink = service::Sink::start(&lab.server, 9)?;
    let tidegate = lab.tidegate("")?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let program = format!(
            "
import socket, struct
client = socket.create_connection(('{server}', 9), 10)
client.sendall(b'x' * 100000)
client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
client.close()"
        );
        lab.host.python(&program)?.success()?;
        tidegate.flow_to(&endpoint(server, 9)?.to_string())?;
    }
    wait_until("both connections end", Duration::from_secs(10), || {
        sink.endings().len() == 2
    })?;
    let resets = sink
        .endings()
        .iter()
        .filter(|ending| ending.error == Some(ErrorKind::ConnectionReset))
        .count();
    ensure!(resets == 2, "{:?}", sink.endings());
    Ok(())
}

#[test]
fn a_port_may_be_used_again_at_once_where_the_server_closed_first() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("")?;
    // The server finishes first; so once its side has heard of our end, the port is free here, and only the gateway could
    // remember it.
    let said = lab.host.python(
        "
import socket, time
begun = time.monotonic()
for _ in range(20):
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.bind(('0.0.0.0', 20000))
    client.settimeout(5)
    client.connect(('203.0.113.10', 80))
    client.sendall(b'GET /whoami HTTP/1.1\\r\\n\\r\\n')
    while client.recv(4096): pass
    client.close()
    time.sleep(0.05)
print('slow' if time.monotonic() - begun > 5 else 'done')",
    )?;
    ensure!(said.success()? == "done");
    let flows = tidegate.flows_to("203.0.113.10:80")?;
    ensure!(flows.len() == 20, "{flows:?}");
    Ok(())
}
