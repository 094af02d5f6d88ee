//! Pins the congestion control of connections that programs make into a gateway's device.
//!
//! Some systems default to BBR, which halves and blurs every figure on a link like this. A route says what its connections
//! use: the lab's own do, and Tidegate's; a peer's do not.

use anyhow::{Context, Result, ensure};
use tidegate_lab::Lab;

use crate::process;
use crate::session::Session;

/// The default routes of a table into a device. There is one at least.
pub(super) fn routes(lab: &Lab, device: &str, table: &str) -> Result<()> {
    let script = format!(
        "set +o pipefail
         for family in -4 -6; do
             ip $family route show default table {table} 2>/dev/null | grep -w {device} | while read -r route; do
                 ip $family route change $route table {table} congctl cubic || exit
             done || exit
         done
         ip -4 route show default table {table} | grep -w {device} | grep -q cubic"
    );
    lab.host
        .bash(&script)?
        .success()
        .map(drop)
        .with_context(|| format!("cannot pin the congestion control of the routes into {device}"))
}

/// The default routes of the network namespace that a gateway made. From outside: inside one may not.
pub(super) fn behind(lab: &Lab, session: &Session) -> Result<()> {
    let shell = process::tree(session.pid())?
        .into_iter()
        .find(|process| process.name == "bash");
    let shell = shell.context("there is no shell behind the gateway")?.pid;
    let script = format!(
        "ip() {{ nsenter --net=/proc/{shell}/ns/net ip $@; }}
         for family in -4 -6; do
             ip $family route show default | while read -r route; do
                 ip $family route change $route congctl cubic || exit
             done
         done"
    );
    lab.host
        .bash(&script)?
        .success()
        .context("cannot pin the congestion control")?;
    let routes = format!("nsenter --net=/proc/{shell}/ns/net ip route");
    ensure!(lab.host.bash(&routes)?.success()?.contains("cubic"));
    Ok(())
}
