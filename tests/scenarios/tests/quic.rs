//! QUIC by a real client and server, under either capture: runs of datagrams that must not be cut, and probes of the path.

use anyhow::{Context, Result, ensure};
use tidegate_lab::{
    Background, Capture, Lab, Session, User, address, service, under_both_captures,
};

/// Client and server; see `src/bin/quic.rs`.
const QUIC: &str = env!("CARGO_BIN_EXE_quic");
const PORT: u16 = 443;
const SIZE: u64 = 8_000_000;
const SERVERS: [&str; 2] = [address::SERVER_V4, address::SERVER_V6];
/// The largest that the client tries.
const LARGEST: u64 = 1452;
/// The search ends this close to what the path takes.
const CLOSE: u64 = 32;

under_both_captures! {
    quic_transfers_are_echoed_whole_over_an_ordinary_link,
    quic_transfers_are_echoed_whole_over_links_of_1280_bytes,
    quic_transfers_are_echoed_whole_over_a_path_that_narrows_to_1280_bytes,
}

fn quic_transfers_are_echoed_whole_over_an_ordinary_link(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    ensure_echoes(&lab, capture, 1500)
}

fn quic_transfers_are_echoed_whole_over_links_of_1280_bytes(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    for (machine, device) in [
        (&lab.host, "up0"),
        (&lab.router, "down0"),
        (&lab.router, "core0"),
        (&lab.server, "up0"),
    ] {
        machine.ip(&format!("link set {device} mtu 1280"))?;
    }
    ensure_echoes(&lab, capture, 1280)
}

fn quic_transfers_are_echoed_whole_over_a_path_that_narrows_to_1280_bytes(
    capture: Capture,
) -> Result<()> {
    let lab = Lab::new()?;
    lab.narrow(1280)?;
    ensure_echoes(&lab, capture, 1280)
}

/// A transfer up and down at once, to either address of the server.
fn ensure_echoes(lab: &Lab, capture: Capture, mtu: u64) -> Result<()> {
    let quic = lab.program(QUIC, "quic")?;
    let (quic, certificate) = (quic.display(), lab.folder().join("certificate"));
    let serve = format!("exec {quic} serve {} {PORT}", certificate.display());
    let server: Background = lab.server.background_as(User::ROOT, &serve)?;
    server.wait_for_output("serves")?;
    let payload = lab.payload(SIZE)?;
    let session = lab.captured(capture, "")?;
    for address in SERVERS {
        let call = format!(
            "{quic} call {} {address} {PORT} <{} | sha256sum",
            certificate.display(),
            payload.display()
        );
        let said = session.bash(&call)?;
        let found = said.stderr.clone();
        let sum = said.success().context(server.output())?;
        let expected = service::sha256(service::Pattern::new(SIZE))?;
        ensure!(sum.starts_with(&expected), "{address}: {sum}");
        ensure_fits(&found, address, mtu)?;
        ensure_counted(&session, address)?;
    }
    Ok(())
}

/// What the client takes for the largest datagram is what the path takes: none of its probes was cut on the way.
fn ensure_fits(said: &str, server: &str, mtu: u64) -> Result<()> {
    let found = said.split(' ').nth(1).context("the client says nothing")?;
    let found: u64 = found.parse().with_context(|| said.to_owned())?;
    let headers = if server.contains(':') { 48 } else { 28 };
    let room = LARGEST.min(mtu - headers);
    ensure!(
        (room - CLOSE..=room).contains(&found),
        "{server}: found {found} where {room} fit"
    );
    Ok(())
}

fn ensure_counted(session: &Session<'_>, server: &str) -> Result<()> {
    let flow = session.flow_to(server, PORT)?;
    ensure!(flow["bytes_up"].as_u64() > Some(SIZE), "{flow}");
    ensure!(flow["bytes_down"].as_u64() > Some(SIZE), "{flow}");
    Ok(())
}
