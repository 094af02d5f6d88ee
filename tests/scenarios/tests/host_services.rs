//! Host capture: services that listen on the host, and connections that are older than our start.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidegate_lab::{Background, Lab, Namespace, User, address, endpoint, service};

const PORT: u16 = 8080;
/// Services from this port on lie within `ip_local_port_range`, where clients get theirs.
const EPHEMERAL_PORT: u16 = 40_404;
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn root_s_services_keep_their_old_clients_and_serve_new_ones() -> Result<()> {
    services_keep_their_clients(User::ROOT, PORT)
}

#[test]
fn an_ordinary_user_s_services_keep_their_old_clients_and_serve_new_ones() -> Result<()> {
    services_keep_their_clients(User::ALICE, PORT)
}

/// Clients beyond the router and on the host's own network, in both families, by TCP and UDP.
fn services_keep_their_clients(owner: User, port: u16) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let _service = echo_service(&lab, owner, port)?;
    let mut old = clients(&lab, port)?;
    for client in &mut old {
        client.talk_tcp("before")?;
        client.talk_udp("before")?;
    }
    let tidegate = lab.tidegate("")?;
    lab.ensure_captured(&tidegate)?;
    for client in &mut old {
        client.talk_tcp("after").context("an old client")?;
        client.talk_udp("after").context("an old client")?;
    }
    for client in &mut clients(&lab, port)? {
        client.talk_tcp("new").context("a new client")?;
        client.talk_udp("new").context("a new client")?;
    }
    // Root's TCP services answer natively; what else passes through us is listed.
    for protocol in ["tcp", "udp"].iter().skip(usize::from(owner == User::ROOT)) {
        let flow = tidegate.wait_for_flow(&format!("a client by {protocol}"), |flow| {
            flow["direction"] == "in" && flow["protocol"] == *protocol
        })?;
        ensure!(flow["app"]["uid"] == owner.0, "{flow}");
    }
    Ok(())
}

#[test]
fn a_service_on_a_port_that_clients_get_too_keeps_its_clients() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    for (owner, port) in [
        (User::ROOT, EPHEMERAL_PORT),
        (User::ALICE, EPHEMERAL_PORT + 1),
    ] {
        let _service = echo_service(&lab, owner, port)?;
        let mut old = clients(&lab, port)?;
        let tidegate = lab.tidegate("")?;
        lab.ensure_captured(&tidegate)?;
        for client in old.iter_mut().chain(&mut clients(&lab, port)?) {
            client.talk_tcp("hello")?;
            client.talk_udp("hello")?;
        }
    }
    Ok(())
}

/// One of each kind that a service may have.
fn clients(lab: &Lab, port: u16) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for machine in [&lab.server, &lab.router] {
        for host in [address::HOST_V4, address::HOST_V6] {
            clients.push(Client::new(machine, endpoint(host, port)?)?);
        }
    }
    Ok(clients)
}

#[test]
fn a_service_answers_with_much_more_than_it_was_asked() -> Result<()> {
    let lab = Lab::new()?;
    let size = 5_000_000;
    let expected = service::sha256(service::Pattern::new(size))?;
    let body = lab.file("body", "")?;
    std::io::copy(
        &mut service::Pattern::new(size),
        &mut std::fs::File::create(&body)?,
    )?;
    let serve = format!(
        "cd {} && exec /usr/bin/python3 -u -m http.server --bind :: {PORT}",
        lab.folder().display()
    );
    let web = lab.host.background_as(User::ALICE, &serve)?;
    web.wait_for_output("Serving")?;
    let tidegate = lab.tidegate("")?;
    for host in [address::HOST_V4, address::HOST_V6] {
        let url = format!("http://{}/body", endpoint(host, PORT)?);
        let sum = lab.server.bash(&format!("curl -sS {url} | sha256sum"))?;
        ensure!(sum.success()?.starts_with(&expected), "{url}");
    }
    let flow = tidegate.wait_for_flow("a client's flow", |flow| {
        flow["direction"] == "in" && flow["local"] == "192.168.77.2:8080"
    })?;
    ensure!(flow["app"]["uid"] == User::ALICE.0, "{flow}");
    Ok(())
}

#[test]
fn a_rule_for_the_way_in_refuses_new_clients_of_a_service() -> Result<()> {
    for owner in [User::ROOT, User::ALICE] {
        let lab = Lab::new()?;
        let _service = echo_service(&lab, owner, PORT)?;
        let _open = echo_service(&lab, owner, PORT + 1)?;
        let tidegate = lab.tidegate(
            "[[rule]]\nname = \"shut\"\ndirection = \"in\"\nport = [\"tcp/8080\"]\naction = \"block\"\n",
        )?;
        for host in [address::HOST_V4, address::HOST_V6] {
            let refused = service_says(&lab, endpoint(host, PORT)?);
            ensure!(
                refused == Err(ErrorKind::ConnectionRefused)
                    || refused == Err(ErrorKind::ConnectionReset),
                "{owner:?}: {refused:?}"
            );
            let served = service_says(&lab, endpoint(host, PORT + 1)?);
            ensure!(served.as_deref() == Ok("hello"), "{owner:?}: {served:?}");
        }
        let flow =
            tidegate.wait_for_flow("the refused client", |flow| flow["direction"] == "in")?;
        ensure!(
            flow["verdict"] == "block" && flow["rule"] == "shut",
            "{flow}"
        );
    }
    Ok(())
}

/// What a new client hears, or how it fails.
fn service_says(lab: &Lab, service: SocketAddr) -> Result<String, ErrorKind> {
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&service, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"hello")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    match lab.server.inside(exchange) {
        Ok(said) => said.map_err(|error| error.kind()),
        Err(_) => Err(ErrorKind::Other),
    }
}

#[test]
fn a_download_begun_before_our_start_finishes() -> Result<()> {
    let lab = Lab::new()?;
    // A small window is acknowledged all the time; a large one holds the rest of the transfer.
    lab.host.sysctl("net.ipv4.tcp_rmem", "4096 65536 131072")?;
    let _web = service::Http::start(&lab.server, 80)?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let server = endpoint(server, 80)?.to_string();
        let expected = service::sha256(service::Pattern::new(12_000_000))?;
        let mut curl = lab.host.background(&format!(
            "echo begun; curl -sS --limit-rate 3M http://{server}/bytes/12000000 | sha256sum"
        ))?;
        curl.wait_for_output("begun")?;
        wait_for_connection(&lab, "80")?;
        let tidegate = lab.tidegate("")?;
        ensure!(!curl.has_ended(), "the transfer was over before the start");
        ensure!(
            curl.wait(Duration::from_secs(30))? == 0,
            "{}",
            curl.output()
        );
        ensure!(curl.output().contains(&expected), "{}", curl.output());
        let flow = tidegate.flow_to(&server)?;
        ensure!(
            flow["direction"] == "out" && flow["app"]["name"] == "curl",
            "{flow}"
        );
    }
    Ok(())
}

#[test]
fn an_upload_begun_before_our_start_finishes() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let body = lab.file("body", "")?;
    std::io::copy(
        &mut service::Pattern::new(12_000_000),
        &mut std::fs::File::create(&body)?,
    )?;
    let expected = service::sha256(service::Pattern::new(12_000_000))?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let server = endpoint(server, 80)?.to_string();
        let mut curl = lab.host.background(&format!(
            "curl -sS --limit-rate 3M -T {} http://{server}/",
            body.display()
        ))?;
        wait_for_connection(&lab, "80")?;
        let tidegate = lab.tidegate("")?;
        ensure!(!curl.has_ended(), "the transfer was over before the start");
        ensure!(
            curl.wait(Duration::from_secs(30))? == 0,
            "{}",
            curl.output()
        );
        ensure!(curl.output().contains(&expected), "{}", curl.output());
        tidegate.flow_to(&server)?;
    }
    Ok(())
}

#[test]
fn an_ordinary_user_s_program_that_listens_where_it_connects_from_is_captured_and_judged()
-> Result<()> {
    let rule = "[[rule]]\nname = \"no other\"\nto = \"203.0.113.20\"\naction = \"block\"\n";
    for listens in ["before", "after"] {
        let lab = Lab::new()?;
        let _web = service::Http::start(&lab.server, 80)?;
        let listener = listener_that_connects_out(&lab, listens == "before")?;
        let tidegate = lab.tidegate(rule)?;
        let said = listener.connect(&lab)?;
        ensure!(
            said.contains("203.0.113.10 connected"),
            "listens {listens}: {said}"
        );
        ensure!(
            said.contains("203.0.113.20 ECONNREFUSED"),
            "listens {listens}: {said}"
        );
        for (remote, verdict) in [("203.0.113.10:80", "allow"), ("203.0.113.20:80", "block")] {
            let flow = tidegate.flow_to(remote)?;
            ensure!(flow["verdict"] == verdict, "{flow}");
            ensure!(flow["local"] == "192.168.77.2:8080", "{flow}");
            ensure!(flow["app"]["uid"] == User::ALICE.0, "{flow}");
        }
    }
    Ok(())
}

/// A program of alice that connects out from the port it listens on, once a file appears.
struct ListenerThatConnects {
    process: std::cell::RefCell<Background>,
}

fn listener_that_connects_out(lab: &Lab, listens_now: bool) -> Result<ListenerThatConnects> {
    let go = lab.folder().join("go");
    let (now, later) = if listens_now {
        ("listen()", "")
    } else {
        ("", "listen()")
    };
    let program = format!(
        "
import errno, os, socket, time
listener = None
def reusing():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(('0.0.0.0', {PORT}))
    return s
def listen():
    global listener
    listener = reusing()
    listener.listen()
{now}
print('ready')
while not os.path.exists('{go}'): time.sleep(0.02)
{later}
for server in ('203.0.113.10', '203.0.113.20'):
    client = reusing()
    client.settimeout(5)
    try:
        client.connect((server, 80))
        print(server, 'connected')
    except OSError as error:
        print(server, errno.errorcode.get(error.errno, error))
print('done')
time.sleep(60)",
        go = go.display()
    );
    let process = lab.host.python_background_as(User::ALICE, &program)?;
    process.wait_for_output("ready")?;
    Ok(ListenerThatConnects {
        process: process.into(),
    })
}

impl ListenerThatConnects {
    fn connect(&self, lab: &Lab) -> Result<String> {
        lab.file("go", "")?;
        let process = self.process.borrow_mut();
        process.wait_for_output("done")?;
        Ok(process.output())
    }
}

/// Echoes TCP and UDP on this port of the host, with one socket for both families.
fn echo_service(lab: &Lab, owner: User, port: u16) -> Result<Background> {
    let program = format!(
        "
import socket, threading
tcp = socket.create_server(('::', {port}), family=socket.AF_INET6, dualstack_ipv6=True)
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
udp.bind(('::', {port}))
def serve_udp():
    while True: udp.sendto(*udp.recvfrom(65535))
def serve(client):
    while data := client.recv(65536): client.sendall(data)
threading.Thread(target=serve_udp, daemon=True).start()
print('ready')
while True:
    client, _ = tcp.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()"
    );
    let service = lab.host.python_background_as(owner, &program)?;
    service.wait_for_output("ready")?;
    Ok(service)
}

/// A client elsewhere, by TCP and by UDP.
struct Client {
    tcp: TcpStream,
    udp: UdpSocket,
    service: SocketAddr,
}

impl Client {
    fn new(machine: &Namespace, service: SocketAddr) -> Result<Self> {
        let tcp = machine.inside(|| TcpStream::connect_timeout(&service, PATIENCE))?;
        let tcp = tcp.with_context(|| format!("cannot connect to {service}"))?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let local = if service.is_ipv4() {
            "0.0.0.0:0".parse()?
        } else {
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
        };
        let udp = machine.inside(|| UdpSocket::bind(local))??;
        udp.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { tcp, udp, service })
    }

    /// More than a packet must come back.
    fn talk_tcp(&mut self, word: &str) -> Result<()> {
        let sent = word.repeat(5000);
        self.tcp.write_all(sent.as_bytes())?;
        let mut answer = vec![0; sent.len()];
        self.tcp
            .read_exact(&mut answer)
            .with_context(|| format!("TCP to {}", self.service))?;
        ensure!(answer == sent.as_bytes(), "another answer by TCP");
        Ok(())
    }

    /// The answer must come from where the question went to.
    fn talk_udp(&mut self, word: &str) -> Result<()> {
        self.udp.send_to(word.as_bytes(), self.service)?;
        let mut answer = [0; 100];
        let (length, sender) = self
            .udp
            .recv_from(&mut answer)
            .with_context(|| format!("UDP to {}", self.service))?;
        ensure!(
            &answer[..length] == word.as_bytes(),
            "another answer by UDP"
        );
        ensure!(
            sender == self.service,
            "{sender} answers for {}",
            self.service
        );
        Ok(())
    }
}

fn wait_for_connection(lab: &Lab, port: &str) -> Result<()> {
    tidegate_lab::wait_until("a connection carries bytes", PATIENCE, || {
        let show = format!("ss --no-header --tcp state established dport = :{port}");
        lab.host
            .bash(&show)
            .is_ok_and(|shown| !shown.stdout.is_empty())
    })
}
