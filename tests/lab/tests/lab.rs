//! The lab itself: what its machines reach, and that nothing of it stays.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use tidegate_lab::{Lab, User, address, service, wait_until};

#[test]
fn the_host_reaches_the_server_in_both_families() -> Result<()> {
    let lab = Lab::new()?;
    for address in [
        address::SERVER_V4,
        address::SERVER_V6,
        address::OTHER_V4,
        address::ROUTER_V6,
    ] {
        lab.host
            .bash(&format!("ping -c 1 -W 5 {address}"))?
            .success()?;
    }
    Ok(())
}

#[test]
fn two_labs_at_once_do_not_meet() -> Result<()> {
    let (one, other) = (Lab::new()?, Lab::new()?);
    let _web = service::Http::start(&one.server, 80)?;
    one.host
        .bash("curl -sS http://203.0.113.10/whoami; touch /run/seen")?
        .success()?;
    other
        .host
        .bash("curl -sS http://203.0.113.10/whoami")?
        .failure()?;
    other.host.bash("test ! -e /run/seen")?.success()?;
    Ok(())
}

#[test]
fn nothing_stays_of_a_lab() -> Result<()> {
    let links = || fs::read_to_string("/proc/net/dev").map(|text| text.lines().count());
    let (links_before, run_before) = (links()?, entries("/run")?);
    let lab = Lab::new()?;
    let folder = lab.folder().to_path_buf();
    let inside = fs::read_link(lab.host.net_path())?;
    let background = lab.host.background("sleep 600 & sleep 601")?;
    ensure!(
        processes_in(&inside) > 0,
        "the background programs run in the lab"
    );
    drop(background);
    drop(lab);
    ensure!(!folder.exists(), "{} stays", folder.display());
    wait_until(
        "no process is left in the lab",
        Duration::from_secs(5),
        || processes_in(&inside) == 0,
    )?;
    ensure!(links()? == links_before, "links outside changed");
    ensure!(entries("/run")? == run_before, "/run outside changed");
    Ok(())
}

#[test]
fn what_a_killed_lab_left_behind_is_cleaned_up_by_the_next() -> Result<()> {
    // The mark of a process that had our pid before us.
    let gone = format!("{}:1", std::process::id());
    let mut orphan = std::process::Command::new("sleep")
        .arg("600")
        .env("TIDEGATE_LAB", gone)
        .spawn()?;
    // Its environment is empty until the kernel has laid out the new program.
    let environment = format!("/proc/{}/environ", orphan.id());
    wait_until("the orphan runs", Duration::from_secs(5), || {
        fs::read(&environment).is_ok_and(|environment| !environment.is_empty())
    })?;
    // A pid that no process can have (the largest is 2^22).
    let folder = Path::new("/var/tmp/tidegate-lab-4194305-0");
    fs::create_dir_all(folder)?;
    let _lab = Lab::new()?;
    let ended = wait_until("the orphan is ended", Duration::from_secs(5), || {
        matches!(orphan.try_wait(), Ok(Some(_)))
    });
    drop(orphan.kill());
    ended?;
    ensure!(!folder.exists(), "{} stays", folder.display());
    Ok(())
}

#[test]
fn transfers_arrive_whole_both_ways() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let expected = service::sha256(service::Pattern::new(5_000_000))?;
    for server in [
        address::SERVER_V4.to_owned(),
        format!("[{}]", address::SERVER_V6),
    ] {
        let down = lab
            .host
            .bash(&format!(
                "curl -sS http://{server}/bytes/5000000 | sha256sum"
            ))?
            .success()?;
        ensure!(down.starts_with(&expected), "{down} is not {expected}");
        let url = format!("http://{server}");
        let up = lab.host.bash(&format!(
            "curl -sS {url}/bytes/5000000 -o body && curl -sS -T body {url}/; rm body"
        ));
        ensure!(up?.success()? == format!("5000000 {expected}"));
    }
    Ok(())
}

#[test]
fn the_echo_answers_after_the_client_has_finished_sending() -> Result<()> {
    let lab = Lab::new()?;
    let echo = service::TcpEcho::start(&lab.server, 7)?;
    let sent = "head -c 1000000 /dev/zero | socat -t 10 - TCP:203.0.113.10:7 | wc -c";
    ensure!(lab.host.bash(sent)?.success()? == "1000000");
    let clients: Vec<_> = echo
        .peers()
        .iter()
        .map(|peer| peer.ip().to_string())
        .collect();
    ensure!(clients == [address::HOST_V4], "{clients:?}");
    Ok(())
}

#[test]
fn the_name_server_answers_what_it_was_told_and_the_resolver_asks_it() -> Result<()> {
    let lab = Lab::new()?;
    let _names = service::Dns::start(
        &lab.server,
        &[
            ("Www.lab.test", "203.0.113.10"),
            ("www.lab.test", "2001:db8::1"),
        ],
    )?;
    ensure!(lab.host.bash("dig +short www.lab.test A")?.success()? == "203.0.113.10");
    ensure!(
        lab.host
            .bash("dig +short +tcp www.lab.test AAAA")?
            .success()?
            == "2001:db8::1"
    );
    ensure!(
        lab.host
            .bash("dig nothing.lab.test")?
            .success()?
            .contains("NXDOMAIN")
    );
    ensure!(
        lab.host
            .bash("getent ahostsv4 www.lab.test")?
            .success()?
            .starts_with("203.0.113.10")
    );
    Ok(())
}

#[test]
fn a_talker_resets_and_a_sink_sees_resets() -> Result<()> {
    let lab = Lab::new()?;
    let _talker = service::TcpTalker::start(&lab.server, 19, 1000, service::Talk::ThenReset)?;
    let sink = service::Sink::start(&lab.server, 9)?;
    let client = "
import socket, struct
talker = socket.create_connection(('203.0.113.10', 19))
try:
    while talker.recv(4096): pass
    print('finished')
except ConnectionResetError:
    print('reset')
sink = socket.create_connection(('203.0.113.10', 9))
sink.sendall(b'x' * 100)
sink.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
sink.close()
";
    let script = lab.file("client.py", client)?;
    ensure!(
        lab.host
            .bash(&format!("python3 {}", script.display()))?
            .success()?
            == "reset"
    );
    wait_until("the sink's connection ends", Duration::from_secs(5), || {
        !sink.endings().is_empty()
    })?;
    ensure!(
        sink.endings()[0].error == Some(std::io::ErrorKind::ConnectionReset),
        "{:?}",
        sink.endings()
    );
    Ok(())
}

#[test]
fn addresses_that_lead_nowhere_fail_each_in_its_way() -> Result<()> {
    let lab = Lab::new()?;
    // An error that comes back while `connect` still holds the socket only counts after the next SYN, a second later.
    let connect = |address| {
        let outcome = lab.host.connect(address, 80, Duration::from_secs(3))?;
        anyhow::Ok(outcome.word)
    };
    for black_hole in [address::BLACK_HOLE_V4, address::BLACK_HOLE_V6] {
        ensure!(connect(black_hole)? == "timeout");
    }
    ensure!(connect(address::UNREACHABLE_V4)? == "EHOSTUNREACH");
    ensure!(connect(address::UNREACHABLE_V6)? == "ENETUNREACH");
    ensure!(connect(address::PROHIBITED_V4)? == "EHOSTUNREACH");
    ensure!(connect(address::PROHIBITED_V6)? == "EACCES");
    ensure!(connect(address::SERVER_V4)? == "ECONNREFUSED");
    let _web = service::Http::start(&lab.server, 80)?;
    ensure!(connect(address::SERVER_V4)? == "connected");
    Ok(())
}

#[test]
fn a_narrow_path_is_narrow_both_ways() -> Result<()> {
    let lab = Lab::new()?;
    lab.narrow(1280)?;
    for (machine, destination) in [
        (&lab.host, address::SERVER_V4),
        (&lab.host, address::SERVER_V6),
        (&lab.server, address::HOST_V4),
        (&lab.server, address::HOST_V6),
    ] {
        let ping = |size| machine.bash(&format!("ping -M do -c 1 -W 5 -s {size} {destination}"));
        ping(1200)?.success()?;
        let said = ping(1400)?.failure()?;
        ensure!(
            said.contains("mtu = 1280") || said.contains("mtu=1280"),
            "{said}"
        );
    }
    Ok(())
}

#[test]
fn a_datagram_comes_back_from_the_address_it_went_to() -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::UdpEcho::start(&lab.server, &[address::OTHER_V4, address::SERVER_V6], 7)?;
    for (address, expected) in [
        (address::OTHER_V4, "echoed"),
        (address::SERVER_V6, "echoed"),
        (address::SERVER_V4, "ECONNREFUSED"),
    ] {
        let outcome = lab.host.echo(address, 7, 20, Duration::from_secs(5))?;
        ensure!(outcome.word == expected, "{address}: {outcome:?}");
    }
    Ok(())
}

#[test]
fn an_ordinary_user_may_open_the_tun_device_and_little_else() -> Result<()> {
    let lab = Lab::new()?;
    lab.host
        .bash_as(User::ALICE, "exec 3<>/dev/net/tun")?
        .success()?;
    lab.host
        .bash_as(User::ALICE, "touch /run/mine")?
        .failure()?;
    ensure!(
        lab.host
            .bash_as(User::ALICE, "id -u; id -g; id -G")?
            .success()?
            == "64001\n64001\n64001"
    );
    Ok(())
}

fn entries(folder: &str) -> Result<Vec<std::ffi::OsString>> {
    let mut names = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn processes_in(namespace: &Path) -> usize {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|entry| {
            fs::read_link(entry.path().join("ns/net")).is_ok_and(|link| link == namespace)
        })
        .count()
}
