//! Host capture: what becomes of connections that are older than our start, and of ours at a restart.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tidegate_lab::{Background, Daemon, Lab, User, address, endpoint, service, wait_until};

/// How soon a connection that ends is told.
const AT_ONCE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
const ECHO: u16 = 7;
const WEB: u16 = 80;
const SINK: u16 = 9;
const SERVERS: [&str; 2] = [address::SERVER_V4, address::SERVER_V6];
const RESET: &str = "[capture]\nexisting = \"reset\"\n";

#[test]
fn idle_sessions_begun_before_our_start_end_at_once_where_the_user_wants_that() -> Result<()> {
    let lab = Lab::new()?;
    let sink = service::Sink::start(&lab.server, SINK)?;
    let mut sessions = Vec::new();
    for server in SERVERS {
        sessions.push(Session::open(&lab, server, SINK)?);
    }
    let before = Instant::now();
    let tidegate = lab.tidegate(RESET)?;
    for session in &mut sessions {
        session.ensure_cut()?;
    }
    ensure!(before.elapsed() < PATIENCE);
    wait_until("the server is told too", AT_ONCE, || {
        let resets = sink.endings();
        resets.len() == 2
            && resets
                .iter()
                .all(|ending| ending.error == Some(ErrorKind::ConnectionReset))
    })
    .with_context(|| format!("{:?}", sink.endings()))?;
    let new = Session::open(&lab, address::SERVER_V4, SINK)?;
    tidegate.flow_to(&new.remote.to_string()).map(drop)
}

#[test]
fn transfers_begun_before_our_start_end_at_once_where_the_user_wants_that() -> Result<()> {
    const RECEIVE_ERROR: i32 = 56;
    for rate in ["1M", "50M", "100G"] {
        let lab = Lab::new()?;
        lab.host.sysctl("net.ipv4.tcp_rmem", "4096 65536 262144")?;
        let _web = service::Http::start(&lab.server, WEB)?;
        let mut transfers = Vec::new();
        for server in SERVERS {
            let server = endpoint(server, WEB)?;
            transfers.push(lab.host.background_as(
                User::ALICE,
                &format!("exec curl -sS --limit-rate {rate} http://{server}/bytes/900000000000 -o /dev/null"),
            )?);
        }
        wait_until("both have begun", PATIENCE, || connected(&lab, WEB) == 2)?;
        let _tidegate = lab.tidegate(RESET)?;
        wait_until("both connections are gone", AT_ONCE, || {
            connected(&lab, WEB) == 0
        })?;
        // What had come is still theirs to read.
        for mut curl in transfers {
            ensure!(
                curl.wait(PATIENCE)? == RECEIVE_ERROR,
                "{rate}: {}",
                curl.output()
            );
        }
    }
    Ok(())
}

/// What our rules do not lead to us is not ours to end.
#[test]
fn a_reset_of_older_connections_leaves_alone_what_is_not_captured() -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::TcpEcho::start(&lab.server, ECHO)?;
    let mut captured = Session::open(&lab, address::SERVER_V4, ECHO)?;
    let outsiders = lab.host.python_background_as(
        User::ROOT,
        &format!(
            "
import os, socket, time
def connected(option, value):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, option, value)
    s.connect(('{server}', {ECHO}))
    return s
outsiders = {{'marked': connected(socket.SO_MARK, 7), 'bound': connected(socket.SO_BINDTODEVICE, b'up0')}}
print('ready')
while not os.path.exists('{go}'): time.sleep(0.02)
for name, s in outsiders.items():
    s.sendall(b'hello')
    print(name, 'hears', s.recv(5))",
            server = address::SERVER_V4,
            go = lab.folder().join("go").display(),
        ),
    )?;
    outsiders.wait_for_output("ready")?;
    let (mut local, mut local_peer) = lab.host.inside(|| -> Result<_> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        Ok((client, listener.accept()?.0))
    })??;
    let _tidegate = lab.tidegate(RESET)?;
    captured.ensure_cut()?;
    lab.file("go", "")?;
    for name in ["marked", "bound"] {
        outsiders.wait_for_output(&format!("{name} hears b'hello'"))?;
    }
    local.write_all(b"still here")?;
    let mut heard = [0; 10];
    local_peer.read_exact(&mut heard)?;
    Ok(())
}

#[test]
fn a_reset_of_older_connections_ends_the_clients_of_captured_services_too() -> Result<()> {
    let lab = Lab::new()?;
    let mut clients = Vec::new();
    let mut services = Vec::new();
    for (owner, port) in [(User::ALICE, 8080), (User::ROOT, 8081)] {
        services.push(echo_service(&lab, owner, port)?);
        let service = endpoint(address::HOST_V4, port)?;
        let client = lab.server.inside(|| TcpStream::connect(service))??;
        let mut client = Session::of(client, service)?;
        client.talk()?;
        clients.push(client);
    }
    let _tidegate = lab.tidegate(RESET)?;
    let [alices, roots] = &mut clients[..] else {
        bail!("two clients")
    };
    alices
        .ensure_cut()
        .context("the client of a captured service")?;
    roots
        .talk()
        .context("the client of a service that answers natively")
}

#[test]
fn idle_sessions_begun_before_our_start_are_shown_and_go_on() -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::TcpEcho::start(&lab.server, ECHO)?;
    let mut sessions = Vec::new();
    for server in SERVERS {
        sessions.push(Session::open(&lab, server, ECHO)?);
    }
    let tidegate = lab.tidegate("")?;
    for session in &sessions {
        let flow = session.shown(&tidegate)?;
        ensure!(
            flow["carriage"] == "existing"
                && flow["verdict"] == "allow"
                && flow["direction"] == "out",
            "{flow}"
        );
        ensure!(flow["app"]["pid"] == std::process::id(), "{flow}");
    }
    ensure!(at_the_end(&tidegate, "existing")? == 2);
    for session in &mut sessions {
        session.talk()?;
        session.stream.shutdown(Shutdown::Write)?;
        ensure!(session.stream.read(&mut [0])? == 0, "no FIN came");
    }
    let shown = tidegate.ask(&["flows"])?.success()?;
    ensure!(shown.contains("open, existing"), "{shown}");
    Ok(())
}

#[test]
fn many_idle_sessions_begun_before_our_start_are_all_shown_or_all_ended() -> Result<()> {
    const MANY: usize = 100;
    for config in ["", RESET] {
        let lab = Lab::new()?;
        let _echo = service::TcpEcho::start(&lab.server, ECHO)?;
        let servers = SERVERS.iter().cycle().take(MANY);
        let sessions = servers.map(|server| Session::open(&lab, server, ECHO));
        let mut sessions = sessions.collect::<Result<Vec<_>>>()?;
        let tidegate = lab.tidegate(config)?;
        if config == RESET {
            sessions.iter_mut().try_for_each(Session::ensure_cut)?;
        } else {
            wait_until("all are shown", PATIENCE, || {
                at_the_end(&tidegate, "existing").is_ok_and(|shown| shown == 100)
            })?;
            sessions.iter_mut().try_for_each(Session::talk)?;
        }
    }
    Ok(())
}

#[test]
fn an_older_session_that_the_policy_refuses_ends_at_once() -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::TcpEcho::start(&lab.server, ECHO)?;
    let mut refused = Session::open(&lab, address::SERVER_V4, ECHO)?;
    let mut allowed = Session::open(&lab, address::SERVER_V6, ECHO)?;
    let tidegate =
        lab.tidegate("[[rule]]\nname = \"no\"\nto = \"203.0.113.10\"\naction = \"block\"\n")?;
    refused.ensure_cut()?;
    let flow = refused.shown(&tidegate)?;
    ensure!(flow["verdict"] == "block" && flow["rule"] == "no", "{flow}");
    allowed.talk()
}

#[test]
fn a_restart_cuts_what_status_said_it_would() -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::TcpEcho::start(&lab.server, ECHO)?;
    let udp = service::UdpEcho::start(&lab.server, &[address::SERVER_V4], ECHO)?;
    let mut older = Vec::new();
    for server in SERVERS {
        older.push(Session::open(&lab, server, ECHO)?);
    }
    let mut tidegate = lab.tidegate("")?;
    let mut ours = Vec::new();
    for server in [address::SERVER_V4, address::SERVER_V6, address::SERVER_V4] {
        ours.push(Session::open(&lab, server, ECHO)?);
    }
    for session in &mut ours {
        session.talk()?;
    }
    lab.host.echo(address::SERVER_V4, ECHO, 20, PATIENCE)?;
    wait_until("the flows are counted", PATIENCE, || {
        ["cut", "moved", "existing"].map(|what| at_the_end(&tidegate, what).ok())
            == [Some(3), Some(1), Some(2)]
    })
    .with_context(|| format!("{:?}, {:?}", tidegate.status(), udp.peers()))?;
    let said = tidegate.ask(&["status"])?.success()?;
    ensure!(
        said.contains("a restart would cut 3 connections and give 1 datagram flow another port")
            && said.contains("2 more would go on, 2 of them begun before our start"),
        "{said}"
    );
    ensure!(tidegate.process().stop()? == 0);
    for session in &mut ours {
        session.ensure_cut()?;
    }
    let tidegate = lab.tidegate("")?;
    for session in &mut older {
        ensure!(session.shown(&tidegate)?["carriage"] == "existing");
        session.talk()?;
    }
    ensure!(at_the_end(&tidegate, "cut")? == 0);
    Ok(())
}

#[test]
#[ignore = "a gigabyte each way: `cargo xtask test --full`"]
fn a_gigabyte_begun_before_our_start_arrives_whole() -> Result<()> {
    const SIZE: u64 = 1_000_000_000;
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, WEB)?;
    let expected = service::sha256(service::Pattern::new(SIZE))?;
    let mut transfers = Vec::new();
    for server in SERVERS {
        let server = endpoint(server, WEB)?;
        transfers.push(lab.host.background(&format!(
            "curl -sS --limit-rate 100M http://{server}/bytes/{SIZE} | sha256sum"
        ))?);
    }
    wait_until("both have begun", PATIENCE, || connected(&lab, WEB) == 2)?;
    let tidegate = lab.tidegate("")?;
    ensure!(at_the_end(&tidegate, "existing")? == 2);
    for mut curl in transfers {
        ensure!(
            curl.wait(Duration::from_secs(120))? == 0,
            "{}",
            curl.output()
        );
        ensure!(curl.output().contains(&expected), "{}", curl.output());
    }
    Ok(())
}

/// Serves one client.
fn echo_service(lab: &Lab, owner: User, port: u16) -> Result<Background> {
    let program = format!(
        "
import socket
tcp = socket.create_server(('0.0.0.0', {port}))
print('ready')
client, _ = tcp.accept()
while data := client.recv(65536): client.sendall(data)"
    );
    let service = lab.host.python_background_as(owner, &program)?;
    service.wait_for_output("ready")?;
    Ok(service)
}

/// How many connections of the host to this port stand.
fn connected(lab: &Lab, port: u16) -> usize {
    let show = format!("ss --no-header --tcp state established dport = :{port}");
    lab.host
        .bash(&show)
        .map_or(0, |shown| shown.stdout.lines().count())
}

/// A figure of what `status` says becomes of the flows when we end.
fn at_the_end(tidegate: &Daemon<'_>, what: &str) -> Result<u64> {
    let status = tidegate.status()?;
    let count = status["at_the_end"][what].as_u64();
    count.with_context(|| format!("no {what} in {status}"))
}

/// A connection of the host, held by this test.
struct Session {
    stream: TcpStream,
    remote: SocketAddr,
}

impl Session {
    fn open(lab: &Lab, server: &str, port: u16) -> Result<Self> {
        let remote = endpoint(server, port)?;
        let stream = lab
            .host
            .inside(|| TcpStream::connect_timeout(&remote, PATIENCE))??;
        Self::of(stream, remote)
    }

    fn of(stream: TcpStream, remote: SocketAddr) -> Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, remote })
    }

    fn talk(&mut self) -> Result<()> {
        self.stream.write_all(b"hello")?;
        let mut answer = [0; 5];
        self.stream.read_exact(&mut answer)?;
        ensure!(&answer == b"hello", "{answer:?}");
        Ok(())
    }

    /// The program hears at once, though it asks for nothing.
    fn ensure_cut(&mut self) -> Result<()> {
        self.stream.set_read_timeout(Some(AT_ONCE))?;
        match self.stream.read(&mut [0]) {
            Err(error)
                if [ErrorKind::ConnectionAborted, ErrorKind::ConnectionReset]
                    .contains(&error.kind()) =>
            {
                Ok(())
            }
            other => bail!(
                "{} to {}: {other:?}",
                self.stream.local_addr()?,
                self.remote
            ),
        }
    }

    fn shown(&self, tidegate: &Daemon<'_>) -> Result<Value> {
        let local = self.stream.local_addr()?.to_string();
        tidegate.wait_for_flow("an older session", |flow| {
            flow["local"] == *local && !flow["verdict"].is_null()
        })
    }
}
