//! `bound_sockets`: what becomes of sockets that choose the uplink themselves, where the user wants more than a report.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidegate_lab::{Daemon, Lab, address, endpoint, service, wait_until};

const SERVERS: [&str; 2] = [address::SERVER_V4, address::SERVER_V6];
const DESTROY: &str = "[capture]\nbound_sockets = \"destroy\"\n";
const PROHIBIT: &str = "[capture]\nbound_sockets = \"prohibit\"\n";
const PATIENCE: Duration = Duration::from_secs(5);

/// Sockets that choose the uplink, and what they are told, one word a line.
const PRELUDE: &str = "
import errno, socket, struct, subprocess, time
def made(server, kind):
    made = socket.socket(socket.AF_INET6 if ':' in server else socket.AF_INET, kind)
    made.settimeout(8)
    return made
def bound(server, kind):
    bound = made(server, kind)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'up0')
    return bound
def choosing(server, kind):
    choosing = made(server, kind)
    option = (socket.IPPROTO_IPV6, 76) if ':' in server else (socket.IPPROTO_IP, 50)
    choosing.setsockopt(*option, struct.pack('!I', socket.if_nametoindex('up0')))
    return choosing
def told(action, *arguments):
    try: print(action(*arguments) or 'nothing')
    except OSError as error: print(errno.errorcode.get(error.errno, error))
";

fn flows(tidegate: &Daemon<'_>, remote: &str, is_leak: bool) -> Result<Vec<Value>> {
    let mut flows = tidegate.flows_to(remote)?;
    flows.retain(|flow| (flow["state"] == "uncaptured") == is_leak);
    Ok(flows)
}

#[test]
fn a_bound_connection_is_ended_at_once() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate(DESTROY)?;
    for server in SERVERS {
        let said = lab.host.python(&format!(
            "{PRELUDE}
def whole():
    client = bound('{server}', socket.SOCK_STREAM)
    client.connect(('{server}', 80))
    return client.recv(1)
begun = time.time()
told(whole)
print(time.time() - begun < 1.5)"
        ))?;
        let said = said.success()?;
        ensure!(said == "ECONNABORTED\nTrue", "{said}");
        let remote = endpoint(server, 80)?.to_string();
        let leaks = flows(&tidegate, &remote, true)?;
        let [leak] = leaks.as_slice() else {
            anyhow::bail!("{leaks:?}")
        };
        ensure!(
            leak["reason"] == "bound to a device, through up0; its socket was ended",
            "{leak}"
        );
    }
    let text = tidegate.ask(&["status"])?.success()?;
    ensure!(
        text.contains("2 flows through up0, bound to a device, 2 ended"),
        "{text}"
    );
    Ok(())
}

#[test]
fn a_bound_datagram_socket_is_told_once_and_captured_from_then_on() -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::UdpEcho::start(&lab.server, &SERVERS, 7)?;
    let tidegate = lab.tidegate(DESTROY)?;
    for server in SERVERS {
        let said = lab.host.python(&format!(
            "{PRELUDE}
sender = bound('{server}', socket.SOCK_DGRAM)
sender.sendto(b'first', ('{server}', 9))
told(sender.recv, 9)
sender.sendto(b'second', ('{server}', 7))
told(sender.recv, 9)"
        ))?;
        let said = said.success()?;
        ensure!(said == "ECONNABORTED\nb'second'", "{said}");
        let first = endpoint(server, 9)?.to_string();
        ensure!(flows(&tidegate, &first, true)?.len() == 1);
        let second = endpoint(server, 7)?.to_string();
        ensure!(flows(&tidegate, &second, true)?.is_empty());
        ensure!(flows(&tidegate, &second, false)?.len() == 1);
    }
    Ok(())
}

#[test]
fn a_socket_that_names_the_device_with_each_datagram_is_told_each_time() -> Result<()> {
    let lab = Lab::new()?;
    let tidegate = lab.tidegate(DESTROY)?;
    for server in SERVERS {
        let said = lab.host.python(&format!(
            "{PRELUDE}
sender = choosing('{server}', socket.SOCK_DGRAM)
sender.bind(('', 4711))
for _ in range(3):
    sender.sendto(b'x', ('{server}', 9))
    told(sender.recv, 9)"
        ))?;
        let aborted = ["ECONNABORTED"; 3].join("\n");
        let said = said.success()?;
        ensure!(said == aborted, "{said}");
        let remote = endpoint(server, 9)?.to_string();
        let leaks = flows(&tidegate, &remote, true)?;
        ensure!(leaks.len() == 1, "one flow, one record: {leaks:?}");
    }
    Ok(())
}

/// The option is one of datagrams: a connection does not ask it.
#[test]
fn a_connection_whose_socket_prefers_the_device_is_captured() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate(DESTROY)?;
    for server in SERVERS {
        let said = lab.host.python(&format!(
            "{PRELUDE}
client = choosing('{server}', socket.SOCK_STREAM)
told(client.connect, ('{server}', 80))"
        ))?;
        let said = said.success()?;
        ensure!(said == "nothing", "{said}");
        let remote = endpoint(server, 80)?.to_string();
        ensure!(flows(&tidegate, &remote, false)?.len() == 1);
        ensure!(flows(&tidegate, &remote, true)?.is_empty());
    }
    Ok(())
}

/// Rules ask for more than addresses.
#[test]
fn what_another_program_s_rule_leads_out_is_not_ended() -> Result<()> {
    let lab = Lab::new()?;
    let tidegate = lab.tidegate(DESTROY)?;
    for (n, server) in SERVERS.into_iter().enumerate() {
        let rules = [
            format!("to {server}"),
            "ipproto udp dport 9".to_owned(),
            "ipproto udp sport 4711".to_owned(),
            "uidrange 4712-4712".to_owned(),
        ];
        for (m, rule) in rules.iter().enumerate() {
            // The port differs where no rule asks for it: each is a flow of its own.
            let (local, user) = (if m == 2 { 4711 } else { 0 }, if m == 3 { 4712 } else { 0 });
            let port = if m == 1 { 9 } else { 20 + n * 10 + m };
            let said = lab.host.python(&format!(
                "{PRELUDE}
import os
os.seteuid({user})
sender = made('{server}', socket.SOCK_DGRAM)
os.seteuid(0)
sender.bind(('', {local}))
rule = 'lookup main pref 1 {rule}'.split()
family = '-6' if ':' in '{server}' else '-4'
subprocess.check_call(['ip', family, 'rule', 'add', *rule])
sender.sendto(b'x', ('{server}', {port}))
time.sleep(0.5)
print(sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
subprocess.check_call(['ip', family, 'rule', 'delete', *rule])"
            ))?;
            let said = said.success()?;
            ensure!(said == "0", "{rule}: {said}");
            let remote = endpoint(server, u16::try_from(port)?)?.to_string();
            wait_until("it is seen", PATIENCE, || {
                flows(&tidegate, &remote, true).is_ok_and(|leaks| leaks.len() == 1)
            })
            .with_context(|| format!("{rule}: {:?}", tidegate.flows()))?;
            let leaks = flows(&tidegate, &remote, true)?;
            ensure!(
                leaks[0]["reason"] == "past the rules, through up0",
                "{rule}: {leaks:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn prohibited_sockets_reach_nobody_beyond_the_link() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let echo = service::UdpEcho::start(&lab.server, &SERVERS, 7)?;
    let tidegate = lab.tidegate(PROHIBIT)?;
    for server in SERVERS {
        let said = lab.host.python(&format!(
            "{PRELUDE}
told(bound('{server}', socket.SOCK_STREAM).connect, ('{server}', 80))
for make in bound, choosing:
    def exchange():
        sender = make('{server}', socket.SOCK_DGRAM)
        sender.settimeout(1)
        sender.sendto(b'x', ('{server}', 7))
        return sender.recv(9)
    told(exchange)
plain = made('{server}', socket.SOCK_DGRAM)
plain.sendto(b'plain', ('{server}', 7))
told(plain.recv, 9)"
        ))?;
        // IPv4 falls back to the link, where nobody has this address.
        let answers = match server {
            address::SERVER_V4 => ["EHOSTUNREACH", "timed out", "timed out", "b'plain'"],
            _ => ["EACCES", "EACCES", "EACCES", "b'plain'"],
        };
        let said = said.success()?;
        ensure!(said == answers.join("\n"), "{said}");
    }
    drop((echo, tidegate));
    Ok(())
}
