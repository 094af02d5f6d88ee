//! Connections that are older than our start, found in the kernel's table once our rules lead their packets to us.

use tidegate_platform::link;
use tidegate_platform::sockets::{SocketTable, TcpConnection, WaysOut};

use crate::worker::{Handle, Message};

/// Tells the worker which connections will come out of this device. Those that were opened since the rules are there may be
/// among them: the worker knows them.
pub(super) fn tell(worker: &Handle, device: &str) {
    match captured(device) {
        Ok(connections) => worker.tell(Message::Older(connections)),
        Err(error) => {
            tracing::warn!(%error, "connections older than our start are dealt with only once they send something");
        }
    }
}

/// The rules are asked, as they know best: sockets with a mark, bound to a device, or of a service go another way.
fn captured(device: &str) -> anyhow::Result<Vec<TcpConnection>> {
    let device = link::index(device)?;
    let mut connections = SocketTable::open()?.connections()?;
    let mut ways = WaysOut::open()?;
    connections.retain(|connection| ways.of(connection) == Some(device));
    Ok(connections)
}
