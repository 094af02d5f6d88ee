//! How connections fail and end under either capture. A program sees what it would see without us.

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Result, ensure};
use tidegate_lab::{Capture, Lab, User, address, service, under_both_captures, wait_until};

/// How soon a refusal that comes at once is there.
const AT_ONCE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(20);
const SERVERS: [&str; 2] = [address::SERVER_V4, address::SERVER_V6];

under_both_captures! {
    a_refused_port_is_refused_at_once,
    a_refused_datagram_is_refused_to_its_sender,
    a_router_s_word_about_a_datagram_reaches_its_sender,
    one_peer_s_refusal_is_not_another_s,
    an_address_without_a_route_is_unreachable,
    a_host_without_a_way_out_says_unreachable_at_once,
    ping_is_told_what_the_host_says_of_a_destination,
    a_black_hole_times_out_and_never_connects,
    the_echo_of_100_megabytes_comes_back_after_the_client_has_finished_sending,
    a_request_that_ends_with_a_finish_is_answered_after_it,
    a_server_may_finish_first_and_still_hear_the_client,
    a_server_may_speak_first,
    a_server_s_reset_in_mid_transfer_reaches_the_program_as_a_reset,
    a_server_s_reset_right_behind_its_data_reaches_the_program_as_a_reset,
    what_a_server_says_before_it_refuses_the_rest_of_an_upload_is_heard,
    a_program_s_reset_in_mid_transfer_reaches_the_server_as_a_reset,
    a_program_that_is_killed_leaves_no_connection_behind,
    a_port_may_be_used_again_at_once_where_the_server_closed_first,
}

fn a_refused_port_is_refused_at_once(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let session = lab.captured(capture, "")?;
    for server in SERVERS {
        let outcome = session.connect(server, 81, PATIENCE)?;
        ensure!(outcome.word == "ECONNREFUSED", "{server}: {outcome:?}");
        ensure!(outcome.took < AT_ONCE, "{server}: {outcome:?}");
        let flow = session.flow_to(server, 81)?;
        ensure!(flow["verdict"] == "allow", "{flow}");
        ensure!(flow["state"] == "refused", "{flow}");
    }
    Ok(())
}

fn a_refused_datagram_is_refused_to_its_sender(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let session = lab.captured(capture, "")?;
    for server in SERVERS {
        let outcome = session.echo(server, 81, 20, PATIENCE)?;
        ensure!(outcome.word == "ECONNREFUSED", "{server}: {outcome:?}");
        ensure!(outcome.took < AT_ONCE, "{server}: {outcome:?}");
        session.flow_to(server, 81)?;
    }
    Ok(())
}

fn a_router_s_word_about_a_datagram_reaches_its_sender(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let session = lab.captured(capture, "")?;
    for (server, expected) in [
        // Of the other addresses' errors the kernel tells datagram sockets nothing, with or without us.
        (address::PROHIBITED_V4, "EHOSTUNREACH"),
        (address::PROHIBITED_V6, "EACCES"),
    ] {
        let outcome = session.echo(server, 7, 20, PATIENCE)?;
        ensure!(outcome.word == expected, "{server}: {outcome:?}");
        ensure!(outcome.took < AT_ONCE, "{server}: {outcome:?}");
        session.flow_to(server, 7)?;
    }
    Ok(())
}

fn one_peer_s_refusal_is_not_another_s(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4], 7)?;
    let session = lab.captured(capture, "")?;
    let said = session.python(
        "
import socket
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(5)
answers = 0
for number in range(50):
    client.sendto(b'nobody', ('203.0.113.20', 81))
    client.sendto(b'somebody', ('203.0.113.10', 7))
    answers += client.recvfrom(100) == (b'somebody', ('203.0.113.10', 7))
print(answers)",
    )?;
    ensure!(said.success()? == "50");
    session.flow_to(address::OTHER_V4, 81)?;
    session.flow_to(address::SERVER_V4, 7)?;
    Ok(())
}

fn an_address_without_a_route_is_unreachable(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let session = lab.captured(capture, "")?;
    for (server, expected) in [
        (address::UNREACHABLE_V4, "EHOSTUNREACH"),
        (address::UNREACHABLE_V6, "ENETUNREACH"),
        (address::PROHIBITED_V4, "EHOSTUNREACH"),
        (address::PROHIBITED_V6, "EACCES"),
    ] {
        let outcome = session.connect(server, 80, PATIENCE)?;
        ensure!(outcome.word == expected, "{server}: {outcome:?}");
        session.flow_to(server, 80)?;
    }
    Ok(())
}

fn a_host_without_a_way_out_says_unreachable_at_once(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    lab.host.ip("-6 route del default")?;
    let _web = service::Http::start(&lab.server, 80)?;
    let session = lab.captured(capture, "")?;
    let outcome = session.connect(address::SERVER_V6, 80, PATIENCE)?;
    ensure!(
        ["EHOSTUNREACH", "ENETUNREACH"].contains(&outcome.word.as_str()),
        "{outcome:?}"
    );
    ensure!(outcome.took < AT_ONCE, "{outcome:?}");
    // A name with addresses in both families is reached by the other (Happy Eyeballs, RFC 8305).
    let resolve = "--resolve both.test:80:[2001:db8:113::10],203.0.113.10";
    let curl = format!("curl -sS --max-time 10 {resolve} http://both.test/bytes/1000 | wc -c");
    ensure!(session.bash(&curl)?.success()? == "1000");
    session.flow_to(address::SERVER_V4, 80)?;
    Ok(())
}

fn ping_is_told_what_the_host_says_of_a_destination(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    lab.host.ip("route add unreachable 203.0.113.0/24")?;
    let session = lab.captured_as(capture, User::ROOT, "")?;
    let ping = format!("ping -c 1 -W 10 {}", address::SERVER_V4);
    let said = session.bash(&ping)?.failure()?;
    ensure!(said.contains("Destination Host Unreachable"), "{said}");
    session.echo_flow_to(address::SERVER_V4)?;
    Ok(())
}

fn a_black_hole_times_out_and_never_connects(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let session = lab.captured(capture, "")?;
    for server in [address::BLACK_HOLE_V4, address::BLACK_HOLE_V6] {
        let outcome = session.connect(server, 80, Duration::from_secs(4))?;
        ensure!(outcome.word == "timeout", "{server}: {outcome:?}");
        let flow = session.flow_to(server, 80)?;
        ensure!(flow["state"] != "open", "{flow}");
        ensure!(flow["bytes_down"] == 0, "{flow}");
    }
    Ok(())
}

fn the_echo_of_100_megabytes_comes_back_after_the_client_has_finished_sending(
    capture: Capture,
) -> Result<()> {
    const SIZE: u64 = 100_000_000;
    let lab = Lab::new()?;
    let _echo = service::TcpEcho::start(&lab.server, 7)?;
    let session = lab.captured(capture, "")?;
    let payload = lab.payload(SIZE)?;
    let expected = service::sha256(service::Pattern::new(SIZE))?;
    for (server, remote) in [
        (address::SERVER_V4, "TCP4:203.0.113.10:7"),
        (address::SERVER_V6, "TCP6:[2001:db8:113::10]:7"),
    ] {
        let sum = session.bash(&format!(
            "socat -t 60 - {remote} <{} | sha256sum",
            payload.display()
        ))?;
        ensure!(sum.success()?.starts_with(&expected), "{server}");
        let flow = session.flow_to(server, 7)?;
        ensure!(flow["bytes_up"] == SIZE, "{flow}");
        ensure!(flow["bytes_down"] == SIZE, "{flow}");
    }
    Ok(())
}

fn a_request_that_ends_with_a_finish_is_answered_after_it(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let session = lab.captured(capture, "")?;
    let counter = "socat -t 60 TCP6-LISTEN:99,fork,ipv6only=0 SYSTEM:'wc -c'";
    let _counter = lab.server.background(counter)?;
    let listens = "until ss -Htln | grep --quiet :99; do sleep 0.02; done";
    lab.server.bash(listens)?.success()?;
    for (server, remote) in [
        (address::SERVER_V4, "TCP4:203.0.113.10:99"),
        (address::SERVER_V6, "TCP6:[2001:db8:113::10]:99"),
    ] {
        let counted = session.bash(&format!(
            "head -c 300000 /dev/zero | socat -t 60 - {remote}"
        ))?;
        ensure!(counted.success()? == "300000", "{server}");
        let flow = session.flow_to(server, 99)?;
        ensure!(flow["bytes_up"] == 300_000, "{flow}");
    }
    Ok(())
}

fn a_server_may_finish_first_and_still_hear_the_client(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _talker = service::TcpTalker::start(&lab.server, 19, 1000, service::Talk::ThenFinish)?;
    let session = lab.captured(capture, "")?;
    for server in SERVERS {
        let said = session.python(&format!(
            "
import socket
client = socket.create_connection(('{server}', 19), 10)
heard = 0
while data := client.recv(4096): heard += len(data)
client.sendall(b'x' * 50000)
client.shutdown(socket.SHUT_WR)
print(heard)"
        ))?;
        ensure!(said.success()? == "1000");
        let flow = session.ended_flow_to(server, 19)?;
        ensure!(flow["bytes_up"] == 50_000, "{flow}");
        ensure!(flow["bytes_down"] == 1000, "{flow}");
    }
    Ok(())
}

fn a_server_may_speak_first(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _talker = service::TcpTalker::start(&lab.server, 19, 1000, service::Talk::ThenListen)?;
    let session = lab.captured(capture, "")?;
    for server in SERVERS {
        let said = session.python(&format!(
            "
import socket
client = socket.create_connection(('{server}', 19), 10)
heard = 0
while heard < 1000: heard += len(client.recv(4096))
print(heard)"
        ))?;
        ensure!(said.success()? == "1000", "{server}");
        session.flow_to(server, 19)?;
    }
    Ok(())
}

fn a_server_s_reset_in_mid_transfer_reaches_the_program_as_a_reset(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let server = lab.server.python_background_as(
        User::ROOT,
        "
import socket, struct
listener = socket.create_server(('::', 19), family=socket.AF_INET6, dualstack_ipv6=True)
print('listens')
while True:
    client = listener.accept()[0]
    client.sendall(b'x' * 100000)
    client.recv(1)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    client.close()",
    )?;
    server.wait_for_output("listens")?;
    let session = lab.captured(capture, "")?;
    for server in SERVERS {
        let said = session.python(&format!(
            "
import socket
client = socket.create_connection(('{server}', 19), 10)
print('heard' if client.recv(4096) else 'silence')
client.send(b'y')
try:
    while client.recv(4096): pass
    print('finished')
except ConnectionResetError:
    print('reset')"
        ))?;
        ensure!(said.success()? == "heard\nreset", "{server}");
        session.flow_to(server, 19)?;
    }
    Ok(())
}

fn a_server_s_reset_right_behind_its_data_reaches_the_program_as_a_reset(
    capture: Capture,
) -> Result<()> {
    let lab = Lab::new()?;
    let _talker = service::TcpTalker::start(&lab.server, 19, 100_000, service::Talk::ThenReset)?;
    let session = lab.captured(capture, "")?;
    for server in SERVERS {
        let said = session.python(&format!(
            "
import socket
try:
    # The reset may be there before the program runs again after connect, with or without us.
    client = socket.create_connection(('{server}', 19), 10)
    while client.recv(4096): pass
    print('finished')
except ConnectionResetError:
    print('reset')"
        ))?;
        ensure!(said.success()? == "reset", "{server}");
        session.flow_to(server, 19)?;
    }
    Ok(())
}

/// It answers, and closes with bytes of the upload unread: its kernel then sends a RST.
fn what_a_server_says_before_it_refuses_the_rest_of_an_upload_is_heard(
    capture: Capture,
) -> Result<()> {
    let lab = Lab::new()?;
    let server = lab.server.python_background_as(
        User::ROOT,
        "
import socket
listener = socket.create_server(('::', 80), family=socket.AF_INET6, dualstack_ipv6=True)
print('listens')
while True:
    client = listener.accept()[0]
    client.recv(1000)
    client.sendall(b'413 too large')
    client.close()",
    )?;
    server.wait_for_output("listens")?;
    let session = lab.captured(capture, "")?;
    for server in SERVERS {
        let said = session.python(&format!(
            "
import socket
heard = 0
for _ in range(20):
    client = socket.create_connection(('{server}', 80), 10)
    try:
        while True: client.send(bytes(1 << 20))
    except OSError: pass
    try:
        heard += client.recv(100) == b'413 too large'
    except OSError as error:
        print(error)
    client.close()
print(heard)"
        ))?;
        ensure!(said.success()? == "20", "{server}");
    }
    Ok(())
}

fn a_program_s_reset_in_mid_transfer_reaches_the_server_as_a_reset(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let sink = service::Sink::start(&lab.server, 9)?;
    let session = lab.captured(capture, "")?;
    for server in SERVERS {
        let said = session.python(&format!(
            "
import socket, struct
client = socket.create_connection(('{server}', 9), 10)
client.sendall(b'x' * 100000)
client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
client.close()"
        ))?;
        said.success()?;
        session.flow_to(server, 9)?;
    }
    wait_until("both connections end", Duration::from_secs(10), || {
        sink.endings().len() == 2
    })?;
    let endings = sink.endings();
    let resets = endings
        .iter()
        .filter(|ending| ending.error == Some(ErrorKind::ConnectionReset));
    ensure!(resets.count() == 2, "{endings:?}");
    Ok(())
}

fn a_program_that_is_killed_leaves_no_connection_behind(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let sink = service::Sink::start(&lab.server, 9)?;
    let session = lab.captured(capture, "")?;
    let client = "exec 3<>/dev/tcp/203.0.113.10/9; echo some >&3; kill -KILL $$";
    ensure!(session.bash(client)?.code() == 128 + 9);
    wait_until("the server sees the end", Duration::from_secs(5), || {
        sink.endings().len() == 1
    })?;
    ensure!(sink.endings()[0].bytes == 5, "{:?}", sink.endings());
    session.ended_flow_to(address::SERVER_V4, 9)?;
    Ok(())
}

fn a_port_may_be_used_again_at_once_where_the_server_closed_first(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let session = lab.captured(capture, "")?;
    // The server finishes first; so once its side has heard of our end, the port is free here, and only the gateway could
    // remember it.
    let said = session.python(
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
    let flows = session.gateway().flows_to("203.0.113.10:80")?;
    ensure!(flows.len() == 20, "{flows:?}");
    Ok(())
}
