//! Host capture: UDP services that start after us on a port that clients get too (`ip_local_port_range`). What tells their
//! answers from a client's first datagram is that the peer has spoken to their socket before.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidegate_lab::{Background, Lab, Namespace, User, address, endpoint, service};

/// Within `ip_local_port_range`, as WireGuard's is.
const PORT: u16 = 51_820;
const ECHO: u16 = 7;
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer is waited for that must not come.
const BRIEFLY: Duration = Duration::from_secs(1);

#[test]
fn a_service_that_starts_after_us_answers_from_its_own_address_and_port() -> Result<()> {
    for owner in [User::ROOT, User::ALICE] {
        let lab = Lab::new()?;
        let tidegate = lab.tidegate("")?;
        let _service = peer(&lab, owner)?;
        for machine in [&lab.server, &lab.router] {
            for host in [address::HOST_V4, address::HOST_V6] {
                let client = Client::new(machine, endpoint(host, PORT)?)?;
                for word in ["first", "second"] {
                    client.expect(word, PATIENCE)?;
                }
            }
        }
        let flow = tidegate.wait_for_flow("a client's flow", |flow| flow["direction"] == "in")?;
        ensure!(flow["app"]["uid"] == owner.0, "{flow}");
        ensure!(
            !tidegate
                .flows()?
                .iter()
                .any(|flow| flow["direction"] == "out")
        );
    }
    Ok(())
}

#[test]
fn its_program_is_a_client_to_whom_it_speaks_to_first() -> Result<()> {
    let lab = Lab::new()?;
    let servers = [address::SERVER_V4, address::SERVER_V6];
    let echo = service::UdpEcho::start(&lab.server, &servers, ECHO)?;
    let tidegate =
        lab.tidegate("[[rule]]\nname = \"out\"\nport = \"udp/7\"\naction = \"allow\"\n")?;
    let _service = peer(&lab, User::ALICE)?;
    let other = Client::new(&lab.router, endpoint(address::HOST_V4, PORT)?)?;
    other.expect("hello", PATIENCE)?;
    // A word with a space tells the peer whom to speak to.
    for server in servers {
        let answer = other.ask(&format!("{server} {ECHO}"), PATIENCE)?;
        ensure!(answer == "echoed", "{server}: {answer}");
        let flow = tidegate.flow_to(&endpoint(server, ECHO)?.to_string())?;
        ensure!(
            flow["direction"] == "out" && flow["rule"] == "out",
            "{flow}"
        );
    }
    ensure!(
        echo.peers().iter().all(|peer| peer.port() != PORT),
        "{:?}",
        echo.peers()
    );
    Ok(())
}

#[test]
fn who_takes_the_port_over_is_not_taken_for_the_service() -> Result<()> {
    let lab = Lab::new()?;
    let tidegate = lab.tidegate("")?;
    let mut service = peer(&lab, User::ROOT)?;
    let client = Client::new(&lab.server, endpoint(address::HOST_V4, PORT)?)?;
    // Heard, and not answered.
    client.socket.send_to(b"quiet", client.service)?;
    service.wait_for_output("heard quiet")?;
    service.kill()?;
    let to = client.socket.local_addr()?.port();
    lab.host
        .python_as(
            User::ALICE,
            &format!(
                "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('0.0.0.0', {PORT}))
s.sendto(b'first', ('{}', {to}))",
                address::SERVER_V4
            ),
        )?
        .success()?;
    let mut datagram = [0; 100];
    let (_, from) = client.socket.recv_from(&mut datagram)?;
    ensure!(from.port() != PORT, "{from}");
    let flow = tidegate.flow_to(&format!("{}:{to}", address::SERVER_V4))?;
    ensure!(flow["direction"] == "out", "{flow}");
    Ok(())
}

#[test]
fn a_rule_for_the_way_in_lets_its_answers_die() -> Result<()> {
    let lab = Lab::new()?;
    let tidegate = lab.tidegate(&format!(
        "[[rule]]\nname = \"shut\"\ndirection = \"in\"\nport = \"udp/{PORT}\"\naction = \"block\"\n"
    ))?;
    let service = peer(&lab, User::ALICE)?;
    for host in [address::HOST_V4, address::HOST_V6] {
        let client = Client::new(&lab.server, endpoint(host, PORT)?)?;
        ensure!(client.ask("hello", BRIEFLY).is_err(), "{host} answered");
    }
    service.wait_for_output("heard hello")?;
    let flow = tidegate.wait_for_flow("the client's flow", |flow| flow["direction"] == "in")?;
    ensure!(
        flow["verdict"] == "block" && flow["rule"] == "shut",
        "{flow}"
    );
    Ok(())
}

#[test]
fn a_tunnel_of_the_kernel_s_own_sends_from_its_port() -> Result<()> {
    let lab = Lab::new()?;
    let tidegate = lab.tidegate("")?;
    // VXLAN with one source port sends as WireGuard does.
    lab.host.ip(&format!(
        "link add vx0 type vxlan id 7 remote {} dstport {PORT} srcport {PORT} {}",
        address::SERVER_V4,
        PORT + 1
    ))?;
    let far_end = Client::bound(&lab.server, endpoint("0.0.0.0", PORT)?)?;
    lab.host.ip("link set vx0 up")?;
    // The kernel keeps another number where a packet's mark is while it makes an MLD report (`reserved_tailroom`), and routes
    // the tunnel's packet by it: such a one goes past us as one with another program's mark.
    let flow = tidegate.wait_for_flow("the tunnel's flow", |flow| {
        flow["local"] == format!("{}:{PORT}", address::HOST_V4) && flow["state"] != "uncaptured"
    })?;
    ensure!(flow["direction"] == "in", "{flow}");
    let mut frame = [0; 1500];
    let (_, from) = far_end.recv_from(&mut frame)?;
    ensure!(from == endpoint(address::HOST_V4, PORT)?, "{from}");
    Ok(())
}

/// Speaks both families on one socket, which is all that a tunnel's end does: it echoes what it hears, but for `quiet`; at a
/// word of address and port it speaks to that peer first, and says whether it was echoed there.
fn peer(lab: &Lab, owner: User) -> Result<Background> {
    let program = format!(
        "
import ipaddress, socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(('::', {PORT}))
print('ready', flush=True)
while True:
    said, sender = s.recvfrom(65535)
    word = said.decode()
    print('heard', word, flush=True)
    if ' ' in word:
        host, port = word.split(' ')
        if '.' in host: host = '::ffff:' + host
        s.sendto(b'hello', (host, int(port)))
        answer, _ = s.recvfrom(65535)
        said = b'echoed' if answer == b'hello' else b'garbled'
    if word != 'quiet': s.sendto(said, sender)"
    );
    let peer = lab.host.python_background_as(owner, &program)?;
    peer.wait_for_output("ready")?;
    Ok(peer)
}

/// Elsewhere.
struct Client {
    socket: UdpSocket,
    service: SocketAddr,
}

impl Client {
    fn new(machine: &Namespace, service: SocketAddr) -> Result<Self> {
        let any = if service.is_ipv4() { "0.0.0.0" } else { "::" };
        let socket = Self::bound(machine, endpoint(any, 0)?)?;
        Ok(Self { socket, service })
    }

    fn bound(machine: &Namespace, local: SocketAddr) -> Result<UdpSocket> {
        let socket = machine.inside(|| UdpSocket::bind(local))??;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    }

    /// What comes back, from where the question went to.
    fn ask(&self, word: &str, patience: Duration) -> Result<String> {
        self.socket.set_read_timeout(Some(patience))?;
        self.socket.send_to(word.as_bytes(), self.service)?;
        let mut answer = [0; 100];
        let (length, sender) = self
            .socket
            .recv_from(&mut answer)
            .with_context(|| format!("asked {}", self.service))?;
        let service = self.service;
        ensure!(sender == service, "{sender} answers for {service}");
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    }

    fn expect(&self, word: &str, patience: Duration) -> Result<()> {
        let answer = self.ask(word, patience)?;
        ensure!(answer == word, "{answer}");
        Ok(())
    }
}
