//! Exec capture: the gateway is the name server inside, and asks those of the host.

use anyhow::{Result, ensure};
use tidegate_lab::{Lab, address, service};

#[test]
fn dig_asks_the_gateway_which_asks_the_host_s_resolver() -> Result<()> {
    let lab = Lab::new()?;
    let names = service::Dns::start(
        &lab.server,
        &[
            ("www.lab.test", address::SERVER_V4),
            ("www.lab.test", address::SERVER_V6),
        ],
    )?;
    let session = lab.session("")?;
    for (question, expected) in [
        ("+notcp www.lab.test A", address::SERVER_V4),
        ("+tcp www.lab.test A", address::SERVER_V4),
        ("+notcp www.lab.test AAAA", address::SERVER_V6),
    ] {
        let dig = format!("dig +short +tries=1 +time=5 {question}");
        ensure!(session.bash(&dig)?.success()? == expected, "{dig}");
    }
    let full = session.bash("dig nothing.lab.test")?.success()?;
    ensure!(full.contains("NXDOMAIN"), "{full}");
    ensure!(
        full.contains("SERVER: 192.0.0.1#53"),
        "dig did not ask the gateway: {full}"
    );
    let askers = names.peers();
    let host = address::HOST_V4;
    ensure!(askers.len() == 4, "{askers:?}");
    ensure!(
        askers.iter().all(|asker| asker.ip().to_string() == host),
        "{askers:?}"
    );
    Ok(())
}

#[test]
fn a_resolver_on_the_host_s_loopback_is_asked_too() -> Result<()> {
    let lab = Lab::new()?;
    let _names = service::Dns::start(&lab.server, &[("www.lab.test", address::SERVER_V4)])?;
    let stub = "socat UDP4-LISTEN:53,bind=127.0.0.53,fork UDP4:203.0.113.53:53";
    let _stub = lab.host.background(stub)?;
    let listens = "until ss -Huln | grep --quiet 127.0.0.53; do sleep 0.02; done";
    lab.host.bash(listens)?.success()?;
    lab.host
        .bash("echo nameserver 127.0.0.53 >/etc/resolv.conf")?
        .success()?;
    let session = lab.session("")?;
    let dig = "dig +noall +answer +stats +tries=1 +time=5 www.lab.test A";
    let said = session.bash(dig)?.success()?;
    ensure!(said.contains(address::SERVER_V4), "{said}");
    ensure!(said.contains("SERVER: 192.0.0.1#53"), "{said}");
    Ok(())
}
