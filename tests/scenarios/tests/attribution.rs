//! Every flow is listed under the program that made it, and none under another.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidegate_lab::{
    Capture, Lab, Session, User, address, service, under_both_captures, wait_until,
};

/// The program that sends its own name and is gone; see `src/bin/caller.rs`.
const CALLER: &str = env!("CARGO_BIN_EXE_caller");
const FIRST_PORT: u16 = 20_000;
/// Processes that come and go, some of them with sockets: what a slow or careless look-up takes for the culprit.
const FORK_STORM: &str = "
while :; do
    for n in 1 2 3 4 5 6 7 8; do /bin/true & (exec 3<>/dev/udp/127.0.0.1/9) & done
    wait
done";

under_both_captures! {
    three_hundred_names_of_one_program_are_told_apart,
    a_datagram_of_a_program_that_is_gone_is_its_own_or_nobody_s,
    a_record_says_who_it_was_in_full,
    datagrams_are_attributed_whether_the_socket_is_connected_or_not,
    a_mapped_tcp_socket_is_attributed,
    a_script_is_known_by_its_interpreter_and_its_command_line,
}

/// Each name calls a port of its own, so what its flow must say is known.
fn three_hundred_names_of_one_program_are_told_apart(capture: Capture) -> Result<()> {
    const COUNT: u16 = 300;
    let lab = Lab::new()?;
    let session = lab.captured(capture, "")?;
    let _inside = session.start(FORK_STORM)?;
    let _beside = lab.host.background_as(User::ALICE, FORK_STORM)?;
    let sinks: Vec<_> = (0..COUNT)
        .map(|number| service::Sink::start(&lab.server, FIRST_PORT + number))
        .collect::<Result<_>>()?;
    lab.program_under_names(CALLER, &(0..COUNT).map(name).collect::<Vec<_>>())?;
    session
        .bash(&call_all(&lab, "tcp", COUNT, address::SERVER_V4))?
        .success()?;

    let found = apps_by_port(&session, "tcp", COUNT)?;
    for (number, sink) in (0..COUNT).zip(&sinks) {
        wait_until("the call has ended", Duration::from_secs(5), || {
            !sink.endings().is_empty()
        })?;
        let app = &found[&(FIRST_PORT + number)];
        ensure!(app["name"] == name(number), "{}: {app}", name(number));
        let path = lab.folder().join(name(number));
        ensure!(app["path"] == path.display().to_string(), "{app}");
    }
    Ok(())
}

fn a_datagram_of_a_program_that_is_gone_is_its_own_or_nobody_s(capture: Capture) -> Result<()> {
    const COUNT: u16 = 60;
    let lab = Lab::new()?;
    let session = lab.captured(capture, "")?;
    let _inside = session.start(FORK_STORM)?;
    lab.program_under_names(CALLER, &(0..COUNT).map(name).collect::<Vec<_>>())?;
    session
        .bash(&call_all(&lab, "udp", COUNT, address::SERVER_V6))?
        .success()?;
    for (port, app) in apps_by_port(&session, "udp", COUNT)? {
        let right = app["name"] == name(port - FIRST_PORT);
        let unknown = app["unattributed"].is_string();
        ensure!(right || unknown, "port {port}: {app}");
    }
    Ok(())
}

#[test]
fn root_s_command_is_told_apart_also_where_it_is_gone_and_a_user_s_status_says_it_may_not_be()
-> Result<()> {
    const ROUNDS: usize = 20;
    let lab = Lab::new()?;
    let echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4], 7)?;
    lab.program_under_names(CALLER, &["red".to_owned(), "green".to_owned()])?;
    let script = format!(
        "cd {}; for _ in $(seq {ROUNDS}); do ./red udp {server} 7; ./green udp {server} 7; done",
        lab.folder().display(),
        server = address::SERVER_V4
    );
    lab.exec()
        .user(User::ROOT)
        .config("[[rule]]\napp = \"**/red\"\naction = \"block\"\n")?
        .bash(&script)?
        .success()?;
    let waited = wait_until("what may pass arrives", Duration::from_secs(5), || {
        echo.peers().len() >= ROUNDS
    });
    waited.with_context(|| format!("{:?}", echo.peers()))?;
    ensure!(echo.peers().len() == ROUNDS, "{:?}", echo.peers());

    let status = lab.session("")?.gateway().status()?;
    ensure!(status["capture"]["ebpf"]["state"] == "refused", "{status}");
    ensure!(
        status["not_seen"]
            .to_string()
            .contains("eBPF cannot be used")
    );
    Ok(())
}

fn name(number: u16) -> String {
    format!("call-{number}")
}

/// A script that runs the program under all its names, 20 at a time.
fn call_all(lab: &Lab, protocol: &str, count: u16, server: &str) -> String {
    let folder = lab.folder().display();
    format!(
        "for n in $(seq 0 {}); do echo {folder}/call-$n {protocol} {server} $(({FIRST_PORT} + n)); done \
         | xargs -P 20 -n 4 env",
        count - 1
    )
}

/// What the one flow to each port says of its program: its `app`, or the whole record if that is null.
fn apps_by_port(session: &Session<'_>, protocol: &str, count: u16) -> Result<BTreeMap<u16, Value>> {
    let mut apps = BTreeMap::new();
    let complete = wait_until("every flow is listed", Duration::from_secs(10), || {
        let flows = session.gateway().flows().unwrap_or_default();
        let mut flows: Vec<_> = flows
            .into_iter()
            .filter(|flow| flow["protocol"] == protocol && !flow["verdict"].is_null())
            .filter_map(|flow| Some((remote_port(&flow)?, flow)))
            .filter(|(port, _)| (FIRST_PORT..FIRST_PORT + count).contains(port))
            .collect();
        let listed = flows.len() == usize::from(count);
        apps = flows
            .drain(..)
            .map(|(port, flow)| (port, known_app(flow)))
            .collect();
        listed && apps.len() == usize::from(count)
    });
    complete.with_context(|| format!("ports: {:?}", apps.keys()))?;
    Ok(apps)
}

fn known_app(flow: Value) -> Value {
    if flow["app"].is_null() {
        flow
    } else {
        flow["app"].clone()
    }
}

fn remote_port(flow: &Value) -> Option<u16> {
    let remote: std::net::SocketAddr = flow["remote"].as_str()?.parse().ok()?;
    Some(remote.port())
}

fn a_record_says_who_it_was_in_full(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _talker = service::TcpTalker::start(&lab.server, 19, 10, service::Talk::ThenListen)?;
    let session = lab.captured(capture, "")?;
    let copy = lab.program("/usr/bin/socat", "some name")?;
    let job = session.start(&format!(
        "echo $$ >&2; exec '{}' -u TCP6:[2001:db8:113::10]:19 -",
        copy.display()
    ))?;
    let flow = session.gateway().wait_for_flow("an open flow", |flow| {
        flow["remote"] == "[2001:db8:113::10]:19" && flow["state"] == "open"
    })?;
    let app = &flow["app"];
    ensure!(app["path"] == copy.display().to_string(), "{flow}");
    ensure!(app["name"] == "some name", "{flow}");
    ensure!(app["uid"] == User::ALICE.0, "{flow}");
    ensure!(app["pid"] == job.errors().parse::<u32>()?, "{flow}");
    let words = [
        &copy.display().to_string(),
        "-u",
        "TCP6:[2001:db8:113::10]:19",
        "-",
    ];
    ensure!(app["command_line"] == serde_json::json!(words), "{flow}");
    ensure!(flow["unattributed"].is_null(), "{flow}");
    ensure!(flow["direction"] == "out", "{flow}");
    ensure!(flow["verdict"] == "allow", "{flow}");
    ensure!(flow["egress"] == "direct", "{flow}");
    Ok(())
}

fn datagrams_are_attributed_whether_the_socket_is_connected_or_not(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let echo = [address::SERVER_V4, address::SERVER_V6];
    let _echo = service::UdpEcho::start(&lab.server, &echo, 7)?;
    let session = lab.captured(capture, "")?;
    for (kind, set_up, send) in [
        (
            "connected, v4",
            "AF_INET",
            "connect(('203.0.113.10', 7)); client.send(b'x')",
        ),
        (
            "unconnected, v4",
            "AF_INET",
            "sendto(b'x', ('203.0.113.10', 7))",
        ),
        (
            "connected, v6",
            "AF_INET6",
            "connect(('2001:db8:113::10', 7)); client.send(b'x')",
        ),
        (
            "unconnected, v6",
            "AF_INET6",
            "sendto(b'x', ('2001:db8:113::10', 7))",
        ),
        (
            "connected, mapped",
            "AF_INET6",
            "connect(('::ffff:203.0.113.10', 7)); client.send(b'x')",
        ),
        (
            "unconnected, mapped",
            "AF_INET6",
            "sendto(b'x', ('::ffff:203.0.113.10', 7))",
        ),
    ] {
        let python = lab.program("/usr/bin/python3", &kind.replace(", ", "-"))?;
        let program = format!(
            "
import socket
client = socket.socket(socket.{set_up}, socket.SOCK_DGRAM)
client.settimeout(5)
client.{send}
client.recv(10)
print(client.getsockname()[1])"
        );
        let port = session.program(&python.display().to_string(), &program)?;
        let flow = session.gateway().wait_for_flow(kind, |flow| {
            let local = flow["local"].as_str().unwrap_or_default();
            flow["protocol"] == "udp" && local.ends_with(&format!(":{port}"))
        })?;
        ensure!(
            flow["app"]["path"] == python.display().to_string(),
            "{kind}: {flow}"
        );
    }
    Ok(())
}

fn a_mapped_tcp_socket_is_attributed(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _talker = service::TcpTalker::start(&lab.server, 19, 10, service::Talk::ThenFinish)?;
    let session = lab.captured(capture, "")?;
    let outcome = session.connect("::ffff:203.0.113.10", 19, Duration::from_secs(5))?;
    ensure!(outcome.word == "connected", "{outcome:?}");
    let flow = session.gateway().flow_to("203.0.113.10:19")?;
    let python = std::fs::canonicalize("/usr/bin/python3")?;
    ensure!(
        flow["app"]["path"] == python.display().to_string(),
        "{flow}"
    );
    Ok(())
}

fn a_script_is_known_by_its_interpreter_and_its_command_line(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let sink = service::Sink::start(&lab.server, 9)?;
    let session = lab.captured(capture, "")?;
    let script = lab.file(
        "script",
        "#!/bin/bash\necho hello >/dev/tcp/203.0.113.10/9\n",
    )?;
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    session.bash(&script.display().to_string())?.success()?;
    let flow = session.gateway().flow_to("203.0.113.10:9")?;
    ensure!(flow["app"]["name"] == "bash", "{flow}");
    ensure!(
        flow["app"]["command_line"][1] == script.display().to_string(),
        "{flow}"
    );
    ensure!(sink.peers().len() == 1);
    Ok(())
}
