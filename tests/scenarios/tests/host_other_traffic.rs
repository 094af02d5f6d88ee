//! Host capture: what is neither TCP, UDP nor ping of a program, and what of a link stays on it.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidegate_lab::{Background, Daemon, Lab, Namespace, User, address, service};

const GRE: u8 = 47;
const ESP: u8 = 50;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;
const SERVERS: [&str; 2] = [address::SERVER_V4, address::SERVER_V6];

#[test]
fn other_protocols_pass_both_ways_and_are_counted() -> Result<()> {
    let lab = Lab::new()?;
    let tidegate = lab.tidegate("")?;
    for protocol in [GRE, ESP, SCTP, UDP_LITE] {
        for server in SERVERS {
            let _answers = raw_echo(&lab.server, server, protocol)?;
            let said = lab.host.python(&raw_call(server, protocol))?.success()?;
            ensure!(said == "hello", "{protocol} to {server}: {said}");
            let flow = wait_for_protocol(&tidegate, server, protocol)?;
            ensure!(
                flow["verdict"] == "allow" && flow["direction"] == "out",
                "{flow}"
            );
            ensure!(flow["bytes_up"].as_u64() > Some(0), "{flow}");
        }
    }
    ensure!(tidegate.flows()?.len() == 8, "{:?}", tidegate.flows()?);
    Ok(())
}

#[test]
fn a_program_of_udp_lite_is_named_and_judged() -> Result<()> {
    let lab = Lab::new()?;
    let red = lab.program("/usr/bin/python3", "red")?;
    let green = lab.program("/usr/bin/python3", "green")?;
    let tidegate = lab.tidegate("[[rule]]\napp = \"**/red\"\naction = \"block\"\n")?;
    // A peer each: without ports it would be one flow.
    for (server, family, program, verdict) in [
        (address::SERVER_V4, "AF_INET", &red, "block"),
        (address::SERVER_V6, "AF_INET6", &green, "allow"),
    ] {
        let script = format!(
            "import socket, time; s = socket.socket(socket.{family}, socket.SOCK_DGRAM, {UDP_LITE}); \
             s.sendto(b'x', ('{server}', 7)); time.sleep(60)"
        );
        let command = format!("exec {} -c \"{script}\"", program.display());
        let _sender = lab.host.background(&command)?;
        let flow = wait_for_protocol(&tidegate, server, UDP_LITE)?;
        ensure!(flow["verdict"] == verdict, "{flow}");
        ensure!(
            flow["app"]["path"] == program.display().to_string(),
            "{flow}"
        );
    }
    Ok(())
}

#[test]
fn a_rule_refuses_another_protocol_and_counts_it() -> Result<()> {
    let lab = Lab::new()?;
    let tidegate = lab.tidegate(
        "[[rule]]\nname = \"no tunnels\"\nport = [\"ip/47\", \"ip/50\", \"ip/132\"]\naction = \"block\"\n",
    )?;
    for (count, protocol) in [GRE, ESP, SCTP].into_iter().enumerate() {
        for (family, server) in SERVERS.into_iter().enumerate() {
            let answers = raw_echo(&lab.server, server, protocol)?;
            let said = lab.host.python(&raw_call(server, protocol))?.success()?;
            ensure!(said == "refused", "{protocol} to {server}: {said}");
            ensure!(!answers.output().contains("heard"), "{}", answers.output());
            let flow = wait_for_protocol(&tidegate, server, protocol)?;
            ensure!(
                flow["verdict"] == "block" && flow["rule"] == "no tunnels",
                "{flow}"
            );
            let blocked = &tidegate.status()?["counters"]["flows_blocked"];
            ensure!(
                blocked.as_u64() >= Some((2 * count + family + 1).try_into()?),
                "{blocked}"
            );
        }
    }
    Ok(())
}

/// An MPTCP program falls back to TCP, as it does behind any proxy, and is known by its name.
#[test]
fn mptcp_connects_as_tcp() -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::TcpEcho::start(&lab.server, 7)?;
    let tidegate = lab.tidegate("")?;
    for server in SERVERS {
        let said = lab.host.python(&format!(
            "
import socket
IPPROTO_MPTCP = 262
family = socket.AF_INET6 if ':' in '{server}' else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM, IPPROTO_MPTCP)
s.settimeout(5)
s.connect(('{server}', 7))
s.sendall(b'hello')
print(s.recv(5).decode())"
        ))?;
        ensure!(said.success()? == "hello");
        let flow = tidegate.wait_for_flow("the program's flow", |flow| {
            flow["remote"]
                .as_str()
                .is_some_and(|remote| remote.contains(server))
                && !flow["verdict"].is_null()
        })?;
        ensure!(
            flow["app"]["name"]
                .as_str()
                .is_some_and(|name| name.starts_with("python")),
            "{flow}"
        );
    }
    Ok(())
}

#[test]
fn a_dhcp_lease_is_renewed_outside() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let mut servers = Vec::new();
    for (machine, server, port, client) in [
        (&lab.router, address::ROUTER_V4, 67, 68),
        (&lab.server, address::SERVER_V4, 67, 68),
        (&lab.router, "2001:db8:77::1", 547, 546),
    ] {
        servers.push((server, port, client, udp_echo(machine, server, port)?));
    }
    let tidegate = lab.tidegate("[capture]\nfail = \"closed\"\n[policy]\ndefault = \"block\"\n")?;
    for (server, port, client, echo) in servers {
        let said = lab
            .host
            .python(&datagram(server, port, &format!("s.bind(('', {client}))")))?;
        ensure!(said.success()? == "hello", "{server}");
        // The server sees the client's own port: the kernel sent it.
        ensure!(
            echo.output().contains(&format!("from port {client}")),
            "{}",
            echo.output()
        );
    }
    ensure!(tidegate.flows()?.is_empty(), "{:?}", tidegate.flows()?);
    Ok(())
}

/// What systemd-resolved does: a socket for each link.
#[test]
fn a_resolver_s_sockets_of_one_link_work_before_and_after_a_start() -> Result<()> {
    const IP_UNICAST_IF: u32 = 50;
    const IPV6_UNICAST_IF: u32 = 76;
    let lab = Lab::new()?;
    let mut tidegate = None;
    for stage in ["before", "after"] {
        for server in SERVERS {
            let level = if server.contains(':') {
                (41, IPV6_UNICAST_IF)
            } else {
                (0, IP_UNICAST_IF)
            };
            let dns = udp_echo(&lab.server, server, 53)?;
            for tie in [
                "s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'up0')".to_owned(),
                format!(
                    "s.setsockopt({}, {}, socket.htonl(socket.if_nametoindex('up0')).to_bytes(4, 'little'))",
                    level.0, level.1
                ),
            ] {
                let said = lab.host.python(&datagram(server, 53, &tie))?;
                ensure!(said.success()? == "hello", "{stage}: {server}: {tie}");
            }
            drop(dns);
        }
        if tidegate.is_none() {
            tidegate = Some(lab.tidegate("[capture]\nfail = \"closed\"\n")?);
        }
    }
    let tidegate = tidegate.context("started")?;
    // They go past us, which is said.
    for server in SERVERS {
        for way in ["bound to a device", "past the rules"] {
            tidegate.wait_for_flow(&format!("{server}: {way}"), |flow| {
                let has = |field: &str, text| {
                    flow[field]
                        .as_str()
                        .is_some_and(|value| value.contains(text))
                };
                flow["state"] == "uncaptured" && has("remote", server) && has("reason", way)
            })?;
        }
    }
    Ok(())
}

#[test]
fn a_search_by_multicast_hears_its_answers() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("[capture]\nfail = \"closed\"\n")?;
    for (group, port) in [
        ("239.255.255.250", 1900),
        ("224.0.0.251", 5353),
        ("ff02::c", 1900),
        ("ff02::fb", 5353),
    ] {
        let device = lab
            .router
            .bash("ip -o route get 192.168.77.2 | grep -o 'dev [^ ]*' | cut -d' ' -f2")?;
        let device = device.success()?;
        let answers = lab.router.python_background_as(User::ROOT, &format!(
            "
import socket, struct
v6 = ':' in '{group}'
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('', {port}))
index = socket.if_nametoindex('{device}')
if v6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, '{group}') + struct.pack('i', index))
else: s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton('{group}') + struct.pack('ii', 0, index))
print('ready')
said, asker = s.recvfrom(100)
s.sendto(said, asker)"
        ))?;
        answers.wait_for_output("ready")?;
        let set = "v6 and s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex('up0'))";
        let said = lab.host.python(&datagram(group, port, set))?;
        ensure!(said.success()? == "hello", "{group}");
    }
    ensure!(tidegate.flows()?.is_empty(), "{:?}", tidegate.flows()?);
    lab.ensure_captured(&tidegate)
}

/// A responder answers those that ask for it by unicast, from its own port.
#[test]
fn a_multicast_responder_s_unicast_answers_leave_from_its_port() -> Result<()> {
    let lab = Lab::new()?;
    let responder = |owner| -> Result<Background> {
        let responder = lab.host.python_background_as(owner, "
import socket
s = socket.socket(type=socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('', 5353))
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton('224.0.0.251') + socket.inet_aton('192.168.77.2'))
print('ready')
while True: s.sendto(*s.recvfrom(100))")?;
        responder.wait_for_output("ready")?;
        Ok(responder)
    };
    let ask = "
import socket
s = socket.socket(type=socket.SOCK_DGRAM)
s.settimeout(5)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton('192.168.77.1'))
s.sendto(b'hello', ('224.0.0.251', 5353))
print(*s.recvfrom(100)[1])";
    for begins in ["before", "after"] {
        let before = (begins == "before")
            .then(|| responder(User::ALICE))
            .transpose()?;
        let _tidegate = lab.tidegate("")?;
        let after = (begins == "after")
            .then(|| responder(User::ALICE))
            .transpose()?;
        let said = lab.router.python(ask)?.success()?;
        ensure!(said == "192.168.77.2 5353", "{begins}: {said}");
        drop((before, after));
    }
    Ok(())
}

#[test]
fn a_kernel_s_own_tunnel_works_before_and_after_a_start() -> Result<()> {
    let lab = Lab::new()?;
    for (server, host) in [
        (address::SERVER_V4, address::HOST_V4),
        (address::SERVER_V6, address::HOST_V6),
    ] {
        vxlan(&lab.server, 2, server, host)?;
        vxlan(&lab.host, 1, host, server)?;
        let ping = "ping -c 3 -i 0.2 -W 5 10.9.9.2";
        lab.host.bash(ping)?.success()?;
        let mut tidegate = lab.tidegate("")?;
        lab.host.bash(ping)?.success().context("after the start")?;
        let flow = tidegate.wait_for_flow("the tunnel's flow", |flow| {
            flow["remote"]
                .as_str()
                .is_some_and(|remote| remote.ends_with(":4789"))
                && flow["verdict"] == "allow"
        })?;
        ensure!(
            flow["app"].is_null() && flow["unattributed"].is_string(),
            "{flow}"
        );
        lab.host.ip("link del vx0")?;
        vxlan(&lab.host, 1, host, server)?;
        lab.host
            .bash(ping)?
            .success()
            .context("made after the start")?;
        ensure!(tidegate.process().stop()? == 0);
        lab.host.bash(ping)?.success().context("after the stop")?;
        for machine in [&lab.host, &lab.server] {
            machine.ip("link del vx0")?;
        }
    }
    Ok(())
}

fn vxlan(machine: &Namespace, number: u8, local: &str, remote: &str) -> Result<()> {
    machine.ip(&format!(
        "link add vx0 type vxlan id 5 dstport 4789 local {local} remote {remote}"
    ))?;
    machine.ip(&format!("address add 10.9.9.{number}/24 dev vx0"))?;
    machine.ip("link set vx0 up")
}

fn wait_for_protocol(tidegate: &Daemon<'_>, server: &str, protocol: u8) -> Result<Value> {
    tidegate.wait_for_flow(&format!("protocol {protocol} to {server}"), |flow| {
        flow["protocol"] == format!("ip/{protocol}")
            && flow["remote"]
                .as_str()
                .is_some_and(|remote| remote.contains(server))
            && !flow["verdict"].is_null()
    })
}

/// Sends back every packet of this protocol.
fn raw_echo(machine: &Namespace, address: &str, protocol: u8) -> Result<Background> {
    let echo = machine.python_background_as(
        User::ROOT,
        &format!(
            "
import socket
v6 = ':' in '{address}'
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW, {protocol})
s.bind(('{address}', 0))
print('ready')
while True:
    packet, sender = s.recvfrom(2000)
    print('heard')
    s.sendto(packet if v6 else packet[20:], sender[:2] if v6 else sender)"
        ),
    )?;
    echo.wait_for_output("ready")?;
    Ok(echo)
}

/// Prints what comes back of a packet of this protocol, or `refused`, or `silence`.
fn raw_call(server: &str, protocol: u8) -> String {
    format!(
        "
import socket
v6 = ':' in '{server}'
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW, {protocol})
s.settimeout(1)
s.connect(('{server}', 0))
try:
    s.send(b'hello, with room for a header')
    packet = s.recv(2000)
    print((packet if v6 else packet[20:])[:5].decode())
except TimeoutError: print('silence')
except OSError: print('refused')"
    )
}

/// Sends datagrams back, and says from which port they came.
fn udp_echo(machine: &Namespace, address: &str, port: u16) -> Result<Background> {
    let echo = machine.python_background_as(
        User::ROOT,
        &format!(
            "
import socket
s = socket.socket(socket.AF_INET6 if ':' in '{address}' else socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('{address}', {port}))
print('ready')
while True:
    said, sender = s.recvfrom(100)
    print('from port', sender[1])
    s.sendto(said, sender)"
        ),
    )?;
    echo.wait_for_output("ready")?;
    Ok(echo)
}

/// Prints the answer to a datagram from a socket that was prepared like this.
fn datagram(server: &str, port: u16, prepared: &str) -> String {
    format!(
        "
import socket
v6 = ':' in '{server}'
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
{prepared}
s.sendto(b'hello', ('{server}', {port}))
print(s.recv(100).decode())"
    )
}
