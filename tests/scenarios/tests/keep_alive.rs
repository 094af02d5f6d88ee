//! A program that asks whether its connection still stands learns that it does not, under either capture.

use std::time::Duration;

use anyhow::{Result, ensure};
use tidegate_lab::{Capture, Lab, address, service, under_both_captures};

const ECHO: u16 = 7;
/// The program's first question comes after a second, as ours do, seven of them; and as much again.
const PATIENCE: Duration = Duration::from_secs(40);

under_both_captures! {
    a_program_that_sends_keepalives_hears_that_its_peer_is_gone,
}

/// One peer has forgotten the connection, another is silent, a third is there.
fn a_program_that_sends_keepalives_hears_that_its_peer_is_gone(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::TcpEcho::start(&lab.server, ECHO)?;
    let session = lab.captured(capture, "")?;
    let job = session.start_python(&format!(
        "
import errno, socket
def connect(server):
    s = socket.create_connection((server, {ECHO}))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    s.settimeout({patience})
    s.sendall(b'hello')
    assert s.recv(5) == b'hello'
    return s
forgetful, silent, living = map(connect, ('{forgetful}', '{silent}', '{living}'))
print('ready', flush=True)
for s in (forgetful, silent):
    try:
        print('said', s.recv(1))
    except OSError as error:
        print('ended', errno.errorcode.get(error.errno, error), flush=True)
living.sendall(b'again')
print(living.recv(5) == b'again')",
        patience = PATIENCE.as_secs(),
        forgetful = address::OTHER_V4,
        silent = address::OTHER_V6,
        living = address::SERVER_V4,
    ))?;
    job.wait_for_output("ready")?;
    lab.server
        .bash(&format!(
            "set -e
ip route add blackhole 192.168.77.2
ss --kill --no-header --tcp src {}
ip route del blackhole 192.168.77.2",
            address::OTHER_V4
        ))?
        .success()?;
    lab.router
        .ip(&format!("route add blackhole {}", address::OTHER_V6))?;
    let said = job.finish(2 * PATIENCE)?.success()?;
    ensure!(
        said.ends_with("ended ECONNRESET\nended ECONNRESET\nTrue"),
        "{said}"
    );
    Ok(())
}
