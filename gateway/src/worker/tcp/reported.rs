//! What a router said of the SYN of a connection in the making: where its hop limit ran out is what traceroute asks.
//!
//! Only programs that chose a hop limit of their own are told so; others hear of a failed dial as from its destination.

use std::time::Instant;

use mio::net::TcpStream;
use tidegate_netstack::{FlowId, Refusal};
use tidegate_platform::error_queue::{self, Fault, Report};

use crate::worker::Worker;
use crate::worker::entry::Path;

/// The report that a dial has failed with, where there is one.
pub(super) fn take(stream: &TcpStream) -> Option<Box<Report>> {
    let report = error_queue::next(stream).ok()??;
    match report.fault {
        Fault::TimeExceeded
        | Fault::HostUnreachable
        | Fault::NetworkUnreachable
        | Fault::Prohibited => Some(Box::new(report)),
        // A connection is refused with RST, whoever refused it; a SYN is too large for no link.
        Fault::PortUnreachable | Fault::TooBig(_) => None,
    }
}

/// The connection stands, and later reports are not to end it.
pub(super) fn listen_no_more(stream: &TcpStream) {
    if let Err(error) = error_queue::disable(stream) {
        tracing::debug!(%error, "an upstream connection may end by a report of a router");
    }
}

impl Worker {
    /// The program hears from the router that said something of its SYN, or else as from its destination. Its next SYN, maybe
    /// with a higher hop limit, is a new flow.
    pub(in crate::worker) fn refuse_tcp(&mut self, now: Instant, flow: FlowId, refusal: Refusal) {
        let report = match self.flows.get_mut(&flow).map(|entry| &mut entry.path) {
            Some(Path::Tcp(path)) => path.report.take(),
            Some(Path::Udp(_) | Path::Echo(_) | Path::Pass(_)) | None => None,
        };
        match report {
            Some(report) => {
                self.report_to_program(now, flow, &report);
                self.stack.forget(flow);
            }
            None => self.stack.refuse(now, flow, refusal),
        }
    }
}
