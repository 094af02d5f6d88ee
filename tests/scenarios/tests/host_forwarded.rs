//! Host capture of what the host forwards: containers behind a bridge, masqueraded as container engines do it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidegate_lab::{Containers, Daemon, Hidden, Lab, User, address, endpoint, service, wait_until};

const FORWARDED: &str = "[capture]\nforwarded = [\"br0\"]\n";
const SERVERS: [&str; 2] = [address::SERVER_V4, address::SERVER_V6];
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer is waited for that must not come.
const BRIEFLY: Duration = Duration::from_secs(1);

/// Serves 300,000 bytes to everybody on port 80, which ordinary users may take there.
const WEB: &str = "
import http.server, socket
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'x' * 300_000)
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
Server(('::', 80), Handler).serve_forever()
";

/// Echoes datagrams to port 80.
const ECHO: &str = "
import socket
sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
sock.bind(('::', 80))
while True: sock.sendto(*sock.recvfrom(9999))
";

/// A UDP socket on a port of its own choice.
const BOUND: &str = "
import socket
sock = socket.socket(socket.AF_INET6 if ':' in 'SERVER' else socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(('ANY', 40004))
";

/// A datagram from an address that its machine does not have.
const SPOOF: &str = "
import socket
family = socket.AF_INET6 if ':' in 'SERVER' else socket.AF_INET
sock = socket.socket(family, socket.SOCK_DGRAM)
sock.setsockopt(*((socket.IPPROTO_IPV6, 75, 1) if family == socket.AF_INET6 else (socket.IPPROTO_IP, 19, 1)))
sock.bind(('FOREIGN', 0))
sock.sendto(b'x', ('SERVER', 9))
";

/// The host's address in the family of `server`.
fn host(server: &str) -> &'static str {
    if server.contains(':') {
        address::HOST_V6
    } else {
        address::HOST_V4
    }
}

/// The first container's address in the family of `server`.
fn one(server: &str) -> &'static str {
    if server.contains(':') {
        Containers::ONE_V6
    } else {
        Containers::ONE_V4
    }
}

/// The one flow to there is the first container's, of this program.
fn ensure_container_s(
    tidegate: &Daemon<'_>,
    server: &str,
    port: u16,
    program: &str,
) -> Result<Value> {
    let flow = tidegate.flow_to(&endpoint(server, port)?.to_string())?;
    let local = flow["local"].as_str().unwrap_or_default();
    ensure!(local.contains(one(server)), "its own address: {flow}");
    let name = flow["app"]["name"].as_str().unwrap_or_default();
    ensure!(name.starts_with(program), "{program}: {flow}");
    ensure!(flow["direction"] == "out", "{flow}");
    Ok(flow)
}

#[test]
fn a_masqueraded_container_is_captured_and_its_programs_are_known() -> Result<()> {
    let lab = Lab::new()?;
    let web = service::Http::start(&lab.server, 80)?;
    let _echo = service::UdpEcho::start(&lab.server, &SERVERS, 7)?;
    let containers = lab.containers(Hidden::Masqueraded)?;
    let tidegate = lab.tidegate(FORWARDED)?;
    for server in SERVERS {
        let url = format!("http://{}/bytes/3000000", endpoint(server, 80)?);
        let got = containers
            .one
            .bash(&format!("curl -sS {url} | sha256sum"))?;
        let expected = service::sha256(service::Pattern::new(3_000_000))?;
        ensure!(got.success()?.contains(&expected));
        ensure_container_s(&tidegate, server, 80, "curl")?;
        let echoed = containers.one.echo(server, 7, 100, PATIENCE)?;
        ensure!(echoed.word == "echoed", "{echoed:?}");
        ensure_container_s(&tidegate, server, 7, "python3")?;
        containers
            .one
            .bash(&format!("ping -c 3 -i 0.2 -W 5 {server}"))?
            .success()?;
        ensure_container_s(&tidegate, server, 0, "ping")?;
    }
    for peer in web.peers() {
        ensure!(
            [address::HOST_V4, address::HOST_V6].contains(&peer.ip().to_string().as_str()),
            "the host's own sockets carry it: {peer}"
        );
    }
    let text = tidegate.ask(&["status"])?.success()?;
    ensure!(
        text.contains("what comes in by br0 to be forwarded, through tide0f"),
        "{text}"
    );
    ensure!(!text.contains("\nleaks"), "{text}");
    Ok(())
}

#[test]
fn rules_judge_containers_by_program_and_others_are_let_alone() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let containers = lab.containers(Hidden::Masqueraded)?;
    let curl = "[[rule]]\nname = \"no curl\"\napp = { name = \"curl\" }\naction = \"block\"\n";
    let tidegate = lab.tidegate(&format!("{FORWARDED}{curl}"))?;
    for server in SERVERS {
        let url = format!("http://{}/bytes/10", endpoint(server, 80)?);
        let refused = containers.one.bash(&format!("curl -sS -m 5 {url}"))?;
        ensure!(refused.code() == 7, "connection refused: {refused:?}");
        let flow = ensure_container_s(&tidegate, server, 80, "curl")?;
        ensure!(
            flow["rule"] == "no curl" && flow["verdict"] == "block",
            "{flow}"
        );
        let other = containers.two.connect(server, 80, PATIENCE)?;
        ensure!(other.word == "connected", "{other:?}");
        // Another bridge was not named.
        let apart = containers.apart.bash(&format!("curl -sS -m 5 {url}"))?;
        apart.success()?;
    }
    let flows = tidegate.flows()?;
    let of_apart = |flow: &&Value| flow["local"].to_string().contains(Containers::APART_V4);
    ensure!(!flows.iter().any(|flow| of_apart(&flow)), "{flows:?}");
    Ok(())
}

#[test]
fn a_rule_judges_forwarded_flows_by_the_address_that_they_come_from() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let containers = lab.containers(Hidden::Masqueraded)?;
    let rules = format!(
        "[[set]]\nname = \"guests\"\nto = [\"{}/32\", \"{}\"]\n\
         [[rule]]\nname = \"no guests\"\nfrom = \"set:guests\"\naction = \"block\"\n\
         [[rule]]\nname = \"not from here\"\nfrom = [\"{}\", \"{}\"]\naction = \"block\"\n",
        Containers::ONE_V4,
        Containers::ONE_V6,
        address::HOST_V4,
        address::HOST_V6,
    );
    let tidegate = lab.tidegate(&format!("{FORWARDED}{rules}"))?;
    for server in SERVERS {
        // All three have the host's address on the wire.
        for (who, machine, expected) in [
            ("one", &containers.one, "ECONNREFUSED"),
            ("two", &containers.two, "connected"),
            ("the host", &lab.host, "ECONNREFUSED"),
        ] {
            let outcome = machine.connect(server, 80, PATIENCE)?;
            ensure!(outcome.word == expected, "{who} to {server}: {outcome:?}");
        }
        for (source, rule) in [(one(server), "no guests"), (host(server), "not from here")] {
            tidegate.wait_for_flow(&format!("{source} to {server}"), |flow| {
                let local = flow["local"].as_str().unwrap_or_default();
                local.contains(source) && flow["verdict"] == "block" && flow["rule"] == rule
            })?;
        }
    }
    Ok(())
}

#[test]
fn without_the_option_containers_are_left_alone() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let containers = lab.containers(Hidden::Masqueraded)?;
    let tidegate = lab.tidegate("[policy]\ndefault = \"block\"\n")?;
    for server in SERVERS {
        let outcome = containers.one.connect(server, 80, PATIENCE)?;
        ensure!(outcome.word == "connected", "{outcome:?}");
    }
    let judged = |flow: &Value| !flow["verdict"].is_null();
    let flows = tidegate.flows()?;
    ensure!(!flows.iter().any(judged), "{flows:?}");
    let status = tidegate.status()?;
    ensure!(status["capture"]["forwarded"].is_null(), "{status}");
    Ok(())
}

#[test]
fn published_ports_answer_everybody_and_a_rule_closes_them() -> Result<()> {
    let lab = Lab::new()?;
    let containers = lab.containers(Hidden::Masqueraded)?;
    let _web = containers.one.python_background_as(User::ALICE, WEB)?;
    let _echo = containers.one.python_background_as(User::ALICE, ECHO)?;
    let tidegate = lab.tidegate(FORWARDED)?;
    let port = Containers::PUBLISHED;
    let callers = [
        ("outside", &lab.server),
        ("next door", &lab.router),
        ("the host", &lab.host),
        ("another container", &containers.two),
        ("a container of another bridge", &containers.apart),
    ];
    for (who, caller) in callers {
        for host in [address::HOST_V4, address::HOST_V6] {
            let url = format!("http://{}/", endpoint(host, port)?);
            let got = caller.bash(&format!("curl -sS -m 10 {url} | wc -c"))?;
            let got = got.success().with_context(|| format!("{who}, {host}"))?;
            ensure!(got == "300000", "{who}, {host}: {got}");
            let echoed = caller.echo(host, port, 100, PATIENCE)?;
            ensure!(echoed.word == "echoed", "{who}, {host}: {echoed:?}");
        }
    }
    // The host's own program knows another address than its packets have.
    for container in [Containers::ONE_V4, Containers::ONE_V6] {
        let to = endpoint(container, 80)?.to_string();
        tidegate.wait_for_flow("the host's curl", |flow| {
            flow["remote"] == to && flow["protocol"] == "tcp" && flow["app"]["name"] == "curl"
        })?;
    }
    // Who calls from a distance is answered through us, by the program that serves.
    for client in ["203.0.113.", "2001:db8:113::"] {
        let served = tidegate.wait_for_flow("a client of the container", |flow| {
            flow["direction"] == "in" && flow["remote"].to_string().contains(client)
        })?;
        ensure!(
            served["local"] == endpoint(one(client), 80)?.to_string(),
            "{served}"
        );
        ensure!(served["carriage"] == "passed", "{served}");
        let name = served["app"]["name"].as_str().unwrap_or_default();
        ensure!(name.starts_with("python3"), "{served}");
    }
    ensure!(
        tidegate.status()?["leaks"]
            .as_array()
            .is_none_or(Vec::is_empty)
    );

    tidegate.rewrite_config(&format!(
        "{FORWARDED}[[rule]]\nname = \"shut\"\ndirection = \"in\"\nport = [\"tcp/80\", \"udp/80\"]\naction = \"block\"\n"
    ))?;
    wait_until("the rule is in force", PATIENCE, || {
        tidegate
            .status()
            .is_ok_and(|status| status["policy"]["rules"] == 1)
    })?;
    for host in [address::HOST_V4, address::HOST_V6] {
        let refused = lab.server.connect(host, port, PATIENCE)?;
        ensure!(refused.word == "ECONNREFUSED", "{host}: {refused:?}");
        let silent = lab.server.echo(host, port, 100, BRIEFLY)?;
        ensure!(silent.word != "echoed", "{host}: {silent:?}");
    }
    Ok(())
}

/// Its clients are beyond a link that is narrower than the uplink.
#[test]
fn a_container_s_service_is_told_what_fits_the_way_to_its_clients() -> Result<()> {
    let lab = Lab::new()?;
    lab.second_uplink()?;
    let narrow = "set -e
ip link set up1 mtu 1300
ip route add 203.0.113.0/24 via 192.168.78.1 dev up1
ip route add 2001:db8:113::/64 via 2001:db8:78::1 dev up1";
    lab.host.bash(narrow)?.success()?;
    lab.router.ip("link set down1 mtu 1300")?;
    let containers = lab.containers(Hidden::Masqueraded)?;
    let _web = containers.one.python_background_as(User::ALICE, WEB)?;
    let _tidegate = lab.tidegate(FORWARDED)?;
    for host in [address::HOST_V4, address::HOST_V6] {
        let url = format!("http://{}/", endpoint(host, Containers::PUBLISHED)?);
        let got = lab.server.bash(&format!("curl -sS -m 10 {url} | wc -c"))?;
        let got = got.success().context(url)?;
        ensure!(got == "300000", "{host}: {got}");
    }
    Ok(())
}

#[test]
fn routed_neighbours_are_captured_and_their_services_keep_their_addresses() -> Result<()> {
    let lab = Lab::new()?;
    let web = service::Http::start(&lab.server, 80)?;
    let _echo = service::UdpEcho::start(&lab.server, &SERVERS, 7)?;
    let containers = lab.containers(Hidden::Routed)?;
    let _served = containers.one.python_background_as(User::ALICE, WEB)?;
    let _echoes = containers.one.python_background_as(User::ALICE, ECHO)?;
    let tidegate = lab.tidegate(FORWARDED)?;
    for server in SERVERS {
        let url = format!("http://{}/bytes/100000", endpoint(server, 80)?);
        let got = containers
            .one
            .bash(&format!("curl -sS -m 10 {url} | wc -c"))?;
        ensure!(got.success()? == "100000");
        ensure_container_s(&tidegate, server, 80, "curl")?;
        let echoed = containers.one.echo(server, 7, 100, PATIENCE)?;
        ensure!(echoed.word == "echoed", "{echoed:?}");
        ensure_container_s(&tidegate, server, 7, "python3")?;
        let ping = format!("ping -c 1 -W 5 {server}");
        containers.one.bash(&ping)?.success()?;
        // The other way about. Of its addresses the server takes any.
        let network = if server.contains(':') {
            "2001:db8:113::"
        } else {
            "203.0.113."
        };
        let own = one(server);
        let url = format!("http://{}/", endpoint(own, 80)?);
        let got = lab.server.bash(&format!("curl -sS -m 10 {url} | wc -c"))?;
        ensure!(got.success()? == "300000");
        let echoed = lab.server.echo(own, 80, 100, PATIENCE)?;
        ensure!(echoed.word == "echoed", "{own}: {echoed:?}");
        lab.server
            .bash(&format!("ping -c 1 -W 5 {own}"))?
            .success()?;
        let served = tidegate.wait_for_flow("a client of the container", |flow| {
            flow["direction"] == "in" && flow["remote"].to_string().contains(network)
        })?;
        ensure!(
            served["local"] == endpoint(own, 80)?.to_string(),
            "{served}"
        );
    }
    let peers = web.peers();
    let ours = |peer: &SocketAddr| peer.ip().to_string() == address::HOST_V4;
    ensure!(
        peers.iter().any(ours),
        "carried by the host's own sockets: {peers:?}"
    );
    Ok(())
}

#[test]
fn a_container_s_port_that_a_program_of_the_host_has_too_is_the_container_s() -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::UdpEcho::start(&lab.server, &SERVERS, 7)?;
    let containers = lab.containers(Hidden::Masqueraded)?;
    let shut = "[[rule]]\nname = \"not the host's\"\napp = { name = \"host-program\" }\naction = \"block\"\n";
    let tidegate = lab.tidegate(&format!("{FORWARDED}{shut}"))?;
    let program = lab.program("/usr/bin/python3", "host-program")?;
    for server in SERVERS {
        let any = if server.contains(':') {
            "::"
        } else {
            "0.0.0.0"
        };
        let bound = BOUND.replace("ANY", any).replace("SERVER", server);
        // The host's program has the port on all addresses, those included that masquerading may give to the container.
        let hold = format!("{bound}print('there')\nsock.settimeout(30)\nprint(sock.recv(99))");
        let holder = lab
            .host
            .background(&format!("{} -u -c \"{hold}\"", program.display()))?;
        holder.wait_for_output("there")?;
        let ask = format!(
            "{bound}sock.sendto(b'hello', ('{server}', 7))\nsock.settimeout(5)\nprint(sock.recv(99).decode())"
        );
        let said = containers.one.python(&ask)?.success()?;
        ensure!(said == "hello", "{said}");
        let flow = ensure_container_s(&tidegate, server, 7, "python3")?;
        ensure!(flow["rule"].is_null(), "{flow}");
        ensure!(!holder.output().contains("hello"), "{}", holder.output());
    }
    Ok(())
}

#[test]
fn what_no_program_of_this_host_has_sent_is_forwarded_for_its_source() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let containers = lab.containers(Hidden::Masqueraded)?;
    let tidegate = lab.tidegate(FORWARDED)?;
    // A second network behind the container, whose addresses no process of this machine has.
    for (server, foreign) in SERVERS.into_iter().zip(["172.18.0.77", "fd18::77"]) {
        let spoof = SPOOF.replace("SERVER", server).replace("FOREIGN", foreign);
        containers.one.python(&spoof)?.success()?;
        let flow = tidegate.flow_to(&endpoint(server, 9)?.to_string())?;
        ensure!(flow["app"].is_null(), "{flow}");
        let why = flow["unattributed"].as_str().unwrap_or_default();
        ensure!(
            why.starts_with(&format!("forwarded for {foreign}: ")),
            "{flow}"
        );
    }
    Ok(())
}

#[test]
fn a_stop_leaves_the_host_as_it_was_and_closed_shuts_containers_too() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let containers = lab.containers(Hidden::Masqueraded)?;
    let before = lab.host.network_state()?;
    let mut tidegate = lab.tidegate(FORWARDED)?;
    ensure!(!before.changes(&lab.host.network_state()?).is_empty());
    ensure!(tidegate.process().stop()? == 0);
    before.ensure_equals(&lab.host.network_state()?)?;
    let mut tidegate = lab.tidegate("[capture]\nforwarded = [\"br0\"]\nfail = \"closed\"\n")?;
    tidegate.process().kill()?;
    for server in SERVERS {
        let shut = containers.one.connect(server, 80, BRIEFLY)?;
        ensure!(shut.word != "connected", "{shut:?}");
        let open = containers.apart.connect(server, 80, PATIENCE)?;
        ensure!(open.word == "connected", "not named: {open:?}");
    }
    lab.tidegate_command(&["recover"])?.success()?;
    before.ensure_equals(&lab.host.network_state()?)?;
    for server in SERVERS {
        let open = containers.one.connect(server, 80, PATIENCE)?;
        ensure!(open.word == "connected", "{open:?}");
    }
    Ok(())
}
