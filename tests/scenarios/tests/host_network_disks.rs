//! Host capture and network disks. What such a disk is to us is a connection that no process has open. Here it waits in a UNIX
//! socket's queue instead of in the kernel's disk driver.

use anyhow::{Result, ensure};
use serde_json::Value;
use tidegate_lab::{Daemon, Lab, User, address, service};

const SERVERS: [&str; 2] = [address::SERVER_V4, address::SERVER_V6];

#[test]
fn a_connection_without_a_process_goes_on_and_has_its_verdict() -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::TcpEcho::start(&lab.server, 2049)?;
    let go = lab.folder().join("go");
    let disk = lab.host.python_background_as(
        User::ROOT,
        &format!(
            "
import os, socket, time
held, queue = socket.socketpair()
for server in ('{v4}', '{v6}'):
    s = socket.create_connection((server, 2049))
    socket.send_fds(held, [b'x'], [s.fileno()])
    s.close()
print('ready')
while not os.path.exists('{go}'): time.sleep(0.02)
for _ in range(2):
    _, [fd], _, _ = socket.recv_fds(queue, 1, 1)
    s = socket.socket(fileno=fd)
    s.settimeout(5)
    s.sendall(b'hello')
    print('disk', s.getpeername()[0], s.recv(5).decode())",
            v4 = address::SERVER_V4,
            v6 = address::SERVER_V6,
            go = go.display(),
        ),
    )?;
    disk.wait_for_output("ready")?;
    let tidegate = lab.tidegate("[capture]\nfail = \"closed\"\n")?;
    for server in SERVERS {
        let flow = wait_for_disk(&tidegate, server)?;
        ensure!(
            flow["carriage"] == "existing" && flow["verdict"] == "allow",
            "{flow}"
        );
        ensure!(
            flow["app"].is_null() && flow["unattributed"].is_string(),
            "{flow}"
        );
    }
    lab.file("go", "")?;
    for server in SERVERS {
        disk.wait_for_output(&format!("disk {server} hello"))?;
    }
    Ok(())
}

/// The disk's server was away when we started, and the kernel goes on trying.
#[test]
fn a_connection_without_a_process_is_made_again() -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::TcpEcho::start(&lab.server, 2049)?;
    for route in [
        "-4 route add blackhole 203.0.113.10",
        "-6 route add blackhole 2001:db8:113::10",
    ] {
        lab.router.ip(route)?;
    }
    // A thread that waits in connect(2) keeps the socket when its descriptor is closed.
    let disk = lab.host.python_background_as(
        User::ROOT,
        &format!(
            "
import os, socket, threading, time
held, queue = socket.socketpair()
def connect(s, server):
    try:
        s.connect((server, 2049))
    except OSError as error:
        print(server, error, flush=True)
threads = []
for server in ('{v4}', '{v6}'):
    s = socket.socket(socket.AF_INET6 if ':' in server else socket.AF_INET)
    threads.append(threading.Thread(target=connect, args=(s, server)))
    threads[-1].start()
    time.sleep(0.1)
    socket.send_fds(held, [b'x'], [s.fileno()])
    os.close(s.detach())
print('ready', flush=True)
for thread in threads:
    thread.join()
for _ in range(2):
    _, [fd], _, _ = socket.recv_fds(queue, 1, 1)
    s = socket.socket(fileno=fd)
    s.settimeout(5)
    s.sendall(b'hello')
    print('disk', s.getpeername()[0], s.recv(5).decode(), flush=True)",
            v4 = address::SERVER_V4,
            v6 = address::SERVER_V6,
        ),
    )?;
    disk.wait_for_output("ready")?;
    let tidegate = lab.tidegate("")?;
    for route in [
        "-4 route del blackhole 203.0.113.10",
        "-6 route del blackhole 2001:db8:113::10",
    ] {
        lab.router.ip(route)?;
    }
    for server in SERVERS {
        disk.wait_for_output(&format!("disk {server} hello"))?;
        let flow = wait_for_disk(&tidegate, server)?;
        ensure!(flow["verdict"] == "allow", "{flow}");
        ensure!(
            flow["app"].is_null() && flow["unattributed"].is_string(),
            "{flow}"
        );
    }
    Ok(())
}

fn wait_for_disk(tidegate: &Daemon<'_>, server: &str) -> Result<Value> {
    tidegate.wait_for_flow("the disk", |flow| {
        flow["remote"]
            .as_str()
            .is_some_and(|remote| remote.contains(server))
            && !flow["verdict"].is_null()
    })
}
