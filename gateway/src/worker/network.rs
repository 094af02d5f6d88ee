//! What becomes of flows when the host's network changes under them.
//!
//! A kernel goes on sending from an address that is gone until its retransmissions run out, a quarter of an hour later. Here
//! both ends hear at once: a program that has lost its address gets its socket aborted, since a RST to that address would
//! find nobody; one that kept it, while our connection upstream has lost its own, gets a RST. Flows whose addresses are
//! still there go on. Datagrams need nothing: each leaves by the way that the kernel finds for it.
//!
//! After a sleep nobody knows which connections still stand. To reset them all would end those that do, so each is asked:
//! the kernel's keepalive probes are turned on for a while. A peer that has forgotten answers with RST, silence is found out
//! after [`PROBES`], and either is passed on. Connections with bytes under way are asked by their retransmissions.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use tidegate_netstack::{FlowId, Protocol};
use tidegate_platform::sockets::SocketTable;

use super::entry::{Entry, Path};
use super::{Strangers, Worker};

/// Why flows end whose address is gone.
const ADDRESS_GONE: &str = "the local address is gone";
/// Silence until a connection is asked after a sleep.
const FIRST_PROBE: Duration = Duration::from_secs(1);
/// Between two questions.
const PROBE_PAUSE: Duration = Duration::from_secs(2);
/// Questions without an answer: a radio link needs some seconds to come back.
const PROBES: u32 = 7;
/// After this every connection has answered or is dead.
const PROBING: Duration = Duration::from_secs(20);

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

    /// The machine has slept: every connection upstream is asked whether it still stands.
    pub(super) fn probe_upstreams(&mut self, now: Instant) {
        self.probing_until = Some(now + PROBING);
        let probes = TcpKeepalive::new()
            .with_time(FIRST_PROBE)
            .with_interval(PROBE_PAUSE)
            .with_retries(PROBES);
        self.each_upstream(|socket| socket.set_tcp_keepalive(&probes));
    }

    /// Ends what [`probe_upstreams`](Self::probe_upstreams) began once it has run its time: an idle connection costs nothing.
    pub(super) fn end_probing(&mut self, now: Instant) {
        if self.probing_until.is_some_and(|until| until <= now) {
            self.probing_until = None;
            self.each_upstream(|socket| socket.set_keepalive(false));
        }
    }

    fn each_upstream(&self, change: impl Fn(&SockRef<'_>) -> std::io::Result<()>) {
        let sockets = self.flows.values().filter_map(Entry::socket);
        let failures = sockets.filter_map(|socket| change(&socket).err());
        failures.for_each(|error| {
            tracing::debug!(%error, "a connection is not asked whether it stands");
        });
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
        match &self.path {
            Path::Tcp(path) => path.socket(),
            Path::Udp(_) | Path::Echo(_) | Path::Pass(_) => None,
        }
    }
}
