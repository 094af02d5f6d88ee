//! What becomes of flows when the host's network changes under them.
//!
//! A kernel goes on sending from an address that is gone until its retransmissions run out, a quarter of an hour later. Here
//! both ends hear at once: a program that has lost its address gets its socket aborted, since a RST to that address would
//! find nobody; one that kept it, while our connection upstream has lost its own, gets a RST. Flows whose addresses are
//! still there go on. Datagrams need nothing: each leaves by the way that the kernel finds for it.

use std::net::IpAddr;
use std::time::Instant;

use socket2::SockRef;
use tidegate_netstack::{FlowId, Protocol};
use tidegate_platform::sockets::SocketTable;

use super::entry::{Entry, Path};
use super::identify::Identify;
use super::tcp::TcpPath;
use super::{Strangers, Worker};

/// Why flows end whose address is gone.
const ADDRESS_GONE: &str = "the local address is gone";

impl Worker {
    /// The host no longer has these addresses.
    pub(super) fn addresses_gone(&mut self, now: Instant, gone: &[IpAddr]) {
        // Under exec capture the programs' addresses are another namespace's.
        if let Strangers::Host { .. } = self.strangers {
            let flows = gone
                .iter()
                .flat_map(|address| self.stack.flows_of(*address));
            let flows: Vec<FlowId> = flows.collect();
            self.abort_programs(&flows);
            for flow in flows {
                self.reset_upstream(flow);
                self.stack.forget(flow);
                self.end(flow, ADDRESS_GONE);
            }
        }
        for flow in self.flows_of_sockets(|local| gone.contains(&local)) {
            self.upstream_address_gone(now, flow);
        }
    }

    /// Aborts the TCP sockets of these flows' programs.
    pub(super) fn abort_programs(&self, flows: &[FlowId]) {
        if let Identify::Forwarded(_) = self.identify {
            return; // their sockets are other networks'
        }
        let keys = flows.iter().filter_map(|flow| self.stack.key(*flow));
        let mut keys = keys.filter(|key| key.protocol == Protocol::Tcp).peekable();
        if keys.peek().is_none() {
            return;
        }
        let mut table = match SocketTable::open() {
            Ok(table) => table,
            Err(error) => {
                return tracing::warn!(%error, "programs are not told that their connection is gone");
            }
        };
        for key in keys {
            if let Err(error) = table.destroy_tcp(key.local, key.remote) {
                tracing::debug!(%error, "a program is not told that its connection is gone");
            }
        }
    }

    /// Our own connection has lost its address, the program has not.
    fn upstream_address_gone(&mut self, now: Instant, flow: FlowId) {
        self.reset_upstream(flow);
        match self.stack.tcp(flow) {
            Some(accepted) => {
                accepted.break_off();
                self.end(flow, ADDRESS_GONE);
            }
            // The program still waits: the next SYN leaves by the new way.
            None => self.dial_again(now, flow),
        }
    }

    fn dial_again(&mut self, now: Instant, flow: FlowId) {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return;
        };
        let caller = entry.dialing.take();
        let Path::Tcp(path) = &mut entry.path else {
            return;
        };
        let source = path.hang_up();
        if let Some(caller) = caller {
            self.dialing.end(&caller);
        }
        if let Some(source) = source {
            self.sources.try_remove(source);
        }
        self.dial_tcp(flow);
        self.drive(now, flow);
    }

    /// The uplink takes packets of this size now.
    pub(super) fn follow_mtu(&mut self, uplink: u16) {
        self.stack.set_mtu(uplink);
        if let Strangers::Host { mtu, .. } = &mut self.strangers {
            *mtu = uplink.into();
        }
    }

    /// TCP flows of which this holds for the address that their upstream connection comes from.
    fn flows_of_sockets(&self, holds: impl Fn(IpAddr) -> bool) -> Vec<FlowId> {
        let comes_from = |entry: &Entry| Some(entry.socket()?.local_addr().ok()?.as_socket()?.ip());
        let mut flows: Vec<FlowId> = self
            .flows
            .iter()
            .filter(|(_, entry)| comes_from(entry).is_some_and(&holds))
            .map(|(flow, _)| *flow)
            .collect();
        flows.sort_unstable();
        flows
    }
}

impl Entry {
    /// The upstream connection's socket.
    fn socket(&self) -> Option<SockRef<'_>> {
        self.tcp()?.socket()
    }

    pub(super) fn tcp(&self) -> Option<&TcpPath> {
        match &self.path {
            Path::Tcp(path) => Some(path),
            Path::Udp(_) | Path::Echo(_) | Path::Pass(_) => None,
        }
    }
}
