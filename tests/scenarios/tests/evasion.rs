//! Programs that a rule is about and that try to look like something else, under either capture.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use tidegate_lab::{Capture, Lab, Session, address, service, under_both_captures};

const ECHO: u16 = 7;
/// Outside of `ip_local_port_range`: what leaves from here may be a service's answer.
const SERVICE_PORT: u16 = 20_000;

under_both_captures! {
    a_program_that_sends_from_a_service_s_port_is_judged_as_from_any_other,
    where_all_is_blocked_a_service_s_port_needs_a_rule_for_the_way_in,
    who_takes_a_port_over_is_judged_by_its_own_name,
    who_takes_a_ping_s_identifier_over_is_judged_by_its_own_name,
    who_hides_its_socket_does_not_pass_for_nobody,
    a_source_route_leads_round_no_rule,
}

/// Asks the echo service from this port, and prints `echoed`, `timeout` or the error's name.
fn ask_from(session: &Session<'_>, program: &Path, server: &str, port: u16) -> Result<String> {
    let (family, any) = if server.contains(':') {
        ("AF_INET6", "::")
    } else {
        ("AF_INET", "0.0.0.0")
    };
    let script = format!(
        "
import errno, socket
s = socket.socket(socket.{family}, socket.SOCK_DGRAM)
s.settimeout(2)
s.bind(('{any}', {port}))
try:
    s.connect(('{server}', {ECHO}))
    s.send(b'secret')
    print('echoed' if s.recv(100) == b'secret' else 'garbled')
except TimeoutError:
    print('timeout')
except OSError as error:
    print(errno.errorcode[error.errno])"
    );
    session.program(&program.display().to_string(), &script)
}

fn a_program_that_sends_from_a_service_s_port_is_judged_as_from_any_other(
    capture: Capture,
) -> Result<()> {
    let lab = Lab::new()?;
    let servers = [address::SERVER_V4, address::SERVER_V6];
    let echo = service::UdpEcho::start(&lab.server, &servers, ECHO)?;
    let red = lab.program("/usr/bin/python3", "red")?;
    let green = lab.program("/usr/bin/python3", "green")?;
    let rule = "[[rule]]\nname = \"no\"\napp = \"**/red\"\naction = \"block\"\n";
    let session = lab.captured(capture, rule)?;
    for server in servers {
        for port in [0, SERVICE_PORT] {
            let said = ask_from(&session, &red, server, port)?;
            ensure!(
                ["EACCES", "EHOSTUNREACH", "ECONNREFUSED"].contains(&said.as_str()),
                "{server} from {port}: {said}"
            );
        }
        ensure!(echo.peers().is_empty(), "{:?}", echo.peers());
    }
    for server in servers {
        let said = ask_from(&session, &green, server, SERVICE_PORT)?;
        ensure!(said == "echoed", "{server}: {said}");
    }
    ensure!(ensure_only_red_is_blocked(&session)? == 6);
    Ok(())
}

/// How many flows there are, each with the verdict that its program is to have.
fn ensure_only_red_is_blocked(session: &Session<'_>) -> Result<usize> {
    let flows = session.gateway().flows()?;
    for flow in &flows {
        let expected = if flow["app"]["name"] == "red" {
            "block"
        } else {
            "allow"
        };
        ensure!(flow["verdict"] == expected, "{flow}");
    }
    Ok(flows.len())
}

fn where_all_is_blocked_a_service_s_port_needs_a_rule_for_the_way_in(
    capture: Capture,
) -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4], ECHO)?;
    let green = lab.program("/usr/bin/python3", "green")?;
    let closed = "[policy]\ndefault = \"block\"\n";
    let opened = format!(
        "{closed}[[rule]]\ndirection = \"in\"\nport = \"udp/{SERVICE_PORT}\"\naction = \"allow\"\n"
    );
    let refusals = &["EACCES", "EHOSTUNREACH", "ECONNREFUSED"][..];
    let served = match capture {
        Capture::Host => &["echoed"][..],
        // No way leads in, so there are no services whose answers this could be.
        Capture::Exec => refusals,
    };
    for (config, expected) in [(closed, refusals), (&opened, served)] {
        let session = lab.captured(capture, config)?;
        let said = ask_from(&session, &green, address::SERVER_V4, SERVICE_PORT)?;
        ensure!(expected.contains(&said.as_str()), "{config}: {said}");
    }
    Ok(())
}

fn who_takes_a_port_over_is_judged_by_its_own_name(capture: Capture) -> Result<()> {
    /// Within `ip_local_port_range`.
    const PORT: u16 = 40_404;
    let lab = Lab::new()?;
    let servers = [address::SERVER_V4, address::SERVER_V6];
    let echo = service::UdpEcho::start(&lab.server, &servers, ECHO)?;
    let red = lab.program("/usr/bin/python3", "red")?;
    let green = lab.program("/usr/bin/python3", "green")?;
    let rule = "[[rule]]\nname = \"no\"\napp = \"**/red\"\naction = \"block\"\n";
    let session = lab.captured(capture, rule)?;
    for (turn, server) in servers.into_iter().enumerate() {
        for port in [PORT, SERVICE_PORT] {
            let said = ask_from(&session, &green, server, port)?;
            ensure!(said == "echoed", "{server} from {port}: {said}");
            let said = ask_from(&session, &red, server, port)?;
            ensure!(
                ["EACCES", "EHOSTUNREACH", "ECONNREFUSED"].contains(&said.as_str()),
                "{server} from {port}: {said}"
            );
            let said = ask_from(&session, &green, server, port)?;
            ensure!(said == "echoed", "{server} from {port}: {said}");
        }
        ensure!(echo.peers().len() == 4 * (turn + 1), "{:?}", echo.peers());
    }
    ensure_only_red_is_blocked(&session).map(drop)
}

/// Pings the server under this identifier, and prints `echoed`, `timeout` or the error's name.
fn ping_as(session: &Session<'_>, program: &Path, server: &str, identifier: u16) -> Result<String> {
    let (family, protocol, kind, any) = if server.contains(':') {
        ("AF_INET6", "IPPROTO_ICMPV6", 128, "::")
    } else {
        ("AF_INET", "IPPROTO_ICMP", 8, "0.0.0.0")
    };
    let script = format!(
        "
import errno, socket
s = socket.socket(socket.{family}, socket.SOCK_DGRAM, socket.{protocol})
s.settimeout(2)
s.bind(('{any}', {identifier}))
try:
    s.connect(('{server}', 0))
    s.send(bytes([{kind}, 0, 0, 0, 0, 0, 0, 1]) + b'secret')
    print('echoed' if s.recv(100).endswith(b'secret') else 'garbled')
except TimeoutError:
    print('timeout')
except OSError as error:
    print(errno.errorcode[error.errno])"
    );
    session.program(&program.display().to_string(), &script)
}

fn who_takes_a_ping_s_identifier_over_is_judged_by_its_own_name(capture: Capture) -> Result<()> {
    const IDENTIFIER: u16 = 4_711;
    let lab = Lab::new()?;
    lab.host
        .sysctl("net.ipv4.ping_group_range", "0 2147483647")?;
    let red = lab.program("/usr/bin/python3", "red")?;
    let green = lab.program("/usr/bin/python3", "green")?;
    let rules = "[policy]\ndefault = \"block\"\n\
                 [[rule]]\napp = \"**/green\"\naction = \"allow\"\n";
    let session = lab.captured(capture, rules)?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        for (program, may_pass) in [(&green, true), (&red, false), (&green, true)] {
            let said = ping_as(&session, program, server, IDENTIFIER)?;
            let program = program.display();
            ensure!(
                (said == "echoed") == may_pass,
                "{program} to {server}: {said}"
            );
        }
    }
    let flows = session.gateway().flows()?;
    ensure!(flows.len() == 6, "{flows:?}");
    Ok(())
}

/// Begins a connection and hides its socket in a UNIX socket's queue.
const HIDE: &str = "
import os, socket, time
held, queue = socket.socketpair()
s = socket.socket()
s.setblocking(False)
s.connect_ex(('203.0.113.10', 80))
socket.send_fds(held, [b'x'], [s.fileno()])
s.close()
print('hidden', flush=True)
time.sleep(60)
";

fn who_hides_its_socket_does_not_pass_for_nobody(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let red = lab.program("/usr/bin/python3", "red")?;
    let script = lab.file("hide.py", HIDE)?;
    let no_ebpf = "[capture]\nebpf = \"off\"\n";
    let rule = "[[rule]]\nname = \"no\"\napp = \"**/red\"\naction = \"block\"\n";
    for (rule, expected) in [(rule, "block"), ("", "allow")] {
        let config = match capture {
            Capture::Host => format!("{no_ebpf}{rule}"),
            Capture::Exec => rule.to_owned(),
        };
        let session = lab.captured(capture, &config)?;
        let pid = session.gateway().status()?["pid"].to_string();
        // So that it looks only once the socket is hidden.
        lab.host.bash(&format!("kill -STOP {pid}"))?.success()?;
        let hiding = session.start(&format!(
            "exec timeout 20 {} {}",
            red.display(),
            script.display()
        ))?;
        hiding.wait_for_output("hidden")?;
        lab.host.bash(&format!("kill -CONT {pid}"))?.success()?;
        let flow = session.gateway().wait_for_flow("a verdict", |flow| {
            flow["protocol"] == "tcp" && flow["verdict"].is_string()
        })?;
        ensure!(flow["verdict"] == expected, "{flow}");
        ensure!(flow["app"].is_null(), "{flow}");
        if expected == "block" {
            ensure!(flow["rule"] == "no", "{flow}");
        }
    }
    Ok(())
}

fn a_source_route_leads_round_no_rule(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V6], ECHO)?;
    let session = lab.captured(capture, "")?;
    // Segment routing (RFC 8754), the one type that an ordinary user may set: the server, by way of the server.
    let script = format!(
        "
import socket
server = socket.inet_pton(socket.AF_INET6, '{server}')
route = bytes([0, 4, 4, 1, 1, 0, 0, 0]) + server + server
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
IPV6_RTHDR = 57
s.setsockopt(socket.IPPROTO_IPV6, IPV6_RTHDR, route)
for _ in range(3): s.sendto(b'secret', ('{server}', {ECHO}))
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.settimeout(5)
s.sendto(b'open', ('{server}', {ECHO}))
print(s.recv(100).decode())",
        server = address::SERVER_V6
    );
    let said = session.python(&script)?.success()?;
    ensure!(said == "open", "{said}");
    ensure!(echo.peers().len() == 1, "{:?}", echo.peers());
    let dropped = &session.gateway().status()?["counters"]["packets_dropped"]["source route"];
    ensure!(*dropped == 3, "{dropped}");
    Ok(())
}

#[test]
fn who_puts_a_file_in_another_s_place_in_mounts_of_its_own_does_not_get_its_path() -> Result<()> {
    let lab = Lab::new()?;
    let red = lab.program(env!("CARGO_BIN_EXE_caller"), "red")?;
    let rules = "[policy]\ndefault = \"block\"\n\
                 [[rule]]\napp = \"/usr/bin/env\"\naction = \"allow\"\n";
    for ebpf in ["auto", "off"] {
        let tidegate = lab.tidegate(&format!("[capture]\nebpf = \"{ebpf}\"\n{rules}"))?;
        let script = format!(
            "mount --bind {} /usr/bin/env && exec /usr/bin/env tcp {} {ECHO}",
            red.display(),
            address::SERVER_V4,
        );
        lab.host.bash(&format!("unshare -rm sh -c '{script}'"))?;
        let flows = tidegate.flows()?;
        let flow = flows.iter().find(|flow| flow["protocol"] == "tcp");
        let flow = flow.with_context(|| format!("{ebpf}: {flows:?}"))?;
        let path = flow["app"]["path"].as_str().unwrap_or_default();
        ensure!(
            path.starts_with("/proc/inode/") && path.ends_with("/usr/bin/env"),
            "{ebpf}: {flow}"
        );
        ensure!(flow["verdict"] == "block", "{ebpf}: {flow}");
    }
    Ok(())
}
